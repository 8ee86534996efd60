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
}

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

    /// `None`: nothing of the kind exists here.
    fn value(&self, field: &str) -> Option<Cow<'_, [u8]>> {
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
