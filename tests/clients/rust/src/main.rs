//! An application on the redis crate: blocking connections, then twenty tasks on one multiplexed connection.
//!
//! Usage: `redis-ambassador-client-app HOST:PORT PROTOCOL`. Knows nothing of an ambassador. Prints a transcript.

mod several;
mod steps;
mod tasks;
mod transcript;

use redis::{Client, RedisResult};
use transcript::Transcript;

fn main() -> RedisResult<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(protocol)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: redis-ambassador-client-app HOST:PORT 2|3");
        std::process::exit(2);
    };
    let open = |database: u8| {
        let suffix = if protocol == "3" { "?protocol=resp3" } else { "" };
        Client::open(format!("redis://{address}/{database}{suffix}"))
    };
    let mut transcript = Transcript::default();
    steps::run(&open(0)?, &open(1)?, &mut transcript)?;
    several::run(&open(0)?, &mut transcript)?;
    tasks::run(&open(0)?, &mut transcript)?;
    transcript.finish("redis-rs 1.8.1");
    Ok(())
}
