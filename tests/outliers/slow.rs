//! A replica that answers slowly gets fewer reads, also where one read at a time is under way, and its share again when
//! it is not slow any more.

use std::time::Duration;

use crate::ejection::over;
use crate::relay::{Mode, Relay};
use crate::support::{Flavor, Group, Reply, wait_until};

#[test]
fn a_slow_replica_gets_fewer_reads_and_its_share_again() {
    for flavor in [Flavor::Redis7, Flavor::Redis8, Flavor::Valkey8] {
        let group = Group::start(flavor, 2);
        group.master.command(&["SET", "key", "value"]);
        group.wait_in_sync();
        let relays = [0, 1].map(|index: usize| Relay::before(group.replicas[index].port(), 0));
        let nodes = [group.master.address(), relays[0].address(), relays[1].address()];
        let ambassador = over(&nodes, "");
        let mut client = ambassador.client();
        // One at a time: nothing is in flight when a node is chosen.
        let mut share = |reads: u64| {
            let before = relays[0].gets();
            for _ in 0..reads {
                assert_eq!(client.command(&["GET", "key"]), Reply::bulk("value"));
            }
            relays[0].gets() - before
        };
        share(200);
        relays[0].set(Mode::Delay(Duration::from_millis(20)));
        let of_1000 = share(1_000);
        println!("{flavor}: a replica 20 ms late got {of_1000} of 1,000 reads");
        assert!((1..=150).contains(&of_1000), "{flavor}: {of_1000}");
        assert_eq!(group.master.calls("get"), 0, "{flavor}");
        relays[0].set(Mode::Pass);
        wait_until(|| share(200) >= 60);
    }
}
