//! `redis-ambassador local`: a group to try things on, of which nothing is left however it ends.
//!
//! Every process of a run works in the run's own directory, which is how a test tells what is left of it.

mod support;

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use support::{Client, Flavor, PATIENCE, Reply, eventually, free_port, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_redis-ambassador");

/// What the guard says when SIGTERM was not enough.
const KILLED: &str = "after SIGTERM: killed";

/// Ambassador, guard, master, two replicas.
const PROCESSES: usize = 5;

#[test]
fn writes_and_reads_work_and_the_live_lines_show_where_they_went() {
    let local = Local::start(&[]);
    let mut client = Client::connect(local.port);

    assert_eq!(client.command(&["SET", "a", "1"]), Reply::Simple("OK".to_owned()));

    let deadline = Instant::now() + PATIENCE;
    while !(local.showed("master", WRITES)
        && local.showed("replica-1", READS)
        && local.showed("replica-2", READS))
    {
        assert!(
            Instant::now() < deadline,
            "no such lines in {PATIENCE:?}:\n{}",
            local.output()
        );
        for _ in 0..10 {
            client.command(&["SET", "a", "2"]);
            client.command(&["GET", "a"]);
        }
    }
    // The replicas have caught up once nothing is written any more.
    wait_until(|| client.command(&["GET", "a"]) == Reply::Bulk(b"2".to_vec()));
}

#[test]
fn says_how_to_try_it_and_how_to_stop_it() {
    let local = Local::start(&[]);
    let output = local.output();

    assert!(
        output.contains(&format!("redis-cli -p {} set a 1", local.port)),
        "{output}"
    );
    assert!(output.contains("/metrics"), "{output}");
    assert!(output.contains("Ctrl-C"), "{output}");
}

#[test]
fn as_many_replicas_as_asked_for_and_none_too() {
    for (replicas, processes) in [("0", 3), ("1", 4)] {
        let local = Local::start(&["--replicas", replicas]);
        let mut client = Client::connect(local.port);

        assert_eq!(local.processes().len(), processes, "--replicas {replicas}");
        assert_eq!(client.command(&["SET", "a", "1"]), Reply::Simple("OK".to_owned()));
        wait_until(|| client.command(&["GET", "a"]) == Reply::Bulk(b"1".to_vec()));
    }
}

#[test]
fn sigterm_and_ctrl_c_end_everything_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut local = Local::start(&[]);
        assert_eq!(local.processes().len(), PROCESSES);

        local.signal(signal);
        let status = local.wait_exit();

        // At once, not in a while: it waits for its guard.
        assert_eq!(local.processes(), [], "{signal:?}");
        assert_eq!(local.left_over(), Vec::<PathBuf>::new(), "{signal:?}");
        assert!(status.success(), "{signal:?}: {status}\n{}", local.output());
        // SIGTERM is enough for servers that have nothing to save.
        assert!(!local.output().contains(KILLED), "{}", local.output());
    }
}

#[test]
fn a_signal_while_it_starts_ends_everything_too() {
    for started in 1..=PROCESSES {
        for signal in [Signal::TERM, Signal::KILL] {
            let mut local = Local::spawn(&[], |_| {});
            wait_until(|| local.processes().len() >= started);

            local.signal(signal);
            local.wait_exit();

            local.wait_gone();
        }
    }
}

#[test]
fn nothing_is_left_after_sigkill() {
    let mut local = Local::start(&[]);

    local.signal(Signal::KILL);
    local.wait_exit();

    local.wait_gone();
    assert!(!local.output().contains(KILLED), "{}", local.output());
}

#[test]
fn a_server_that_is_stuck_does_not_stay() {
    for signal in [Signal::TERM, Signal::KILL] {
        let mut local = Local::start(&[]);
        kill_process(local.server(), Signal::STOP).unwrap();

        local.signal(signal);
        local.wait_exit();

        local.wait_gone();
        // After SIGKILL the group is an orphan, and the kernel itself may wake its stopped members.
        if signal == Signal::TERM {
            assert!(local.output().contains(KILLED), "{}", local.output());
        }
    }
}

