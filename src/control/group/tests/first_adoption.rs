//! Whom a group adopts to begin with, whoever answers first.

use super::*;
use crate::settings::Sentinels;

#[test]
fn a_lone_node_that_says_master_first_is_not_adopted_before_the_others_have_spoken() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [2, 0, 1]] {
        let mut group = group(&["m", "r"], false);
        for (spoke, node) in order.into_iter().enumerate() {
            let word = match node {
                0 => master(line("E", 0), &[]),
                1 => master(line("X", 50), &["r"]),
                _ => replica(line("X", 50), "m"),
            };
            hear(&mut group, node, word);
            let adopted = group.snapshot(None).unwrap().master;
            let expected = (spoke == 2).then_some(NodeId(1));
            assert_eq!(adopted, expected, "{order:?} {spoke}");
        }
        assert_eq!(picture(&mut group), "a:Master! m*:Master r:Replica");
    }
}

#[test]
fn a_node_that_says_nothing_at_all_is_not_waited_for_without_an_end() {
    let mut group = group(&["b"], false);
    group.hear(NodeId(0), master(line("X", 1), &[]), SECOND);
    assert_eq!(picture(&mut group), "a:Master! b:Unknown!");
    let waits = "it says master, but whether it is the group's master is not clear yet";
    assert_eq!(group.report().nodes[0].reason, waits);
    // connect_timeout and probe_timeout later.
    group.hear(NodeId(0), master(line("X", 1), &[]), 3 * SECOND);
    assert_eq!(picture(&mut group), "a*:Master b:Unknown!");
}

#[test]
fn a_name_that_does_not_resolve_is_waited_for_no_longer() {
    let mut group = group(&["b"], false);
    hear(&mut group, 0, master(line("X", 1), &[]));
    assert_eq!(picture(&mut group), "a:Master! b:Unknown!");
    let failure = crate::control::members::unknown_name("no such name");
    group.resolved("b", Err(failure), SECOND);
    assert_eq!(picture(&mut group), "a*:Master b:Unknown!");
}

#[test]
fn a_lone_node_is_not_adopted_while_the_one_that_others_follow_does_not_answer() {
    let mut group = group(&["m", "r"], false);
    hear(&mut group, 0, master(line("E", 0), &[]));
    hear(&mut group, 2, replica(line("X", 50), "m"));
    hear(&mut group, 1, gone());
    group.hear(NodeId(0), master(line("E", 0), &[]), 100 * SECOND);
    assert_eq!(picture(&mut group), "a:Master! m:Unknown! r:Replica");
    // It was promoted in the place of the one that is gone.
    group.hear(NodeId(0), master(promoted("Y", ("X", 51), 60), &[]), 101 * SECOND);
    assert_eq!(picture(&mut group), "a*:Master m:Unknown! r:Replica");
}

#[test]
fn where_nodes_are_discovered_one_that_a_replica_follows_is_heard_first() {
    let mut group = group(&["r"], true);
    hear(&mut group, 0, master(line("E", 0), &[]));
    hear(&mut group, 1, replica(line("X", 50), "m"));
    assert_eq!(picture(&mut group), "a:Master! r:Replica m:Unknown!");
    hear(&mut group, 2, master(line("X", 50), &["r"]));
    assert_eq!(picture(&mut group), "a:Master! r:Replica m*:Master");
}

/// Told by three sentinels, of which the first says this and the others cannot be asked.
fn told_by_one(group: &mut Group, master: &str, replicas: &[&str]) {
    let announced = |host: &str| (host.to_owned(), 6379);
    let told = Told {
        master: announced(master),
        epoch: 1,
        replicas: replicas.iter().copied().map(announced).collect(),
    };
    group.told(0, Ok(told), SECOND);
    for sentinel in [1, 2] {
        let failure = Failure {
            kind: FailureKind::Connect,
            message: "cannot connect: connection refused".to_owned(),
        };
        group.told(sentinel, Err(failure), SECOND);
    }
}

#[test]
fn a_stale_master_that_one_sentinel_of_three_names_is_not_adopted_against_the_one_that_is_followed() {
    let mut upstream = Upstream {
        master: None,
        ..upstream(&[], true)
    };
    upstream.sentinels = Some(Sentinels {
        addresses: ["s1", "s2", "s3"].map(node).to_vec(),
        master: "mymaster".to_owned(),
        username: None,
        password: None,
    });
    let mut group = Group::of(&upstream, Layers::new(Vec::new(), false));
    told_by_one(&mut group, "stale", &["m", "r"]);
    hear(&mut group, 0, master(line("E", 0), &[]));
    hear(&mut group, 1, master(line("Y", 60), &["r"]));
    hear(&mut group, 2, replica(line("Y", 60), "m"));
    assert_eq!(picture(&mut group), "stale:Master! m:Master! r:Replica");
    // The same without a reason to doubt it.
    let mut group = Group::of(&upstream, Layers::new(Vec::new(), false));
    told_by_one(&mut group, "m", &["stale", "r"]);
    hear(&mut group, 0, master(line("Y", 60), &["r"]));
    hear(&mut group, 1, master(line("E", 0), &[]));
    hear(&mut group, 2, replica(line("Y", 60), "m"));
    assert_eq!(picture(&mut group), "m*:Master stale:Master! r:Replica");
}
