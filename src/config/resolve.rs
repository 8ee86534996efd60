//! From layers to settings: each key's type and bounds, and what keys mean together.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::addresses::{Admin, Discover, Master, SentinelAddresses};
use super::layers::{Given, Layers, read_bounded, variable};
use super::overrides::{command_override, print_override};
use super::problem::{Errors, Origin, Problem};
use super::raw::key_name;
use super::values::{Bound, Bytes, Secret, Setting, Workers};
use super::zones::Zone;
use super::{Resolved, Sources, Value};
use crate::commands::{CommandOverride, Table};
use crate::settings::{
    Limits, Log, NodeAddress, Password, ReadPolicy, Reads, Sentinels, Settings, Subscriptions, Upstream,
};

/// More worker threads than this are no ambassador beside an application any more.
const MAX_WORKERS: u64 = 64;
/// What "auto" takes at most: beyond it the Redis behind is the slower part.
const MAX_AUTO_WORKERS: usize = 4;
/// One node fewer than a topology can hold (`topology::MAX_NODES`): the master takes a place.
const MAX_REPLICAS: usize = 63;
/// A password is a line.
const MAX_PASSWORD_FILE: u64 = 1 << 16;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const TERABYTE: u64 = 1 << 40;

/// Resolves the sources. Without `master_needed` a missing master is replaced by a placeholder.
pub(super) fn resolve(sources: &Sources, master_needed: bool) -> Result<Resolved, Errors> {
    let mut problems = Vec::new();
    let layers = Layers::read(sources, &mut problems);
    let mut resolver = Resolver {
        layers: &layers,
        problems,
        values: BTreeMap::new(),
    };
    let settings = resolver.settings(master_needed);
    let Resolver {
        problems, mut values, ..
    } = resolver;
    if !problems.is_empty() {
        return Err(Errors(problems));
    }
    let mut in_order: Vec<Value> = layers.order.iter().filter_map(|key| values.remove(key)).collect();
    for (change, (name, given)) in settings.commands.iter().zip(&layers.commands) {
        in_order.push(Value {
            key: format!("commands.{}", key_name(name)),
            value: print_override(change),
            origin: given.origin.clone(),
            note: None,
        });
    }
    Ok(Resolved {
        settings,
        values: in_order,
    })
}

struct Resolver<'a> {
    layers: &'a Layers,
    problems: Vec<Problem>,
    values: BTreeMap<String, Value>,
}

