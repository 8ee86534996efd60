//! The same failovers below clients that have no ambassador, for comparison.

use crate::failover::{self, Kind};
use crate::haproxy::{self, HaProxy};
use crate::load::{Load, Shape};
use crate::redis_py::{self, RedisPy};
use crate::report::Figures;
use crate::support::Flavor;
use crate::world::World;

/// So many failovers of each kind below redis-py's Sentinel client, and below plain clients and `HAProxy`. What is not
/// installed is left out, and that is said.
pub(crate) fn all(times: usize) -> Vec<Figures> {
    let mut runs = Vec::new();
    for (kind, flavor) in [(Kind::Sentinel, Flavor::Redis7), (Kind::Kill, Flavor::Valkey8)] {
        match redis_py::python() {
            None => println!("redis-py is left out: tests/clients/run installs it"),
            Some(python) => {
                let mut world = World::start(flavor, 3);
                let clients = RedisPy::start(&python, &world, Shape::USUAL);
                let mut figures = failover::under(Box::new(clients), &mut world, kind, times, None);
                figures.name = format!("redis-py: {}", figures.name);
                runs.push(figures);
            }
        }
        match haproxy::program() {
            None => println!("HAProxy is left out: scripts/install-peers installs it"),
            Some(program) => {
                let mut world = World::start(flavor, 3);
                let haproxy = HaProxy::start(&program, &world);
                let load = Box::new(Load::start(haproxy.port, Shape::USUAL));
                let mut figures = failover::under(load, &mut world, kind, times, None);
                figures.name = format!("HAProxy: {}", figures.name);
                runs.push(figures);
            }
        }
    }
    runs
}
