//! What a node says of itself in `INFO replication` and `INFO persistence`.
//!
//! Only fields that decisions rest on are read; unknown ones are other versions' business.

use std::time::Duration;

use tokio::time::Instant;

use crate::topology::{MAX_NODES, Role};

/// A stretch of replication history: offsets mean something only within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// `master_replid`.
    pub(super) replid: String,
    /// `master_replid2` with `second_repl_offset`: the history it continues, and from where.
    pub(super) before: Option<(String, u64)>,
    /// What a master has written, what a replica has applied.
    pub(super) offset: u64,
}

impl Line {
    /// Whether this is the other's history or its direct continuation.
    pub(super) fn continues(&self, other: &Line) -> bool {
        self.replid == other.replid || self.before.as_ref().is_some_and(|(id, _)| *id == other.replid)
    }

    /// Whether all that the other has is of this history: what a deposed master wrote on beyond the promotion is not.
    pub(super) fn holds(&self, other: &Line) -> bool {
        let earlier = |(id, from): &(String, u64)| *id == other.replid && other.offset < *from;
        self.replid == other.replid || self.before.as_ref().is_some_and(earlier)
    }
}

/// A replica's link to its master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MasterLink {
    /// `master_link_status:up`.
    pub(super) up: bool,
    /// `master_link_down_since_seconds`; `None` while it is up, and when it was never up.
    pub(super) down_for: Option<Duration>,
    /// `master_sync_in_progress`.
    pub(super) syncing: bool,
    /// `master_host` and `master_port`.
    pub(super) master: (String, u16),
}

/// A replica that a master lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attached {
    /// Its announced address.
    pub(super) host: String,
    /// Its announced port.
    pub(super) port: u16,
}

/// One answer of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// What it is: master or replica.
    pub(super) role: Role,
    /// Where it is in which history.
    pub(super) line: Line,
    /// A replica's link to its master.
    pub(super) link: Option<MasterLink>,
    /// The replicas that a master lists, at most [`MAX_NODES`].
    pub(super) replicas: Vec<Attached>,
    /// It is reading its data set and answers `-LOADING`.
    pub(super) loading: bool,
    /// Writes that this node had acknowledged when the question was sent.
    pub(super) acknowledged: u64,
    /// When the question was sent.
    pub(super) asked: Option<Instant>,
    /// From sending the question until the answer was there.
    pub(super) took: Duration,
    /// By how many microseconds its clock is ahead of ours, give or take half of `took`; `None`: it does not tell.
    pub(super) skew_us: Option<i64>,
}

/// Reads both sections. The error says which field is missing or wrong.
pub(super) fn parse(replication: &str, persistence: &str) -> Result<Facts, String> {
    let role = match field(replication, "role") {
        Some("master") => Role::Master,
        Some("slave") => Role::Replica,
        Some(other) => {
            return Err(format!(
                "INFO replication says role:{other}; expected master or slave"
            ));
        }
        None => return Err("INFO replication has no role".to_owned()),
    };
    let replid = field(replication, "master_replid").unwrap_or_default().to_owned();
    let second = field(replication, "second_repl_offset").and_then(|text| text.parse::<u64>().ok());
    let before = field(replication, "master_replid2")
        .map(str::to_owned)
        .zip(second);
    let offset_field = match role {
        Role::Replica => "slave_repl_offset",
        Role::Master | Role::Unknown => "master_repl_offset",
    };
    let offset = field(replication, offset_field)
        .and_then(|text| text.parse::<i64>().ok())
        .ok_or_else(|| format!("INFO replication has no {offset_field}"))?;
    Ok(Facts {
        role,
        line: Line {
            replid,
            before,
            // -1 is "nothing yet".
            offset: u64::try_from(offset).unwrap_or(0),
        },
        link: (role == Role::Replica).then(|| link(replication)),
        replicas: fields(replication).filter_map(attached).take(MAX_NODES).collect(),
        loading: field(persistence, "loading") == Some("1"),
        acknowledged: 0,
        asked: None,
        took: Duration::ZERO,
        skew_us: None,
    })
}

fn link(replication: &str) -> MasterLink {
    let up = field(replication, "master_link_status") == Some("up");
    let down = field(replication, "master_link_down_since_seconds").and_then(|text| text.parse::<u64>().ok());
    MasterLink {
        up,
        // -1 means never up (Redis 7, `genRedisInfoString`) and fails to parse, which is the same here.
        down_for: down.filter(|_| !up).map(Duration::from_secs),
        syncing: field(replication, "master_sync_in_progress") == Some("1"),
        master: (
            field(replication, "master_host").unwrap_or_default().to_owned(),
            field(replication, "master_port")
                .and_then(|text| text.parse().ok())
                .unwrap_or(0),
        ),
    }
}

