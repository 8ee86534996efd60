//! The process itself: its memory, processor time, open files and build, as Linux tells them.

use prometheus_client::registry::Unit;

use super::write::Writer;

/// Linux counts processor time for user space in hundredths of a second, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn write(writer: &mut Writer<'_, '_>) -> Result<(), std::fmt::Error> {
    writer.gauges(
        "build",
        "1; the label says which build this is",
        None,
        [([env!("CARGO_PKG_VERSION")], 1)],
        ["version"],
    )?;
    if let Some(bytes) = resident_bytes() {
        writer.gauge(
            "process_resident_memory",
            "Resident memory",
            Some(&Unit::Bytes),
            bytes,
        )?;
    }
    if let Some(seconds) = cpu_seconds() {
        writer.seconds("process_cpu", "Processor time used, user and system", seconds)?;
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        writer.gauge(
            "process_open_files",
            "Open file descriptors",
            None,
            files.count() as u64,
        )?;
    }
    Ok(())
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name may hold spaces; fields are counted after it. proc(5): utime 14, stime 15.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}
