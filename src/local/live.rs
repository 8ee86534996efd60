//! The live lines: what each node of the group did in the last second.
//!
//! At a terminal the block is redrawn in place, and log lines appear above it; in a file or a pipe it is
//! written when it says something new, and not more often than every five seconds.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use crate::commands::Class;
use crate::stats::{Tally, WorkerStats};
use crate::topology::NodeId;

/// How often a block may be written where it cannot be redrawn.
const PAUSE: Duration = Duration::from_secs(5);

/// Nothing wraps in a terminal of the usual 80 columns: a wrapped line could not be redrawn in place.
const COLUMNS: usize = 79;

/// What is known of a node at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sight {
    /// `master`, `replica-1` ...
    pub(super) name: String,
    /// What it says it is now, which may be another thing than its name.
    pub(super) role: &'static str,
    /// `host:port`.
    pub(super) address: String,
    /// Its number, once the ambassador knows it.
    pub(super) id: Option<NodeId>,
    /// Bytes behind the master, where that is known.
    pub(super) lag: Option<u64>,
    /// Why it gets no commands.
    pub(super) trouble: Option<String>,
}

/// Turns counters that only grow into rates.
#[derive(Debug)]
pub(super) struct Meter {
    stats: Vec<Arc<WorkerStats>>,
    before: Vec<Counts>,
    at: Instant,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    commands: u64,
    reads: u64,
    writes: u64,
}

impl Meter {
    /// Measures from now on, over `nodes` nodes.
    pub(super) fn new(stats: Vec<Arc<WorkerStats>>, nodes: usize) -> Self {
        Meter {
            stats,
            before: vec![Counts::default(); nodes],
            at: Instant::now(),
        }
    }

    /// The block for the time since the last one.
    pub(super) fn block(&mut self, sights: &[Sight]) -> String {
        let now = Instant::now();
        let elapsed = now.duration_since(self.at).as_secs_f64().max(f64::MIN_POSITIVE);
        self.at = now;
        let mut rates = Vec::with_capacity(sights.len());
        for (sight, before) in sights.iter().zip(&mut self.before) {
            let counts = self
                .stats
                .iter()
                .fold(Counts::default(), |sum, worker| sum.plus(worker, sight.id));
            rates.push(counts.per_second(*before, elapsed));
            *before = counts;
        }
        let clients = self.stats.iter().map(|worker| worker.clients.read()).sum();
        let errors = self
            .stats
            .iter()
            .flat_map(|worker| worker.errors.iter().map(Tally::read))
            .sum();
        render(sights, &rates, clients, errors)
    }
}

impl Counts {
    fn plus(self, worker: &WorkerStats, id: Option<NodeId>) -> Counts {
        let Some(node) = id.and_then(|id| worker.seen(id)) else {
            return self;
        };
        Counts {
            commands: self.commands + node.commands.iter().map(Tally::read).sum::<u64>(),
            reads: self.reads + node.commands[Class::Read.index()].read(),
            writes: self.writes + node.commands[Class::Write.index()].read(),
        }
    }

    fn per_second(self, before: Counts, seconds: f64) -> Counts {
        // Saturating: a node that got another number starts from nothing.
        let rate = |now: u64, before: u64| (now.saturating_sub(before) as f64 / seconds).round() as u64;
        Counts {
            commands: rate(self.commands, before.commands),
            reads: rate(self.reads, before.reads),
            writes: rate(self.writes, before.writes),
        }
    }
}

fn render(sights: &[Sight], rates: &[Counts], clients: u64, errors: u64) -> String {
    let mut block = format!(
        "{:<10}  {:<7}  {:<15}  {:>10}  {:>9}  {:>9}  {:>7}\n",
        "node", "role", "address", "commands/s", "reads/s", "writes/s", "lag B"
    );
    for (sight, rate) in sights.iter().zip(rates) {
        let Sight {
            name, role, address, ..
        } = sight;
        let mut line = format!("{name:<10}  {role:<7}  {address:<15}  ");
        // Writing to a String cannot fail.
        let _ = match &sight.trouble {
            Some(trouble) => write!(line, "{trouble}"),
            None => write!(
                line,
                "{:>10}  {:>9}  {:>9}  {:>7}",
                grouped(rate.commands),
                grouped(rate.reads),
                grouped(rate.writes),
                sight.lag.map_or("-".to_owned(), grouped)
            ),
        };
        block.extend(line.chars().take(COLUMNS));
        block.push('\n');
    }
    let commands = rates.iter().map(|rate| rate.commands).sum();
    let _ = writeln!(
        block,
        "clients {}, commands/s {}, errors {}",
        grouped(clients),
        grouped(commands),
        grouped(errors)
    );
    block
}