#[test]
fn a_guard_that_was_killed_does_not_keep_sigterm_from_ending_everything() {
    let mut local = Local::start(&[]);
    let guard = local.guard();
    kill_process(guard, Signal::KILL).unwrap();

    local.signal(Signal::TERM);
    let status = local.wait_exit();

    assert_eq!(local.processes(), []);
    assert_eq!(local.left_over(), Vec::<PathBuf>::new());
    assert!(status.success(), "{status}\n{}", local.output());
}

#[test]
fn without_a_server_on_path_it_says_what_to_install() {
    let mut local = Local::spawn(&[], |command| {
        command.env("PATH", "");
    });

    let status = local.wait_exit();

    let output = local.output();
    assert_eq!(status.code(), Some(1), "{output}");
    for word in ["redis-server", "valkey-server", "PATH", "install"] {
        assert!(output.contains(word), "{word} is missing in: {output}");
    }
    local.wait_gone();
}

#[test]
fn a_server_that_ends_at_once_is_shown_with_its_log() {
    let programs = private_dir();
    let program = programs.path().join("redis-server");
    fs::write(
        &program,
        "#!/bin/sh\necho '*** FATAL CONFIG FILE ERROR ***'\nexit 3\n",
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut local = Local::spawn(&[], |command| {
        command.env("PATH", programs.path());
    });

    let status = local.wait_exit();

    let output = local.output();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("exited with 3"), "{output}");
    assert!(output.contains("*** FATAL CONFIG FILE ERROR ***"), "{output}");
    local.wait_gone();
}

#[test]
fn a_port_that_was_asked_for_and_is_in_use_is_an_error() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for option in ["--listen", "--admin"] {
        let mut local = Local::spawn_bare(&[option, &address], |_| {});

        let status = local.wait_exit();

        let output = local.output();
        assert_eq!(status.code(), Some(1), "{output}");
        assert!(
            output.contains(&format!("cannot listen on {address}")),
            "{output}"
        );
        assert!(
            output.contains(&format!("another with {option} ADDR")),
            "{output}"
        );
        local.wait_gone();
    }
}

#[test]
fn takes_another_port_when_6379_is_in_use_and_says_so() {
    // Held by this test, or by somebody else already: both is fine.
    let _taken = TcpListener::bind(("127.0.0.1", 6379));
    let admin = format!("127.0.0.1:{}", free_port());
    let mut local = Local::spawn_bare(&["--admin", &admin], |_| {});

    local.wait_for("Ctrl-C");

    let output = local.output();
    let note = output
        .lines()
        .find(|line| line.starts_with("port 6379 is in use"));
    let port = note.and_then(|note| note.split_once("taking ")?.1.split(' ').next()?.parse().ok());
    let port: u16 = port.unwrap_or_else(|| panic!("no word of it in: {output}"));
    assert_ne!(port, 6379);
    assert_eq!(
        Client::connect(port).command(&["PING"]),
        Reply::Simple("PONG".to_owned())
    );
}

#[test]
fn the_guard_is_not_for_people() {
    // A child of this test is not the leader of a process group; a guard ends its whole group.
    let status = Command::new(BINARY)
        .arg("guard")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();

    assert_eq!(status.unwrap().code(), Some(1));
}

/// Column of the live lines, among those that are separated by spaces.
const READS: usize = 4;
const WRITES: usize = 5;

/// A run of `redis-ambassador local`, with a directory of its own as working and temporary directory.
struct Local {
    child: Child,
    port: u16,
    directory: TempDir,
    log: TempDir,
}

impl Local {
    /// Starts it on free ports and waits for its banner.
    #[track_caller]
    fn start(args: &[&str]) -> Self {
        let mut local = Self::spawn(args, |_| {});
        local.wait_for("Ctrl-C");
        local
    }

    /// Starts it on free ports.
    fn spawn(args: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        let (port, admin) = (free_port(), free_port());
        let listen = format!("127.0.0.1:{port}");
        let admin = format!("127.0.0.1:{admin}");
        let mut all = vec!["--listen", &listen, "--admin", &admin];
        all.extend(args);
        let mut local = Self::spawn_bare(&all, prepare);
        local.port = port;
        local
    }

