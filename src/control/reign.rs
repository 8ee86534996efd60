//! Who is master: the node adopted last, those that it replaced, what the sentinels say, a failover under way.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::warn;

use super::connection::Failure;
use super::council::{Announced, Council, Told};
use super::election::{self, Candidate, Fate, Incumbent, Word};
use super::info::Line;
use super::members::{Member, Members};
use super::report::SentinelReport;
use crate::settings::Upstream;
use crate::topology::{NodeId, Role};

/// A failover that a sentinel has begun is believed in for so long, and not again for as long after that, and twice as
/// long each time that there was none.
const FAILOVER_MOST: Duration = Duration::from_secs(4);

/// A failover that sentinels have begun comes to an end in their `failover-timeout`, three minutes by default.
const FAILOVER_ENDS: Duration = Duration::from_secs(200);

/// What a sentinel said of a failover that it begins.
#[derive(Debug, Clone, Copy)]
struct Alarm {
    /// It is believed until then.
    until: Duration,
    /// How many before it came to nothing.
    in_vain: u32,
}

impl Alarm {
    /// How long after it another one of the same sentinel is not believed.
    fn rest(self) -> Duration {
        FAILOVER_MOST * 2_u32.pow(self.in_vain.min(6))
    }
}

/// Who is master, and what that rests on.
#[derive(Debug)]
pub(super) struct Reign {
    /// The sentinels, where there are any.
    council: Option<Council>,
    /// The master adopted last, with where it was when it last said so.
    adopted: Option<(NodeId, Line)>,
    /// It is master now.
    reigns: bool,
    /// Since when it has not answered.
    lost: Option<Duration>,
    /// The sentinels' epoch when it was adopted.
    adopted_in: Option<(NodeId, u64)>,
    /// The latest epoch that a majority of them has reached.
    epoch: u64,
    /// Former masters that have not been replicas since.
    deposed: Vec<NodeId>,
    /// The master adopted last came back without its data.
    emptied: bool,
    /// Then it is not used.
    hold_emptied: bool,
    /// What sentinels said of a failover that they begin, since the last one that there was.
    alarms: BTreeMap<usize, Alarm>,
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
            lost: None,
            adopted_in: None,
            epoch: 0,
            deposed: Vec::new(),
            emptied: false,
            hold_emptied: upstream.hold_emptied,
            alarms: BTreeMap::new(),
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

    /// Whether the master adopted last came back without its data, and is not used for that.
    pub(super) fn is_emptied(&self) -> bool {
        self.emptied && self.hold_emptied
    }

    /// Whether a failover is under way: until the new master is there nobody gets writes, as those that the old one
    /// takes now are lost.
    pub(super) fn is_changing(&self, now: Duration) -> bool {
        self.alarms.values().any(|alarm| now < alarm.until)
    }

