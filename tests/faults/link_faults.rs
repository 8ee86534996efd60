//! The relay itself: each fault does what its name says, and no other link feels it.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::relay::{Cut, Fault, Party, Relay, Relays};
use crate::support::{Client, Flavor, Reply, Server};

const A_MOMENT: Duration = Duration::from_millis(200);

struct Line {
    relay: Relay,
    _relays: Relays,
    _server: Server,
}

impl Line {
    fn start() -> Self {
        let server = Server::start(Flavor::Redis7, &[]);
        let relays = Relays::start();
        let relay = relays.relay();
        relay.point_at(server.port());
        Self {
            relay,
            _relays: relays,
            _server: server,
        }
    }

    fn client(&self) -> Client {
        Client::connect(self.relay.port())
    }

    fn set(&self, fault: Fault) {
        self.relay.set(Party::Outside, fault);
    }
}

fn pong() -> Reply {
    Reply::Simple("PONG".to_owned())
}

#[test]
fn a_calm_link_carries_all_and_a_fault_of_another_link_is_not_felt() {
    let line = Line::start();
    line.relay.set(Party::Node(1), Fault::Refuse);
    let mut client = line.client();
    let large = "x".repeat(3_000_000);
    assert_eq!(client.command(&["SET", "large", &large]), Reply::ok());
    assert_eq!(client.command(&["GET", "large"]), Reply::bulk(&large));
}

#[test]
fn delayed_bytes_come_later_and_in_order() {
    let line = Line::start();
    let mut client = line.client();
    line.set(Fault::Delay(A_MOMENT));
    let begun = Instant::now();
    let replies = client.pipeline(&[&["PING"], &["ECHO", "1"], &["ECHO", "2"]]);
    assert_eq!(replies, [pong(), Reply::bulk("1"), Reply::bulk("2")]);
    assert!(begun.elapsed() >= 2 * A_MOMENT);
    // What is on its way comes when the delay ends, before what is sent then.
    client.send(&["ECHO", "3"]);
    line.relay.calm();
    client.send(&["ECHO", "4"]);
    assert_eq!(
        [client.read_reply(), client.read_reply()],
        [Reply::bulk("3"), Reply::bulk("4")]
    );
}

#[test]
fn a_stalled_link_goes_on_where_it_stopped() {
    let line = Line::start();
    let mut client = line.client();
    assert_eq!(client.command(&["PING"]), pong());
    line.set(Fault::Stall);
    client.send(&["PING"]);
    assert!(client.is_silent(A_MOMENT));
    let mut another = line.client();
    another.send(&["PING"]);
    assert!(another.is_silent(A_MOMENT));
    line.relay.calm();
    assert_eq!([client.read_reply(), another.read_reply()], [pong(), pong()]);
}

#[test]
fn a_half_open_link_swallows_one_direction() {
    let line = Line::start();
    for (fault, runs) in [(Fault::SwallowReplies, "1"), (Fault::SwallowRequests, "0")] {
        let mut client = line.client();
        assert_eq!(client.command(&["SET", "n", "0"]), Reply::ok());
        line.set(fault);
        client.send(&["INCR", "n"]);
        assert!(client.is_silent(A_MOMENT));
        line.relay.calm();
        assert!(client.try_read_reply().is_err(), "it lost bytes");
        assert_eq!(line.client().command(&["GET", "n"]), Reply::bulk(runs));
    }
}

#[test]
fn a_throttled_link_is_slow() {
    let line = Line::start();
    let mut client = line.client();
    line.set(Fault::Throttle(10_000));
    let begun = Instant::now();
    let text = "x".repeat(2_000);
    assert_eq!(client.command(&["ECHO", &text]), Reply::bulk(&text));
    // There and back.
    assert!(begun.elapsed() >= 2 * A_MOMENT);
}

#[test]
fn a_link_is_cut_by_reset_or_by_end_and_refused() {
    let line = Line::start();
    for cut in [Cut::Reset, Cut::End] {
        let mut client = line.client();
        assert_eq!(client.command(&["PING"]), pong());
        line.relay.cut(Party::Outside, cut);
        let error = client.try_read_reply().expect_err("it was cut");
        let expected = if cut == Cut::Reset {
            ErrorKind::ConnectionReset
        } else {
            ErrorKind::UnexpectedEof
        };
        assert_eq!(error.kind(), expected);
        assert_eq!(line.client().command(&["PING"]), pong());
    }
    line.set(Fault::Refuse);
    let refused = Client::try_connect(line.relay.port()).and_then(|mut client| client.try_command(&["PING"]));
    assert!(refused.is_err(), "{refused:?}");
}
