//! The tables of a run as Markdown: what was measured, on what, and which bars it meets.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use super::bars::{Reached, Verdict};
use super::peers::Contender;
use super::results::{Figure, Results, Rounds};
use super::stats::Spread;

/// How the run was made.
pub(crate) struct Run {
    pub(crate) command: String,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) missing: Vec<String>,
    /// What else the machine was doing when the run began.
    pub(crate) load_average: String,
}

pub(crate) fn markdown(results: &Results, bars: &[Reached], run: &Run) -> String {
    let mut text = String::from("# The ambassador beside its peers\n\n");
    text.push_str(&machine(results, run));
    if !bars.is_empty() {
        text.push_str(&bars_table(bars));
    }
    text.push_str("\n## Figures\n\nMedians over the rounds, the quartiles in brackets. CPU is microseconds per request: of the proxy process, of all Redis processes behind it (of the quietest third of the rounds after the slash), and of the load generator. A pipelined request's latency is its batch's.\n");
    for rounds in &results.workloads {
        text.push_str(&workload_table(results, rounds));
    }
    text.push_str(&once_table(results));
    text
}

fn machine(results: &Results, run: &Run) -> String {
    let mut text = String::new();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let versions: Vec<String> = results
        .contenders
        .iter()
        .zip(&results.once)
        .filter(|(contender, _)| !contender.wants_replicas())
        .map(|(contender, once)| {
            let name = if *contender == Contender::Direct {
                "Redis"
            } else {
                contender.title()
            };
            format!("{name} {}", once.version)
        })
        .collect();
    let lines = [
        format!(
            "Written by `{}` on {}.",
            run.command,
            said("date", &["-u", "+%Y-%m-%d"])
        ),
        String::new(),
        format!(
            "- Machine: {cores} cores, {}, {}",
            cpu_model(),
            said("uname", &["-sr"])
        ),
        format!("- Versions: {}", versions.join(", ")),
        format!(
            "- {} interleaved rounds; in each, every contender gets every workload for {} s; one thread each; \
             the load generator, the proxy and Redis share the machine",
            run.rounds, run.seconds
        ),
        format!(
            "- Load average of the machine before the run: {}",
            run.load_average
        ),
        "- Left out: predixy is in no package registry".to_owned(),
    ];
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    for missing in &run.missing {
        let _ = writeln!(text, "- Left out: {missing}");
    }
    if results.workloads.len() > 1 {
        text.push_str("\n![CPU microseconds per request](results.svg)\n");
    }
    text
}

fn bars_table(bars: &[Reached]) -> String {
    let mut text = String::from(
        "\n## Bars\n\nRatios are taken inside each round; their median decides. Quiet: the median over the third of the \
         rounds in which Redis, asked directly, used least CPU.\n\n\
         | | reached | quiet | must | aim | |\n|---|---|---|---|---|---|\n",
    );
    for bar in bars {
        let number = |value: f64| {
            if value.abs() >= 100.0 {
                format!("{value:.0}{}", bar.unit)
            } else {
                format!("{value:.2}{}", bar.unit)
            }
        };
        let limit = |value: Option<f64>| value.map_or(String::new(), |value| format!("≤ {}", number(value)));
        let reached = match (bar.spread, bar.median) {
            (Some(spread), _) => in_brackets(spread, 2),
            (None, Some(median)) => number(median),
            (None, None) => String::new(),
        };
        let verdict = match bar.verdict() {
            Verdict::NotMeasured => "not measured",
            Verdict::Missed => "**MISSED**",
            Verdict::Pass => "pass",
            Verdict::Open => "aim open",
            Verdict::Aim if bar.must.is_some() => "pass, aim reached",
            Verdict::Aim => "aim reached",
        };
        let quiet = bar.quiet.map_or(String::new(), number);
        let (must, aim) = (limit(bar.must), limit(bar.aim));
        let _ = writeln!(
            text,
            "| {} | {reached} | {quiet} | {must} | {aim} | {verdict} |",
            bar.what
        );
    }
    text
}

