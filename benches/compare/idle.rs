//! What a client that does nothing costs: resident memory of a fresh proxy before and after 1,000 connections.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::cpu::resident;
use super::peers::Running;
use super::workload::WORKLOADS;

const CLIENTS: usize = 1000;
/// Memory counts as settled when it stays the same for one step.
const STEP: Duration = Duration::from_millis(250);
const SETTLE_LIMIT: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    /// Resident bytes before the clients.
    pub(crate) base: u64,
    /// Bytes more per client.
    pub(crate) each: f64,
}

/// Connects the clients to `running`, which has served nobody yet; each asks once, then all stay idle.
pub(crate) fn measure(running: &Running) -> Result<Option<Idle>, Box<dyn Error>> {
    let Some(pid) = running.proxy_pid() else {
        return Ok(None);
    };
    let keys = WORKLOADS[0].keys();
    let base = settled(pid)?;
    let mut clients = Vec::with_capacity(CLIENTS);
    for index in 0..CLIENTS {
        let mut stream = TcpStream::connect(running.address)?;
        stream.set_read_timeout(Some(SETTLE_LIMIT))?;
        let key = index % keys.count();
        stream.write_all(keys.request(key, false))?;
        let mut reply = vec![0; keys.reply(key, false).len()];
        stream.read_exact(&mut reply)?;
        if reply != keys.reply(key, false) {
            return Err(format!("idle client {index} got {:?}", String::from_utf8_lossy(&reply)).into());
        }
        clients.push(stream);
    }
    let with_clients = settled(pid)?;
    drop(clients);
    Ok(Some(Idle {
        base,
        each: (with_clients as f64 - base as f64) / CLIENTS as f64,
    }))
}

fn settled(pid: u32) -> Result<u64, Box<dyn Error>> {
    let deadline = Instant::now() + SETTLE_LIMIT;
    let mut last = resident(pid)?.now;
    loop {
        thread::sleep(STEP);
        let now = resident(pid)?.now;
        if now == last || Instant::now() > deadline {
            return Ok(now);
        }
        last = now;
    }
}
