//! Who is master: the node adopted last, those that it replaced, what the sentinels say, a failover under way.

use std::time::Duration;

use super::connection::Failure;
use super::council::{Announced, Council, Told};
use super::election::{self, Candidate, Fate, Incumbent, Word};
use super::info::Line;
use super::members::{Member, Members};
use super::report::SentinelReport;
use crate::settings::Upstream;
use crate::topology::{NodeId, Role};

/// A failover that a sentinel has begun is believed in for so long, and not again for as long after that.
const FAILOVER_MOST: Duration = Duration::from_secs(4);

/// Who is master, and what that rests on.
#[derive(Debug)]
pub(super) struct Reign {
    /// The sentinels, where there are any.
    council: Option<Council>,
    /// The master adopted last, with where it was when it last said so.
    adopted: Option<(NodeId, Line)>,
    /// It is master now.
    reigns: bool,
    /// The sentinels' epoch when it was adopted.
    adopted_in: Option<(NodeId, u64)>,
    /// Former masters, each with the replid that it had then.
    deposed: Vec<(NodeId, String)>,
    /// The sentinel that makes another node the master just now, and until when that is believed.
    changing: Option<(usize, Duration)>,
    /// For how long the first adoption waits for nodes that have said nothing yet.
    patience: Duration,
    /// Since when a node says master and nobody has been adopted.
    waiting: Option<Duration>,
}

impl Reign {
    /// Nobody has been heard.
    pub(super) fn new(upstream: &Upstream) -> Self {
        Reign {
            council: upstream
                .sentinels
                .as_ref()
                .map(|sentinels| Council::new(&sentinels.addresses)),
            adopted: None,
            reigns: false,
            adopted_in: None,
            deposed: Vec::new(),
            changing: None,
            // That is how long a node may take to answer or to fail; a name may take longer to be resolved.
            patience: upstream.connect_timeout + upstream.probe_timeout,
            waiting: None,
        }
    }

    /// The master adopted last, with its history.
    pub(super) fn adopted(&self) -> Option<(NodeId, &Line)> {
        self.adopted.as_ref().map(|(id, line)| (*id, line))
    }

    /// The same, if it is master now.
    pub(super) fn reigning(&self) -> Option<(NodeId, &Line)> {
        self.adopted().filter(|_| self.reigns)
    }

    /// Whether a failover is under way: until the new master is there nobody gets writes, as those that the old one
    /// takes now are lost.
    pub(super) fn is_changing(&self, now: Duration) -> bool {
        self.changing.is_some_and(|(_, until)| now < until)
    }

    /// Takes in what a sentinel said. True when together they say something else than before.
    pub(super) fn told(&mut self, sentinel: usize, told: Result<Told, Failure>) -> bool {
        let Some(council) = &mut self.council else {
            return false;
        };
        let before = council.verdict();
        council.hear(sentinel, told);
        council.verdict() != before
    }

    /// The nodes that the sentinels know of.
    pub(super) fn nodes(&self) -> Vec<Announced> {
        let council = self.council.as_ref();
        let nodes = council.and_then(|council| Some(council.nodes(&council.verdict()?)));
        nodes.unwrap_or_default()
    }

    /// A sentinel begins to make another node the master, or has given up on that.
    pub(super) fn failover(&mut self, sentinel: usize, begins: bool, now: Duration) {
        let Some(council) = &self.council else { return };
        if !begins {
            self.changing = self.changing.filter(|(by, _)| *by != sentinel);
        } else if council.is_of_the_verdict(sentinel)
            && self.changing.is_none_or(|(_, until)| now > until + FAILOVER_MOST)
        {
            self.changing = Some((sentinel, now + FAILOVER_MOST));
        }
    }

    /// Decides anew.
    pub(super) fn elect(&mut self, members: &Members, now: Duration) {
        // Who has been told to follow another one begins a new history if he is made master again.
        let obeys = |id| {
            members
                .get(id)
                .is_some_and(|member| member.role() == Role::Replica)
        };
        self.deposed.retain(|(id, _)| !obeys(*id));
        // A successor may have been succeeded itself before it was heard, and so may one who is back with another history.
        for _ in members.iter() {
            if !self.elect_next(members, now) {
                break;
            }
        }
    }