    /// Takes in what a sentinel said. True when together they say something else than before.
    pub(super) fn told(&mut self, sentinel: usize, told: Result<Told, Failure>) -> bool {
        let Some(council) = &mut self.council else {
            return false;
        };
        let before = council.verdict();
        council.hear(sentinel, told);
        let verdict = council.verdict();
        self.epoch = self
            .epoch
            .max(verdict.as_ref().map_or(0, |verdict| verdict.epoch));
        verdict != before
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
        let last = self.alarms.get(&sentinel).copied();
        if !begins {
            let over = last.map(|alarm| Alarm {
                until: now.min(alarm.until),
                ..alarm
            });
            self.alarms.extend(over.map(|over| (sentinel, over)));
        } else if council.is_of_the_verdict(sentinel)
            && last.is_none_or(|last| now > last.until + last.rest())
        {
            let alarm = Alarm {
                until: now + FAILOVER_MOST,
                in_vain: last.map_or(0, |last| last.in_vain + 1),
            };
            self.alarms.insert(sentinel, alarm);
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
        self.deposed.retain(|id| !obeys(*id));
        // A successor may have been succeeded itself before it was heard, and so may one who is back with another history.
        for _ in members.iter() {
            if !self.elect_next(members, now) {
                break;
            }
        }
    }

    /// Decides once. True when another node than before was adopted, or the same one with another history.
    fn elect_next(&mut self, members: &Members, now: Duration) -> bool {
        let fate = self
            .adopted()
            .map(|(id, _)| match members.get(id).map(Member::role) {
                Some(Role::Master) => Fate::Reigns,
                Some(Role::Replica) => Fate::Deposed,
                Some(Role::Unknown) | None => Fate::Lost,
            });
        // One that is away may be back at another address.
        let reigns = fate == Some(Fate::Reigns);
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
                began_anew: member.began_anew() || reigns && member.began_as_master(),
                doubtful: is_doubtful(members, id, &facts.line),
            })
            .collect();
        self.waiting = (!candidates.is_empty()).then(|| self.waiting.unwrap_or(now));
        let unheard = match self.waiting {
            Some(since) if now.saturating_sub(since) < self.patience => members.unheard(),
            _ => 0,
        };
        let lost = fate == Some(Fate::Lost);
        self.lost = lost.then(|| self.lost.unwrap_or(now));
        let gone = self.lost.is_some_and(|since| now > since + FAILOVER_ENDS);
        let incumbent = self.adopted().zip(fate).map(|((id, line), fate)| Incumbent {
            id,
            line,
            fate,
            follows: members.master_of(id),
            gone,
        });
        let elected = election::elect(incumbent, &candidates, self.word(members), unheard);
        // A successor that restarts no longer tells whom it replaced.
        let deposed = candidates.iter().filter(|candidate| candidate.deposed);
        let news = deposed.map(|candidate| candidate.id);
        let news: Vec<NodeId> = news.filter(|id| !self.deposed.contains(id)).collect();
        self.deposed.extend(news);
        self.reigns = elected.is_some();
        let Some(id) = elected else { return false };
        let Some(facts) = members.get(id).and_then(Member::current) else {
            return false;
        };
        let before = self.adopted().filter(|(before, _)| *before == id);
        let same = before.is_some_and(|(_, line)| line.replid == facts.line.replid);
        let emptied = before.is_some_and(|(_, line)| is_emptied(line, &facts.line));
        // Of which history its data are is known when they are loaded.
        if emptied && facts.loading {
            return false;
        }
        if emptied && !self.emptied {
            let node = members.get(id).map_or("?", |member| &member.name);
            warn!(
                node,
                used = !self.hold_emptied,
                "the master came back without its data: its history is another one, and not as far"
            );
        }
        self.emptied = emptied;
        if self.is_emptied() {
            self.reigns = false;
            return false;
        }
        self.adopt(id, facts.line.clone());
        !same
    }

    fn adopt(&mut self, id: NodeId, line: Line) {
        if let Some((before, _)) = self.adopted.replace((id, line))
            && before != id
        {
            self.deposed
                .retain(|deposed| *deposed != id && *deposed != before);
            self.deposed.push(before);
            self.alarms.clear();
        }
        if self.adopted_in.is_none_or(|(by, _)| by != id) {
            // Sentinels that have not heard of it yet go on naming its predecessor, in no later epoch than this.
            self.adopted_in = Some((id, self.epoch));
        }
    }

    /// It was adopted once, or would have been, had it been known before its successor. A restart changes nothing of that,
    /// whatever history it begins with; but who continues the adopted one's history has followed it.
    fn is_deposed(&self, id: NodeId, line: &Line) -> bool {
        let Some((adopted, of)) = self.adopted() else {
            return false;
        };
        let predecessor = adopted != id && of.replid != line.replid && of.continues(line);
        predecessor || self.deposed.contains(&id) && !line.continues(of)
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
        let node = members.used(host, *port);
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

/// Whether a node's history is another one than it had, and not as far: its process began anew, without its data. An offset
/// never goes back otherwise.
fn is_emptied(before: &Line, now: &Line) -> bool {
    !now.continues(before) && now.offset < before.offset
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
