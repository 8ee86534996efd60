//! CLIENT LIST, KILL and UNBLOCK in the form in which the master judges them: as the client put them, but so that they
//! can hit nobody. Pure.

use super::client_filter::number;
use super::question::Question;

/// No connection has this address; whoever matches must match every filter, so that with it nobody does.
pub(super) const NOBODY: &[u8] = b"redis-ambassador:nobody";

/// No connection has this id.
const NO_ID: &[u8] = b"9223372036854775807";

/// CLIENT LIST without options is put as one that lists nobody.
pub(super) fn list<'a>(arguments: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let mut judged = vec![&b"CLIENT"[..], b"LIST"];
    if arguments.is_empty() {
        judged.extend([&b"ID"[..], NO_ID]);
    }
    judged.extend_from_slice(arguments);
    judged
}

/// CLIENT KILL with the same options, where a local address that nobody has stands first and in the place of every
/// other.
pub(super) fn kill<'a>(arguments: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let mut judged = vec![&b"CLIENT"[..], b"KILL", b"LADDR", NOBODY];
    for argument in arguments {
        // The word itself stays, so that `LADDR LADDR x` cannot shift what is meant by whom.
        let is_value = judged
            .last()
            .is_some_and(|last| last.eq_ignore_ascii_case(b"laddr"));
        judged.push(if is_value { NOBODY } else { argument });
    }
    judged
}

/// CLIENT UNBLOCK of nobody, and what it asks of the workers.
pub(super) fn unblock<'a>(arguments: &[&'a [u8]]) -> (Option<Question>, Vec<&'a [u8]>) {
    let id = number(arguments[0]);
    let error = arguments
        .get(1)
        .is_some_and(|reason| reason.eq_ignore_ascii_case(b"error"));
    let mut judged = vec![&b"CLIENT"[..], b"UNBLOCK"];
    // What is no number the server refuses; a negative one is nobody's id.
    let is_id = id.is_some_and(|id| i64::try_from(id).is_ok());
    judged.push(if is_id { NO_ID } else { arguments[0] });
    judged.extend_from_slice(&arguments[1..]);
    let id = id.unwrap_or(0);
    (Some(Question::Unblock { id, error }), judged)
}

#[cfg(test)]
mod tests {
    use super::{NOBODY, kill};

    /// Whatever is said, each option LADDR that a server can see has a value that nobody has.
    #[test]
    fn what_the_master_judges_can_hit_nobody() {
        for words in [
            "LADDR 1.2.3.4:5 ID 3",
            "laddr laddr x ID 3",
            "ID 3",
            "TYPE laddr 1.2.3.4:5",
            "ID 1 LADDR",
        ] {
            let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
            let judged = kill(&words);
            assert_eq!(judged.len(), words.len() + 4);
            for pair in judged
                .windows(2)
                .filter(|pair| pair[0].eq_ignore_ascii_case(b"laddr"))
            {
                assert_eq!(pair[1], NOBODY);
            }
        }
    }
}
