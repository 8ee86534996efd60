//! The flags and subcommands, as clap reads and explains them.

#![allow(
    clippy::doc_markdown,
    reason = "clap prints these comments to people, for whom backticks would be noise"
)]

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::config::{Arguments, Sources};
use crate::local;

/// A read/write-splitting ambassador: makes a Redis replication group look like one plain Redis on localhost:6379.
///
/// Writes go to the master, reads are spread over the replicas, and a client's connection keeps its meaning.
/// Without a subcommand it runs until SIGTERM, after which it finishes what is in flight.
#[derive(Debug, Parser)]
#[command(name = "redis-ambassador", version, max_term_width = 110)]
#[command(
    after_help = "Every key of the configuration can also be given as an environment variable, \
    REDIS_AMBASSADOR_<SECTION>_<KEY>. Arguments win over the environment, the environment over the file, the file \
    over the defaults; `redis-ambassador check` shows what is in force and why.\n\n\
    Exit codes: 0 done, 1 failed, 2 wrong usage or configuration."
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) sources: SourceArguments,
    #[command(subcommand)]
    pub(super) subcommand: Option<Subcommand>,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Subcommand {
    /// Validate the configuration; print every value in force and where it came from
    Check(SourceArguments),
    /// Say what the ambassador makes of a command: its class, its target, its keys, and why
    Explain(Explain),
    /// Start a private replication group from redis-server or valkey-server, with the ambassador in front
    Local(Local),
    /// Ask a running ambassador whether it is ready; exit code 0 when it is, 1 when not
    Health(Health),
    /// Watches over the servers of `local`, which starts it itself
    #[command(name = local::GUARD_SUBCOMMAND, hide = true)]
    Guard,
}

#[derive(Debug, Default, Args)]
pub(super) struct SourceArguments {
    /// Configuration file, TOML [default: none] [env: REDIS_AMBASSADOR_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The master, HOST:PORT [no default] [env: REDIS_AMBASSADOR_UPSTREAM_MASTER]
    #[arg(long, value_name = "ADDR")]
    master: Option<String>,

    /// A replica, HOST:PORT; repeatable [default: found from the master] [env: REDIS_AMBASSADOR_UPSTREAM_REPLICAS]
    #[arg(long = "replica", value_name = "ADDR")]
    replicas: Vec<String>,

    /// A sentinel; repeatable, name all of them [env: REDIS_AMBASSADOR_SENTINEL_ADDRESSES]
    #[arg(long = "sentinel", value_name = "ADDR")]
    sentinels: Vec<String>,

    /// The name under which the sentinels watch the master [default: mymaster]
    /// [env: REDIS_AMBASSADOR_SENTINEL_MASTER]
    #[arg(long, value_name = "NAME")]
    sentinel_master: Option<String>,

    /// The zone that this process runs in: its replicas serve reads before those of other zones [default: none]
    /// [env: REDIS_AMBASSADOR_UPSTREAM_ZONE]
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,

    /// Where applications connect, IP:PORT or a Unix socket's /path; repeatable [default: 127.0.0.1:6379 and
    /// [::1]:6379] [env: REDIS_AMBASSADOR_LISTEN]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,

    /// Admin HTTP listener, IP:PORT or "off" [default: 127.0.0.1:9121] [env: REDIS_AMBASSADOR_ADMIN_LISTEN]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,

    /// Worker threads, or "auto" for the CPU limit, at most 4 [default: auto] [env: REDIS_AMBASSADOR_WORKERS]
    #[arg(long, value_name = "N")]
    workers: Option<String>,

    /// Log lines as "text" or "json" [default: text] [env: REDIS_AMBASSADOR_LOG_FORMAT]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,

    /// What is logged, such as "warn" or "info,redis_ambassador::control=debug" [default: info]
    /// [env: REDIS_AMBASSADOR_LOG_FILTER]
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,
}

impl SourceArguments {
    /// These, and where they say nothing the ones that stood before the subcommand.
    pub(super) fn over(self, before: SourceArguments) -> SourceArguments {
        let list = |own: Vec<String>, other: Vec<String>| if own.is_empty() { other } else { own };
        SourceArguments {
            config: self.config.or(before.config),
            master: self.master.or(before.master),
            replicas: list(self.replicas, before.replicas),
            sentinels: list(self.sentinels, before.sentinels),
            sentinel_master: self.sentinel_master.or(before.sentinel_master),
            zone: self.zone.or(before.zone),
            listen: list(self.listen, before.listen),
            admin: self.admin.or(before.admin),
            workers: self.workers.or(before.workers),
            log_format: self.log_format.or(before.log_format),
            log_filter: self.log_filter.or(before.log_filter),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let SourceArguments {
            config,
            master,
            replicas,
            sentinels,
            sentinel_master,
            zone,
            listen,
            admin,
            workers,
            log_format,
            log_filter,
        } = self;
        config.is_none()
            && replicas.is_empty()
            && sentinels.is_empty()
            && listen.is_empty()
            && [
                master,
                sentinel_master,
                zone,
                admin,
                workers,
                log_format,
                log_filter,
            ]
            .into_iter()
            .all(Option::is_none)
    }

    pub(super) fn into_sources(self) -> Sources {
        let arguments = Arguments {
            listen: self.listen,
            master: self.master,
            replicas: self.replicas,
            sentinels: self.sentinels,
            sentinel_master: self.sentinel_master,
            zone: self.zone,
            admin: self.admin,
            workers: self.workers,
            log_format: self.log_format,
            log_filter: self.log_filter,
        };
        Sources::of_process(self.config, arguments)
    }
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    #[command(flatten)]
    pub(super) sources: SourceArguments,

    /// The command and its arguments, as an application would send them
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub(super) request: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Local {
    /// Replicas beside the master
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = replica_count)]
    pub(super) replicas: usize,

    /// The server to start [default: redis-server or valkey-server from PATH]
    #[arg(long, value_name = "PATH")]
    pub(super) server: Option<PathBuf>,

    /// Where applications connect [default: port 6379 on localhost, or the next that is free]
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Option<String>,

    /// Admin HTTP listener [default: port 9121 on localhost, or the next that is free]
    #[arg(long, value_name = "ADDR")]
    pub(super) admin: Option<String>,

    /// Worker threads [default: what the CPU limit allows, at most 4]
    #[arg(long, value_name = "N")]
    pub(super) workers: Option<usize>,
}

/// A machine of one's own; each replica is a server process.
fn replica_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count <= 16 => Ok(count),
        _ => Err("expected 0 to 16".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(super) struct Health {
    /// Configuration file that names the admin listener [env: REDIS_AMBASSADOR_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The admin listener of the running ambassador [default: 127.0.0.1:9121] [env: REDIS_AMBASSADOR_ADMIN_LISTEN]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
}

impl Health {
    pub(super) fn into_source_arguments(self) -> SourceArguments {
        SourceArguments {
            config: self.config,
            admin: self.admin,
            ..SourceArguments::default()
        }
    }
}
