//! The `redis-ambassador` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    redis_ambassador::cli::main()
}