/// `slave0:ip=10.0.0.2,port=6379,state=online,offset=1,lag=0`.
fn attached((name, value): (&str, &str)) -> Option<Attached> {
    let number = name.strip_prefix("slave")?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value_of = |wanted: &str| {
        let mut parts = value.split(',').filter_map(|part| part.split_once('='));
        parts.find_map(|(key, value)| (key == wanted).then_some(value))
    };
    let host = value_of("ip")?;
    let port = value_of("port")?.parse().ok()?;
    (!host.is_empty() && port != 0).then(|| Attached {
        host: host.to_owned(),
        port,
    })
}

/// The value of a field of any section.
pub(super) fn field<'a>(info: &'a str, wanted: &str) -> Option<&'a str> {
    fields(info).find_map(|(name, value)| (name == wanted).then_some(value))
}

fn fields(info: &str) -> impl Iterator<Item = (&str, &str)> {
    info.lines().filter_map(|line| line.trim_end().split_once(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Answers of a real Redis 7.0.15.
    const MASTER: &str = include_str!("info/master.txt");
    const REPLICA: &str = include_str!("info/replica.txt");
    const CUT_OFF: &str = include_str!("info/replica-cut-off.txt");
    const NEVER_SYNCED: &str = include_str!("info/replica-never-synced.txt");
    const PROMOTED: &str = include_str!("info/promoted.txt");
    const PERSISTENCE: &str = include_str!("info/persistence.txt");

    #[test]
    fn a_master_lists_its_replicas() {
        let facts = parse(MASTER, PERSISTENCE).unwrap();
        assert_eq!(facts.role, Role::Master);
        assert_eq!(facts.link, None);
        assert!(!facts.loading);
        assert!(facts.line.offset > 0);
        assert_eq!(facts.line.replid.len(), 40);
        assert_eq!(
            facts.line.before, None,
            "second_repl_offset:-1 is no earlier history"
        );
        let hosts: Vec<_> = facts
            .replicas
            .iter()
            .map(|replica| replica.host.as_str())
            .collect();
        assert_eq!(hosts, ["127.0.0.1"]);
    }

    #[test]
    fn a_replica_in_sync_carries_its_masters_replid() {
        let (master, replica) = (parse(MASTER, "").unwrap(), parse(REPLICA, "").unwrap());
        assert_eq!(replica.role, Role::Replica);
        assert!(replica.line.continues(&master.line));
        let link = replica.link.unwrap();
        assert!(link.up && !link.syncing);
        assert_eq!(link.down_for, None);
        assert_ne!(link.master.1, 0);
    }

    #[test]
    fn a_cut_off_replica_says_for_how_long_and_a_fresh_one_that_it_never_was() {
        let cut_off = parse(CUT_OFF, "").unwrap().link.unwrap();
        assert!(!cut_off.up);
        assert!(cut_off.down_for.unwrap() < Duration::from_mins(1));
        let fresh = parse(NEVER_SYNCED, "").unwrap().link.unwrap();
        assert!(!fresh.up);
        assert_eq!(fresh.down_for, None);
    }

    #[test]
    fn a_promoted_replica_continues_its_masters_history() {
        let (master, promoted) = (parse(MASTER, "").unwrap(), parse(PROMOTED, "").unwrap());
        assert_eq!(promoted.role, Role::Master);
        assert_ne!(promoted.line.replid, master.line.replid);
        assert!(promoted.line.continues(&master.line));
        assert!(!master.line.continues(&promoted.line));
    }

    #[test]
    fn loading_is_seen() {
        assert!(parse(MASTER, "# Persistence\r\nloading:1\r\n").unwrap().loading);
    }

    #[test]
    fn what_is_no_answer_of_a_server_is_an_error_that_names_the_field() {
        assert!(parse("", "").unwrap_err().contains("no role"));
        assert!(
            parse("role:sentinel\r\n", "")
                .unwrap_err()
                .contains("role:sentinel")
        );
        assert!(
            parse("role:master\r\n", "")
                .unwrap_err()
                .contains("master_repl_offset")
        );
    }

    #[test]
    fn fields_that_look_like_replicas_are_not_taken_for_them() {
        let text = "role:master\r\nmaster_repl_offset:0\r\nslave_priority:100\r\nslave:ip=1.1.1.1,port=1\r\nslave1:ip=,port=1\r\nslave2:ip=2.2.2.2,port=99999\r\nslave10:ip=::1,port=7,state=online\r\n";
        let replicas = parse(text, "").unwrap().replicas;
        assert_eq!(
            replicas,
            [Attached {
                host: "::1".to_owned(),
                port: 7
            }]
        );
    }
}
