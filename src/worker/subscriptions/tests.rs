//! What is known of a client's subscriptions after what it sent and what came.

use super::{Came, NOTICE, Subscriptions};

fn confirmed(verb: &str, name: &str) -> Vec<u8> {
    format!(
        "*3\r\n${}\r\n{verb}\r\n${}\r\n{name}\r\n:1\r\n",
        verb.len(),
        name.len()
    )
    .into_bytes()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn what_was_confirmed_is_asked_for_again_and_its_confirmations_are_ours() {
    let mut subscriptions = Subscriptions::default();
    assert!(!subscriptions.may_move(), "to nothing");
    subscriptions.sent(b"SUBSCRIBE", 4, true);
    for (name, whole) in [("a", false), ("b", false), ("c", true)] {
        assert_eq!(
            subscriptions.came(&confirmed("subscribe", name), true),
            Came::ForClient
        );
        assert_eq!(subscriptions.may_move(), whole, "{name}");
    }
    subscriptions.sent(b"unsubscribe", 2, true);
    assert_eq!(
        subscriptions.came(&confirmed("unsubscribe", "b"), true),
        Came::ForClient
    );
    subscriptions.sent(b"psubscribe", 2, true);
    assert_eq!(
        subscriptions.came(&confirmed("message", "a"), true),
        Came::ForClient
    );
    assert!(!subscriptions.may_move(), "a message confirms nothing");
    assert_eq!(
        subscriptions.came(&confirmed("psubscribe", "p*"), true),
        Came::ForClient
    );
    assert!(subscriptions.may_move());
    let again = "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n$1\r\nc\r\n*2\r\n$10\r\npsubscribe\r\n$2\r\np*\r\n";
    assert_eq!(text(&subscriptions.again()), again);
    assert_eq!(
        subscriptions.came(&confirmed("subscribe", "a"), true),
        Came::ForUs
    );
    assert_eq!(
        subscriptions.came(&confirmed("message", "a"), true),
        Came::ForClient
    );
    // Lost again before it was whole.
    assert!(subscriptions.may_move());
    assert_eq!(text(&subscriptions.again()), again);
    for came in [Came::ForUs, Came::ForUs, Came::Last] {
        assert_eq!(subscriptions.came(&confirmed("subscribe", "a"), true), came);
    }
    assert_eq!(subscriptions.notice(false), b"");
}

#[test]
fn who_may_still_be_owed_something_or_is_more_than_subscribed_does_not_move() {
    let subscribed = || {
        let mut subscriptions = Subscriptions::default();
        subscriptions.sent(b"SUBSCRIBE", 2, true);
        subscriptions.came(&confirmed("subscribe", "a"), true);
        subscriptions
    };
    let mut pinged = subscribed();
    pinged.sent(b"PING", 1, true);
    assert!(!pinged.may_move());
    pinged.came(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n", true);
    assert!(pinged.may_move());
    let mut other = subscribed();
    other.sent(b"SELECT", 2, false);
    other.came(b"+OK\r\n", true);
    assert!(!other.may_move(), "another database");
    let mut all = subscribed();
    all.sent(b"SUBSCRIBE", 2, true);
    all.sent(b"UNSUBSCRIBE", 1, true);
    for name in ["b", "a", "b"] {
        all.came(&confirmed("unsubscribe", name), true);
    }
    assert!(!all.may_move(), "how many answers come is not known");
    let mut refused = subscribed();
    assert!(!refused.again().is_empty());
    assert_eq!(refused.came(b"-NOPERM ...\r\n", true), Came::Refused);
}

#[test]
fn what_comes_in_parts_is_judged_when_its_head_is_there() {
    let mut subscriptions = Subscriptions::default();
    let long = "x".repeat(1000);
    for (verb, at_the_head) in [("message", Came::ForClient), ("subscribe", Came::Unclear)] {
        let frame = confirmed(verb, &long);
        assert_eq!(subscriptions.came(&frame[..20], false), Came::Unclear, "{verb}");
        assert_eq!(subscriptions.came(&frame[..100], false), at_the_head, "{verb}");
    }
    let bulk = format!("$1000\r\n{long}\r\n").into_bytes();
    subscriptions.sent(b"GET", 2, true);
    assert_eq!(subscriptions.came(&bulk[..100], false), Came::ForClient);
    assert_eq!(subscriptions.awaited, 0);
}

#[test]
fn who_asked_for_it_is_told() {
    let mut subscriptions = Subscriptions::default();
    subscriptions.note(Some(0), None, NOTICE);
    let told = text(&subscriptions.notice(true));
    assert!(told.starts_with(">3\r\n$7\r\nmessage\r\n$"), "{told}");
    assert!(told.contains("__redis_ambassador__:resubscribed"), "{told}");
    assert!(text(&subscriptions.notice(false)).starts_with("*3\r\n"));
}
