//! What is known of one client, for CLIENT LIST and CLIENT INFO.

use super::client::Mode;
use super::client_line::Seen;
use super::slots::ClientKey;
use super::socket::Socket;
use super::turn::Worker;
use crate::commands::Class;

impl Worker {
    /// The fields of the master's own CLIENT INFO with neutral values; empty when it has not been asked.
    pub(super) fn client_fields(&self) -> &str {
        self.topology
            .greeting
            .as_deref()
            .map_or("", |greeting| &greeting.client_fields)
    }

    /// Remembers the command that a client sent last.
    pub(super) fn remember_command(&mut self, key: ClientKey, name: &[u8], second: Option<&[u8]>) {
        if let Some(command) = self.topology.table.lookup(name, second)
            && let Some(client) = self.clients.get_mut(key)
        {
            client.command.set(command.name.as_bytes());
        }
    }

    /// One client as it is now.
    pub(super) fn seen(&self, key: ClientKey) -> Option<Seen> {
        let client = self.clients.get(key)?;
        let session = &client.session;
        let names = session.names.as_deref();
        let command = client.command.name();
        // What opened a tunnel is the last command that is remembered of it.
        let tunnel = matches!(client.mode, Mode::Tunnel(_))
            .then(|| self.topology.table.lookup(command, None))
            .flatten();
        let pubsub = tunnel.is_some_and(|command| command.class == Class::Pubsub);
        let (multi, watching) = match &client.mode {
            Mode::Leased(lease) => (lease.multi, lease.watching),
            _ => (false, false),
        };
        let is_tunnel = matches!(client.mode, Mode::Tunnel(_));
        let mut flags = String::new();
        // The order is that of `catClientInfoString` in Redis's networking.c.
        for (set, flag) in [
            (is_tunnel && command == b"monitor", 'O'),
            (pubsub, 'P'),
            (multi, 'x'),
            (self.is_blocked(key), 'b'),
            (is_tunnel && command == b"client|tracking", 't'),
            (client.closing, 'c'),
            (matches!(client.socket, Socket::Unix(_)), 'U'),
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
            pubsub,
            input: client.input.len(),
            unread: client.unread(),
            command: command.to_vec(),
            user,
            resp3: session.resp3,
            library: names.map_or_else(Vec::new, |names| names.library.clone()),
            version: names.map_or_else(Vec::new, |names| names.version.clone()),
        })
    }
}
