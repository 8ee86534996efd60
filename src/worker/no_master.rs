//! What a server says when it takes no command that may write, and what that proves. Pure.
//!
//! A server says so before it runs anything: of a command before it begins, of one that a script calls before the script has
//! written (`scriptVerifyWriteCommandAllow` in Redis's script.c lets one that has written go on). But a script can say the
//! same of its own accord, after it has written.

use std::time::{Duration, Instant};

use memchr::memmem;

use crate::topology::NodeId;

/// What begins the error of a server that is no master which takes commands.
const CODES: [&[u8]; 3] = [b"READONLY", b"LOADING", b"MASTERDOWN"];

/// What Redis 7.0, Redis 8.0 and Valkey 8.1 say. Behind it comes the name of a script that did not catch it.
const SENTENCES: [&[u8]; 5] = [
    b"-READONLY You can't write against a read only replica.",
    b"-LOADING Redis is loading the dataset in memory",
    b"-LOADING Valkey is loading the dataset in memory",
    b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    b"-NOREPLICAS Not enough good replicas to write.",
];

/// What a master says that has fewer replicas than `min-replicas-to-write`.
const NO_REPLICAS: &[u8] = b"NOREPLICAS";

/// Whether an error says of a command that it did not run, as its node is no master that takes commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It says something else, or a script says it.
    No,
    /// Unless it is a script that says it, in its server's words.
    Perhaps,
    /// It provably did not run.
    Surely,
}

/// Refusals further apart than this have nothing to do with each other. What is refused is tried again more often.
const APART: Duration = Duration::from_secs(2);

/// A node refuses writes again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Denied {
    by: NodeId,
    since: Instant,
    last: Instant,
    /// A person was told.
    pub(super) told: bool,
}

impl Denied {
    /// A node refused, after what was known before.
    pub(super) fn once_more(before: Option<Denied>, by: NodeId, now: Instant) -> Self {
        let goes_on = |denied: &Denied| denied.by == by && now < denied.last + APART;
        let (since, told) = before
            .filter(goes_on)
            .map_or((now, false), |denied| (denied.since, denied.told));
        Denied {
            by,
            since,
            last: now,
            told,
        }
    }

    /// For how long.
    pub(super) fn lasts(&self) -> Duration {
        self.last.saturating_duration_since(self.since)
    }
}

/// Whether an error says that the node is no master that takes commands; not for one of a command that runs a script.
pub(super) fn is_no_master(error: &[u8]) -> bool {
    code(error).is_some_and(|code| code != NO_REPLICAS)
}

/// The same of a master that takes no writes for want of replicas.
pub(super) fn is_no_replicas(error: &[u8]) -> bool {
    code(error) == Some(NO_REPLICAS)
}

/// The error that keeps a transaction from running, where EXEC's own names it (`execCommandAbort` in Redis's multi.c).
pub(super) fn why_aborted(error: &[u8]) -> Option<Vec<u8>> {
    const BECAUSE: &[u8] = b" because of: ";
    let at = memmem::find(error, BECAUSE).filter(|_| error.starts_with(b"-EXECABORT"))?;
    Some([b"-", &error[at + BECAUSE.len()..]].concat())
}

/// What the error proves of a command that runs a script: `texts` is all that the script can have it from, as far as that is
/// known.
pub(super) fn of_script(error: &[u8], texts: Option<&[&[u8]]>) -> Refused {
    let (Some(code), true) = (code(error), is_sentence(error)) else {
        return Refused::No;
    };
    let says_it = |text: &&[u8]| memmem::find(text, code).is_some();
    match texts {
        Some(texts) if !texts.iter().any(says_it) => Refused::Surely,
        _ => Refused::Perhaps,
    }
}

fn code(error: &[u8]) -> Option<&'static [u8]> {
    let text = error.strip_prefix(b"-")?;
    let mut codes = CODES.into_iter().chain([NO_REPLICAS]);
    codes.find(|code| text.starts_with(code))
}

fn is_sentence(error: &[u8]) -> bool {
    let rests = SENTENCES
        .iter()
        .filter_map(|sentence| error.strip_prefix(*sentence));
    rests
        .into_iter()
        .any(|rest| rest == b"\r\n" || rest.starts_with(b" script: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_servers_sentence_proves_anything_of_a_script_and_only_where_it_cannot_have_said_it() {
        use Refused::{No, Perhaps, Surely};
        let own = "-READONLY You can't write against a read only replica.";
        let raised = format!("{own} script: 6f5a, on @user_script:1.\r\n");
        let own = format!("{own}\r\n");
        let plain: &[&[u8]] = &[b"return redis.call('INCR', KEYS[1])"];
        let says: &[&[u8]] = &[b"LOADING", b"return {err='READONLY'}"];
        for (error, texts, expected) in [
            (own.as_str(), Some(plain), Surely),
            (&raised, Some(plain), Surely),
            (&own, Some(says), Perhaps),
            (&raised, Some(says), Perhaps),
            (&own, None, Perhaps),
            ("-READONLY by me\r\n", Some(plain), No),
            ("-READONLY by me\r\n", None, No),
            ("-LOADING my own state\r\n", None, No),
            (
                "-LOADING Redis is loading the dataset in memory\r\n",
                Some(plain),
                Surely,
            ),
            (
                "-LOADING Valkey is loading the dataset in memory\r\n",
                Some(says),
                Perhaps,
            ),
            (
                "-ERR READONLY You can't write against a read only replica.\r\n",
                None,
                No,
            ),
        ] {
            assert_eq!(of_script(error.as_bytes(), texts), expected, "{error}");
        }
        assert!(is_no_master(b"-READONLY anything\r\n") && !is_no_master(b"-ERR READONLY\r\n"));
        let no_replicas = b"-NOREPLICAS Not enough good replicas to write.\r\n";
        assert!(is_no_replicas(no_replicas) && !is_no_master(no_replicas));
        let aborted =
            b"-EXECABORT Transaction discarded because of: NOREPLICAS Not enough good replicas to write.\r\n";
        assert_eq!(why_aborted(aborted).as_deref(), Some(&no_replicas[..]));
        assert_eq!(
            why_aborted(b"-EXECABORT Transaction discarded because of previous errors.\r\n"),
            None
        );
    }

    #[test]
    fn refusals_that_follow_each_other_are_one() {
        let begin = Instant::now();
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        let first = Denied::once_more(None, NodeId(1), at(0));
        let told = Denied { told: true, ..first };
        let second = Denied::once_more(Some(told), NodeId(1), at(1_900));
        assert!(second.told && second.lasts() == Duration::from_millis(1_900));
        for (by, milliseconds) in [(NodeId(2), 2_000), (NodeId(1), 3_900)] {
            let other = Denied::once_more(Some(second), by, at(milliseconds));
            assert!(!other.told && other.lasts() == Duration::ZERO);
        }
    }
}
