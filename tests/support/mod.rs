//! What the integration tests share: real servers, replication groups, the ambassador's binary, a RESP client.
//!
//! A test file says `mod support;` and uses what it needs. Everything that is started here has a free port and
//! a private directory, and ends with the value that owns it, by its pid. Waiting is polling with a deadline.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test file compiles this module for itself and uses a part of it"
)]
#![allow(
    clippy::mod_module_files,
    reason = "tests/support.rs would be taken for a test of its own; cargo knows only support/mod.rs as shared"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "real processes are waited for in real time"
)]

mod ambassador;
mod client;
mod group;
mod load;
mod losses;
mod reply;
mod sentinel;
mod server;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

pub use ambassador::Ambassador;
pub use client::Client;
pub use group::Group;
pub use load::{Bystander, Seen};
pub use losses::Losses;
pub use reply::Reply;
pub use sentinel::{Sentinel, WATCHED};
pub use server::{Flavor, Server};

/// The same command on both; the same bytes come back. What came.
#[track_caller]
pub fn same(plain: &mut Client, client: &mut Client, words: &[&str]) -> Reply {
    plain.command(words);
    let reply = client.command(words);
    assert_eq!(
        client.last_bytes().escape_ascii().to_string(),
        plain.last_bytes().escape_ascii().to_string(),
        "{words:?}"
    );
    reply
}

/// A story on every flavor, beside a plain server of that flavor: over a master and one replica. No panic is behind
/// what it sees.
pub fn beside_a_plain_server(story: impl Fn(&Server, &Group, &Ambassador)) {
    for flavor in Flavor::ALL {
        let plain = Server::start(flavor, &[]);
        let group = Group::start(flavor, 1);
        let ambassador = Ambassador::over(&group);
        story(&plain, &group, &ambassador);
        assert!(
            ambassador.metric("redis_ambassador_panics_total") < 0.5,
            "{flavor}"
        );
    }
}

/// How long anything that normally takes milliseconds may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at something that is waited for.
const POLL: Duration = Duration::from_millis(10);

/// Asks until there is an answer; fails the test when there is none within `deadline`.
#[track_caller]
pub fn eventually<T>(deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "did not come true within {deadline:?}");
        thread::sleep(POLL);
    }
}

/// Waits until a condition holds; fails the test when it does not within [`PATIENCE`].
#[track_caller]
pub fn wait_until(mut holds: impl FnMut() -> bool) {
    eventually(PATIENCE, || holds().then_some(()));
}

/// A loopback port that nobody listens on.
///
/// It lies below Linux's range for outgoing connections (32768 and up), so that none of those can take it
/// between this call and the listener's start; tests that run at once start from random places.
pub fn free_port() -> u16 {
    const FIRST: u64 = 12_000;
    const PORTS: u64 = 20_000;
    let start = RandomState::new().build_hasher().finish();
    (0..PORTS)
        .map(|step| (FIRST + (start.wrapping_add(step)) % PORTS) as u16)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one loopback port of 20,000 is free")
}
