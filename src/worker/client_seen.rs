//! What is known of one client, for CLIENT LIST and CLIENT INFO.

use super::client::{Listens, Mode};
use super::client_line::Seen;
use super::session::is_name;
use super::slots::ClientKey;
use super::socket::Socket;
use super::turn::Worker;
use crate::resp::Arguments;

impl Worker {
    /// The fields of the master's own CLIENT INFO with neutral values; empty when it has not been asked.
    pub(super) fn client_fields(&self) -> &str {
        self.topology
            .greeting
            .as_deref()
            .map_or("", |greeting| &greeting.client_fields)
    }

    /// Whether the master is older than Redis 7.2, which brought CLIENT SETINFO, NO-TOUCH and these fields.
    pub(super) fn is_old_master(&self) -> bool {
        let fields = self.client_fields();
        !fields.is_empty() && !fields.contains(" lib-name=")
    }

    /// Remembers the command that a client sent last.
    pub(super) fn remember_command(&mut self, key: ClientKey, name: &[u8], second: Option<&[u8]>) {
        if let Some(client) = self.clients.get_mut(key) {
            // Nearly always.
            if client.command.says_all_of(name) {
                return;
            }
            // What no server knows leaves none behind (`processCommand` in Redis's server.c).
            let command = self.topology.table.lookup(name, second);
            let known = command.map_or(&b""[..], |command| command.name.as_bytes());
            client.command.set(known, self.topology.table.is_container(name));
        }
    }

    /// The library that a client in a tunnel says it uses: it outlasts the RESET that ends the tunnel.
    pub(super) fn remember_library(&mut self, key: ClientKey, request: &[u8]) {
        let words: Vec<&[u8]> = Arguments::of(request).skip(2).take(3).collect();
        let [what, value] = words[..] else {
            return;
        };
        if self.is_old_master() || !is_name(value) {
            return;
        }
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let names = client.session.names();
        match what.to_ascii_lowercase().as_slice() {
            b"lib-name" => names.library = value.to_vec(),
            b"lib-ver" => names.version = value.to_vec(),
            _ => {}
        }
    }

    /// One client as it is now.
    pub(super) fn seen(&self, key: ClientKey) -> Option<Seen> {
        let client = self.clients.get(key)?;
        let session = &client.session;
        let names = session.names.as_deref();
        let command = client.command.name();
        let listens = match &client.mode {
            Mode::Tunnel(tunnel) => tunnel.listens,
            _ => Listens::No,
        };
        let (multi, watching) = match &client.mode {
            Mode::Leased(lease) => (lease.multi, lease.watching),
            Mode::Tunnel(tunnel) => (tunnel.multi, false),
            Mode::Shared => (false, false),
        };
        let own = client.lease().and_then(|link| self.links.get(link));
        let upstream = own
            .filter(|link| Some(link.node) == self.route.master)
            .and_then(|link| link.upstream_id);
        let redirect = match &client.mode {
            Mode::Tunnel(tunnel) => tunnel.redirect.map(|(id, _)| id),
            _ => None,
        };
        let mut flags = String::new();
        // The order is that of `catClientInfoString` in Redis's networking.c.
        for (set, flag) in [
            (listens == Listens::Monitor, 'O'),
            (listens == Listens::Channels, 'P'),
            (multi, 'x'),
            (self.is_blocked(key), 'b'),
            (listens == Listens::Keys, 't'),
            (client.closing, 'c'),
            (matches!(client.socket, Socket::Unix(_)), 'U'),
            (names.is_some_and(|names| names.no_evict), 'e'),
            (names.is_some_and(|names| names.no_touch), 'T'),
        ] {
            if set {
                flags.push(flag);
            }
        }
        if flags.is_empty() {
            flags.push('N');
        }
        let login = session.login.as_ref().or(self.own_login.as_ref());
        let user = login
            .and_then(|login| login.user.clone())
            .unwrap_or_else(|| b"default".to_vec());
        Some(Seen {
            id: session.id,
            address: client.socket.peer(),
            local_address: client.socket.local(),
            descriptor: client.socket.descriptor(),
            name: session.name().to_vec(),
            age: self.now.saturating_duration_since(client.born).as_secs(),
            idle: self.now.saturating_duration_since(client.heard).as_secs(),
            flags,
            db: session.db,
            multi,
            watching,
            pubsub: listens == Listens::Channels,
            input: client.input.len(),
            unread: client.unread(),
            command: command.to_vec(),
            user,
            resp3: session.resp3,
            library: names.map_or_else(Vec::new, |names| names.library.clone()),
            version: names.map_or_else(Vec::new, |names| names.version.clone()),
            redirects: names.is_some_and(|names| names.redirects),
            upstream,
            redirect,
            has_tunnel: matches!(client.mode, Mode::Tunnel(_)),
            told: None,
        })
    }
}
