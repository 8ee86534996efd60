//! The guard: a second process of this binary that takes the private servers down however the first one ends.
//!
//! It makes their directory, and removes it when the pipe at its standard input ends: the one sign that even
//! SIGKILL cannot take from the first process. It leads the process group that the servers are started in, so it
//! needs no list of their process ids, and none of those can have been given to somebody else in the meantime:
//! a group's number is not used again while a member lives, and the guard is one. A half-started server holds the
//! pipe open until its exec, so the end cannot come before the last one is in the group.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpgrp, getpid, kill_current_process_group};
use tokio::signal::unix::{SignalKind, signal};

/// Name of the hidden subcommand that makes a process the guard.
pub const SUBCOMMAND: &str = "guard";

/// How the private directory's name begins.
const PREFIX: &str = "redis-ambassador-local-";

/// A server without persistence ends within milliseconds of SIGTERM; one that has not by then is stuck.
const TERM_BOUND: Duration = Duration::from_secs(3);

/// The guard has done its work by then, with time to remove the directory.
const GUARD_BOUND: Duration = Duration::from_secs(6);

const POLL: Duration = Duration::from_millis(10);

/// The first process's end: while it lives, the servers do.
#[derive(Debug)]
pub(super) struct Guard {
    child: Child,
    pipe: Option<ChildStdin>,
    directory: PathBuf,
}

impl Guard {
    /// Starts the guard and waits until it is on watch and has made the directory.
    pub(super) fn start() -> Result<Self, String> {
        let failed =
            |what: &str| format!("cannot start the guard process that ends the private servers: {what}");
        let binary = std::env::current_exe().map_err(|error| failed(&error.to_string()))?;
        let mut child = Command::new(&binary)
            .arg(SUBCOMMAND)
            // Its own group: Ctrl-C at the terminal is for the first process, which then says when to end.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&format!("{}: {error}", binary.display())))?;
        let answers = child.stdout.take();
        let mut guard = Guard {
            pipe: child.stdin.take(),
            child,
            directory: PathBuf::new(),
        };

        let mut answer = Vec::new();
        if let Some(answers) = answers {
            BufReader::new(answers)
                .read_until(b'\0', &mut answer)
                .map_err(|error| failed(&error.to_string()))?;
        }
        if answer.pop() != Some(b'\0') {
            return Err(failed("it ended at once, and said why above"));
        }
        guard.directory = OsString::from_vec(answer).into();
        Ok(guard)
    }

    /// The directory for the servers' files.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The process group that servers have to be started in.
    pub(super) fn group(&self) -> i32 {
        self.child.id() as i32
    }

    /// Whether the guard is still there.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Has the guard end the servers and remove the directory, and waits until it has.
    pub(super) fn release(&mut self) {
        drop(self.pipe.take());
        let deadline = Instant::now() + GUARD_BOUND;
        while self.is_alive() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        // Both fail only when it has ended already, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.release();
    }
}

/// What the hidden subcommand does: makes a directory and says where, waits for the end of standard input, then
/// ends its process group's other members and removes the directory.
pub fn guard() -> Result<(), String> {
    if getpgrp() != getpid() {
        return Err("guard is not for people: `redis-ambassador local` starts it for itself".to_owned());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the guard's runtime: {error}"))?;
    // Never polled: having asked for these signals is what keeps them from ending this process. SIGTERM comes
    // from the guard itself, as it sends it to its whole group.
    let _ignored = {
        let _context = runtime.enter();
        [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::hangup(),
            SignalKind::quit(),
        ]
        .map(|kind| signal(kind).map_err(|error| format!("cannot watch for signals: {error}")))
    };

    let directory = tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .map_err(|error| {
            let parent = std::env::temp_dir();
            format!(
                "cannot make a directory in {} ($TMPDIR): {error}",
                parent.display()
            )
        })?;
    let mut answer = directory.path().as_os_str().as_bytes().to_vec();
    answer.push(b'\0');
    let mut output = std::io::stdout();
    // When nobody reads it any more, the pipe has ended too.
    let _ = output.write_all(&answer).and_then(|()| output.flush());
    // It ends, or breaks, which means the same.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());

    let _ = kill_current_process_group(Signal::TERM);
    let all_ended = wait_until(TERM_BOUND, alone);
    // A server may put a file there while the directory is being emptied, so once may not be enough.
    let removed = wait_until(TERM_BOUND / 3, || {
        fs::remove_dir_all(directory.path()).is_ok() || !directory.path().exists()
    });
    if !removed {
        eprintln!(
            "redis-ambassador: could not remove {}",
            directory.path().display()
        );
    }
    if !all_ended {
        eprintln!(
            "redis-ambassador: a private server was still there {} s after SIGTERM: killed",
            TERM_BOUND.as_secs()
        );
        // The last act: it ends this process too.
        let _ = kill_current_process_group(Signal::KILL);
    }
    Ok(())
}

fn wait_until(bound: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + bound;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(POLL);
    }
}

/// Whether this process is the only one in its group. Without /proc nobody can tell: then it is not.
fn alone() -> bool {
    let Ok(processes) = fs::read_dir("/proc") else {
        return false;
    };
    let group = getpgrp().as_raw_nonzero().get();
    let mut members = 0;
    // By number: /proc/self and /proc/thread-self would count this process again.
    let is_process = |name: &OsStr| name.as_bytes().iter().all(u8::is_ascii_digit);
    for process in processes.flatten().filter(|entry| is_process(&entry.file_name())) {
        let Ok(stat) = fs::read(process.path().join("stat")) else {
            continue;
        };
        if living_member(&String::from_utf8_lossy(&stat), group) {
            members += 1;
        }
    }
    members == 1
}

/// Reads `proc_pid_stat(5)`: whether that process is in the group and no zombie that waits for its parent.
fn living_member(stat: &str, group: i32) -> bool {
    // The name, field 2, may hold spaces and parentheses; state, parent and group follow its last one.
    let Some((_, rest)) = stat.rsplit_once(") ") else {
        return false;
    };
    let mut fields = rest.split(' ');
    let state = fields.next();
    let member = fields.nth(1).and_then(|text| text.parse::<i32>().ok()) == Some(group);
    member && !matches!(state, Some("Z" | "X"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_told_by_its_group_whatever_its_name_holds() {
        assert!(living_member("12 (redis-server) S 1 77 77 0 -1", 77));
        assert!(living_member("12 (a) S 9 (b) R 1 77 77 0 -1", 77));
        assert!(!living_member("12 (redis-server) S 77 12 77 0 -1", 77));
    }

    #[test]
    fn a_zombie_has_ended() {
        assert!(!living_member("12 (redis-server) Z 1 77 77 0 -1", 77));
    }
}
