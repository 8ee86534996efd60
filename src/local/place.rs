//! Which ports `local` listens on: the named ones or none, and for the usual ones the next that is free.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// How many ports from the usual one on are tried.
const TRIES: u16 = 100;

/// The addresses to listen on, all with one port, and a sentence for the user when it is not the usual port.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// The addresses; the first is IPv4's.
    pub(super) addresses: Vec<SocketAddr>,
    /// What to tell the user.
    pub(super) note: Option<String>,
}

/// Finds a port, the usual one if possible, that is free on each loopback address that the machine has.
///
/// `option` is the flag that chooses another.
pub(super) fn choose(usual: u16, both_families: bool, option: &str) -> Result<Choice, String> {
    let mut hosts = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    // "localhost" may mean either to a client, so both have to be ours. A machine without IPv6 has only one.
    let ipv6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    if both_families && TcpListener::bind((ipv6, 0)).is_ok() {
        hosts.push(ipv6);
    }
    let ports = usual..=usual.saturating_add(TRIES);
    let Some(port) = ports
        .clone()
        .find(|port| hosts.iter().all(|host| is_free((*host, *port).into())))
    else {
        return Err(format!(
            "all ports from {} to {} are in use; choose one with {option} ADDR",
            ports.start(),
            ports.end()
        ));
    };
    let note = (port != usual).then(|| {
        format!("port {usual} is in use by another program: taking {port} instead ({option} ADDR chooses)")
    });
    let addresses = hosts.into_iter().map(|host| (host, port).into()).collect();
    Ok(Choice { addresses, note })
}

/// Whether nothing listens on an address that was named. What is no TCP address is for others to judge.
pub(super) fn check_named(text: &str, option: &str) -> Result<(), String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if !is_free(address) => Err(format!(
            "cannot listen on {address}: the port is in use by another program. Stop that one \
             (`ss -ltnp 'sport = :{}'` shows it), choose another with {option} ADDR, or leave {option} out: \
             then a free port is found",
            address.port()
        )),
        _ => Ok(()),
    }
}

fn is_free(address: SocketAddr) -> bool {
    // Only "in use": other reasons are explained by whoever really listens.
    !TcpListener::bind(address).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_next_port_when_the_usual_one_is_in_use_and_says_so() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let usual = taken.local_addr().unwrap().port();

        let choice = choose(usual, true, "--listen").unwrap();

        assert!(
            choice.addresses.iter().all(|address| address.port() > usual),
            "{choice:?}"
        );
        let note = choice.note.unwrap();
        assert!(note.starts_with(&format!("port {usual} is in use")), "{note}");
    }

    #[test]
    fn takes_the_usual_port_without_a_word() {
        let usual = {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            free.local_addr().unwrap().port()
        };

        let choice = choose(usual, false, "--admin").unwrap();

        assert_eq!(choice.addresses, [SocketAddr::from((Ipv4Addr::LOCALHOST, usual))]);
        assert_eq!(choice.note, None);
    }

    #[test]
    fn a_named_port_has_to_be_free() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = taken.local_addr().unwrap().to_string();

        let error = check_named(&address, "--listen").unwrap_err();

        assert!(error.contains(&address) && error.contains("in use"), "{error}");
        assert_eq!(check_named("unix:/run/x.sock", "--listen"), Ok(()));
        drop(taken);
        assert_eq!(check_named(&address, "--listen"), Ok(()));
    }
}
