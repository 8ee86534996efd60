//! `explain`: what the table in force makes of a request, with what the settings add to it.

use std::fmt::Write as _;

use crate::commands::{Class, Table};
use crate::config::Resolved;
use crate::settings::ReadPolicy;

/// The answer, line by line. The master's own `COMMAND` is not asked: this works without any server.
pub(super) fn explain(request: &[String], resolved: &Resolved) -> Result<String, String> {
    let settings = &resolved.settings;
    let embedded = Table::embedded();
    let table = if settings.allow_dangerous {
        embedded.with_dangerous()
    } else {
        embedded.clone()
    };
    let table = table
        .with_overrides(&settings.commands)
        .map_err(|error| error.to_string())?;
    let arguments: Vec<&str> = request.iter().map(String::as_str).collect();
    let mut explanation = table.explain(&arguments);
    if explanation.target == Class::Read.target() {
        explanation.target = read_target(settings.reads.policy);
    }
    let mut text = explanation.to_string();
    if explanation.class == Class::Read {
        let origin = resolved
            .origin("reads.policy")
            .map(ToString::to_string)
            .unwrap_or_default();
        let _ = writeln!(text, "policy   {} ({origin})", settings.reads.policy.name());
    }
    Ok(text)
}

fn read_target(policy: ReadPolicy) -> &'static str {
    match policy {
        ReadPolicy::ReplicasFirst => "a replica; the master only when no replica is usable",
        ReadPolicy::ReplicasOnly => "a replica; an error when none is usable",
        ReadPolicy::Any => "the master or a replica",
        ReadPolicy::MasterOnly => "the master, on a shared link",
    }
}
