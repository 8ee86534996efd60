//! CLIENT PAUSE: the master holds the commands of all its clients, and a replica knows nothing of that. While all
//! commands are held, not only writes, reads go to the master too, which then holds them.

use std::time::Duration;

use super::client_filter::number;
use super::edit::Edit;
use super::mailbox::{Hint, Mail};
use super::requests::{Outcome, Segment, Verdict};
use super::route::Route;
use super::slots::ClientKey;
use super::turn::Worker;
use crate::commands::ClientHandling;
use crate::resp::Arguments;
use crate::settings::ReadPolicy;

/// After that, reads on replicas are the lesser evil.
const LONGEST: Duration = Duration::from_hours(24);

impl Worker {
    /// Sends a CLIENT PAUSE or UNPAUSE to the master; what it says decides.
    pub(super) fn pause_or_go_on(
        &mut self,
        key: ClientKey,
        verdict: Verdict,
        of_client: ClientHandling,
        bytes: &[u8],
    ) -> Outcome {
        let mut segment = Segment::default();
        segment.add(verdict.class, bytes.len());
        segment.edit = match of_client {
            ClientHandling::Pause => pause_of(bytes).map_or(Edit::None, |time| Edit::Pause(Some(time))),
            _ => Edit::Pause(None),
        };
        if self.dispatch(key, &segment, bytes) {
            Outcome::Done
        } else {
            Outcome::Stalled
        }
    }

    /// The master holds everything for so long, or (`None`) nothing any more: tells everybody.
    pub(super) fn paused_by_master(&mut self, time: Option<Duration>) {
        for (place, peer) in self.peers.iter().enumerate() {
            if place != self.own_place {
                peer.send(Mail::Paused(time));
            }
        }
        self.hint(Hint::Paused(time.unwrap_or_default()));
        self.pause(time);
    }

    /// The master holds everything for so long, or nothing any more.
    pub(super) fn pause(&mut self, time: Option<Duration>) {
        // No pause is made shorter by another.
        self.paused = time.map(|time| self.paused.unwrap_or(self.now).max(self.now + time));
        self.hurried = true;
        self.choose_route();
    }

    /// Where requests go, by the picture of the group, the configuration, and whether everything is held.
    pub(super) fn choose_route(&mut self) {
        let policy = match self.paused {
            Some(_) => ReadPolicy::MasterOnly,
            None => self.settings.reads.policy,
        };
        self.route = Route::new(&self.topology, policy, self.settings.upstream.zone.as_deref());
    }

    /// Ends a pause whose time is over. True: there is one.
    pub(super) fn sweep_pause(&mut self) -> bool {
        if self.paused.is_some_and(|until| self.now >= until) {
            self.paused = None;
            self.choose_route();
        }
        self.paused.is_some()
    }
}

/// How long a request holds everything; `None`: only writes, or it is wrong.
fn pause_of(request: &[u8]) -> Option<Duration> {
    let words: Vec<&[u8]> = Arguments::of(request).skip(2).take(3).collect();
    let time = match words[..] {
        [time] => time,
        [time, mode] if mode.eq_ignore_ascii_case(b"all") => time,
        _ => return None,
    };
    number(time).map(|time| Duration::from_millis(time).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::pause_of;
    use crate::resp::write;

    #[test]
    fn only_what_holds_everything_is_a_pause() {
        for (request, milliseconds) in [
            ("CLIENT PAUSE 100", Some(100)),
            ("client pause 5 all", Some(5)),
            ("CLIENT PAUSE 99999999999999", Some(86_400_000)),
            ("CLIENT PAUSE 100 WRITE", None),
            ("CLIENT PAUSE -1", None),
            ("CLIENT PAUSE x ALL", None),
            ("CLIENT PAUSE 100 ALL ALL", None),
            ("CLIENT PAUSE", None),
        ] {
            let words: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
            let mut bytes = Vec::new();
            write::request(&mut bytes, words);
            assert_eq!(
                pause_of(&bytes),
                milliseconds.map(Duration::from_millis),
                "{request}"
            );
        }
    }
}
