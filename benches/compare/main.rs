//! `cargo bench --bench compare`: the ambassador beside its peers, in interleaved rounds of one run.
//!
//! Without arguments everything is measured and `benches/RESULTS.md` and `benches/results.svg` are written. With
//! `--only`, `--workload`, `--rounds` or `--seconds` a part is measured and printed, and nothing is written unless
//! `--write` says so.
#![cfg_attr(
    test,
    allow(
        unused_imports,
        dead_code,
        reason = "cargo sets cfg(test) for a bench without a harness: no test, but their imports"
    )
)]

mod bars;
mod cpu;
mod idle;
mod load;
mod peers;
mod process;
mod redis;
mod replies;
mod report;
mod results;
mod stats;
mod svg;
mod syscalls;
mod workload;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use self::load::Load;
use self::peers::{Binaries, CONTENDERS, Contender, Running};
use self::redis::Group;
use self::report::Run;
use self::results::{Once, Results, Rounds, Sample};
use self::workload::{Keys, WORKLOADS, Workload};

/// Rounds of a full run: with 8 workloads and 6 contenders they fill five minutes.
const ROUNDS: usize = 15;
const SECONDS: f64 = 0.3;
/// Replicas behind the contender that reads from replicas.
const REPLICAS: usize = 2;

#[derive(Parser)]
#[command(name = "compare", about = "Measures the ambassador beside its peers")]
struct Arguments {
    /// Only these contenders: direct, haproxy, twemproxy, envoy, ambassador, ambassador-2r
    #[arg(long, value_delimiter = ',', value_parser = contender)]
    only: Vec<Contender>,
    /// Only these workloads: get50, set50, mix50, get50p16, set50p16, get16k, get500, get1
    #[arg(long, value_delimiter = ',', value_parser = workload)]
    workload: Vec<Workload>,
    /// Interleaved rounds
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of one window
    #[arg(long)]
    seconds: Option<f64>,
    /// Another ambassador than the one cargo has built
    #[arg(long, value_name = "PATH")]
    ambassador: Option<PathBuf>,
    /// Another redis-server than the private one or the one on PATH
    #[arg(long, value_name = "PATH")]
    redis: Option<PathBuf>,
    /// Measure memory with idle clients in a partial run too
    #[arg(long)]
    idle: bool,
    /// Count system calls (strace) in a partial run too
    #[arg(long)]
    strace: bool,
    /// Write benches/RESULTS.md and benches/results.svg after a partial run too
    #[arg(long)]
    write: bool,
}

fn contender(name: &str) -> Result<Contender, String> {
    Contender::by_name(name).ok_or_else(|| {
        let names = CONTENDERS.map(Contender::name).join(", ");
        format!("no contender has this name; expected one of {names}")
    })
}

fn workload(name: &str) -> Result<Workload, String> {
    Workload::by_name(name).ok_or_else(|| {
        let names = WORKLOADS.map(|workload| workload.name).join(", ");
        format!("no workload has this name; expected one of {names}")
    })
}

