//! What becomes of replies behind marks and in the place of placeholders.

use std::rc::Rc;

use super::super::profile::Login;
use super::{Mend, Mends, Refused, Reply, SUBSCRIBED};

fn echoed(request: &[u8]) -> Vec<u8> {
    request
        .strip_prefix(b"*2\r\n$4\r\nPING\r\n")
        .expect("a PING")
        .to_vec()
}

#[test]
fn the_id_comes_in_the_place_of_its_mark_and_nothing_else_is_touched() {
    let mut mends = Mends::default();
    let mark = mends.mark(7, Mend::Id(42)).expect("room");
    assert_eq!(mends.look(b":9\r\n"), Reply::AsItIs);
    assert_eq!(mends.look(&echoed(&mark)), Reply::Instead(Vec::new()));
    assert_eq!(mends.look(b">2\r\n$2\r\nid\r\n:9\r\n"), Reply::AsItIs);
    assert_eq!(mends.look(b":9\r\n"), Reply::Instead(b":42\r\n".to_vec()));
    assert!(!mends.waits());
    assert_eq!(mends.look(&echoed(&mark)), Reply::AsItIs);
}

#[test]
fn a_subscribed_client_is_refused_and_marks_without_a_reply_are_passed_over() {
    let mut mends = Mends::default();
    mends.mark(1, Mend::Id(42));
    let mark = mends.mark(2, Mend::Id(42)).expect("room");
    let pong = [&b"*2\r\n$4\r\npong\r\n"[..], &echoed(&mark)].concat();
    assert_eq!(mends.look(&pong), Reply::Instead(Vec::new()));
    assert_eq!(mends.look(b"*3\r\n$7\r\nmessage\r\n"), Reply::AsItIs);
    assert_eq!(mends.look(SUBSCRIBED), Reply::AsItIs);
    assert!(!mends.waits());
}

#[test]
fn what_is_refused_is_told_once_and_a_refused_mark_is_as_good_as_another() {
    let mut mends = Mends::default();
    mends.mark(1, Mend::Multi(7));
    let no = b"-NOPERM User x has no permissions to run the 'ping' command\r\n";
    assert_eq!(mends.look(no), Reply::Instead(Vec::new()));
    assert_eq!(mends.look(b"-NOPERM ...\r\n"), Reply::AsItIs);
    assert_eq!(mends.take_refused(), Some(Refused::Multi(7)));
    assert_eq!(mends.take_refused(), None);
    let mark = mends.mark(2, Mend::Drop).expect("room");
    assert_eq!(mends.look(&echoed(&mark)), Reply::Instead(Vec::new()));
    assert_eq!(mends.look(SUBSCRIBED), Reply::Instead(Vec::new()));
    assert_eq!(mends.take_refused(), Some(Refused::Names));
    assert_eq!(mends.look(no), Reply::AsItIs, "the client's own");
}

#[test]
fn a_number_is_changed_in_the_reply_behind_the_mark_and_not_in_a_push() {
    let mut mends = Mends::default();
    let mend = Mend::Number {
        after: b"$2\r\nid\r\n",
        from: Some(9),
        to: 42,
    };
    let mark = mends.mark(3, mend).expect("room");
    assert_eq!(mends.look(&echoed(&mark)), Reply::Instead(Vec::new()));
    assert_eq!(mends.look(b">2\r\n$2\r\nid\r\n:9\r\n"), Reply::AsItIs);
    assert_eq!(
        mends.look(b"%1\r\n$2\r\nid\r\n:9\r\n"),
        Reply::Instead(b"%1\r\n$2\r\nid\r\n:42\r\n".to_vec())
    );
    assert!(!mends.waits());
}

#[test]
fn a_login_counts_when_the_reply_before_its_mark_took_it_even_where_the_user_may_not_ping() {
    let login = |user: &str| {
        Rc::new(Login {
            user: Some(user.into()),
            password: Vec::new(),
        })
    };
    for (reply, taken) in [
        (&b"+OK\r\n"[..], true),
        (b"-WRONGPASS ...\r\n", false),
        (b"%7\r\n", true),
    ] {
        for pings in [true, false] {
            let mut mends = Mends::default();
            let mark = mends.mark_behind(1, login("x")).expect("room");
            assert_eq!(mends.look(reply), Reply::AsItIs);
            assert_eq!(mends.look(b">2\r\n$1\r\na\r\n$1\r\nb\r\n"), Reply::AsItIs);
            let no = b"-NOPERM User x has no permissions to run the 'ping' command\r\n".to_vec();
            let end = if pings { echoed(&mark) } else { no };
            assert_eq!(mends.look(&end), Reply::Instead(Vec::new()));
            assert_eq!(mends.take_login(), Some(login("x")).filter(|_| taken));
        }
    }
}

#[test]
fn what_the_ambassador_says_itself_comes_where_an_unknown_command_is_refused() {
    let mut mends = Mends::default();
    let request = mends.placeholder(5, b"+here\r\n".to_vec(), false).expect("room");
    let name = request
        .strip_prefix(b"*1\r\n$32\r\n")
        .expect("a request of one word");
    let refusal = [
        b"-ERR unknown command '",
        &name[..32],
        b"', with args beginning with: \r\n",
    ]
    .concat();
    let other = b"-ERR unknown command 'x', with args beginning with: \r\n";
    assert_eq!(mends.look(other), Reply::AsItIs, "the client's own");
    assert_eq!(mends.look(&refusal), Reply::Instead(b"+here\r\n".to_vec()));
    assert_eq!(mends.look(&refusal), Reply::AsItIs, "once");
    assert!(!mends.waits());
}

#[test]
fn the_masters_word_is_taken_out_whole_or_in_parts() {
    let mut mends = Mends::default();
    let mark = mends.mark(1, Mend::Word).expect("room");
    assert_eq!(mends.look(&echoed(&mark)), Reply::Instead(Vec::new()));
    assert_eq!(mends.look(b"*3\r\n$7\r\nmessage\r\n"), Reply::AsItIs);
    assert_eq!(mends.look(b":0\r\n"), Reply::Instead(Vec::new()));
    assert_eq!(mends.take_word(), Some(b":0\r\n".to_vec()));
    assert_eq!(mends.go_on(true), Reply::AsItIs);
    let mark = mends.mark(2, Mend::Word).expect("room");
    assert_eq!(mends.look(&echoed(&mark)), Reply::Instead(Vec::new()));
    let list = [b"$20000\r\n".to_vec(), vec![b'x'; 17_000]].concat();
    assert!(!mends.wants_whole(&list));
    assert_eq!(mends.pass(&list), Reply::Instead(Vec::new()));
    assert_eq!(mends.take_word().map(|word| word.len()), Some(64));
    for (ends, goes_on) in [
        (false, Reply::Instead(Vec::new())),
        (true, Reply::Instead(Vec::new())),
        (false, Reply::AsItIs),
    ] {
        assert_eq!(mends.go_on(ends), goes_on);
    }
}
