//! Stories of groups, told by what their nodes say.

mod first_adoption;

use super::super::connection::Failure;
use super::super::info::{Attached, Facts, Line, MasterLink};
use super::super::probe::Server;
use super::*;
use crate::control::FailureKind;
use crate::settings::{Mapped, NodeAddress, Upstream, Zoned};
use crate::topology::Role;

const SECOND: Duration = Duration::from_secs(1);

fn node(host: &str) -> NodeAddress {
    NodeAddress {
        host: host.to_owned(),
        port: 6379,
        weight: 100,
    }
}

fn group(replicas: &[&str], discover: bool) -> Group {
    Group::of(&upstream(replicas, discover), Layers::new(Vec::new(), false))
}

fn upstream(replicas: &[&str], discover: bool) -> Upstream {
    Upstream {
        master: Some(node("a")),
        replicas: replicas.iter().map(|host| node(host)).collect(),
        discover,
        sentinels: None,
        address_map: Vec::new(),
        zone: None,
        zones: Vec::new(),
        resolve_interval: SECOND,
        username: None,
        password: None,
        connect_timeout: SECOND,
        connects_per_second: 20,
        start_timeout: SECOND,
        reply_timeout: SECOND,
        probe_interval: SECOND,
        mark_interval: SECOND,
        probe_timeout: SECOND,
        max_link_down: 10 * SECOND,
        max_lag_bytes: 1000,
        max_lag_time: 10 * SECOND,
        hold_emptied: false,
        links_per_node: 1,
        warm_leases: 1,
        max_leases: 1,
        idle_timeout: SECOND,
    }
}

fn resolve(group: &mut Group, host: &str, addresses: &[&str], seconds: u32) {
    let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
    group.resolved(host, Ok(addresses), seconds * SECOND);
}

