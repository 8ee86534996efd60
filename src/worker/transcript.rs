//! What a client queued between MULTI and EXEC, kept until EXEC is answered: a transaction that the node's state kept
//! from running is sent again whole. Pure and bounded.

use std::collections::VecDeque;

/// Bytes kept of one client's transactions.
const MOST: usize = 1024 * 1024;

/// One transaction.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    /// MULTI and what was queued.
    pub(super) requests: Vec<u8>,
    /// Replies to them.
    pub(super) replies: u32,
    /// All of it is kept, and means the same to every node.
    pub(super) is_whole: bool,
    /// Keys were watched: it must not run where their watch is not.
    pub(super) guarded: bool,
    /// The node's state kept something of it from being queued.
    pub(super) refused: bool,
}

/// The transactions of one own connection whose EXEC or DISCARD is not answered, oldest first.
#[derive(Debug, Default)]
pub(super) struct Transcripts {
    list: VecDeque<Transcript>,
    kept: usize,
}

impl Transcripts {
    /// MULTI was sent.
    pub(super) fn begin(&mut self, multi: &[u8], guarded: bool) {
        self.list.push_back(Transcript {
            is_whole: true,
            guarded,
            ..Transcript::default()
        });
        self.add(multi, 1);
    }

    /// Requests with so many replies were sent in the transaction that was begun last.
    pub(super) fn add(&mut self, requests: &[u8], replies: u32) {
        let Some(last) = self.list.back_mut() else {
            return;
        };
        last.replies += replies;
        if self.kept + requests.len() > MOST {
            return self.spoil_last();
        }
        if last.is_whole {
            self.kept += requests.len();
            last.requests.extend_from_slice(requests);
        }
    }

    /// The transaction that was begun last cannot be sent again.
    pub(super) fn spoil_last(&mut self) {
        if let Some(last) = self.list.back_mut() {
            self.kept -= last.requests.len();
            (last.is_whole, last.requests) = (false, Vec::new());
        }
    }

    /// Bytes kept.
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    /// The transaction to which replies come now.
    pub(super) fn first(&mut self) -> Option<&mut Transcript> {
        self.list.front_mut()
    }

    /// The same, only to be looked at.
    pub(super) fn oldest(&self) -> Option<&Transcript> {
        self.list.front()
    }

    /// The transaction that was begun last.
    pub(super) fn last(&self) -> Option<&Transcript> {
        self.list.back()
    }

    /// Whether the only transaction can be queued anew elsewhere.
    pub(super) fn moves(&self) -> bool {
        self.list.len() == 1 && self.list.iter().all(|only| only.is_whole && !only.guarded)
    }

    /// The oldest transaction is over.
    pub(super) fn end_first(&mut self) -> Option<Transcript> {
        let first = self.list.pop_front()?;
        self.kept -= first.requests.len();
        Some(first)
    }

    /// Puts a transaction behind the others.
    pub(super) fn push(&mut self, transcript: Transcript) {
        self.kept += transcript.requests.len();
        self.list.push_back(transcript);
    }

    /// Forgets them: what replies come to is not known any more.
    pub(super) fn clear(&mut self) {
        *self = Transcripts::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_end_in_their_order_and_too_large_ones_are_not_kept() {
        let mut all = Transcripts::default();
        all.begin(b"multi", false);
        all.add(b"set", 1);
        all.begin(b"multi", true);
        all.add(&vec![0; MOST - 12], 2);
        let first = all.end_first().expect("two were begun");
        assert_eq!((first.requests.as_slice(), first.replies), (&b"multiset"[..], 2));
        assert!(first.is_whole && !first.guarded);
        let second = all.end_first().expect("two were begun");
        assert_eq!((second.requests.len(), second.replies), (0, 3));
        assert!(!second.is_whole && second.guarded);
        all.begin(b"multi", false);
        assert!(all.end_first().is_some_and(|third| third.is_whole));
        assert_eq!(all.kept, 0);
    }
}
