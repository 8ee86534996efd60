//! Requests too large to gather: passed on as they come, on a connection of the client's own.

use super::client::{Mode, Stall};
use super::edit::Edit;
use super::owed::Owed;
use super::requests::{Outcome, Verdict};
use super::sent::Kind;
use super::slots::ClientKey;
use super::turn::Worker;
use crate::resp::{ProtocolError, Request};

/// Bytes that an own connection may be behind before the client it belongs to is not read any more.
const UPLOAD_BACKLOG: usize = 1024 * 1024;

impl Worker {
    /// Begins to pass a request on that is too large to gather. Returns how many bytes are dealt with.
    pub(super) fn begin_upload(&mut self, key: ClientKey, verdict: Verdict, bytes: &[u8]) -> usize {
        let Some(client) = self.clients.get(key) else {
            return bytes.len();
        };
        let (position, passage) = (client.scanner.position(), client.scanner.passage());
        let beginning = client.scanner.partial().map(|request| Request {
            argc: if request.second.is_empty() { 1 } else { 2 },
            ..request.clone()
        });
        let link = match &client.mode {
            Mode::Leased(lease) => Ok(lease.link),
            _ => self.lease(key, |_| ()),
        };
        let link = match link {
            Ok(link) => link,
            Err(outcome) => {
                if let Some(client) = self.clients.get_mut(key) {
                    client.scanner.reset();
                }
                if outcome == Outcome::Stalled {
                    return 0;
                }
                // The client was told; what it goes on sending of this request cannot be told from the next.
                self.close_when_flushed(key);
                return bytes.len();
            }
        };
        let body = beginning
            .as_ref()
            .and_then(|request| Self::body(verdict, request, bytes));
        let edit = body.map_or(Edit::None, |body| self.teaches(body, false));
        if let Some(request) = beginning
            && edit == Edit::None
            && self.script_on_lease(key, verdict, &request, bytes).is_some()
        {
            // A script goes before it.
            if let Some(client) = self.clients.get_mut(key) {
                client.scanner.reset();
            }
            return 0;
        }
        self.count_on(link, verdict.class);
        self.send_own(key, link, Kind::Writes, 1, &bytes[..position], edit);
        self.cannot_repeat(key);
        if let Some(client) = self.clients.get_mut(key) {
            client.scanner.reset();
            if let Mode::Leased(lease) = &mut client.mode {
                lease.upload = Some(passage);
                lease.queued += u32::from(lease.multi);
            }
        }
        match self.go_on_uploading(key, &bytes[position..]) {
            Some(taken) => position + taken,
            None => position,
        }
    }

    /// Whether more of a request is to come that is passed on already.
    pub(super) fn is_uploading(&self, key: ClientKey) -> bool {
        let client = self.clients.get(key);
        client.is_some_and(|client| matches!(&client.mode, Mode::Leased(lease) if lease.upload.is_some()))
    }

    /// Passes on what came of a large request. `None`: not now.
    pub(super) fn go_on_uploading(&mut self, key: ClientKey, bytes: &[u8]) -> Option<usize> {
        let bounds = self.bounds;
        let Some(client) = self.clients.get_mut(key) else {
            return Some(bytes.len());
        };
        let Mode::Leased(lease) = &mut client.mode else {
            return Some(0);
        };
        let link = lease.link;
        if self
            .links
            .get(link)
            .is_none_or(|link| link.unsent().len() > UPLOAD_BACKLOG)
        {
            self.stall(key, Stall::Lease);
            return None;
        }
        let Some(passage) = &mut lease.upload else {
            return Some(0);
        };
        match passage.advance(bytes, bounds) {
            Ok((taken, complete)) => {
                if complete {
                    lease.upload = None;
                }
                if let Some(link) = self.links.get_mut(link) {
                    link.push_more(&bytes[..taken]);
                }
                self.soil_link(link);
                Some(taken)
            }
            Err((_, ProtocolError::ExpectedLineEnd)) => {
                // A server does not look at what is behind an argument: it would run what it has.
                client.owed = Owed::default();
                self.end_lease(key);
                self.refuse_protocol(key, ProtocolError::ExpectedLineEnd);
                Some(bytes.len())
            }
            Err((taken, error)) => {
                // It is the server that says so, behind the replies to what it was sent before.
                if let Some(link) = self.links.get_mut(link) {
                    let mut rest = bytes[..taken].to_vec();
                    error.provoke(true, &mut rest);
                    link.push_more(&rest);
                }
                self.soil_link(link);
                self.count_protocol_error();
                self.close_when_flushed(key);
                Some(bytes.len())
            }
        }
    }
}
