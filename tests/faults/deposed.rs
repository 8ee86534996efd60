//! A master that was deposed while it could not answer.

use crate::support::{Flavor, Reply};
use crate::world::World;

/// What it says of a write that it ran too late is not passed on as if the write were there.
#[test]
fn a_write_that_a_deposed_master_runs_is_not_acknowledged() {
    let world = World::start(Flavor::Redis7, 3);
    let ambassador = world.ambassador();
    world.wait_seen(&ambassador, 0);
    let mut client = ambassador.client();
    assert_eq!(client.command(&["INCR", "n"]), Reply::Integer(1));
    world.wait_settled();

    world.nodes[0].freeze();
    client.send(&["INCR", "n"]);
    let (next, _) = world.wait_for_another_master(0);
    world.wait_adopted(&ambassador, next);
    world.nodes[0].thaw();

    let reply = client.read_reply();
    let counted = world.nodes[next].command(&["GET", "n"]);
    let is_honest = match &reply {
        Reply::Error(text) => text.starts_with("INDOUBT"),
        acknowledged => counted == Reply::bulk(acknowledged.text()),
    };
    assert!(
        is_honest,
        "answered {reply:?}, and the new master has {counted:?}"
    );
}
