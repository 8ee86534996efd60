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
    /// EXEC: the replies at these places of it are changed; `tag` is that of the node.
    Exec { places: Box<[(u32, Within)]>, tag: u16 },
    /// It is replaced by this, unless it says that the command was queued, or is an error.
    Instead(Box<[u8]>),
    /// Nothing, but it answers MULTI: where that is refused no transaction has begun.
    Multi,
    /// Nothing, but it is looked at whole.
    Whole,
    /// Nothing, but where it shows that the server took it this script is remembered, and told to every node if so.
    Teaches { body: Box<[u8]>, everywhere: bool },
    /// Nothing, but where it is OK the master holds everything for so long, or (`None`) nothing any more.
    Pause(Option<Duration>),
    /// Nothing, but its script was known when it was sent: what is learned later must not answer it.
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
            Edit::Cursor { .. } | Edit::Exec { .. } | Edit::Instead(_) | Edit::Whole
        )
    }

    /// What may go on to the client of a reply of which `held` is the beginning; `None`: more of it is needed
    /// first. `complete`: it is whole. After `Some` the rest of the reply goes on as it is.
    pub(super) fn apply(&self, held: &[u8], complete: bool) -> Option<Vec<u8>> {
        match self {
            Edit::None
            | Edit::ReadForm
            | Edit::Script
            | Edit::Multi
            | Edit::Pause(_)
            | Edit::Teaches { .. } => Some(held.to_vec()),
            Edit::Cursor { tag, .. } => {
                cursor::tag_head(held, *tag).or_else(|| complete.then(|| held.to_vec()))
            }
            Edit::Whole => complete.then(|| held.to_vec()),
            Edit::Instead(text) => complete.then(|| {
                let stays = held.starts_with(b"-") || held.starts_with(b"+QUEUED");
                if stays { held.to_vec() } else { text.to_vec() }
            }),
            Edit::Exec { places, tag } => complete.then(|| exec(held, places, *tag)),
        }
    }
}

/// Changes replies in a transaction's reply; an error or a null stays as it is.
fn exec(reply: &[u8], places: &[(u32, Within)], tag: u16) -> Vec<u8> {
    let Some(header) = reply
        .first()
        .filter(|first| **first == b'*')
        .and_then(|_| memchr::memchr(b'\n', reply))
    else {
        return reply.to_vec();
    };
    let mut out = reply[..=header].to_vec();
    let mut at = header + 1;
    let mut place = 0;
    while at < reply.len() {
        let Ok(scanned) = ReplyScanner::default().scan(&reply[at..]) else {
            break;
        };
        if !scanned.complete || scanned.taken == 0 {
            break;
        }
        let one = &reply[at..at + scanned.taken];
        match places.iter().find(|(at, _)| *at == place) {
            Some((_, Within::Cursor)) => {
                out.extend_from_slice(cursor::tag_head(one, tag).as_deref().unwrap_or(one));
            }
            Some((_, Within::Instead(text))) if !one.starts_with(b"-") => out.extend_from_slice(text),
            _ => out.extend_from_slice(one),
        }
        at += scanned.taken;
        place += 1;
    }
    out.extend_from_slice(&reply[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_in_a_transaction_are_changed_at_their_places_only() {
        let scan = "*2\r\n$1\r\n1\r\n*0\r\n";
        let reply = format!("*5\r\n{scan}+OK\r\n{scan}:7\r\n-NOPERM\r\n");
        let id = || Within::Instead(Box::from(&b":42\r\n"[..]));
        let edit = Edit::Exec {
            places: Box::new([(2, Within::Cursor), (3, id()), (4, id())]),
            tag: 5,
        };
        assert_eq!(edit.apply(reply.as_bytes(), false), None);
        let changed = edit.apply(reply.as_bytes(), true).expect("whole");
        assert_eq!(
            String::from_utf8_lossy(&changed),
            format!("*5\r\n{scan}+OK\r\n*2\r\n$5\r\n65541\r\n*0\r\n:42\r\n-NOPERM\r\n")
        );
        for other in ["*-1\r\n", "_\r\n", "-EXECABORT x\r\n"] {
            assert_eq!(
                edit.apply(other.as_bytes(), true).as_deref(),
                Some(other.as_bytes())
            );
        }
    }
}