fn main() {
    // `cargo test --benches` runs this too, without any argument: five minutes of load are not what it means.
    if std::env::args().len() == 1 {
        eprintln!("compare: this is a benchmark; it runs by: cargo bench --bench compare");
        return;
    }
    if let Err(error) = run(&Arguments::parse_from(arguments())) {
        eprintln!("compare: {error}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let full = arguments.only.is_empty()
        && arguments.workload.is_empty()
        && arguments.rounds.is_none()
        && arguments.seconds.is_none()
        && arguments.ambassador.is_none();
    let rounds = arguments.rounds.unwrap_or(ROUNDS).max(1);
    let seconds = arguments.seconds.unwrap_or(SECONDS);
    if !(0.01..=60.0).contains(&seconds) {
        return Err(format!("--seconds is {seconds}, expected 0.01 to 60").into());
    }
    let window = Duration::from_secs_f64(seconds);
    let workloads = if arguments.workload.is_empty() {
        WORKLOADS.to_vec()
    } else {
        arguments.workload.clone()
    };
    // Read before we are the load ourselves.
    let load_average = report::load_average();
    let directory = tempfile::Builder::new().prefix("ambassador-bench-").tempdir()?;

    let bench = Bench::start(arguments, full, directory.path())?;
    let mut results = Results {
        contenders: bench.running.iter().map(|running| running.contender).collect(),
        once: bench.versions(),
        workloads: bench.rounds(&workloads, rounds, window)?,
    };
    bench.peaks(&mut results.once)?;
    if full || arguments.strace {
        bench.syscalls(&mut results.once);
    }
    if full || arguments.idle {
        bench.idle(&mut results.once)?;
    }

    let mut bars = bars::reached(&results);
    if !full {
        bars.retain(|bar| bar.verdict() != bars::Verdict::NotMeasured);
    }
    let run = Run {
        load_average,
        command: command_line(),
        rounds,
        seconds,
        missing: bench.missing,
    };
    let text = report::markdown(&results, &bars, &run);
    println!("{text}");
    if full || arguments.write {
        let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
        std::fs::write(benches.join("RESULTS.md"), text)?;
        std::fs::write(benches.join("results.svg"), svg::plot(&results))?;
        eprintln!("wrote benches/RESULTS.md and benches/results.svg");
    }
    Ok(())
}

/// Everything that runs. Fields end in this order: proxies before the servers behind them.
struct Bench<'a> {
    running: Vec<Running>,
    alone: Group,
    replicated: Option<Group>,
    binaries: Binaries,
    missing: Vec<String>,
    directory: &'a Path,
}

impl<'a> Bench<'a> {
    fn start(arguments: &Arguments, full: bool, directory: &'a Path) -> Result<Self, Box<dyn Error>> {
        let binaries = Binaries::find(arguments.redis.clone(), arguments.ambassador.clone());
        let redis = binaries.redis.clone().ok_or(
            "no redis-server: neither --redis PATH, nor a private one (scripts/install-servers), nor one on PATH",
        )?;
        let wanted = if arguments.only.is_empty() {
            CONTENDERS.to_vec()
        } else {
            arguments.only.clone()
        };
        let replicated = wanted.iter().any(|contender| contender.wants_replicas());
        let mut bench = Self {
            running: Vec::new(),
            alone: Group::start("alone", &redis, 0, directory)?,
            replicated: replicated
                .then(|| Group::start("group", &redis, REPLICAS, directory))
                .transpose()?,
            binaries,
            missing: Vec::new(),
            directory,
        };
        for contender in wanted {
            if contender != Contender::Direct && bench.binaries.of(contender).is_none() {
                let missing = format!("{} is not installed (scripts/install-peers)", contender.title());
                eprintln!("compare: {missing}");
                bench.missing.push(missing);
                continue;
            }
            match bench.fresh(contender, "") {
                Ok(running) => bench.running.push(running),
                // A full run without one of the contenders would be another run.
                Err(error) if full => return Err(error),
                Err(error) => {
                    eprintln!("compare: left out: {error}");
                    bench.missing.push(format!("{} did not start", contender.title()));
                }
            }
        }
        if bench.running.is_empty() {
            return Err("no contender is running".into());
        }
        Ok(bench)
    }

    fn fresh(&self, contender: Contender, suffix: &str) -> Result<Running, Box<dyn Error>> {
        let group = if contender.wants_replicas() {
            self.replicated.as_ref()
        } else {
            Some(&self.alone)
        };
        let group = group.ok_or("no replication group was started")?;
        Running::start(contender, &self.binaries, group, self.directory, suffix)
    }

    fn versions(&self) -> Vec<Once> {
        let version = |running: &Running| self.binaries.version(running.contender);
        self.running
            .iter()
            .map(|running| Once {
                version: version(running),
                ..Once::default()
            })
            .collect()
    }

    /// Every workload by every contender, `count` times over.
    fn rounds(
        &self,
        workloads: &[Workload],
        count: usize,
        window: Duration,
    ) -> Result<Vec<Rounds>, Box<dyn Error>> {
        let keys: Vec<Keys> = workloads.iter().map(Workload::keys).collect();
        let mut all: Vec<Rounds> = workloads
            .iter()
            .map(|&workload| Rounds {
                workload,
                rounds: Vec::new(),
            })
            .collect();
        for round in 0..count {
            eprintln!("round {} of {count}", round + 1);
            for (rounds, keys) in all.iter_mut().zip(&keys) {
                let contenders = self.running.len();
                let mut samples = vec![None; contenders];
                for turn in 0..contenders {
                    // Nobody always follows the same neighbour's heat, or is always first.
                    let column = (turn + round) % contenders;
                    let running = &self.running[column];
                    let sample = measure(running, rounds.workload, keys, window).map_err(|error| {
                        format!(
                            "{} under {}: {error}",
                            running.contender.title(),
                            rounds.workload.name
                        )
                    })?;
                    samples[column] = Some(sample);
                }
                rounds.rounds.push(samples.into_iter().flatten().collect());
            }
        }
        Ok(all)
    }

    fn peaks(&self, once: &mut [Once]) -> Result<(), Box<dyn Error>> {
        for (running, once) in self.running.iter().zip(once) {
            once.peak = running
                .proxy_pid()
                .map(cpu::resident)
                .transpose()?
                .map(|resident| resident.peak);
        }
        Ok(())
    }

    fn syscalls(&self, once: &mut [Once]) {
        if !syscalls::installed() {
            eprintln!("compare: no strace here, so system calls are not counted (apt-get install strace)");
            return;
        }
        for (running, once) in self.running.iter().zip(once) {
            eprintln!("system calls of {}", running.contender.title());
            let counted = syscalls::measure(running, WORKLOADS[0], Duration::from_secs(1), self.directory);
            match counted {
                Ok(counted) => once.syscalls = Some(counted),
                // Where tracing is forbidden the rest of the run still stands.
                Err(error) => eprintln!("compare: {}: {error}", running.contender.title()),
            }
        }
    }

    fn idle(&self, once: &mut [Once]) -> Result<(), Box<dyn Error>> {
        for (running, once) in self.running.iter().zip(once) {
            if running.proxy_pid().is_some() {
                eprintln!("idle clients of {}", running.contender.title());
                once.idle = idle::measure(&self.fresh(running.contender, "-idle")?)?;
            }
        }
        Ok(())
    }
}

fn measure(
    running: &Running,
    workload: Workload,
    keys: &Keys,
    window: Duration,
) -> Result<Sample, Box<dyn Error>> {
    let own = std::process::id();
    let used = || -> std::io::Result<[u64; 3]> {
        let proxy = running
            .proxy_pid()
            .map(cpu::cpu_nanoseconds)
            .transpose()?
            .unwrap_or(0);
        Ok([
            proxy,
            cpu::cpu_nanoseconds_of_all(&running.redis)?,
            cpu::cpu_nanoseconds(own)?,
        ])
    };
    let mut load = Load::connect(running.address, workload, keys)?;
    load.warm(window.div_f64(6.0))?;
    let before = used()?;
    let measured = load.measure(window)?;
    let after = used()?;
    load.drain()?;
    let requests = measured.latencies.count() as f64;
    let [proxy_us, redis_us, generator_us] =
        [0, 1, 2].map(|process| (after[process] - before[process]) as f64 / 1000.0 / requests);
    Ok(Sample {
        per_second: requests / measured.elapsed.as_secs_f64(),
        mean_us: measured.latencies.mean_us(),
        p50_us: measured.latencies.quantile_us(0.5),
        p99_us: measured.latencies.quantile_us(0.99),
        proxy_us,
        redis_us,
        generator_us,
    })
}

/// The arguments without the one that cargo adds.
fn arguments() -> impl Iterator<Item = String> {
    std::env::args().filter(|argument| argument != "--bench")
}

/// This run as a person would type it; of a path only the name, for it is of this machine.
fn command_line() -> String {
    let name = |argument: String| argument.rsplit('/').next().unwrap_or_default().to_owned();
    let given: Vec<String> = arguments().skip(1).map(name).collect();
    if given.is_empty() {
        return "make bench".to_owned();
    }
    format!("make bench ARGS='{}'", given.join(" "))
}
