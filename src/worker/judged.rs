//! CLIENT LIST, KILL and UNBLOCK in the form in which the master judges them: as the client put them, but so that they
//! can hit nobody. Pure.

use super::client_filter::{Filter, number};
use super::question::Question;
use crate::commands::ClientHandling;

/// A request as it is put to the master and to the workers.
pub(super) struct Put<'a> {
    /// `None`: it has an option that is not known here.
    pub(super) question: Option<Question>,
    /// What the master judges.
    pub(super) judged: Vec<&'a [u8]>,
    /// `CLIENT KILL addr:port`.
    pub(super) old_form: bool,
}

impl<'a> Put<'a> {
    /// `None`: only the server can say what is wrong with it. `arguments` are those behind the subcommand.
    pub(super) fn of(of_client: ClientHandling, arguments: &[&'a [u8]]) -> Option<Self> {
        let old_form = of_client == ClientHandling::Kill && arguments.len() == 1;
        let (question, judged) = match of_client {
            ClientHandling::List => (
                Filter::parse(arguments, false).map(Question::List),
                list(arguments),
            ),
            ClientHandling::Kill if old_form => (
                Some(Question::Kill(Filter::of_address(arguments[0]))),
                vec![&b"CLIENT"[..], b"KILL", NOBODY],
            ),
            ClientHandling::Kill if !arguments.is_empty() => (
                Filter::parse(arguments, true).map(Question::Kill),
                kill(arguments),
            ),
            ClientHandling::Unblock if !arguments.is_empty() => unblock(arguments),
            _ => return None,
        };
        Some(Put {
            question,
            judged,
            old_form,
        })
    }

    /// CLIENT INFO of the client with that id: the line of CLIENT LIST.
    pub(super) fn info(id: u64) -> Self {
        Put {
            question: Some(Question::List(Filter::of_id(id))),
            judged: vec![b"CLIENT", b"INFO"],
            old_form: false,
        }
    }
}

/// No connection has this address; whoever matches must match every filter, so that with it nobody does.
const NOBODY: &[u8] = b"redis-ambassador:nobody";

/// No connection has this id.
const NO_ID: &[u8] = b"9223372036854775807";

/// CLIENT LIST without options is put as one that lists nobody.
fn list<'a>(arguments: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let mut judged = vec![&b"CLIENT"[..], b"LIST"];
    if arguments.is_empty() {
        judged.extend([&b"ID"[..], NO_ID]);
    }
    judged.extend_from_slice(arguments);
    judged
}

/// CLIENT KILL with the same options, where a local address that nobody has stands first and in the place of every
/// other.
fn kill<'a>(arguments: &[&'a [u8]]) -> Vec<&'a [u8]> {
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
fn unblock<'a>(arguments: &[&'a [u8]]) -> (Option<Question>, Vec<&'a [u8]>) {
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
