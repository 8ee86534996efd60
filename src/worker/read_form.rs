//! SORT and its kin: flagged write, but sent to a replica in their read-only form when they write nothing.

use super::client::Lane;
use super::edit::Edit;
use super::requests::{Outcome, Segment, Verdict};
use super::slots::ClientKey;
use super::turn::Worker;
use crate::commands::Class;
use crate::resp::{Arguments, Bounds, Request, RequestScanner, Step, write};

impl Worker {
    /// Sends a request in its read-only form, where it has one that is the same.
    pub(super) fn read_in_read_only_form(
        &mut self,
        key: ClientKey,
        verdict: Verdict,
        request: &Request,
        bytes: &[u8],
    ) -> Outcome {
        // An ACL user may be permitted the form and not the command, for some keys and not for others.
        let unsure = self
            .clients
            .get(key)
            .is_none_or(|client| client.lane == Lane::Master || client.session.login.is_some());
        // A class that the user gave it counts.
        if unsure || verdict.class != Class::Write {
            return Outcome::Plain;
        }
        let Some(command) = self.entry(request, bytes) else {
            return Outcome::Plain;
        };
        let name = command.read_form.as_deref();
        let Some(name) = name.filter(|_| command.only_reads(Arguments::of(bytes))) else {
            return Outcome::Plain;
        };
        let read = renamed(request, bytes, name.as_bytes());
        let mut segment = Segment::default();
        segment.add(Class::Read, read.len());
        segment.edit = Edit::ReadForm;
        if self.dispatch(key, &segment, &read) {
            Outcome::Done
        } else {
            Outcome::Stalled
        }
    }

    /// The request of which this is the read-only form.
    pub(super) fn original_form(&self, read: &[u8], bounds: Bounds) -> Option<Vec<u8>> {
        let Ok(Step::Complete(request)) = RequestScanner::default().scan(read, bounds) else {
            return None;
        };
        let name = std::str::from_utf8(&read[request.name.clone()]).ok()?;
        let mut commands = self.topology.table.iter();
        let original = commands.find(|command| command.read_form.as_deref() == Some(name))?;
        Some(renamed(&request, read, original.name.as_bytes()))
    }
}

/// The request under another name.
fn renamed(request: &Request, bytes: &[u8], name: &[u8]) -> Vec<u8> {
    // `*N`, then the name's own length line and the name.
    let header = memchr::memchr(b'\n', bytes).map_or(0, |end| end + 1);
    let mut out = Vec::with_capacity(bytes.len() + 8);
    out.extend_from_slice(&bytes[..header]);
    write::bulk(&mut out, name);
    out.extend_from_slice(&bytes[request.name.end + 2..request.len]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_changes() {
        let bytes = b"*3\r\n$4\r\nsort\r\n$1\r\nk\r\n$4\r\nDESC\r\n";
        let bounds = Bounds {
            arguments: 10,
            bulk: 100,
        };
        let Ok(Step::Complete(request)) = RequestScanner::default().scan(bytes, bounds) else {
            panic!("a whole request");
        };
        assert_eq!(
            renamed(&request, bytes, b"sort_ro"),
            b"*3\r\n$7\r\nsort_ro\r\n$1\r\nk\r\n$4\r\nDESC\r\n"
        );
    }
}