impl Resolver<'_> {
    fn settings(&mut self, master_needed: bool) -> Settings {
        Settings {
            listen: self.take("listen"),
            workers: self.workers(),
            admin: self.take::<Admin>("admin.listen").0,
            upstream: self.upstream(master_needed),
            reads: Reads {
                policy: self.take::<ReadPolicy>("reads.policy"),
                retries: self.number("reads.retries", 0, 10) as u32,
                hedge: self.take("reads.hedge"),
                hedge_budget: self.take("reads.hedge_budget"),
            },
            subscriptions: Subscriptions {
                on_failover: self.take("subscriptions.on_failover"),
            },
            limits: self.limits(),
            log: Log {
                format: self.take("log.format"),
                filter: self.filter(),
                lost_keys: self.number("log.lost_keys", 0, 1_000_000),
            },
            commands: self.commands(),
            allow_dangerous: self.take("allow_dangerous"),
            drain_timeout: self.within("drain_timeout", &(Duration::ZERO..=HOUR)),
        }
    }

    fn workers(&mut self) -> usize {
        let Workers(number) = self.within("workers", &(Workers(0)..=Workers(MAX_WORKERS)));
        if number > 0 {
            return number as usize;
        }
        // Honours the quota of the container's control group.
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        let chosen = available.clamp(1, MAX_AUTO_WORKERS);
        self.note("workers", format!("{chosen}, as {available} CPUs are available"));
        chosen
    }

    fn upstream(&mut self, master_needed: bool) -> Upstream {
        let replicas: Vec<NodeAddress> = self.take("upstream.replicas");
        let sentinels = self.sentinels();
        let discover = match self.take::<Discover>("upstream.discover") {
            Discover::Auto => replicas.is_empty(),
            Discover::On => true,
            Discover::Off => false,
        };
        if replicas.is_empty() {
            let found = match (&sentinels, discover) {
                (Some(_), _) => Some("found from the sentinels"),
                (None, true) => Some("found from what the nodes say in INFO replication"),
                (None, false) => None,
            };
            if let Some(found) = found {
                self.note("upstream.replicas", found.to_owned());
            }
        }
        Upstream {
            master: self.master(master_needed && sentinels.is_none(), &replicas),
            replicas,
            discover,
            sentinels,
            address_map: self.take("upstream.address_map"),
            zone: self.take::<Zone>("upstream.zone").0,
            zones: self.take("upstream.zones"),
            resolve_interval: self.within("upstream.resolve_interval", &(MILLISECOND * 50..=HOUR)),
            username: Some(self.take("upstream.username")).filter(|name: &String| !name.is_empty()),
            password: self.password("upstream"),
            connect_timeout: self.within("upstream.connect_timeout", &(MILLISECOND * 10..=HOUR)),
            connects_per_second: self.number("upstream.connects_per_second", 2, 10_000) as u32,
            start_timeout: self.bound("upstream.start_timeout", MILLISECOND * 10),
            reply_timeout: self.bound("upstream.reply_timeout", MILLISECOND * 10),
            probe_interval: self.within("upstream.probe_interval", &(MILLISECOND * 10..=SECOND * 60)),
            mark_interval: self.bound("upstream.mark_interval", MILLISECOND * 10),
            probe_timeout: self.within("upstream.probe_timeout", &(MILLISECOND * 10..=SECOND * 60)),
            max_link_down: self.within("upstream.max_link_down", &(Duration::ZERO..=HOUR * 24)),
            max_lag_bytes: self
                .within("upstream.max_lag", &(Bytes(0)..=Bytes(1024 * TERABYTE)))
                .0,
            max_lag_time: self.bound("upstream.max_lag_time", MILLISECOND * 10),
            hold_emptied: self.take("upstream.hold_emptied"),
            links_per_node: self.number("upstream.links_per_node", 1, 64),
            warm_leases: self.number("upstream.warm_leases", 0, 1000),
            max_leases: self.number("upstream.max_leases", 1, 1_000_000),
            idle_timeout: self.within("upstream.idle_timeout", &(SECOND..=HOUR * 24)),
        }
    }

    fn master(&mut self, needed: bool, replicas: &[NodeAddress]) -> Option<NodeAddress> {
        const KEY: &str = "upstream.master";
        let before = self.problems.len();
        let master = self.take::<Master>(KEY).0;
        if replicas.len() > MAX_REPLICAS {
            self.problem(
                "upstream.replicas",
                format!("expected at most {MAX_REPLICAS} replicas"),
            );
        }
        let Some(master) = master else {
            // When what was written is wrong, that has been said already.
            if needed && self.problems.len() == before {
                self.problems.push(Problem {
                    origin: None,
                    key: String::new(),
                    value: String::new(),
                    expected: format!(
                        "no master: name it with --master HOST:PORT, with master = \"HOST:PORT\" under [upstream] in \
                         the file given by --config, or with {}=HOST:PORT; or name the sentinels with --sentinel \
                         HOST:PORT",
                        variable(KEY)
                    ),
                });
            }
            return None;
        };
        if replicas.iter().any(|replica| replica.is_same_place(&master)) {
            let expected = format!("expected replicas other than the master, but {master} is named as both");
            self.problem("upstream.replicas", expected);
        }
        Some(master)
    }

    fn sentinels(&mut self) -> Option<Sentinels> {
        const NAME: &str = "sentinel.master";
        let SentinelAddresses(addresses) = self.take("sentinel.addresses");
        let master: String = self.take(NAME);
        // The letters that `sentinel.conf` allows.
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if master.is_empty() || !master.bytes().all(letter) {
            let expected =
                "expected the name under which the sentinels watch the master, such as \"mymaster\"";
            self.problem(NAME, expected.to_owned());
        }
        let username = Some(self.take("sentinel.username")).filter(|name: &String| !name.is_empty());
        let password = self.password("sentinel");
        (!addresses.is_empty()).then_some(Sentinels {
            addresses,
            master,
            username,
            password,
        })
    }

    /// The password itself, or what stands in the file; the higher layer of the two wins.
    fn password(&mut self, section: &str) -> Option<Password> {
        let (text_key, file_key) = (format!("{section}.password"), format!("{section}.password_file"));
        let user_key = format!("{section}.username");
        let Secret(text) = self.take(&text_key);
        let file: String = self.take(&file_key);
        let (text_rank, file_rank) = (
            self.layers.given(&text_key).origin.rank(),
            self.layers.given(&file_key).origin.rank(),
        );
        match (text.is_empty(), file.is_empty()) {
            (true, true) => {
                if !self
                    .layers
                    .given(&user_key)
                    .raw
                    .text()
                    .unwrap_or_default()
                    .is_empty()
                {
                    self.problem(&user_key, "expected password or password_file with it".to_owned());
                }
                None
            }
            (false, false) if text_rank == file_rank => {
                let expected = "expected password or password_file, not both".to_owned();
                self.problem(&file_key, expected);
                None
            }
            (false, _) if text_rank > file_rank || file.is_empty() => Some(Password::from(text)),
            _ => match read_bounded(Path::new(&file), MAX_PASSWORD_FILE) {
                Ok(content) if !content.trim().is_empty() => Some(Password::from(content.trim().to_owned())),
                Ok(_) => {
                    self.problem(
                        &file_key,
                        "expected a password in that file, but it is empty".to_owned(),
                    );
                    None
                }
                Err(reason) => {
                    self.problem(&file_key, format!("expected a file that can be read: {reason}"));
                    None
                }
            },
        }
    }

    fn limits(&mut self) -> Limits {
        let limits = Limits {
            clients: self.number("limits.clients", 1, 1_000_000),
            client_output: self.bytes("limits.client_output", 1 << 16),
            client_pipeline: self.bytes("limits.client_pipeline", 1 << 10),
            buffers: self.bytes("limits.buffers", 1 << 20),
            bulk: self.bytes("limits.bulk", 1 << 10),
            arguments: self.number("limits.arguments", 1, i32::MAX as u64),
            idle: self.bound("limits.idle", MILLISECOND),
            request: self.bound("limits.request", MILLISECOND),
            hold: self.within("limits.hold", &(Duration::ZERO..=HOUR)),
            hold_commands: self.number("limits.hold_commands", 1, 100_000_000),
            hold_bytes: self.bytes("limits.hold_bytes", 1 << 10),
            scripts: self.bytes("limits.scripts", 0),
        };
        for (key, part) in [
            ("client_output", limits.client_output),
            ("client_pipeline", limits.client_pipeline),
        ] {
            if part > limits.buffers {
                let expected = format!(
                    "expected at most limits.buffers, which is {} bytes",
                    limits.buffers
                );
                self.problem(&format!("limits.{key}"), expected);
            }
        }
        limits
    }

    fn filter(&mut self) -> String {
        let filter: String = self.take("log.filter");
        if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&filter) {
            let expected =
                format!("expected a filter such as \"info\" or \"redis_ambassador::control=debug\": {error}");
            self.problem("log.filter", expected);
        }
        filter
    }

    fn commands(&mut self) -> Vec<CommandOverride> {
        let mut changes = Vec::new();
        for (name, given) in &self.layers.commands {
            let checked = command_override(name, &given.raw).and_then(|change| {
                // Checked one by one here, so that the error names the line.
                match Table::embedded().with_overrides(std::slice::from_ref(&change)) {
                    Ok(_) => Ok(change),
                    Err(error) => Err(error.to_string()),
                }
            });
            match checked {
                Ok(change) => changes.push(change),
                Err(expected) => self.problems.push(Problem {
                    origin: Some(given.origin.clone()),
                    key: format!("commands.{}", key_name(name)),
                    value: given.raw.to_string(),
                    expected,
                }),
            }
        }
        changes
    }

    /// The key's value in its type; the default after an error, so that loading goes on.
    fn take<T: Setting>(&mut self, key: &str) -> T {
        let given = self.layers.given(key);
        match T::parse(&given.raw) {
            Ok(value) => {
                self.record(key, value.print(), &given.origin);
                value
            }
            Err(expected) => {
                self.problem(key, expected);
                T::parse(&self.layers.default(key).raw).expect("defaults parse; a test loads them")
            }
        }
    }

    fn within<T: Setting + PartialOrd>(&mut self, key: &str, bounds: &RangeInclusive<T>) -> T {
        let value: T = self.take(key);
        if !bounds.contains(&value) {
            let expected = format!("expected {} to {}", bounds.start().print(), bounds.end().print());
            self.problem(key, expected);
        }
        value
    }

    fn number(&mut self, key: &str, least: u64, most: u64) -> usize {
        self.within(key, &(least..=most)) as usize
    }

    fn bytes(&mut self, key: &str, least: u64) -> usize {
        self.within(key, &(Bytes(least)..=Bytes(TERABYTE))).0 as usize
    }

    /// A duration that may be off, and has a least value when it is not.
    fn bound(&mut self, key: &str, least: Duration) -> Duration {
        let Bound(span) = self.take(key);
        if !span.is_zero() && (span < least || span > HOUR * 24 * 365) {
            self.problem(
                key,
                format!("expected {} to \"8760h\", or \"off\"", least.print()),
            );
        }
        span
    }

    fn record(&mut self, key: &str, value: String, origin: &Origin) {
        let value = Value {
            key: key.to_owned(),
            value,
            origin: origin.clone(),
            note: None,
        };
        self.values.insert(key.to_owned(), value);
    }

    fn note(&mut self, key: &str, note: String) {
        if let Some(value) = self.values.get_mut(key) {
            value.note = Some(note);
        }
    }

    fn problem(&mut self, key: &str, expected: String) {
        let Given { raw, origin } = self.layers.given(key);
        // An address with an @ may be a URL with a password.
        let written = raw.to_string();
        let secret = key.ends_with(".password") || written.contains('@');
        let value = if secret { "\"***\"".to_owned() } else { written };
        let origin = Some(origin.clone());
        self.problems.push(Problem {
            origin,
            key: key.to_owned(),
            value,
            expected,
        });
    }
}