    /// Decides once. True when another node than before was adopted, or the same one with another history.
    fn elect_next(&mut self, members: &Members, now: Duration) -> bool {
        let candidates: Vec<Candidate<'_>> = members
            .iter()
            .filter_map(|(id, member)| Some((id, member, member.current()?)))
            .filter(|(id, _, facts)| facts.role == Role::Master && members.alias_of(*id).is_none())
            .map(|(id, member, facts)| Candidate {
                id,
                line: &facts.line,
                replicas: facts.replicas.len(),
                named: members.followers(id),
                configured: members.is_called_master(member),
                deposed: self.is_deposed(id, &facts.line),
                doubtful: is_doubtful(members, id, &facts.line),
            })
            .collect();
        self.waiting = (!candidates.is_empty()).then(|| self.waiting.unwrap_or(now));
        let unheard = match self.waiting {
            Some(since) if now.saturating_sub(since) < self.patience => members.unheard(),
            _ => 0,
        };
        let incumbent = self.adopted().map(|(id, line)| Incumbent {
            id,
            line,
            fate: match members.get(id).map(Member::role) {
                Some(Role::Master) => Fate::Reigns,
                Some(Role::Replica) => Fate::Deposed,
                Some(Role::Unknown) | None => Fate::Lost,
            },
            follows: members.master_of(id),
        });
        let elected = election::elect(incumbent, &candidates, self.word(members), unheard);
        self.reigns = elected.is_some();
        let Some(id) = elected else { return false };
        let Some(facts) = members.get(id).and_then(Member::current) else {
            return false;
        };
        let same = self
            .adopted()
            .is_some_and(|(before, line)| before == id && line.replid == facts.line.replid);
        self.adopt(id, facts.line.clone());
        !same
    }

    fn adopt(&mut self, id: NodeId, line: Line) {
        if let Some((before, line)) = self.adopted.replace((id, line))
            && before != id
        {
            self.deposed
                .retain(|(deposed, _)| *deposed != id && *deposed != before);
            self.deposed.push((before, line.replid));
            self.changing = None;
        }
        if self.adopted_in.is_none_or(|(by, _)| by != id) {
            // Sentinels that have not heard of it yet go on naming its predecessor, in no later epoch than this.
            let verdict = self.council.as_ref().and_then(Council::verdict);
            self.adopted_in = Some((id, verdict.map_or(0, |verdict| verdict.epoch)));
        }
    }

    /// It was adopted once, or would have been, had it been known before its successor. One that restarts goes on from
    /// the history that it had.
    fn is_deposed(&self, id: NodeId, line: &Line) -> bool {
        let goes_on = |replid: &String| {
            *replid == line.replid || line.before.as_ref().is_some_and(|(id, _)| id == replid)
        };
        let mut deposed = self.deposed.iter();
        let predecessor =
            |(adopted, of): (NodeId, &Line)| adopted != id && of.replid != line.replid && of.continues(line);
        deposed.any(|(node, replid)| *node == id && goes_on(replid))
            || self.adopted().is_some_and(predecessor)
    }

    /// Whom the sentinels name.
    fn word(&self, members: &Members) -> Word {
        let Some(council) = &self.council else {
            return Word::Silent;
        };
        let Some(verdict) = council.verdict() else {
            return if council.is_complete() {
                Word::Silent
            } else {
                Word::Pending
            };
        };
        let (host, port) = &verdict.master;
        let node = members.announced(host, *port);
        if verdict.sure {
            let epoch = self.adopted_in.map_or(0, |(_, epoch)| epoch);
            Word::Most {
                node,
                late: verdict.epoch > epoch,
            }
        } else if council.is_complete() {
            Word::Some(node)
        } else {
            Word::Pending
        }
    }

    /// What the sentinels said last, for people.
    pub(super) fn sentinels(&self) -> Vec<SentinelReport> {
        self.council.as_ref().map(Council::report).unwrap_or_default()
    }
}

/// Whether a node that says master looks like one that its group has left: one that does not answer now went on from its
/// history; or nobody follows it, and one that was in sync with another history follows a node that does not answer.
fn is_doubtful(members: &Members, id: NodeId, line: &Line) -> bool {
    let others = || members.iter().filter(|(other, _)| *other != id);
    let mut gone = others().filter(|(_, member)| member.current().is_none());
    let is_succeeded = gone.any(|(_, member)| {
        let facts = member.facts.as_ref().filter(|facts| facts.role == Role::Master);
        facts.is_some_and(|facts| facts.line.replid != line.replid && facts.line.continues(line))
    });
    let own = members.get(id).and_then(Member::current);
    let is_alone = own.is_none_or(|facts| facts.replicas.is_empty()) && members.followers(id) == 0;
    let mut elsewhere = others().filter_map(|(other, member)| {
        let facts = member.current()?;
        let link = facts.link.as_ref()?;
        let was_in_sync = link.up || link.down_for.is_some();
        let master = members.get(members.master_of(other)?)?;
        (was_in_sync && master.current().is_none()).then_some(&facts.line)
    });
    is_succeeded || (is_alone && elsewhere.any(|other| !line.continues(other)))
}
