//! Scripts that do not end: SCRIPT KILL and FUNCTION KILL find the node.

use super::*;

/// Kills until the victim says that it was: a read may have gone on elsewhere when its node fell silent.
#[track_caller]
fn kill(client: &mut Client, what: &str, victim: &mut Client) {
    wait_until(|| client.command(&[what, "KILL"]) == Reply::ok());
    let end = Instant::now() + support::PATIENCE;
    while victim.is_silent(Duration::from_millis(50)) && Instant::now() < end {
        let reply = client.command(&[what, "KILL"]);
        assert!(
            reply == Reply::ok() || reply.error().starts_with("NOTBUSY"),
            "{reply:?}"
        );
    }
    let end = victim.read_reply();
    assert!(end.error().contains("killed"), "{end:?}");
}

#[test]
fn an_endless_script_is_killed_wherever_it_runs() {
    each(&[], |group, ambassador, client| {
        for node in group.nodes() {
            node.command(&["CONFIG", "SET", "busy-reply-threshold", "20"]);
        }
        assert!(client.command(&["SCRIPT", "KILL"]).error().starts_with("NOTBUSY"));
        assert!(
            client
                .command(&["FUNCTION", "KILL"])
                .error()
                .starts_with("NOTBUSY")
        );
        client.command(&["SELECT", "1"]);
        for command in ["EVAL", "EVAL_RO"] {
            let mut endless = ambassador.client();
            endless.send(&[command, "while true do end", "0"]);
            kill(client, "SCRIPT", &mut endless);
        }
        let library = "#!lua name=endless\nredis.register_function{function_name='endless', callback=function() while true do end end, flags={'no-writes'}}";
        assert_eq!(
            client.command(&["FUNCTION", "LOAD", library]),
            Reply::bulk("endless")
        );
        let mut endless = ambassador.client();
        endless.send(&["FCALL", "endless", "0"]);
        kill(client, "FUNCTION", &mut endless);
        assert_eq!(client.command(&["SET", "still", "here"]), Reply::ok());
        // A node that says nothing holds nobody up for long.
        group.replicas[0].freeze();
        client.set_timeout(Duration::from_secs(5));
        assert!(client.command(&["SCRIPT", "KILL"]).error().starts_with("NOTBUSY"));
        group.replicas[0].thaw();
    });
}

#[test]
fn a_script_that_wrote_cannot_be_killed() {
    each(&[], |group, ambassador, client| {
        group
            .master
            .command(&["CONFIG", "SET", "busy-reply-threshold", "20"]);
        let mut writer = ambassador.client();
        let body = "redis.call('SET', 'w', '1') local t = redis.call('TIME')[1] + 2 while redis.call('TIME')[1] + 0 < t do end return 'done'";
        writer.send(&["EVAL", body, "0"]);
        let _ = client.command(&["PING"]);
        wait_until(|| {
            client
                .command(&["SCRIPT", "KILL"])
                .error()
                .starts_with("UNKILLABLE")
        });
        let end = writer.read_reply();
        assert!(end == Reply::bulk("done") || end.is_error(), "{end:?}");
    });
}
