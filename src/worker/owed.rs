//! Replies owed to one client, handed out in the order of its requests whatever order they come in.
//!
//! Replies of one batch come in order from one link; batches on different links may overtake each other, and
//! what came too early is held here. Pure: bytes in, bytes out.

use std::collections::VecDeque;

/// Names a batch of replies owed to a client; unique among what is owed to it at one time.
pub(super) type BatchId = u32;

#[derive(Debug)]
struct Batch {
    id: BatchId,
    /// Replies still to come; 0: complete, and only waiting for its turn.
    left: u32,
    /// CLIENT REPLY OFF: counted, not shown.
    silent: bool,
    /// Bytes that came before their turn.
    held: Vec<u8>,
}

/// The replies owed to one client.
#[derive(Debug, Default)]
pub(super) struct Owed {
    batches: VecDeque<Batch>,
    next: BatchId,
    held: usize,
}

impl Owed {
    /// Whether nothing is owed.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Bytes held because they came before their turn.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// So many replies are to come from a link.
    pub(super) fn expect(&mut self, replies: u32, silent: bool) -> BatchId {
        let id = self.id();
        self.batches.push_back(Batch {
            id,
            left: replies,
            silent,
            held: Vec::new(),
        });
        id
    }

    /// A reply that is known already takes its place behind what is owed.
    pub(super) fn answer(&mut self, reply: &[u8], out: &mut Vec<u8>) {
        match self.batches.back_mut() {
            None => return out.extend_from_slice(reply),
            Some(last) if last.left == 0 => last.held.extend_from_slice(reply),
            Some(_) => {
                let id = self.id();
                self.batches.push_back(Batch {
                    id,
                    left: 0,
                    silent: false,
                    held: reply.to_vec(),
                });
            }
        }
        self.held += reply.len();
    }

    /// Whether bytes of this batch go to the client at once.
    pub(super) fn is_next(&self, id: BatchId) -> bool {
        self.batches.front().is_some_and(|batch| batch.id == id)
    }

    /// How many batches come before this one.
    pub(super) fn place(&self, id: BatchId) -> Option<usize> {
        self.find(id)
    }

    /// Whether bytes of this batch are dropped.
    pub(super) fn is_silent(&self, id: BatchId) -> bool {
        self.find(id).is_some_and(|at| self.batches[at].silent)
    }

    /// Bytes of a batch came, and so many of its replies ended with them. Appends to `out` what may go to the
    /// client now.
    pub(super) fn deliver(&mut self, id: BatchId, bytes: &[u8], ended: u32, out: &mut Vec<u8>) {
        let Some(at) = self.find(id) else {
            return;
        };
        let batch = &mut self.batches[at];
        batch.left = batch.left.saturating_sub(ended);
        let done = batch.left == 0;
        if !batch.silent {
            if at == 0 {
                out.extend_from_slice(bytes);
            } else {
                batch.held.extend_from_slice(bytes);
                self.held += bytes.len();
            }
        }
        if at == 0 && done {
            self.batches.pop_front();
            self.advance(out);
        }
    }

    /// The next reply of a batch will come from elsewhere: cuts the batch around it. Returns the new name of
    /// that one reply, and of what follows it if anything does.
    pub(super) fn split(&mut self, id: BatchId) -> Option<(BatchId, Option<BatchId>)> {
        let at = self.find(id)?;
        let (left, silent) = (self.batches[at].left, self.batches[at].silent);
        let one = self.id();
        let rest = (left > 1).then(|| self.id());
        if at == 0 {
            // What came before was handed out already.
            self.batches[0].id = one;
            self.batches[0].left = 1;
        } else {
            self.batches[at].left = 0;
            self.batches.insert(
                at + 1,
                Batch {
                    id: one,
                    left: 1,
                    silent,
                    held: Vec::new(),
                },
            );
        }
        if let Some(id) = rest {
            let at = self.find(one)? + 1;
            self.batches.insert(
                at,
                Batch {
                    id,
                    left: left - 1,
                    silent,
                    held: Vec::new(),
                },
            );
        }
        Some((one, rest))
    }