    fn spawn_bare(args: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        let directory = private_dir();
        let log = private_dir();
        let output = File::create(log.path().join("output")).expect("the log can be made");
        let mut command = Command::new(BINARY);
        command
            .env("PATH", path_with_a_server(log.path()))
            .arg("local")
            .args(args)
            .current_dir(directory.path())
            .env("TMPDIR", directory.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file handle can be copied"))
            .stderr(output);
        prepare(&mut command);
        let child = command
            .spawn()
            .expect("the binary that cargo built can be started");
        Local {
            child,
            port: 0,
            directory,
            log,
        }
    }

    fn output(&self) -> String {
        fs::read_to_string(self.log.path().join("output")).unwrap_or_default()
    }

    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        // A start is bounded by 30 s itself; its error is the better message.
        eventually(2 * PATIENCE, || {
            let ended = self.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "ended with {ended:?}:\n{}", self.output());
            self.output().contains(text).then_some(())
        });
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a child not waited for can be signalled");
    }

    #[track_caller]
    fn wait_exit(&mut self) -> ExitStatus {
        eventually(PATIENCE, || self.child.try_wait().expect("a child can be asked"))
    }

    /// Whether a live line of that node had a number above zero in that column.
    fn showed(&self, node: &str, column: usize) -> bool {
        let output = self.output();
        let mut lines = output
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.any(|line| {
            let is_live = line.len() == 7 && line[0] == node;
            is_live
                && line[column]
                    .replace(',', "")
                    .parse::<u64>()
                    .is_ok_and(|rate| rate > 0)
        })
    }

    /// Everything that runs in its directory, itself included, by process id. What has ended and waits for
    /// its parent has no working directory any more.
    fn processes(&self) -> Vec<i32> {
        let inside = |process: &Path| {
            fs::read_link(process.join("cwd")).is_ok_and(|folder| folder.starts_with(self.directory.path()))
        };
        let all = fs::read_dir("/proc").expect("Linux has /proc").flatten();
        let ours = all.filter(|process| inside(&process.path()));
        ours.filter_map(|process| process.file_name().to_str()?.parse().ok())
            .collect()
    }

    /// One of its servers: works in a directory of its own.
    #[track_caller]
    fn server(&self) -> Pid {
        self.other_process(|folder| folder != self.directory.path())
    }

    /// Its guard: works where the ambassador does.
    #[track_caller]
    fn guard(&self) -> Pid {
        self.other_process(|folder| folder == self.directory.path())
    }

    #[track_caller]
    fn other_process(&self, is: impl Fn(&Path) -> bool) -> Pid {
        let mut others = self
            .processes()
            .into_iter()
            .filter(|process| *process as u32 != self.child.id());
        let found = others
            .find(|process| fs::read_link(format!("/proc/{process}/cwd")).is_ok_and(|folder| is(&folder)));
        found.and_then(Pid::from_raw).expect("there is such a process")
    }

    fn left_over(&self) -> Vec<PathBuf> {
        fs::read_dir(self.directory.path())
            .expect("the directory of the run stays until its end")
            .flatten()
            .map(|entry| entry.path())
            .collect()
    }

    /// Waits until no process and no file is left.
    #[track_caller]
    fn wait_gone(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (processes, files) = (self.processes(), self.left_over());
            if processes.is_empty() && files.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "left: processes {processes:?}, files {files:?}\n{}",
                self.output()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A failed test may have shown that something stays; it works in a directory that only this run had.
        let deadline = Instant::now() + PATIENCE / 2;
        while !self.processes().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        for process in self.processes() {
            let _ = Pid::from_raw(process).map(|process| kill_process(process, Signal::KILL));
        }
    }
}

fn private_dir() -> TempDir {
    TempDir::with_prefix("ambassador-test-").expect("a temporary directory can be made")
}

/// `PATH` with a `redis-server` in front: a machine that only runs the tests may have none installed.
fn path_with_a_server(directory: &Path) -> std::ffi::OsString {
    let programs = directory.join("programs");
    fs::create_dir(&programs).expect("a directory can be made");
    let (server, program) = (Flavor::Redis7.program("server"), programs.join("redis-server"));
    fs::write(
        &program,
        format!("#!/bin/sh\nexec '{}' \"$@\"\n", server.display()),
    )
    .expect("a script can be written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it can be made executable");
    let others = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(programs).chain(std::env::split_paths(&others)))
        .expect("directories without a colon")
}
