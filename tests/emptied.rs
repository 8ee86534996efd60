//! A master that comes back in its place without its data.

mod support;

use support::{Ambassador, Flavor, Group, Reply, wait_until};

/// A group with some data, whose replica keeps them when its master comes back without.
fn emptied(flavor: Flavor, config: &str) -> (Group, Ambassador) {
    let mut group = Group::start(flavor, 1);
    let master = ["--master", &group.master.address()].map(str::to_owned);
    let replica = ["--replica", &group.replicas[0].address()].map(str::to_owned);
    let args: Vec<String> = master.into_iter().chain(replica).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let config = format!("[limits]\nhold = \"300ms\"\n[upstream]\n{config}\n");
    let ambassador = Ambassador::with_config(&config, &args);
    let mut client = ambassador.client();
    for number in 0..100 {
        let key = format!("k{number}");
        assert_eq!(client.command(&["SET", &key, "v"]), Reply::ok(), "{flavor}");
    }
    group.wait_in_sync();
    // Its offset is known to the ambassador.
    wait_until(|| {
        let offset = &group.master.info("replication")["master_repl_offset"];
        let known = format!(
            "redis_ambassador_node_offset_bytes{{node=\"{}\"",
            group.master.address()
        );
        ambassador.metric(&known) >= offset.parse::<f64>().expect("a number")
    });
    group.replicas[0].command(&["REPLICAOF", "127.0.0.1", "1"]);
    group.master.kill();
    group.master.forget_data();
    group.master.restart();
    (group, ambassador)
}

#[test]
fn it_is_used_and_the_log_says_so() {
    for flavor in Flavor::ALL {
        let (_group, ambassador) = emptied(flavor, "");
        let mut client = ambassador.client();
        wait_until(|| client.command(&["SET", "new", "v"]) == Reply::ok());
        assert_eq!(client.command(&["GET", "k1"]), Reply::Null, "{flavor}");
        wait_until(|| ambassador.log().contains("the master came back without its data"));
    }
}

#[test]
fn it_is_not_used_where_that_is_asked_for_until_a_node_with_the_data_is_made_master() {
    for flavor in Flavor::ALL {
        let (group, ambassador) = emptied(flavor, "hold_emptied = true");
        let mut client = ambassador.client();
        wait_until(|| {
            let (status, text) = ambassador.admin_get("/ready");
            status == 503 && text.contains("upstream.hold_emptied")
        });
        for _ in 0..3 {
            let refused = client.command(&["SET", "new", "v"]);
            assert!(refused.error().starts_with("TRYAGAIN "), "{flavor}: {refused:?}");
        }
        assert_eq!(group.master.command(&["DBSIZE"]), Reply::Integer(0), "{flavor}");
        group.replicas[0].command(&["REPLICAOF", "NO", "ONE"]);
        wait_until(|| client.command(&["SET", "new", "v"]) == Reply::ok());
        assert_eq!(client.command(&["GET", "k1"]), Reply::bulk("v"), "{flavor}");
        assert_eq!(
            group.replicas[0].command(&["DBSIZE"]),
            Reply::Integer(101),
            "{flavor}"
        );
    }
}