/// A number as people read it: `12,345`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Standard output and the log beside it, so that neither tears the other. Clones are the same screen.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    in_place: bool,
    drawn: Arc<Mutex<Drawn>>,
}

#[derive(Debug, Default)]
struct Drawn {
    block: String,
    at: Option<Instant>,
}

impl Screen {
    /// The process's own standard output and standard error.
    pub(super) fn new() -> Self {
        Screen {
            in_place: io::stdout().is_terminal(),
            drawn: Arc::default(),
        }
    }

    /// Writes text that stays. A reader that has gone away does not matter: the servers go on.
    pub(super) fn say(&self, text: &str) {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = write!(io::stdout(), "{}{text}", self.above(&drawn));
        *drawn = Drawn::default();
        let _ = io::stdout().flush();
    }

    /// Shows a block in place of the one before.
    pub(super) fn show(&self, block: String) {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.in_place {
            let _ = write!(io::stdout(), "{}{block}", self.above(&drawn));
        } else if drawn.block == block || drawn.at.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        } else {
            let _ = writeln!(io::stdout(), "{block}");
        }
        let _ = io::stdout().flush();
        *drawn = Drawn {
            block,
            at: Some(Instant::now()),
        };
    }

    /// Moves the cursor to where the block began, and clears from there.
    fn above(&self, drawn: &Drawn) -> String {
        match drawn.block.lines().count() {
            0 => String::new(),
            _ if !self.in_place => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }
}

/// Where the log goes: standard error; at a terminal, above the block.
impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let between = self.in_place && io::stderr().is_terminal();
        if between {
            write!(io::stdout(), "{}", self.above(&drawn))?;
            io::stdout().flush()?;
        }
        // Whole: what follows must not come between the halves of a line.
        io::stderr().write_all(bytes)?;
        if between {
            write!(io::stdout(), "{}", drawn.block)?;
            io::stdout().flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = Screen;

    fn make_writer(&'a self) -> Screen {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(name: &str, trouble: Option<&str>) -> Sight {
        Sight {
            name: name.to_owned(),
            role: "replica",
            address: "127.0.0.1:40211".to_owned(),
            id: Some(NodeId(1)),
            lag: Some(1_234),
            trouble: trouble.map(str::to_owned),
        }
    }

    #[test]
    fn a_line_says_what_the_node_did_in_the_time_measured() {
        let worker = Arc::new(WorkerStats::default());
        worker.node(NodeId(1)).commands[Class::Read.index()].add(30);
        worker.node(NodeId(1)).commands[Class::Write.index()].add(6);
        worker.node(NodeId(2)).commands[Class::Read.index()].add(900);
        let counts = Counts::default().plus(&worker, Some(NodeId(1)));
        let half = Counts {
            commands: 18,
            reads: 15,
            writes: 3,
        };

        assert_eq!(counts.per_second(Counts::default(), 2.0), half);
        assert_eq!(counts.per_second(counts, 2.0), Counts::default());
    }

    #[test]
    fn the_block_fits_a_terminal_and_names_what_is_wrong() {
        let rates = [Counts {
            commands: 1_234_567,
            reads: 30,
            writes: 6,
        }; 2];
        let reason = "x".repeat(200);
        let block = render(
            &[sight("replica-1", None), sight("replica-2", Some(&reason))],
            &rates,
            50,
            0,
        );

        assert!(block.lines().all(|line| line.len() <= COLUMNS), "{block}");
        assert!(
            block.contains("1,234,567         30          6    1,234"),
            "{block}"
        );
        assert!(block.contains("xxxx"), "{block}");
        assert!(
            block.ends_with("clients 50, commands/s 2,469,134, errors 0\n"),
            "{block}"
        );
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
