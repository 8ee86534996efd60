//! The answers of several nodes to one command, made into one. Pure.

use std::time::Instant;

use super::slots::ClientKey;

/// Answers that a client waits for.
#[derive(Debug)]
pub(super) struct Gather {
    pub(super) client: ClientKey,
    /// Names this gathering: an answer that comes late must not be taken for one to the client's next request.
    pub(super) number: u32,
    /// Answers still to come.
    left: usize,
    best: Option<Vec<u8>>,
    /// Not waited for longer than this; `None`: as long as the link holds.
    pub(super) until: Option<Instant>,
}

impl Gather {
    pub(super) fn new(client: ClientKey, number: u32, left: usize, until: Option<Instant>) -> Self {
        Gather {
            client,
            number,
            left,
            best: None,
            until,
        }
    }

    /// An answer came, or will not come. True: nothing better is to be waited for.
    pub(super) fn add(&mut self, reply: Option<&[u8]>) -> bool {
        self.left = self.left.saturating_sub(1);
        if let Some(reply) = reply
            && self.best.as_deref().is_none_or(|best| rank(reply) < rank(best))
        {
            self.best = Some(reply.to_vec());
        }
        self.left == 0 || self.best.as_deref().is_some_and(|best| rank(best) == 0)
    }

    /// The answer: that of the node that did it, else of one that could not, else of one that had nothing to do.
    pub(super) fn answer(&mut self) -> Option<Vec<u8>> {
        self.best.take()
    }
}

fn rank(reply: &[u8]) -> u8 {
    match reply {
        [b'+', ..] => 0,
        _ if reply.starts_with(b"-UNKILLABLE") => 1,
        _ if reply.starts_with(b"-NOTBUSY") => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::Gather;
    use crate::worker::slots::Slots;

    #[test]
    fn the_best_answer_wins_and_a_good_one_is_not_waited_beyond() {
        let client = Slots::new().insert(());
        for (replies, answer, read) in [
            (
                &[Some("-NOTBUSY no"), Some("+OK"), Some("-UNKILLABLE x")][..],
                Some("+OK"),
                2,
            ),
            (
                &[Some("-NOTBUSY no"), None, Some("-UNKILLABLE x")],
                Some("-UNKILLABLE x"),
                3,
            ),
            (
                &[Some("-NOPERM no"), Some("-NOTBUSY no"), None],
                Some("-NOTBUSY no"),
                3,
            ),
            (&[None, None, Some("-NOPERM no")], Some("-NOPERM no"), 3),
            (&[None, None, None], None, 3),
        ] {
            let mut gather = Gather::new(client, 1, replies.len(), None);
            let end = replies
                .iter()
                .position(|reply| gather.add(reply.map(str::as_bytes)));
            assert_eq!(end, Some(read - 1));
            assert_eq!(gather.answer().as_deref(), answer.map(str::as_bytes));
        }
    }
}
