//! One client as CLIENT LIST and CLIENT INFO show it: the fields that the master has, in its order. Pure.

use std::borrow::Cow;

/// The fields of Redis 7.0 with neutral values, for a master that could not be asked.
const FIELDS: &str = "id=0 addr= laddr= fd=0 name= age=0 idle=0 flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=0 \
     qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd=NULL user=default \
     redir=-1 resp=2";

/// What is known of a client at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each a field or a flag of its own"
)]
pub struct Seen {
    pub(super) id: u64,
    pub(super) address: String,
    pub(super) local_address: String,
    pub(super) descriptor: i32,
    pub(super) name: Vec<u8>,
    /// Seconds.
    pub(super) age: u64,
    /// Seconds.
    pub(super) idle: u64,
    pub(super) flags: String,
    pub(super) db: u32,
    /// Between MULTI and EXEC.
    pub(super) multi: bool,
    pub(super) watching: bool,
    /// It has subscribed to something.
    pub(super) pubsub: bool,
    /// Bytes of requests not dealt with yet.
    pub(super) input: usize,
    /// Bytes of replies that it has not taken.
    pub(super) unread: usize,
    /// Lower case, `container|subcommand`; empty when there was none.
    pub(super) command: Vec<u8>,
    pub(super) user: Vec<u8>,
    pub(super) resp3: bool,
    pub(super) library: Vec<u8>,
    pub(super) version: Vec<u8>,
    /// CLIENT CAPA redirect.
    pub(super) redirects: bool,
    /// The id of its own connection to the master, where it has one.
    pub(super) upstream: Option<u64>,
    /// The client that its invalidations are redirected to.
    pub(super) redirect: Option<u64>,
    /// Its own connection carries all that it does.
    pub(super) has_tunnel: bool,
    /// What the master says of that connection.
    pub(super) told: Option<Vec<u8>>,
}

/// What only the master knows of a client with a connection of its own there.
const TOLD: [&str; 7] = ["sub", "psub", "ssub", "multi", "watch", "multi-mem", "argv-mem"];

/// What the ambassador knows better of one whose connection carries all that it does.
const OWN: [&str; 9] = ["id", "addr", "laddr", "fd", "age", "idle", "cmd", "flags", "capa"];

/// The order of flags (`catClientInfoString` in Redis's networking.c).
const FLAGS: &str = "OSMPxbtRBdcuAUreTI";

impl Seen {
    /// Appends the line without its end. `fields` are the master's, empty when it could not be asked.
    pub(super) fn line(&self, fields: &str, out: &mut Vec<u8>) {
        let fields = if fields.is_empty() { FIELDS } else { fields };
        for (index, field) in fields.split(' ').enumerate() {
            let (name, neutral) = field.split_once('=').unwrap_or((field, ""));
            if index > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            match self.value(name) {
                Some(value) => out.extend_from_slice(&value),
                None => out.extend_from_slice(neutral.as_bytes()),
            }
        }
    }

    /// A field of what the master says.
    fn told(&self, field: &str) -> Option<&[u8]> {
        let mut fields = self.told.as_deref()?.split(|byte| *byte == b' ');
        fields.find_map(|each| each.strip_prefix(field.as_bytes())?.strip_prefix(b"="))
    }

    /// The flags that the master and the ambassador know of.
    fn all_flags(&self) -> Vec<u8> {
        let told = self.told("flags").unwrap_or_default();
        // What a tunnel was opened for may be over.
        let own = |flag: char| self.flags.contains(flag) && (!self.has_tunnel || "cUeT".contains(flag));
        let flags = FLAGS
            .chars()
            .filter(|flag| told.contains(&(*flag as u8)) || own(*flag));
        let flags: String = flags.collect();
        if flags.is_empty() {
            b"N".to_vec()
        } else {
            flags.into_bytes()
        }
    }

    /// `None`: nothing of the kind exists here.
    fn value(&self, field: &str) -> Option<Cow<'_, [u8]>> {
        if let Some(told) = self.told(field) {
            match field {
                "flags" => return Some(Cow::Owned(self.all_flags())),
                "redir"
                    if let Some(id) = self.redirect
                        && !matches!(told, b"-1" | b"0") =>
                {
                    return Some(Cow::Owned(id.to_string().into_bytes()));
                }
                _ if TOLD.contains(&field) || self.has_tunnel && !OWN.contains(&field) => {
                    return Some(Cow::Borrowed(told));
                }
                _ => {}
            }
        }
        let number = |value: u64| Some(Cow::Owned(value.to_string().into_bytes()));
        let text = |value: &'_ str| Some(Cow::Owned(value.as_bytes().to_vec()));
        match field {
            "id" => number(self.id),
            "addr" => text(&self.address),
            "laddr" => text(&self.local_address),
            "fd" => text(&self.descriptor.to_string()),
            "name" => Some(Cow::Borrowed(&self.name)),
            "age" => number(self.age),
            "idle" => number(self.idle),
            "flags" => text(&self.flags),
            "db" => number(u64::from(self.db)),
            // How many commands are queued only the master knows.
            "multi" => text(if self.multi { "0" } else { "-1" }),
            "watch" => number(u64::from(self.watching)),
            "qbuf" => number(self.input as u64),
            "obl" | "omem" => number(self.unread as u64),
            "cmd" if self.command.is_empty() => text("NULL"),
            "cmd" => Some(Cow::Borrowed(&self.command)),
            "user" => Some(Cow::Borrowed(&self.user)),
            "resp" => number(if self.resp3 { 3 } else { 2 }),
            "capa" => text(if self.redirects { "r" } else { "" }),
            "lib-name" => Some(Cow::Borrowed(&self.library)),
            "lib-ver" => Some(Cow::Borrowed(&self.version)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Seen;

    #[test]
    fn of_a_connection_of_its_own_the_master_knows_more() {
        let mut seen = Seen {
            id: 7,
            flags: "te".to_owned(),
            redirect: Some(8),
            has_tunnel: true,
            told: Some(b"id=90 flags=xB multi=2 redir=91 resp=3 cmd=ping".to_vec()),
            command: b"get".to_vec(),
            ..Seen::default()
        };
        let line = |seen: &Seen| {
            let mut out = Vec::new();
            seen.line("id=0 flags=N multi=-1 redir=-1 resp=2 cmd=NULL", &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(line(&seen), "id=7 flags=xBe multi=2 redir=8 resp=3 cmd=get");
        seen.has_tunnel = false;
        assert_eq!(line(&seen), "id=7 flags=xtBe multi=2 redir=8 resp=2 cmd=get");
        seen.told = None;
        assert_eq!(line(&seen), "id=7 flags=te multi=-1 redir=-1 resp=2 cmd=get");
    }

    #[test]
    fn a_line_has_the_masters_fields_in_their_order() {
        let seen = Seen {
            id: 7,
            command: b"client|list".to_vec(),
            resp3: true,
            ..Seen::default()
        };
        let mut out = Vec::new();
        seen.line("resp=2 io-thread=0 id=0 lib-name= cmd=NULL redir=-1", &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "resp=3 io-thread=0 id=7 lib-name= cmd=client|list redir=-1"
        );
    }
}