fn workload_table(results: &Results, rounds: &Rounds) -> String {
    let mut text = format!(
        "\n### {} (`{}`)\n\n| | requests/s | mean us | p50 us | p99 us | CPU proxy | CPU Redis | proxy + Redis | generator |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        rounds.workload.title, rounds.workload.name
    );
    let quiet = results
        .column(Contender::Direct)
        .map(|direct| rounds.quiet(direct));
    for (column, contender) in results.contenders.iter().enumerate() {
        let cell = |figure, digits| {
            rounds
                .spread(column, figure)
                .map_or(String::new(), |spread| in_brackets(spread, digits))
        };
        let cpu = |figure| {
            let still = quiet.as_ref().and_then(|quiet| quiet.spread(column, figure));
            let still = still.map_or(String::new(), |spread| format!(" / {:.2}", spread.median));
            format!("{}{still}", cell(figure, 2))
        };
        let proxy = if *contender == Contender::Direct {
            String::new()
        } else {
            cpu(Figure::Proxy)
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {proxy} | {} | {} | {} |",
            contender.title(),
            cell(Figure::PerSecond, 0),
            cell(Figure::Mean, 1),
            cell(Figure::P50, 1),
            cell(Figure::P99, 1),
            cpu(Figure::Redis),
            cpu(Figure::Sum),
            rounds
                .spread(column, Figure::Generator)
                .map_or(String::new(), |spread| format!("{:.2}", spread.median)),
        );
    }
    text
}

fn once_table(results: &Results) -> String {
    let mut text = String::from(
        "\n### Memory and system calls\n\nPeak: resident, over all workloads above. Base: a fresh process that has served one request. \
         Then 1,000 clients connect, ask once and stay idle. System calls: per GET at 50 clients, by `strace -c -f` \
         (of Redis for direct).\n\n\
         | | peak RSS | base RSS | bytes per idle client | system calls per GET | most frequent |\n|---|---|---|---|---|---|\n",
    );
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    for (contender, once) in results.contenders.iter().zip(&results.once) {
        let peak = once.peak.map_or(String::new(), megabytes);
        let (base, each) = once.idle.map_or_else(Default::default, |idle| {
            (megabytes(idle.base), format!("{:.0}", idle.each))
        });
        let calls = once.syscalls.as_ref();
        let number = calls.map_or(String::new(), |calls| format!("{:.2}", calls.per_request));
        let top: Vec<String> = calls
            .iter()
            .flat_map(|calls| &calls.top)
            .map(|(name, each)| format!("{name} {each:.2}"))
            .collect();
        let _ = writeln!(
            text,
            "| {} | {peak} | {base} | {each} | {number} | {} |",
            contender.title(),
            top.join(", ")
        );
    }
    text
}

fn in_brackets(spread: Spread, digits: usize) -> String {
    let Spread { low, median, high } = spread;
    format!("{median:.digits$} ({low:.digits$}–{high:.digits$})")
}

fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(": "));
    model.map_or("unknown CPU".to_owned(), |(_, name)| name.trim().to_owned())
}

/// Runnable threads over the last minute; figures of a busy machine are no figures.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace()
        .next()
        .unwrap_or("unknown")
        .to_owned()
}

/// The first line that a command says; `unknown` when it cannot be run.
fn said(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output();
    output.map_or("unknown".to_owned(), |output| {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_bar_is_seen_at_once() {
        let bar = Reached {
            what: "CPU over twemproxy's".to_owned(),
            unit: "",
            median: Some(1.2),
            spread: Some(Spread {
                low: 1.1,
                median: 1.2,
                high: 1.3,
            }),
            quiet: Some(1.25),
            must: Some(1.0),
            aim: None,
        };
        let table = bars_table(&[bar]);
        assert!(
            table.ends_with("| CPU over twemproxy's | 1.20 (1.10–1.30) | 1.25 | ≤ 1.00 |  | **MISSED** |\n"),
            "{table}"
        );
    }
}
