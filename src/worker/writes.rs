//! How many commands of a batch may write, and how many of those that were passed on in a tunnel are answered. Pure.

use crate::commands::{Class, Handling};
use crate::topology::NodeId;

/// Commands of a batch that may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Writes {
    /// All of them: what is not known to do otherwise may write.
    pub(super) may: u32,
    /// Those of class write.
    pub(super) sure: u32,
    /// Replies, of those that came, that were counted already.
    pub(super) counted: u32,
}

impl Writes {
    /// So many that may write.
    pub(super) fn perhaps(may: u32) -> Self {
        Writes {
            may,
            ..Writes::default()
        }
    }

    /// Of so many commands of each class.
    pub(super) fn of(classes: &[u32; Class::ALL.len()]) -> Self {
        let of = |class: Class| classes[class.index()];
        let sure = of(Class::Write);
        Writes {
            may: sure + of(Class::Master) + of(Class::Script) + of(Class::Blocking),
            sure,
            counted: 0,
        }
    }

    /// Of one command.
    pub(super) fn of_one(class: Class) -> Self {
        let mut classes = [0; Class::ALL.len()];
        classes[class.index()] = 1;
        Writes::of(&classes)
    }

    /// So many replies came, and what they acknowledged, `part` of it all, is counted.
    pub(super) fn count(&mut self, replies: u32, part: u32) {
        self.counted = replies;
        self.may = self.may.saturating_sub(part);
        if part > 0 {
            // Which of them failed is not known.
            self.sure = 0;
        }
    }

    /// Commands were cut off at the front, the last of them uncounted; replies are counted from nothing again.
    pub(super) fn cut(&mut self, last: Writes) {
        self.may = self.may.saturating_sub(last.may);
        self.sure = self.sure.saturating_sub(last.sure);
        self.counted = 0;
    }
}

/// What was passed on in a tunnel, whose replies are only counted: its writes have run once all that was asked is
/// answered.
#[derive(Debug, Default)]
pub(super) struct Count {
    /// Where.
    pub(super) node: Option<NodeId>,
    /// Requests that have a reply.
    asked: u64,
    /// Replies that are no pushes.
    answered: u64,
    /// Writes that were not seen to be answered.
    open: u64,
    /// Channels were subscribed to: only an error is a reply to that.
    subscribed: bool,
    /// Replies cannot be counted any more.
    lost: bool,
    /// The first byte of the reply that is read.
    begins: u8,
}

impl Count {
    /// Of a tunnel that begins inside a transaction, with so many writes queued.
    pub(super) fn starting(node: Option<NodeId>, queued: u32) -> Self {
        Count {
            node,
            open: u64::from(queued),
            ..Count::default()
        }
    }

    /// So many requests are passed on, the last of which is of that kind. How many of them may write.
    pub(super) fn pass(&mut self, class: Class, handling: Handling, resp3: bool, requests: u32) -> u64 {
        if class == Class::Pubsub {
            self.subscribed = true;
            // In RESP2 messages look like replies.
            self.lost |= !resp3;
        } else {
            self.asked += u64::from(requests);
        }
        // Nor can replies be told from what a monitor is sent, and HELLO may change all that.
        self.lost |= class == Class::Stream || handling == Handling::Hello;
        let writes = u64::from(Writes::of_one(class).may);
        self.open += writes;
        writes
    }

    /// A reply begins with this byte.
    pub(super) fn reply_begins(&mut self, byte: u8) {
        self.begins = byte;
    }

    /// It is whole.
    pub(super) fn reply_ends(&mut self) {
        let uncertain = self.begins == b'>' || (self.begins == b'-' && self.subscribed);
        self.answered += u64::from(!uncertain);
    }

    /// Writes that were answered since this was last asked; not while they may be queued only.
    pub(super) fn settled(&mut self, queues: bool) -> u64 {
        if self.lost || queues || self.answered < self.asked {
            return 0;
        }
        self.take_open()
    }

    /// Writes that were not seen to be answered.
    pub(super) fn take_open(&mut self) -> u64 {
        std::mem::take(&mut self.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_counts_what_may_write() {
        let mut classes = [0; Class::ALL.len()];
        (classes[Class::Read.index()], classes[Class::Write.index()]) = (5, 2);
        classes[Class::Script.index()] = 1;
        let mut writes = Writes::of(&classes);
        assert_eq!((writes.may, writes.sure), (3, 2));
        writes.count(4, 1);
        assert_eq!((writes.may, writes.sure, writes.counted), (2, 0, 4));
        writes.cut(Writes::of_one(Class::Write));
        assert_eq!((writes.may, writes.counted), (1, 0));
    }

    #[test]
    fn what_is_passed_on_in_a_tunnel_is_answered_when_all_is() {
        let mut count = Count::default();
        let reply = |count: &mut Count, byte| {
            count.reply_begins(byte);
            count.reply_ends();
        };
        assert_eq!(count.pass(Class::Write, Handling::Forward, true, 1), 1);
        // With a mark of the ambassador's own in front.
        assert_eq!(count.pass(Class::Read, Handling::Forward, true, 2), 0);
        for byte in [b'+', b'>', b'*'] {
            reply(&mut count, byte);
            assert_eq!(count.settled(false), 0);
        }
        reply(&mut count, b'$');
        assert_eq!(count.settled(true), 0, "it may be queued");
        assert_eq!(count.settled(false), 1);
        // SUBSCRIBE is answered by a push, or by an error, which is then no answer to anything else.
        count.pass(Class::Pubsub, Handling::Forward, true, 1);
        count.pass(Class::Write, Handling::Forward, true, 1);
        reply(&mut count, b'-');
        assert_eq!(count.settled(false), 0);
        reply(&mut count, b'+');
        assert_eq!(count.settled(false), 1);
        // Among messages nothing is sure.
        count.pass(Class::Pubsub, Handling::Forward, false, 1);
        count.pass(Class::Write, Handling::Forward, false, 1);
        for _ in 0..9 {
            reply(&mut count, b'*');
        }
        assert_eq!((count.settled(false), count.take_open()), (0, 1));
    }
}