fn reached(run_id: &str, zone: Option<&str>) -> Word {
    Word::Reached(Server {
        run_id: Some(run_id.to_owned()),
        zone: zone.map(str::to_owned),
    })
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
        acknowledged: 0,
        asked: None,
        took: Duration::ZERO,
        skew_us: None,
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
        acknowledged: 0,
        asked: None,
        took: Duration::ZERO,
        skew_us: None,
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
    assert_eq!(group.members.announced("b", 6379), Some(NodeId(1)));
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
    resolve(&mut group, "a", &["10.0.0.1"], 1);
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

#[test]
fn a_name_stands_for_every_pod_behind_it_and_pods_come_and_go() {
    let mut group = group(&[], false);
    assert_eq!(group.hosts().into_iter().collect::<Vec<_>>(), ["a"]);
    assert!(group.targets().is_empty(), "nobody knows where it is");
    resolve(&mut group, "a", &["10.0.0.2", "10.0.0.1", "fd00::3"], 1);
    assert_eq!(
        picture(&mut group),
        "10.0.0.1:Unknown! 10.0.0.2:Unknown! [fd00::3]:Unknown!"
    );
    assert_eq!(group.targets().len(), 3);
    let [one, two] = ["10.0.0.1", "10.0.0.2"].map(|host| group.members.announced(host, 6379).unwrap());
    group.hear(one, master(line("X", 5), &[]), SECOND);
    group.hear(two, replica(line("X", 5), "10.0.0.1"), SECOND);
    // A new pod; one that went away; and one that answers although it is not listed, as it is not ready.
    resolve(&mut group, "a", &["10.0.0.1", "10.0.0.4"], 2);
    assert_eq!(
        picture(&mut group),
        "10.0.0.1*:Master 10.0.0.2:Replica [fd00::3]:Unknown! 10.0.0.4:Unknown!"
    );
    group.hear(two, gone(), 3 * SECOND);
    resolve(&mut group, "a", &["10.0.0.1", "10.0.0.4"], 100);
    assert_eq!(picture(&mut group), "10.0.0.1*:Master 10.0.0.4:Unknown!");
}

#[test]
fn a_name_that_moves_is_followed_and_what_was_known_of_the_old_place_is_forgotten() {
    let mut group = group(&[], false);
    resolve(&mut group, "a", &["10.0.0.1"], 1);
    hear(&mut group, 0, master(line("X", 5), &[]));
    assert_eq!(picture(&mut group), "a*:Master");
    resolve(&mut group, "a", &["10.0.0.9"], 2);
    assert_eq!(picture(&mut group), "a:Unknown!");
    let address = "10.0.0.9:6379".parse().unwrap();
    assert_eq!(
        group.targets(),
        [Target {
            id: NodeId(0),
            address
        }]
    );
    // A name server that fails changes nothing.
    let failure = crate::control::members::unknown_name("no answer");
    group.resolved("a", Err(failure), 3 * SECOND);
    assert_eq!(
        group.targets(),
        [Target {
            id: NodeId(0),
            address
        }]
    );
}

#[test]
fn a_server_under_two_addresses_gets_commands_under_one() {
    let mut group = group(&["b"], false);
    for node in [0, 1] {
        hear(&mut group, node, reached("same run", None));
        hear(&mut group, node, master(line("X", 5), &[]));
    }
    assert_eq!(picture(&mut group), "a*:Master b:Master!");
    hear(&mut group, 0, gone());
    assert_eq!(
        group.members.alias_of(NodeId(1)),
        None,
        "what does not answer under one address may under the other"
    );
}

#[test]
fn announced_addresses_are_looked_for_where_the_map_says() {
    let mut upstream = upstream(&[], true);
    upstream.address_map = vec![Mapped {
        announced: node("inside"),
        reached: node("outside"),
    }];
    let mut group = Group::of(&upstream, Layers::new(Vec::new(), false));
    hear(&mut group, 0, master(line("X", 5), &["inside"]));
    assert_eq!(picture(&mut group), "a*:Master outside:Unknown!");
}

#[test]
fn replicas_of_replicas_are_found() {
    let mut group = group(&[], true);
    hear(&mut group, 0, master(line("X", 5), &["b"]));
    let Word::Heard(mut facts) = replica(line("X", 5), "a") else {
        unreachable!("it is what was heard");
    };
    facts.replicas.push(Attached {
        host: "c".to_owned(),
        port: 6379,
    });
    hear(&mut group, 1, Word::Heard(facts));
    assert_eq!(picture(&mut group), "a*:Master b:Replica c:Unknown!");
}

#[test]
fn only_an_answer_about_its_offset_says_where_the_master_was_when() {
    let mut group = group(&["b"], false);
    let identity = Arc::new(Identity {
        greeting: None,
        commands: None,
    });
    group.hear(NodeId(1), replica(line("X", 90), "a"), SECOND);
    group.hear(NodeId(0), master(line("X", 100), &["b"]), SECOND);
    group.hear(NodeId(0), Word::Identified(identity), 2 * SECOND);
    group.hear(NodeId(0), master(line("X", 200), &["b"]), 3 * SECOND);
    group.hear(NodeId(1), replica(line("X", 100), "a"), 3 * SECOND);
    assert_eq!(group.report().nodes[1].behind, Some(2 * SECOND));
}

fn promoted(replid: &str, before: (&str, u64), offset: u64) -> Line {
    Line {
        before: Some((before.0.to_owned(), before.1)),
        ..line(replid, offset)
    }
}

#[test]
fn a_predecessor_that_was_never_heard_as_master_is_not_gone_back_to() {
    let mut group = group(&["b", "c"], false);
    hear(&mut group, 1, master(promoted("Y", ("X", 51), 60), &[]));
    hear(&mut group, 2, replica(line("X", 50), "a"));
    hear(&mut group, 1, gone());
    hear(&mut group, 0, master(line("X", 70), &["c"]));
    assert_eq!(picture(&mut group), "a:Master! b:Unknown! c:Replica");
}

#[test]
fn a_deposed_master_that_restarts_with_its_data_stays_deposed() {
    let mut group = group(&["b", "c"], false);
    hear(&mut group, 2, gone());
    hear(&mut group, 0, master(line("X", 50), &["b", "c"]));
    hear(&mut group, 1, master(promoted("Y", ("X", 51), 60), &[]));
    hear(&mut group, 1, gone());
    hear(&mut group, 0, master(promoted("Z", ("X", 71), 70), &["c"]));
    assert_eq!(picture(&mut group), "a:Master! b:Unknown! c:Unknown!");
    // It is told to follow, and then made master again.
    hear(&mut group, 0, replica(line("Z", 70), "b"));
    hear(&mut group, 0, master(promoted("W", ("Z", 71), 70), &["c"]));
    assert_eq!(picture(&mut group), "a*:Master b:Unknown! c:Unknown!");
}

#[test]
fn a_successor_that_was_succeeded_before_it_was_heard_is_never_published() {
    let mut group = group(&["b", "c"], false);
    hear(&mut group, 0, master(line("X", 50), &["b", "c"]));
    hear(&mut group, 0, gone());
    hear(&mut group, 2, master(promoted("Z", ("Y", 61), 70), &[]));
    hear(&mut group, 1, master(promoted("Y", ("X", 51), 60), &[]));
    assert_eq!(picture(&mut group), "a:Unknown! b:Master! c*:Master");
    // The old one is back, empty, and has a successor already.
    hear(&mut group, 2, gone());
    hear(&mut group, 1, master(promoted("V", ("E", 5), 6), &[]));
    hear(&mut group, 2, master(line("E", 4), &[]));
    assert_eq!(picture(&mut group), "a:Unknown! b*:Master c:Master!");
}

#[test]
fn a_master_that_was_replaced_only_because_it_was_out_of_reach_is_gone_back_to_when_the_other_follows_it() {
    let mut group = group(&["b", "c"], false);
    hear(&mut group, 0, master(line("X", 50), &["c"]));
    hear(&mut group, 0, gone());
    hear(&mut group, 2, replica(line("Y", 9), "b"));
    hear(&mut group, 1, master(line("Y", 9), &["c"]));
    hear(&mut group, 0, master(line("X", 60), &[]));
    assert_eq!(picture(&mut group), "a:Master! b*:Master c:Replica");
    hear(&mut group, 1, replica(line("Y", 9), "a"));
    assert_eq!(picture(&mut group), "a*:Master b:Replica! c:Replica!");
}

#[test]
fn a_node_s_zone_is_what_the_user_says_and_otherwise_what_it_says_itself() {
    let mut upstream = upstream(&["b", "c"], false);
    upstream.zones = vec![Zoned {
        node: node("b"),
        zone: "told".to_owned(),
    }];
    let mut group = Group::of(&upstream, Layers::new(Vec::new(), false));
    for (id, zone) in [(0, None), (1, Some("own")), (2, Some("own"))] {
        hear(&mut group, id, reached(&format!("run {id}"), zone));
    }
    let snapshot = group.snapshot(None).unwrap();
    let zones: Vec<_> = snapshot.nodes.iter().map(|node| node.zone.as_deref()).collect();
    assert_eq!(zones, [None, Some("told"), Some("own")]);
}
