//! What a Redis connection remembers of its client, kept here because the client's commands travel on links
//! that it shares with others. Pure state.

use std::rc::Rc;

use super::profile::{Login, Profile, ProfileId};

/// CLIENT REPLY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum ReplyMode {
    #[default]
    On,
    Off,
    /// The next command is not answered.
    Skip,
}

/// The state of one client's connection.
#[derive(Debug)]
pub(super) struct Session {
    /// CLIENT ID.
    pub(super) id: u64,
    pub(super) db: u32,
    pub(super) resp3: bool,
    /// Who the client logged in as; `None`: as whom the ambassador itself does.
    pub(super) login: Option<Rc<Login>>,
    /// Links with just this db, RESP version and user.
    pub(super) profile: ProfileId,
    pub(super) reply: ReplyMode,
    /// Rarely set; boxed so that an idle client stays small.
    pub(super) names: Option<Box<Names>>,
}

/// What a client says of itself and wants of its connection.
#[derive(Debug, Default, Clone)]
pub(super) struct Names {
    /// CLIENT SETNAME.
    pub(super) name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME.
    pub(super) library: Vec<u8>,
    /// CLIENT SETINFO LIB-VER.
    pub(super) version: Vec<u8>,
    /// CLIENT NO-EVICT.
    pub(super) no_evict: bool,
    /// CLIENT NO-TOUCH.
    pub(super) no_touch: bool,
    /// CLIENT CAPA redirect (Valkey), which the ambassador does itself.
    pub(super) redirects: bool,
}

impl Names {
    /// What tells them to a connection.
    pub(super) fn commands(&self) -> Vec<Vec<Vec<u8>>> {
        let switch = |on: bool| if on { &b"ON"[..] } else { b"" };
        let commands: [(&[&[u8]], &[u8]); 5] = [
            (&[b"CLIENT", b"SETNAME"], &self.name),
            (&[b"CLIENT", b"SETINFO", b"LIB-NAME"], &self.library),
            (&[b"CLIENT", b"SETINFO", b"LIB-VER"], &self.version),
            (&[b"CLIENT", b"NO-EVICT"], switch(self.no_evict)),
            (&[b"CLIENT", b"NO-TOUCH"], switch(self.no_touch)),
        ];
        let named = commands.into_iter().filter(|(_, value)| !value.is_empty());
        named
            .map(|(words, value)| words.iter().chain([&value]).map(|word| word.to_vec()).collect())
            .collect()
    }
}

impl Session {
    pub(super) fn new(id: u64, profile: ProfileId) -> Self {
        Session {
            id,
            db: 0,
            resp3: false,
            login: None,
            profile,
            reply: ReplyMode::On,
            names: None,
        }
    }

    /// What a link for this client is set up to; `own` is the ambassador's own login.
    pub(super) fn wants(&self, own: Option<&Rc<Login>>) -> Profile {
        Profile {
            db: self.db,
            resp3: self.resp3,
            login: self.login.as_ref().or(own).cloned(),
            ..Profile::default()
        }
    }

    /// Puts it back to what it was when the client connected, as RESET does; `plain` are links for that. What library
    /// the client uses stays known, and before Redis 7.2 (`is_old`) so did NO-EVICT (`clearClientConnectionState` in
    /// networking.c).
    pub(super) fn reset(&mut self, plain: ProfileId, is_old: bool) {
        (self.db, self.resp3, self.login) = (0, false, None);
        (self.profile, self.reply) = (plain, ReplyMode::On);
        if let Some(names) = &mut self.names {
            names.name.clear();
            names.no_evict &= is_old;
            names.no_touch = false;
        }
    }

    /// Whether the next command is not answered; forgets a CLIENT REPLY SKIP.
    pub(super) fn takes_silence(&mut self) -> bool {
        match self.reply {
            ReplyMode::On => false,
            ReplyMode::Off => true,
            ReplyMode::Skip => {
                self.reply = ReplyMode::On;
                true
            }
        }
    }

    pub(super) fn names(&mut self) -> &mut Names {
        self.names.get_or_insert_default()
    }

    /// The name set by CLIENT SETNAME or HELLO SETNAME; empty when there is none.
    pub(super) fn name(&self) -> &[u8] {
        self.names.as_deref().map_or(&[], |names| &names.name)
    }
}

/// Whether Redis takes this as a connection's name (`validateClientName` in networking.c).
pub(super) fn is_name(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}
