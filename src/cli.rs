//! The command line: which subcommand, from which sources, and how it ends for the caller.
//!
//! Exit codes: 0 done, 1 failed, 2 not understood (usage or configuration). `check` and `health` say no with 1:
//! container engines give 2 a meaning of its own.

mod arguments;
mod explain;
mod health;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use self::arguments::{Cli, Local, Subcommand};
use crate::config::{self, Errors};
use crate::{ambassador, local};

/// Why the process ends without having done what it was asked.
enum Failure {
    /// Correct the command line or the configuration.
    Usage(String),
    /// It was understood, but did not work.
    Run(String),
    /// The answer is no, and it has been printed.
    No,
}

impl From<Errors> for Failure {
    fn from(errors: Errors) -> Failure {
        Failure::Usage(errors.to_string())
    }
}

/// Parses the process's arguments and does what they say.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are such errors as well, for standard output and with code 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let (code, text) = match dispatch(cli) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::No) => return ExitCode::FAILURE,
        Err(Failure::Usage(text)) => (2, text),
        Err(Failure::Run(text)) => (1, text),
    };
    let mut stderr = std::io::stderr().lock();
    for line in text.lines() {
        let _ = writeln!(stderr, "redis-ambassador: {line}");
    }
    ExitCode::from(code)
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let Cli { sources, subcommand } = cli;
    match subcommand {
        None => {
            let resolved = config::load(&sources.into_sources())?;
            ambassador::run(resolved.settings).map_err(Failure::Run)
        }
        Some(Subcommand::Check(own)) => check(&own.over(sources).into_sources()),
        Some(Subcommand::Explain(asked)) => {
            let resolved = config::load_without_master(&asked.sources.over(sources).into_sources())?;
            print(&explain::explain(&asked.request, &resolved).map_err(Failure::Run)?);
            Ok(())
        }
        Some(Subcommand::Health(own)) => {
            let sources = own.into_source_arguments().over(sources).into_sources();
            let resolved =
                config::load_without_master(&sources).map_err(|errors| Failure::Run(errors.to_string()))?;
            let answer = health::ask(resolved.settings.admin).map_err(Failure::Run)?;
            print(&answer.body);
            if answer.is_ready { Ok(()) } else { Err(Failure::No) }
        }
        Some(Subcommand::Local(own)) => {
            if !sources.is_empty() {
                let text = "the flags before `local` are for an ambassador in front of servers that exist; those of \
                            `local` come after it";
                return Err(Failure::Usage(text.to_owned()));
            }
            local::run(options(own)).map_err(Failure::Run)
        }
        Some(Subcommand::Guard) => local::guard().map_err(Failure::Run),
    }
}

fn check(sources: &config::Sources) -> Result<(), Failure> {
    match config::load(sources) {
        Ok(resolved) => {
            print(&resolved.describe());
            Ok(())
        }
        Err(errors) => Err(Failure::Run(errors.to_string())),
    }
}

fn options(own: Local) -> local::Options {
    local::Options {
        replicas: own.replicas,
        server: own.server,
        listen: own.listen,
        admin: own.admin,
        workers: own.workers,
    }
}

/// A reader that has gone away (`... | head`) is no failure.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
