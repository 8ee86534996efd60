//! What the kernel says a process used: nanoseconds on a CPU, resident memory.
//!
//! `schedstat` counts nanoseconds; `utime` and `stime` count ticks of 10 ms, too coarse for windows this short.

use std::fs;
use std::io;

/// Nanoseconds that all threads of `pid` spent on a CPU so far.
pub(crate) fn cpu_nanoseconds(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that ended between the listing and the reading takes its time with it.
        if let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) {
            sum += on_cpu(&text).ok_or_else(|| {
                io::Error::other(format!("schedstat of {pid} is {text:?}, expected three numbers"))
            })?;
        }
    }
    Ok(sum)
}

/// The sum of [`cpu_nanoseconds`] over `pids`.
pub(crate) fn cpu_nanoseconds_of_all(pids: &[u32]) -> io::Result<u64> {
    pids.iter().map(|&pid| cpu_nanoseconds(pid)).sum()
}

/// Resident bytes now (`VmRSS`) and at most so far (`VmHWM`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Resident {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

pub(crate) fn resident(pid: u32) -> io::Result<Resident> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes = |field| {
        kilobytes(&status, field)
            .map(|kilobytes| kilobytes * 1024)
            .ok_or_else(|| io::Error::other(format!("/proc/{pid}/status has no {field}")))
    };
    Ok(Resident {
        now: bytes("VmRSS:")?,
        peak: bytes("VmHWM:")?,
    })
}

fn on_cpu(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

fn kilobytes(status: &str, field: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(field))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedstat_begins_with_the_time_on_the_cpu() {
        assert_eq!(on_cpu("123456789 42 7\n"), Some(123_456_789));
        assert_eq!(on_cpu(""), None);
    }

    #[test]
    fn status_lines_are_found_by_their_whole_name() {
        let status = "VmPeak:\t 9 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(kilobytes(status, "VmHWM:"), Some(2048));
        assert_eq!(kilobytes(status, "VmRSS:"), Some(1024));
        assert_eq!(kilobytes(status, "VmSwap:"), None);
    }

    #[test]
    fn this_process_uses_cpu_and_memory() {
        let pid = std::process::id();
        let before = cpu_nanoseconds(pid).unwrap();
        let mut sum = 0_u64;
        // The kernel adds up at each tick and switch, so work until it has seen some.
        while cpu_nanoseconds(pid).unwrap() == before {
            sum = std::hint::black_box(sum.wrapping_mul(31) + 1);
        }
        let memory = resident(pid).unwrap();
        assert!(memory.now > 0 && memory.peak >= memory.now);
    }
}
