//! Replies that are changed on their way to the client. Pure: bytes in, bytes out.

use std::time::Duration;

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
    /// EXEC: some of the replies in it are changed.
    Exec(Box<Exec>),
    /// It is replaced by this, unless it says that the command was queued, or is an error.
    Instead(Box<[u8]>),
    /// It is replaced by this: the server was sent what it must refuse.
    Refused(Box<[u8]>),
    /// Nothing, but it answers MULTI: where that is refused no transaction has begun.
    Multi,
    /// Nothing, but it is looked at whole.
    Whole,
    /// Nothing, but where it shows that the server took it this script is remembered, and told to every node if so.
    Teaches { body: Box<[u8]>, everywhere: bool },
    /// Nothing, but where it is OK the master holds everything for so long, or (`None`) nothing any more.
    Pause(Option<Duration>),
    /// Nothing, but it runs a script: one that was not known when it was sent must not be answered by what is
    /// learned later, and a node that it keeps busy is not taken for lost.
    Script,
    /// Nothing, but it answers a request that was sent in its read-only form.
    ReadForm,
}

/// What is done to a reply within EXEC's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Within {
    /// The cursor at its head gets the node's tag.
    Cursor,
    /// It is replaced by this, unless it is an error.
    Instead(Box<[u8]>),
}

impl Edit {
    /// Whether bytes have to be looked at before they go on.
    pub(super) fn is_pending(&self) -> bool {
        matches!(
            self,
            Edit::Cursor { .. } | Edit::Exec(_) | Edit::Instead(_) | Edit::Refused(_) | Edit::Whole
        )
    }

    /// Takes from the beginning of `held`, which is what came of a reply and has not gone on yet, what may go on
    /// now. `complete`: the reply ends with it. Where the rest goes on as it is, this becomes [`Edit::None`].
    pub(super) fn apply(&mut self, held: &mut Vec<u8>, complete: bool) -> Vec<u8> {
        let out = match self {
            Edit::None
            | Edit::ReadForm
            | Edit::Script
            | Edit::Multi
            | Edit::Pause(_)
            | Edit::Teaches { .. } => Some(std::mem::take(held)),
            Edit::Cursor { tag, .. } => {
                cursor::tag_head(held, *tag).or_else(|| complete.then(|| std::mem::take(held)))
            }
            Edit::Whole => complete.then(|| std::mem::take(held)),
            Edit::Instead(text) => complete.then(|| {
                let stays = held.starts_with(b"-") || held.starts_with(b"+QUEUED");
                if stays {
                    std::mem::take(held)
                } else {
                    text.to_vec()
                }
            }),
            Edit::Refused(text) => complete.then(|| text.to_vec()),
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
    /// What is done to which replies in it, in their order.
    places: Box<[(u32, Within)]>,
    /// The tag of the node that gives it.
    tag: u16,
    /// The reply that comes next or is under way; `None`: the array's own line is still to come.
    place: Option<u32>,
    /// Where that one ends.
    scanner: ReplyScanner,
    /// What is under way of that one is dropped: another stands in its place.
    dropping: bool,
}

impl Exec {
    /// This is done to the replies at these places, which came from the node of that tag.
    pub(super) fn new(places: Vec<(u32, Within)>, tag: u16) -> Self {
        Exec {
            places: places.into(),
            tag,
            place: None,
            scanner: ReplyScanner::default(),
            dropping: false,
        }
    }

    fn within(&self, place: u32) -> Option<&Within> {
        let at = self.places.binary_search_by_key(&place, |(at, _)| *at).ok()?;
        Some(&self.places[at].1)
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
            match self.within(place).filter(|_| begins) {
                Some(Within::Cursor) => match cursor::tag_head(came, self.tag) {
                    Some(changed) => out.extend_from_slice(&changed),
                    None if scanned.complete => out.extend_from_slice(came),
                    None => {
                        self.scanner = ReplyScanner::default();
                        break;
                    }
                },
                Some(Within::Instead(text)) if !came.is_empty() && !came.starts_with(b"-") => {
                    out.extend_from_slice(text);
                    self.dropping = true;
                }
                _ if self.dropping => {}
                _ => out.extend_from_slice(came),
            }
            self.dropping &= !scanned.complete;
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
    fn passed(reply: &str, places: &[(u32, Within)], piece: usize) -> String {
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
    fn replies_in_a_transaction_are_changed_at_their_places_only() {
        let scan = "*2\r\n$1\r\n1\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n";
        let large = format!("$300\r\n{}\r\n", "x".repeat(300));
        let reply = format!("*8\r\n{scan}+OK\r\n{scan}{large}{scan}:7\r\n-NOPERM\r\n{large}");
        let id = || Within::Instead(Box::from(&b":42\r\n"[..]));
        let places = [
            (2, Within::Cursor),
            (4, Within::Cursor),
            (5, id()),
            (6, id()),
            (7, id()),
        ];
        let tagged = scan.replacen("$1\r\n1", "$5\r\n65541", 1);
        for piece in 1..80 {
            assert_eq!(
                passed(&reply, &places, piece),
                format!("*8\r\n{scan}+OK\r\n{tagged}{large}{tagged}:42\r\n-NOPERM\r\n:42\r\n"),
                "in pieces of {piece}"
            );
        }
        for other in [
            "*-1\r\n",
            "_\r\n",
            "-EXECABORT x\r\n",
            "*1\r\n-ERR invalid cursor\r\n",
        ] {
            assert_eq!(passed(other, &[(0, Within::Cursor), (1, id())], 3), other);
        }
    }
}