    fn id(&mut self) -> BatchId {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    /// Few batches are owed at a time, and the first is nearly always the one asked for.
    fn find(&self, id: BatchId) -> Option<usize> {
        self.batches.iter().position(|batch| batch.id == id)
    }

    fn advance(&mut self, out: &mut Vec<u8>) {
        while let Some(batch) = self.batches.front_mut() {
            self.held -= batch.held.len();
            out.extend_from_slice(&batch.held);
            batch.held = Vec::new();
            if batch.left > 0 {
                break;
            }
            self.batches.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Owed;
    use proptest::prelude::*;

    #[test]
    fn a_known_reply_waits_for_its_turn() {
        let (mut owed, mut out) = (Owed::default(), Vec::new());
        owed.answer(b"0", &mut out);
        let batch = owed.expect(2, false);
        owed.answer(b"3", &mut out);
        assert_eq!((out.as_slice(), owed.held()), (&b"0"[..], 1));
        owed.deliver(batch, b"1", 1, &mut out);
        owed.deliver(batch, b"2", 1, &mut out);
        assert_eq!(
            (out.as_slice(), owed.held(), owed.is_empty()),
            (&b"0123"[..], 0, true)
        );
    }

    #[test]
    fn a_silent_batch_is_counted_and_not_shown() {
        let (mut owed, mut out) = (Owed::default(), Vec::new());
        let silent = owed.expect(1, true);
        let heard = owed.expect(1, false);
        owed.deliver(heard, b"2", 1, &mut out);
        owed.deliver(silent, b"1", 1, &mut out);
        assert_eq!(out, b"2");
    }

    /// What a run does with the oldest reply of one of the links.
    #[derive(Debug, Clone)]
    enum Act {
        Send { link: usize, replies: u32 },
        Answer,
        Reply { link: usize, cut: bool, elsewhere: bool },
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            3 => (0..4usize, 1..6u32).prop_map(|(link, replies)| Act::Send { link, replies }),
            1 => Just(Act::Answer),
            8 => (0..4usize, any::<bool>(), prop::bool::weighted(0.1))
                .prop_map(|(link, cut, elsewhere)| Act::Reply { link, cut, elsewhere }),
        ];
        prop::collection::vec(act, 1..200)
    }

    /// One link: for each batch in flight its id and the numbers of the requests still to be answered.
    type Link = std::collections::VecDeque<(u32, Vec<u64>)>;

    fn reply(
        owed: &mut Owed,
        links: &mut [Link],
        link: usize,
        cut: bool,
        elsewhere: bool,
        out: &mut Vec<u8>,
    ) {
        let Some((id, mut numbers)) = links[link].pop_front() else {
            return;
        };
        let number = numbers.remove(0);
        if elsewhere {
            let (one, rest) = owed.split(id).expect("owed");
            links[(link + 1) % 4].push_back((one, vec![number]));
            if let Some(rest) = rest {
                links[link].push_front((rest, numbers));
            }
            return;
        }
        let text = format!("<{number}>");
        let (first, second) = text.as_bytes().split_at(usize::from(cut));
        owed.deliver(id, first, 0, out);
        owed.deliver(id, second, 1, out);
        if !numbers.is_empty() {
            links[link].push_front((id, numbers));
        }
    }

    proptest! {
        /// Random routing over four links, random delays, replies cut in two, replies asked for again
        /// elsewhere: the client sees every reply once, in the order of its requests.
        #[test]
        fn replies_come_in_the_order_of_requests(acts in acts()) {
            let (mut owed, mut out) = (Owed::default(), Vec::new());
            let mut links: [Link; 4] = Default::default();
            let mut requests = 0u64;
            for act in acts {
                match act {
                    Act::Send { link, replies } => {
                        let numbers = (requests..).take(replies as usize).collect();
                        requests += u64::from(replies);
                        links[link].push_back((owed.expect(replies, false), numbers));
                    }
                    Act::Answer => {
                        owed.answer(format!("<{requests}>").as_bytes(), &mut out);
                        requests += 1;
                    }
                    Act::Reply { link, cut, elsewhere } => reply(&mut owed, &mut links, link, cut, elsewhere, &mut out),
                }
            }
            while let Some(link) = links.iter().position(|link| !link.is_empty()) {
                reply(&mut owed, &mut links, link, false, false, &mut out);
            }
            let expected: String = (0..requests).map(|number| number.to_string()).fold(String::new(), |all, number| all + "<" + &number + ">");
            prop_assert_eq!(String::from_utf8_lossy(&out), expected);
            prop_assert!(owed.is_empty() && owed.held() == 0);
        }
    }
}
