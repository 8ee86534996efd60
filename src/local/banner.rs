//! What a person reads when everything runs: what is where, how to try it, how to stop it.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::group::Group;
use crate::settings::Listen;

/// The text, with an empty line at its end.
pub(super) fn banner(group: &Group, listening: &[Listen], admin: Option<SocketAddr>) -> String {
    let mut text =
        String::from("redis-ambassador local: a private replication group, gone when this ends\n\n");
    let mut row = |name: &str, what: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<12}  {what}");
    };
    for (index, place) in listening.iter().enumerate() {
        row(if index == 0 { "applications" } else { "" }, &show(place));
    }
    row(
        "admin",
        &admin.map_or("off".to_owned(), |address| format!("http://{address}")),
    );
    for server in group.servers() {
        row(
            &server.name,
            &format!("{}  ({})", server.address, group.version()),
        );
    }
    row(
        "server logs",
        &group.directory().join("*.log").display().to_string(),
    );

    text.push_str("\nTry it in another terminal:\n");
    let mut line = |command: &str| {
        let _ = writeln!(text, "  {command}");
    };
    if let Some(place) = listening.first() {
        let client = client(place);
        line(&format!("{client} set a 1"));
        line(&format!("{client} get a"));
    }
    if let Some(address) = admin {
        line(&format!("curl http://{address}/metrics"));
    }
    text.push_str("\nCtrl-C stops all of it.\n\n");
    text
}

fn show(place: &Listen) -> String {
    match place {
        Listen::Tcp(address) => address.to_string(),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// The command that connects redis-cli there.
fn client(place: &Listen) -> String {
    match place {
        Listen::Tcp(address)
            if address.ip().is_loopback() && address.is_ipv4() || address.ip().is_unspecified() =>
        {
            format!("redis-cli -p {}", address.port())
        }
        Listen::Tcp(address) => format!("redis-cli -h {} -p {}", address.ip(), address.port()),
        Listen::Unix(path) => format!("redis-cli -s {}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_the_command_that_really_connects() {
        let tcp = |text: &str| client(&Listen::Tcp(text.parse().unwrap()));

        assert_eq!(tcp("127.0.0.1:6379"), "redis-cli -p 6379");
        assert_eq!(tcp("0.0.0.0:7000"), "redis-cli -p 7000");
        assert_eq!(tcp("[::1]:6379"), "redis-cli -h ::1 -p 6379");
        assert_eq!(
            client(&Listen::Unix("/run/r.sock".into())),
            "redis-cli -s /run/r.sock"
        );
    }
}
