//! What goes wrong, drawn from the dice.

use std::time::Duration;

use super::authority::Authority;
use super::server::Process;
use super::world::World;

/// What may happen in this world besides what always may.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    /// Servers may change their addresses: somebody finds them again.
    pub(super) moves: bool,
    /// But for this one, which is known by nothing else.
    pub(super) stays: Option<usize>,
}

/// One more fault.
pub(super) fn strike(world: &mut World, authority: &mut Authority, allowed: Allowed) {
    let now = world.now;
    let count = world.servers.len();
    // Half of all faults are about the master.
    let index = if world.dice.once_in(2) {
        authority.master
    } else {
        world.dice.index(count)
    };
    let lasts = world.dice.milliseconds(100..7000);
    let until = now + lasts;
    let kind = world.dice.of(0..19);
    world.say(|| {
        format!(
            "fault {kind} about server {index} until {:.3}",
            until.as_secs_f64()
        )
    });
    match kind {
        0 | 1 => world.kill(index, until, true),
        2 => world.kill(index, until, false),
        3 if world.servers[index].is_up() => {
            (world.servers[index].process, world.servers[index].back) = (Process::Frozen, until);
        }
        4 => world.cuts[index].ambassador = until,
        5 => world.cuts[index].authority = until,
        6 => {
            let other = world.dice.index(count);
            world.apart.push((index, other, until));
        }
        7 => {
            // From everybody.
            (world.cuts[index].ambassador, world.cuts[index].authority) = (until, until);
            let all = (0..count).map(|other| (index, other, until));
            world.apart.extend(all);
        }
        8 => world.servers[index].stalled_until = now + 3 * lasts,
        9 => world.servers[index].speed = world.dice.of(1..world.writes + 2),
        10 => authority.begin(world),
        11 if authority.sentinels.is_empty() => {
            let successor = world.dice.index(count);
            if successor != authority.master {
                authority.swap(world, successor);
            }
        }
        11 | 12 => fail_sentinel(world, authority, until),
        13 if allowed.moves && allowed.stays != Some(index) => {
            world.kill(index, until, true);
            world.relocate(index);
        }
        14 => world.cuts[index].shaky = now + 4 * lasts,
        // Nobody tells who moves meanwhile that he is the one who was promoted.
        15 if !(authority.sentinels.is_empty() && allowed.moves) => promote_by_hand(world, authority),
        16 => {
            let index = world.dice.index(count);
            if !world.servers[index].is_master() {
                world.forget_master(index, until);
                let patience = world.dice.milliseconds(0..12_000);
                authority.leaves_alone(index, until + patience);
            }
        }
        17 => restart_deposed(world, authority),
        18 => {
            // Only the ambassador reaches the master, and only it does not reach the next one.
            let until = until + Duration::from_secs(4);
            (world.cuts[authority.master].authority, authority.hides) = (until, until);
            let all = (0..count).map(|other| (authority.master, other, until));
            world.apart.extend(all);
        }
        _ => {}
    }
}

/// An operator makes a replica a master, whom the authority still takes for a replica, and corrects.
fn promote_by_hand(world: &mut World, authority: &mut Authority) {
    let index = world.dice.index(world.servers.len());
    let server = &world.servers[index];
    if server.is_up() && !server.is_master() && !server.is_loading(world.now) {
        world.promote(index);
        let patience = world.dice.milliseconds(8000..10_000);
        authority.leaves_alone(index, world.now + patience);
    }
}

/// A former master that nobody has told so yet restarts with a new history (its data may come from an AOF, which does not
/// name one), while the master is silent for a moment.
fn restart_deposed(world: &mut World, authority: &Authority) {
    let is_former = |index: &usize| *index != authority.master && world.servers[*index].is_master();
    let Some(former) = (0..world.servers.len()).find(is_former) else {
        return;
    };
    let back = world.now + world.dice.milliseconds(0..1500);
    world.kill(former, back, false);
    let silent = world.dice.milliseconds(500..4000);
    world.cuts[authority.master].ambassador = back + silent;
}

/// One sentinel at a time lies or is cut off. While one lies, those that know better may be out of reach.
fn fail_sentinel(world: &mut World, authority: &mut Authority, until: Duration) {
    let now = world.now;
    let bad = |sentinel: &super::authority::Sentinel| {
        let cut = now < sentinel.cut_from_peers || now < sentinel.cut_from_ambassador;
        cut || sentinel.lie.is_some() || now < sentinel.cries
    };
    if authority.sentinels.is_empty() || authority.sentinels.iter().any(bad) {
        return;
    }
    let chosen = world.dice.index(authority.sentinels.len());
    match world.dice.of(0..5) {
        0 => authority.sentinels[chosen].cut_from_peers = until,
        1 => authority.sentinels[chosen].cut_from_ambassador = until,
        2 => {
            world.say(|| format!("sentinel {chosen} says again and again that it begins a failover"));
            authority.sentinels[chosen].cries = until + Duration::from_secs(10);
        }
        _ => {
            let named = lied_about(world, authority);
            world.say(|| format!("sentinel {chosen} says that {named} is master"));
            authority.sentinels[chosen].lie = Some((world.servers[named].place, 1000, until));
            for (index, other) in authority.sentinels.iter_mut().enumerate() {
                if index != chosen && world.dice.once_in(2) {
                    other.cut_from_ambassador = until;
                }
            }
        }
    }
}

/// Whom a lie names: somebody who says so himself could be believed.
fn lied_about(world: &mut World, authority: &Authority) -> usize {
    let says_so = |index: &usize| *index != authority.master && world.servers[*index].is_master();
    let pretenders: Vec<usize> = (0..world.servers.len()).filter(says_so).collect();
    if pretenders.is_empty() || world.dice.once_in(4) {
        world.dice.index(world.servers.len())
    } else {
        pretenders[world.dice.index(pretenders.len())]
    }
}

/// All that was wrong ends.
pub(super) fn heal(world: &mut World, authority: &mut Authority) {
    world.say(|| "all faults end".to_owned());
    world.apart.clear();
    for cut in &mut world.cuts {
        *cut = super::world::Cut::default();
    }
    for server in &mut world.servers {
        (server.back, server.stalled_until, server.speed) = (world.now, world.now, u64::MAX);
    }
    for sentinel in &mut authority.sentinels {
        (sentinel.cut_from_peers, sentinel.cut_from_ambassador) = (world.now, world.now);
        (sentinel.lie, sentinel.cries) = (None, world.now);
    }
    authority.hides = world.now;
    authority.hurries(world.now);
}
