//! Stories of groups, told by what their nodes say.

use super::super::info::Attached;
use super::*;
use crate::control::FailureKind;
use crate::settings::{NodeAddress, Upstream};

const SECOND: Duration = Duration::from_secs(1);

fn group(replicas: &[&str], discover: bool) -> Group {
    let node = |host: &str| NodeAddress {
        host: host.to_owned(),
        port: 6379,
        weight: 100,
    };
    let upstream = Upstream {
        master: node("a"),
        replicas: replicas.iter().map(|host| node(host)).collect(),
        discover_replicas: discover,
        username: None,
        password: None,
        connect_timeout: SECOND,
        start_timeout: SECOND,
        reply_timeout: SECOND,
        probe_interval: SECOND,
        probe_timeout: SECOND,
        max_link_down: 10 * SECOND,
        max_lag_bytes: 1000,
        links_per_node: 1,
        warm_leases: 1,
        max_leases: 1,
        idle_timeout: SECOND,
    };
    Group::of(&upstream, Layers::new(Vec::new(), false))
}

fn line(replid: &str, offset: u64) -> Line {
    Line {
        replid: replid.to_owned(),
        before: None,
        offset,
    }
}

fn master(line: Line, replicas: &[&str]) -> Word {
    Word::Heard(Facts {
        role: Role::Master,
        line,
        link: None,
        replicas: replicas
            .iter()
            .map(|host| Attached {
                host: (*host).to_owned(),
                port: 6379,
            })
            .collect(),
        loading: false,
    })
}

fn replica(line: Line, of: &str) -> Word {
    Word::Heard(Facts {
        role: Role::Replica,
        line,
        link: Some(MasterLink {
            up: true,
            down_for: None,
            syncing: false,
            master: (of.to_owned(), 6379),
        }),
        replicas: Vec::new(),
        loading: false,
    })
}

fn gone() -> Word {
    Word::Failed(Failure {
        kind: FailureKind::Connect,
        message: "cannot connect: connection refused".to_owned(),
    })
}

/// `a:master b:replica!` - an exclamation mark is a node that is not usable; a star is the master in force.
fn picture(group: &mut Group) -> String {
    let topology = group.snapshot(None).unwrap();
    let nodes = topology.nodes.iter().map(|node| {
        let host = node.name.trim_end_matches(":6379");
        let star = if topology.master == Some(node.id) { "*" } else { "" };
        let mark = if node.usable { "" } else { "!" };
        format!("{host}{star}:{:?}{mark}", node.role)
    });
    nodes.collect::<Vec<_>>().join(" ")
}

fn hear(group: &mut Group, node: u16, word: Word) {
    group.hear(NodeId(node), word, SECOND);
}

#[test]
fn roles_are_what_nodes_say_not_what_the_configuration_calls_them() {
    let mut group = group(&["b"], false);
    assert_eq!(picture(&mut group), "a:Unknown! b:Unknown!");
    hear(&mut group, 0, replica(line("X", 5), "b"));
    assert_eq!(picture(&mut group), "a:Replica b:Unknown!");
    hear(&mut group, 1, master(line("X", 5), &["a"]));
    assert_eq!(picture(&mut group), "a:Replica b*:Master");
}

#[test]
fn a_promotion_is_followed_and_the_old_master_gets_nothing_until_it_is_a_replica() {
    let mut group = group(&["b"], false);
    hear(&mut group, 0, master(line("X", 50), &["b"]));
    hear(&mut group, 1, replica(line("X", 50), "a"));
    assert_eq!(picture(&mut group), "a*:Master b:Replica");
    let promoted = Line {
        before: Some(("X".to_owned(), 51)),
        ..line("Y", 60)
    };
    hear(&mut group, 1, master(promoted, &[]));
    assert_eq!(picture(&mut group), "a:Master! b*:Master", "a was not told yet");
    hear(&mut group, 0, replica(line("Y", 60), "b"));
    assert_eq!(picture(&mut group), "a:Replica b*:Master");
}

#[test]
fn reads_go_on_while_the_master_is_gone() {
    let mut group = group(&["b"], false);
    hear(&mut group, 0, master(line("X", 50), &["b"]));
    hear(&mut group, 1, replica(line("X", 50), "a"));
    hear(&mut group, 0, gone());
    assert_eq!(picture(&mut group), "a:Unknown! b:Replica");
    hear(&mut group, 0, master(line("X", 50), &["b"]));
    assert_eq!(picture(&mut group), "a*:Master b:Replica");
}

