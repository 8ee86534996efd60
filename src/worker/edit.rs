//! Replies that are changed on their way to the client. Pure: bytes in, bytes out.

use super::cursor;
use crate::resp::ReplyScanner;

/// What is done to the one reply of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Edit {
    /// Nothing: it is passed on as it comes.
    #[default]
    None,
    /// The cursor in it gets the tag of the node that gave it. `index`: where the request's own cursor stands.
    Cursor { index: u8, tag: u16 },
    /// EXEC: some of the replies in it are those of a SCAN or its kin.
    Exec(Box<Exec>),
    /// Nothing, but it is looked at whole.
    Whole,
    /// Nothing, but it runs a script: one that was not known when it was sent must not be answered by what is
    /// learned later, and a node that it keeps busy is not taken for lost.
    Script,
    /// Nothing, but it answers a request that was sent in its read-only form.
    ReadForm,
}

impl Edit {
    /// Whether bytes have to be looked at before they go on.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self, Edit::Cursor { .. } | Edit::Exec(_) | Edit::Whole)
    }

    /// Takes from the beginning of `held`, which is what came of a reply and has not gone on yet, what may go on
    /// now. `complete`: the reply ends with it. Where the rest goes on as it is, this becomes [`Edit::None`].
    pub(super) fn apply(&mut self, held: &mut Vec<u8>, complete: bool) -> Vec<u8> {
        let out = match self {
            Edit::None | Edit::ReadForm | Edit::Script => Some(std::mem::take(held)),
            Edit::Cursor { tag, .. } => {
                cursor::tag_head(held, *tag).or_else(|| complete.then(|| std::mem::take(held)))
            }
            Edit::Whole => complete.then(|| std::mem::take(held)),
            Edit::Exec(exec) => return exec.apply(held, complete),
        };
        let Some(out) = out else {
            return Vec::new();
        };
        *held = Vec::new();
        *self = Edit::None;
        out
    }
}

/// The reply to an EXEC on its way: it may be large, and is never held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exec {
    /// Which replies in it have a cursor, in order.
    places: Box<[u32]>,
    /// The tag of the node that gives it.
    tag: u16,
    /// The reply that comes next or is under way; `None`: the array's own line is still to come.
    place: Option<u32>,
    /// Where that one ends.
    scanner: ReplyScanner,
}

impl Exec {
    /// The replies at these places have cursors, on the node of that tag.
    pub(super) fn new(places: Vec<u32>, tag: u16) -> Self {
        Exec {
            places: places.into(),
            tag,
            place: None,
            scanner: ReplyScanner::default(),
        }
    }

    fn apply(&mut self, held: &mut Vec<u8>, complete: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(held.len() + 8);
        let mut at = 0;
        if self.place.is_none() {
            // An error or a null has no second line.
            let Some(end) = memchr::memchr(b'\n', held) else {
                return Vec::new();
            };
            at = end + 1;
            out.extend_from_slice(&held[..at]);
            self.place = Some(0);
        }
        while at < held.len() {
            let rest = &held[at..];
            let begins = self.scanner.at_start();
            let Ok(scanned) = self.scanner.scan(rest) else {
                // Its link has scanned it before.
                break;
            };
            let came = &rest[..scanned.taken];
            let place = self.place.unwrap_or_default();
            let tagged = (begins && self.places.binary_search(&place).is_ok())
                .then(|| cursor::tag_head(came, self.tag));
            match tagged {
                Some(None) if !scanned.complete => {
                    self.scanner = ReplyScanner::default();
                    break;
                }
                Some(Some(changed)) => out.extend_from_slice(&changed),
                Some(None) | None => out.extend_from_slice(came),
            }
            at += scanned.taken;
            if scanned.complete {
                self.place = Some(place + 1);
            } else if scanned.taken == 0 {
                break;
            }
        }
        held.drain(..at);
        if complete {
            out.append(held);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes on of a reply that comes in pieces of that size.
    fn passed(reply: &str, places: &[u32], piece: usize) -> String {
        let mut edit = Edit::Exec(Box::new(Exec::new(places.to_vec(), 5)));
        let (mut held, mut out) = (Vec::new(), Vec::new());
        let (mut scanner, mut at) = (ReplyScanner::default(), 0);
        for end in (1..=reply.len()).filter(|end| end % piece == 0 || *end == reply.len()) {
            // As a link does: only what it has scanned.
            let scanned = scanner.scan(&reply.as_bytes()[at..end]).expect("a reply");
            held.extend_from_slice(&reply.as_bytes()[at..at + scanned.taken]);
            at += scanned.taken;
            out.extend(edit.apply(&mut held, scanned.complete));
            assert!(held.len() < 64, "{} bytes are held", held.len());
        }
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn cursors_in_a_transaction_are_tagged_at_their_places_only() {
        let scan = "*2\r\n$1\r\n1\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n";
        let large = format!("$300\r\n{}\r\n", "x".repeat(300));
        let reply = format!("*5\r\n{scan}+OK\r\n{scan}{large}{scan}");
        let tagged = scan.replacen("$1\r\n1", "$5\r\n65541", 1);
        for piece in 1..80 {
            assert_eq!(
                passed(&reply, &[2, 4], piece),
                format!("*5\r\n{scan}+OK\r\n{tagged}{large}{tagged}"),
                "in pieces of {piece}"
            );
        }
        for other in [
            "*-1\r\n",
            "_\r\n",
            "-EXECABORT x\r\n",
            "*1\r\n-ERR invalid cursor\r\n",
        ] {
            assert_eq!(passed(other, &[0], 3), other);
        }
    }
}
