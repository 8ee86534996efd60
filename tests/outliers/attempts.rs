//! A node that takes connections and closes them is not stormed: every attempt of all workers and probes is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::relay::{Mode, Relay};
use crate::support::{Ambassador, Client, Flavor, Group, PATIENCE, Reply, eventually, wait_until};

const SECOND: Duration = Duration::from_secs(1);

/// Clients that want connections to master and replicas, shared and of their own, and take any answer.
struct Crowd(Arc<AtomicBool>, Vec<thread::JoinHandle<()>>);

impl Crowd {
    fn gather(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let requests: [&[&str]; 4] = [
            &["GET", "key"],
            &["SET", "key", "value"],
            &["BLPOP", "list", "0.01"],
            &["EVAL_RO", "return 1", "0"],
        ];
        let threads = (0..32).map(|index| {
            let (stop, words) = (Arc::clone(&stop), requests[index % requests.len()]);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let Ok(mut client) = Client::try_connect(port) else {
                        continue;
                    };
                    while !stop.load(Ordering::Relaxed) && client.try_command(words).is_ok() {
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            })
        });
        Self(Arc::clone(&stop), threads.collect())
    }

    fn leave(self) {
        self.0.store(true, Ordering::Relaxed);
        for thread in self.1 {
            thread.join().expect("it takes any answer");
        }
    }
}

/// The most attempts in any one second from then on.
fn most_in_a_second(attempts: &[Instant], from: Instant) -> usize {
    let attempts: Vec<Instant> = attempts.iter().copied().filter(|at| *at >= from).collect();
    let within = |begin: Instant| {
        attempts
            .iter()
            .filter(|at| (begin..begin + SECOND).contains(at))
            .count()
    };
    attempts.iter().map(|at| within(*at)).max().unwrap_or(0)
}

#[test]
fn a_node_that_closes_every_connection_is_not_stormed_and_found_again() {
    // The second answers probes, so that it counts as well.
    for mode in [Mode::Close, Mode::HangUp] {
        let group = Group::start(Flavor::Redis7, 1);
        group.master.command(&["SET", "key", "value"]);
        group.wait_in_sync();
        let relays = [group.master.port(), group.replicas[0].port()].map(|port| Relay::before(port, 0));
        let [master, replica] = [relays[0].address(), relays[1].address()];
        let args = ["--master", &master, "--replica", &replica, "--workers", "4"];
        let ambassador = Ambassador::with_config("[limits]\nhold = \"500ms\"\n", &args);
        let usable = || {
            ambassador
                .admin_get("/topology")
                .1
                .matches("\"usable\": true")
                .count()
        };
        wait_until(|| usable() == 2);
        let crowd = Crowd::gather(ambassador.port());
        wait_until(|| relays.iter().all(|relay| relay.accepted().len() > 1));

        for relay in &relays {
            relay.set(mode);
        }
        // What was under way when the first attempt failed is no storm.
        let from = Instant::now() + SECOND / 4;
        eventually(PATIENCE, || (Instant::now() > from + 4 * SECOND).then_some(()));
        for (name, relay) in ["master", "replica"].into_iter().zip(&relays) {
            let attempts = relay.accepted();
            let most = most_in_a_second(&attempts, from);
            println!("{mode:?}: at most {most} attempts at the {name} in a second");
            // One that was taken a moment later than it was made.
            assert!(most <= 21, "{mode:?} {name}: {most} attempts in a second");
        }

        for relay in &relays {
            relay.set(Mode::Pass);
        }
        crowd.leave();
        wait_until(|| usable() == 2);
        let mut client = ambassador.client();
        wait_until(|| client.command(&["SET", "key", "new"]) == Reply::ok());
        wait_until(|| client.command(&["GET", "key"]) == Reply::bulk("new"));
    }
}
