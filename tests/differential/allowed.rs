//! What may differ between the ambassador and a plain server, and why: the only place that says so.
//!
//! Everything that is not here has to be equal byte for byte. Errors always have to be.

use crate::program::Words;

/// How two replies may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Integers above zero, this far apart.
    Near(u64),
    /// The same elements in any order.
    Unordered,
    /// The same pairs of elements in any order.
    UnorderedPairs,
    /// The element behind this one.
    Field(&'static [u8]),
    /// Each one of these.
    Among(&'static [&'static str]),
    /// Replies of the same type.
    SameType,
    /// Lines of `name=value` fields: the same names in the same order, and the same values but for these.
    Fields(&'static [&'static str]),
    /// The same sections in the same order, and the same role.
    Sections,
}

/// Commands, how their replies may differ, and the reason.
pub(crate) struct Allowed {
    /// `name`, or `container subcommand`.
    pub(crate) commands: &'static [&'static str],
    pub(crate) rule: Rule,
    /// Read by people.
    #[expect(dead_code, reason = "the reason is for the reader of this table")]
    pub(crate) reason: &'static str,
}

/// The allow-list.
pub(crate) const ALLOWED: &[Allowed] = &[
    Allowed {
        commands: &["ttl", "expiretime", "httl", "hexpiretime"],
        rule: Rule::Near(8),
        reason: "the two sides run the same command some milliseconds apart",
    },
    Allowed {
        commands: &["pttl", "pexpiretime", "hpttl"],
        rule: Rule::Near(8_000),
        reason: "the two sides run the same command some milliseconds apart",
    },
    Allowed {
        commands: &[
            "smembers",
            "sunion",
            "sinter",
            "sdiff",
            "hkeys",
            "hvals",
            "keys",
            "spop",
            "pubsub channels",
            "acl cat",
        ],
        rule: Rule::Unordered,
        reason: "the order of a hash table comes from a seed that every process draws for itself",
    },
    Allowed {
        commands: &["dump"],
        rule: Rule::SameType,
        reason: "holds the elements of a hash table in their order",
    },
    Allowed {
        commands: &["xinfo groups"],
        rule: Rule::SameType,
        reason: "servers do not replicate a consumer that XCLAIM or XAUTOCLAIM made and that claimed nothing",
    },
    Allowed {
        commands: &["object refcount"],
        rule: Rule::SameType,
        reason: "INCRBYFLOAT is replicated as SET, which on the replica may find a shared number",
    },
    Allowed {
        commands: &["object encoding"],
        rule: Rule::Among(&["$3\r\nint\r\n", "$6\r\nembstr\r\n", "$3\r\nraw\r\n"]),
        reason: "INCRBYFLOAT is replicated as SET, so that a replica may keep the same string in another way",
    },
    Allowed {
        commands: &["object encoding"],
        rule: Rule::Among(&["$8\r\nlistpack\r\n", "$10\r\nlistpackex\r\n"]),
        reason: "HGETEX of a field that is not there changes the hash's encoding and is not replicated (Redis 8.0)",
    },
    Allowed {
        commands: &["function list"],
        rule: Rule::SameType,
        reason: "the functions of a library stand in the order of a hash table",
    },
    Allowed {
        commands: &["hgetall", "config get"],
        rule: Rule::UnorderedPairs,
        reason: "the order of a hash table comes from a seed that every process draws for itself",
    },
    Allowed {
        commands: &["srandmember", "hrandfield", "zrandmember", "randomkey", "lolwut"],
        rule: Rule::SameType,
        reason: "drawn at random",
    },
    Allowed {
        commands: &["hello"],
        rule: Rule::Field(b"id"),
        reason: "connections are numbered by whoever accepts them",
    },
    Allowed {
        commands: &["client list", "client info"],
        rule: Rule::Fields(&[
            // About sockets and times.
            "addr",
            "laddr",
            "fd",
            "age",
            "idle",
            "events",
            "io-thread",
            // Only the master could know; the README says so.
            "qbuf",
            "qbuf-free",
            "argv-mem",
            "multi-mem",
            "rbs",
            "rbp",
            "obl",
            "oll",
            "omem",
            "tot-mem",
            "tot-net-in",
            "tot-net-out",
            "tot-cmds",
        ]),
        reason: "sockets, times and buffers of one process",
    },
    Allowed {
        commands: &["info"],
        rule: Rule::Sections,
        reason: "about one process and its replicas; an application finds a master there, and what it looks for",
    },
    Allowed {
        commands: &["wait", "waitaof"],
        rule: Rule::SameType,
        reason: "counts replicas, which a plain server has none of",
    },
    Allowed {
        commands: &[
            "time",
            "lastsave",
            "client id",
            "object idletime",
            "object freq",
            "memory usage",
        ],
        rule: Rule::SameType,
        reason: "times, ids and memory of one process",
    },
];

/// What programs do not contain, because the README says that it is not as on a plain server. Each is a word that
/// a generated command must not begin with.
pub(crate) const NOT_GENERATED: &[(&str, &str)] = &[
    ("role", "speaks of the replicas"),
    ("debug", "refused: acts on one node"),
    ("shutdown", "refused: acts on one node"),
    ("replicaof", "refused: acts on one node"),
];

/// The rules for a command's reply.
pub(crate) fn rules(words: &Words) -> impl Iterator<Item = Rule> {
    let name = words
        .first()
        .map(|word| word.to_ascii_lowercase())
        .unwrap_or_default();
    let second = words
        .get(1)
        .map(|word| word.to_ascii_lowercase())
        .unwrap_or_default();
    let fits = move |allowed: &str| match allowed.split_once(' ') {
        Some((container, subcommand)) => name == container.as_bytes() && second == subcommand.as_bytes(),
        None => name == allowed.as_bytes(),
    };
    ALLOWED
        .iter()
        .filter(move |allowed| allowed.commands.iter().any(|command| fits(command)))
        .map(|allowed| allowed.rule)
}