#[test]
fn a_configured_master_that_is_a_replica_leads_to_its_master_when_nodes_are_discovered() {
    let mut group = group(&[], true);
    hear(&mut group, 0, replica(line("X", 5), "m"));
    assert_eq!(picture(&mut group), "a:Replica m:Unknown!");
    hear(&mut group, 1, master(line("X", 5), &["a", "c"]));
    assert_eq!(picture(&mut group), "a:Replica m*:Master c:Unknown!");
}

#[test]
fn discovered_replicas_come_and_go_and_keep_their_numbers() {
    let mut group = group(&[], true);
    let at = |group: &mut Group, seconds: u32, replicas: &[&str]| {
        group.hear(NodeId(0), master(line("X", 5), replicas), seconds * SECOND);
        picture(group)
    };
    assert_eq!(at(&mut group, 1, &["b", "c"]), "a*:Master b:Unknown! c:Unknown!");
    assert_eq!(
        at(&mut group, 30, &["c"]),
        "a*:Master b:Unknown! c:Unknown!",
        "b may come back"
    );
    assert_eq!(at(&mut group, 61, &["c"]), "a*:Master c:Unknown!");
    assert_eq!(at(&mut group, 62, &["b", "c"]), "a*:Master b:Unknown! c:Unknown!");
    assert_eq!(group.registry.id("b:6379"), Some(NodeId(1)));
}

#[test]
fn a_silent_master_makes_nobody_leave() {
    let mut group = group(&[], true);
    group.hear(NodeId(0), master(line("X", 5), &["b"]), SECOND);
    group.hear(NodeId(1), replica(line("X", 5), "a"), SECOND);
    group.hear(NodeId(0), gone(), 2 * SECOND);
    group.hear(NodeId(1), replica(line("X", 5), "a"), 1000 * SECOND);
    assert_eq!(picture(&mut group), "a:Unknown! b:Replica");
}

#[test]
fn one_node_under_two_names_is_one_node() {
    let mut group = group(&[], true);
    group.hear(
        NodeId(0),
        Word::Reached("10.0.0.1:6379".parse().unwrap(), None),
        SECOND,
    );
    group.hear(NodeId(0), replica(line("X", 5), "m"), SECOND);
    group.hear(NodeId(1), master(line("X", 5), &["10.0.0.1"]), SECOND);
    assert_eq!(picture(&mut group), "a:Replica m*:Master");
}

#[test]
fn a_snapshot_is_made_only_when_something_changed_that_workers_act_on() {
    let mut group = group(&["b"], false);
    hear(&mut group, 0, master(line("X", 50), &["b"]));
    let first = group.snapshot(None).unwrap();
    hear(&mut group, 0, master(line("X", 900), &["b"]));
    assert!(
        group.snapshot(Some(&first)).is_none(),
        "offsets are the report's business"
    );
    hear(&mut group, 1, replica(line("X", 900), "a"));
    let second = group.snapshot(Some(&first)).unwrap();
    assert!(second.version > first.version);
    let report = group.report();
    assert_eq!(
        (report.nodes[1].offset, report.nodes[1].lag),
        (Some(900), Some(0))
    );
}

#[test]
fn a_master_keeps_its_identity_over_a_reconnect_and_gets_a_new_one_as_another_process() {
    let greeting = |id: &str| crate::topology::Greeting {
        resp2: (id.as_bytes().to_vec(), Vec::new()),
        ..crate::topology::Greeting::default()
    };
    let identity = |id: &str| {
        Word::Identified(Arc::new(Identity {
            greeting: Some(greeting(id)),
            commands: None,
        }))
    };
    let mut group = group(&[], false);
    hear(&mut group, 0, identity("7.0"));
    hear(&mut group, 0, master(line("X", 1), &[]));
    let first = group.snapshot(None).unwrap();
    assert_eq!(first.greeting.as_deref(), Some(&greeting("7.0")));
    hear(&mut group, 0, identity("7.0"));
    assert!(group.snapshot(Some(&first)).is_none());
    hear(&mut group, 0, identity("8.0"));
    assert_eq!(
        group.snapshot(Some(&first)).unwrap().greeting.as_deref(),
        Some(&greeting("8.0"))
    );
}
