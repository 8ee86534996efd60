//! Every error that the ambassador itself says to a client, in one place.
//!
//! Texts carry no address and no secret. The code in front tells client libraries what they may do: a write
//! whose fate is unknown never gets a code that libraries retry by themselves.

use crate::resp::write;

/// No node was there for the command within `limits.hold`; it did not run.
pub(super) const NO_MASTER: &str =
    "TRYAGAIN redis-ambassador: no master is reachable; the command was not run";

/// No node was there for the command, and as much waits as may.
pub(super) const HELD_ENOUGH: &str = "TRYAGAIN redis-ambassador: no node is reachable for this command, and as many commands wait for one as limits.hold_commands and limits.hold_bytes allow; the command was not run";

/// EXEC of a transaction for which there was no master, when as much waits as may.
pub(super) const NOT_BEGUN_CROWDED: &str = "EXECABORT redis-ambassador: no master is reachable, and as many commands wait for one as limits.hold_commands and limits.hold_bytes allow; nothing of this transaction was run";

/// A node refused it as no master, and became the master before the next command of the same client.
pub(super) const OVERTAKEN: &str = "TRYAGAIN redis-ambassador: the master changed and a later command of this connection ran first; this command was not run";

/// EXEC of a transaction that a node refused as no master, and before which a later command of the same client ran.
pub(super) const NOT_BEGUN_OVERTAKEN: &str = "EXECABORT redis-ambassador: the master changed and a later command of this connection ran first; nothing of this transaction was run";

/// No node that may serve reads was there within `limits.hold`.
pub(super) const NO_READER: &str = "TRYAGAIN redis-ambassador: no replica is usable and the read policy does not allow the master; the command was not run";

/// The connection broke after a command that may write was sent.
pub(super) const IN_DOUBT: &str = "INDOUBT redis-ambassador: the connection to the master was lost after this command was sent; it may or may not have run";

/// The master answered a command that may write when another one had taken its place.
pub(super) const IN_DOUBT_LATE: &str = "INDOUBT redis-ambassador: another master had taken over when this command was answered; it ran on the former one and may be lost";

/// EXEC of a transaction whose connection broke before EXEC came.
pub(super) const CUT_OFF: &str = "EXECABORT redis-ambassador: the connection to the master was lost before EXEC; nothing of this transaction was run";

/// EXEC of a transaction for which there was no master within `limits.hold`.
pub(super) const NOT_BEGUN: &str =
    "EXECABORT redis-ambassador: no master is reachable; nothing of this transaction was run";

/// No node answered a command that was meant for whichever it concerned.
pub(super) const NO_ANSWER: &str =
    "INDOUBT redis-ambassador: no node answered this command in time; it may or may not have run";

/// A read failed on every node it was sent to.
pub(super) const READ_FAILED: &str = "ERR redis-ambassador: the connection to the node was lost before it answered this read, and no other node answered it";

/// There are as many own connections as `upstream.max_leases` allows.
pub(super) const NO_LEASE: &str = "ERR redis-ambassador: as many connections for transactions, blocking commands and subscriptions are in use as upstream.max_leases allows";

/// A request that has to be understood whole is larger than that.
pub(super) const TOO_LARGE: &str = "ERR redis-ambassador: this command's arguments are too large";

/// An option of CLIENT LIST or CLIENT KILL that the server takes and the ambassador does not know.
pub(super) const NO_FILTER: &str = "ERR redis-ambassador: an option of this command is not supported";

/// The master has not been asked yet, or is too old for HELLO.
pub(super) const NO_HELLO: &str = "ERR unknown command 'HELLO'";

/// What a refused command is answered; `instead` is what the table says to do.
pub(super) fn refused(name: &str, instead: Option<&str>) -> String {
    let name = name.to_uppercase().replace('|', " ");
    let instead = instead.unwrap_or("connect to that node directly");
    format!(
        "ERR redis-ambassador refuses {name}: it acts on one node, not on the data. Instead: {instead}. Or set allow_dangerous = true to send it to the master"
    )
}

/// What a command is answered that acts on clients of the ambassador, and so cannot wait in a server's queue.
pub(super) fn not_queued(name: &str) -> String {
    let name = name.to_uppercase().replace('|', " ");
    format!(
        "ERR redis-ambassador refuses {name} in a transaction: it acts on the ambassador's clients, not on the data. Instead: send it before MULTI or after EXEC"
    )
}

/// A request that every server refuses as an unknown command. It goes where a server must see that something was
/// refused, in its place.
pub(super) fn unknown_command() -> Vec<u8> {
    let mut request = Vec::new();
    write::request(&mut request, [&b"redis-ambassador:refused"[..]]);
    request
}
