//! `redis-ambassador local`: a private replication group with the ambassador in front of it, for one person
//! at one machine. All of it ends with this process, however that ends.

mod banner;
mod group;
mod guard;
mod info;
mod live;
mod place;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing_subscriber::EnvFilter;

pub use guard::{SUBCOMMAND as GUARD_SUBCOMMAND, guard};

use self::group::{Group, find_server};
use self::live::{Meter, Screen};
use self::watch::Watch;
use crate::ambassador::{self, Running};
use crate::config::{self, Arguments, Origin, Resolved, Sources};
use crate::settings::{Log, LogFormat};

/// Where applications look for Redis.
const USUAL_PORT: u16 = 6379;

/// The admin listener's default, as in `config/ambassador.toml`.
const USUAL_ADMIN_PORT: u16 = 9121;

/// Between two live lines of a node.
const TICK: Duration = Duration::from_secs(1);

/// The servers are in sync before the ambassador starts; it sees that with its first probes.
const READY_BOUND: Duration = Duration::from_secs(15);

/// What the user asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Replicas beside the master.
    pub replicas: usize,
    /// The server to start; `None`: redis-server or valkey-server from PATH.
    pub server: Option<PathBuf>,
    /// Where applications connect; `None`: port 6379, or the next that is free.
    pub listen: Option<String>,
    /// The admin listener; `None`: port 9121, or the next that is free.
    pub admin: Option<String>,
    /// Worker threads; `None`: the configuration's default.
    pub workers: Option<usize>,
}

/// Runs until Ctrl-C or SIGTERM. An error is a sentence for the person who started it.
pub fn run(options: Options) -> Result<(), String> {
    let screen = Screen::new();
    let plan = Plan::new(options, &screen)?;
    init_log(&plan.resolve(None)?.settings.log, &screen)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the async runtime: {error}"))?;
    let outcome = runtime.block_on(serve(&plan, &screen));
    // A worker that did not end in time must not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn serve(plan: &Plan, screen: &Screen) -> Result<(), String> {
    // First of all: from here on a signal ends this in order, also while it starts.
    let mut signals = Signals::new()?;
    screen.say(&format!(
        "starting {} and {} of it, in a temporary directory\n",
        plan.server.display(),
        match plan.replicas {
            1 => "1 replica".to_owned(),
            replicas => format!("{replicas} replicas"),
        }
    ));
    let mut group = tokio::select! {
        group = Group::start(&plan.server, plan.replicas) => group?,
        () = signals.end() => return Ok(()),
    };
    let running = ambassador::start(plan.resolve(Some(&group))?.settings).await?;
    let outcome = tokio::select! {
        outcome = attend(&running, &mut group, screen) => outcome,
        () = signals.end() => Ok(()),
    };
    screen.say("stopping\n");
    tokio::select! {
        () = running.shutdown() => {}
        () = signals.end() => screen.say("stopping at once\n"),
    }
    // The guard ends the servers and removes the directory.
    drop(group);
    screen.say("stopped: no server and no file is left\n");
    outcome
}

/// Waits for the whole group to be usable, says so, and shows what happens. Ends only with an error.
async fn attend(running: &Running, group: &mut Group, screen: &Screen) -> Result<(), String> {
    running.ready().await?;
    let mut report = running.report();
    let nodes = group.servers().len();
    let whole = report.wait_for(|report| report.nodes.iter().filter(|node| node.usable).count() == nodes);
    // When it takes longer, the live lines say which node it is and why.
    let _ = timeout(READY_BOUND, whole).await.map(drop);
    screen.say(&banner::banner(group, running.listening(), running.admin()));

    let mut watch = Watch::new(group);
    let mut meter = Meter::new(running.stats(), nodes);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let now = report.borrow().clone();
                let sights = watch.look(group, &now);
                screen.show(meter.block(&sights));
            }
            error = running.worker_ended() => return Err(error),
        }
    }
}

/// What will be started, decided before anything is.
struct Plan {
    server: PathBuf,
    replicas: usize,
    arguments: Arguments,
}

impl Plan {
    /// Finds the server and the ports; says on the screen where they are not the usual ones.
    fn new(options: Options, screen: &Screen) -> Result<Self, String> {
        let mut plan = Plan {
            server: find_server(options.server)?,
            replicas: options.replicas,
            arguments: Arguments {
                listen: options.listen.into_iter().collect(),
                admin: options.admin,
                workers: options.workers.map(|workers| workers.to_string()),
                ..Arguments::default()
            },
        };
        let written = plan.resolve(None)?;
        let is_default = |key: &str| matches!(written.origin(key), None | Some(Origin::Default));

        for named in &plan.arguments.listen {
            place::check_named(named, "--listen")?;
        }
        if is_default("listen") {
            let choice = place::choose(USUAL_PORT, true, "--listen")?;
            plan.arguments.listen = choice.addresses.iter().map(ToString::to_string).collect();
            screen.say(&choice.note.map_or_else(String::new, |note| note + "\n"));
        }
        if let Some(named) = &plan.arguments.admin {
            place::check_named(named, "--admin")?;
        }
        if is_default("admin.listen") {
            let choice = place::choose(USUAL_ADMIN_PORT, false, "--admin")?;
            plan.arguments.admin = choice.addresses.first().map(ToString::to_string);
            screen.say(&choice.note.map_or_else(String::new, |note| note + "\n"));
        }
        Ok(plan)
    }

    /// The settings of an ambassador in front of that group; without one, those that do not depend on it.
    fn resolve(&self, group: Option<&Group>) -> Result<Resolved, String> {
        let mut arguments = self.arguments.clone();
        if let Some((master, replicas)) = group.and_then(|group| group.servers().split_first()) {
            arguments.master = Some(master.address.to_string());
            arguments.replicas = replicas
                .iter()
                .map(|replica| replica.address.to_string())
                .collect();
        }
        let sources = Sources::of_process(None, arguments);
        let mut resolved = match group {
            Some(_) => config::load(&sources),
            None => config::load_without_master(&sources),
        }
        .map_err(|errors| errors.to_string())?;
        // Credentials in the environment are those of another group; the private one has none.
        resolved.settings.upstream.username = None;
        resolved.settings.upstream.password = None;
        Ok(resolved)
    }
}

/// The log goes through the screen, so that a line does not tear the live lines.
fn init_log(log: &Log, screen: &Screen) -> Result<(), String> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| {
        format!(
            "log.filter {:?} is not a filter such as `info`: {error}",
            log.filter
        )
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(screen.clone())
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|error| format!("cannot install the log: {error}"))
}

/// The signals that end it in order. SIGHUP is left as it is: when the terminal goes this process ends, the guard
/// cleans up behind it, and `nohup` does what it is for.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
