//! System calls per request, counted by `strace -c`.
//!
//! Tracing slows the process down, so more is ready at each turn of its loop than in real life: the figure is a
//! little kinder than the truth, to every contender alike.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::load::Load;
use super::peers::Running;
use super::workload::Workload;

const ATTACH_LIMIT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(crate) struct Syscalls {
    pub(crate) per_request: f64,
    /// The most frequent ones with their number per request.
    pub(crate) top: Vec<(String, f64)>,
}

pub(crate) fn installed() -> bool {
    Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

/// Traces the proxy, or Redis itself for direct, under `workload`.
pub(crate) fn measure(
    running: &Running,
    workload: Workload,
    duration: Duration,
    directory: &Path,
) -> Result<Syscalls, Box<dyn Error>> {
    let pid = running.proxy_pid().unwrap_or(running.redis[0]);
    let keys = workload.keys();
    let mut load = Load::connect(running.address, workload, &keys)?;
    load.warm(Duration::from_millis(50))?;
    let output = directory.join(format!("{}.strace", running.contender.name()));
    let mut strace = Command::new("strace")
        .args(["-c", "-f", "-p", &pid.to_string(), "-o"])
        .arg(&output)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot start strace: {error}"))?;
    let counted = attached(pid).and_then(|()| load.measure(duration));
    // SIGINT makes strace let go of the process and write its table.
    let strace_pid = Pid::from_child(&strace);
    kill_process(strace_pid, Signal::INT)?;
    strace.wait()?;
    let requests = counted?.latencies.count();
    load.drain()?;
    let table = fs::read_to_string(&output)?;
    parse(&table, requests).ok_or_else(|| format!("cannot read strace's table:\n{table}").into())
}

fn attached(pid: u32) -> Result<(), Box<dyn Error>> {
    let deadline = Instant::now() + ATTACH_LIMIT;
    loop {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        if tracer.is_some_and(|tracer| tracer.trim() != "0") {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("strace did not attach to {pid} (ptrace not permitted?)").into());
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Lines are `% time, seconds, usecs/call, calls, [errors,] name`.
fn parse(table: &str, requests: u64) -> Option<Syscalls> {
    let mut top = Vec::new();
    let mut per_request = None;
    for line in table.lines() {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let (Some(Ok(calls)), Some(name)) =
            (columns.get(3).map(|calls| calls.parse::<u64>()), columns.last())
        else {
            continue;
        };
        let each = calls as f64 / requests.max(1) as f64;
        if *name == "total" {
            per_request = Some(each);
        } else {
            top.push(((*name).to_owned(), each));
        }
    }
    top.sort_by(|left, right| right.1.total_cmp(&left.1));
    top.truncate(4);
    Some(Syscalls {
        per_request: per_request?,
        top,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace_is_read_with_and_without_errors() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     60.00    0.100000           1       300           write\n\
                     40.00    0.050000           1       500         7 read\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.150000           1       800         7 total\n";
        let counted = parse(table, 200).unwrap();
        assert!((counted.per_request - 4.0).abs() < 1e-9);
        assert_eq!(counted.top[0], ("read".to_owned(), 2.5));
        assert_eq!(counted.top[1], ("write".to_owned(), 1.5));
        assert!(parse("strace: Process detached", 200).is_none());
    }
}
