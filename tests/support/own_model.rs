//! Who owns what, in plain memory: the rule of `own.lua`. The queue's tests hold it against the script on a real Redis,
//! heartbeat by heartbeat; the simulation runs on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use carteiro::clock::WallMs;
use carteiro::domain::ids::NumberId;
use carteiro::queue::owner::{Ask, Beat, Kept, Node, Owned, Renewal, Snapshot, Taken};

#[derive(Clone, Debug)]
struct Member {
    incarnation: String,
    entry: Node,
    offers: Option<String>,
}

/// How the last owner of a number left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    New,
    Given,
    Lost,
}

#[derive(Clone, Debug)]
struct Entry {
    owner: Option<String>,
    since_ms: u64,
    after_us: u64,
    how: How,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct OwnModel {
    pub(crate) token: u64,
    revision: Option<u64>,
    members: BTreeMap<String, Member>,
    numbers: BTreeMap<NumberId, Entry>,
    /// Somebody has looked which master this is; and it is another one since.
    looked: bool,
    another: bool,
    /// Until when nobody is granted anything.
    grace_ms: u64,
}

impl OwnModel {
    /// From now on it is another master, or the same one started anew.
    pub(crate) fn is_another(&mut self) {
        self.another = true;
    }

    /// Carries out one heartbeat at this time of Redis.
    pub(crate) fn beat(&mut self, now_us: u64, beat: &Beat<'_>) -> Renewal {
        let now = now_us / 1000;
        let (mut dead, mut soonest, mut ours) = (BTreeSet::new(), None::<u64>, false);
        let mut lately = false;
        for (name, member) in &self.members {
            let left = member.entry.ends_ms.saturating_sub(now);
            if name == beat.node && member.incarnation == beat.incarnation {
                ours = true;
            } else if left == 0 {
                dead.insert(name.clone());
                let span = u64::try_from(beat.lease.as_millis()).unwrap().max(10_000);
                lately |= now < member.entry.ends_ms + span;
            } else if name == beat.node {
                let held = Renewal::Held(Duration::from_millis(left));
                return if beat.ask == Ask::Join { held } else { Renewal::Gone };
            } else {
                soonest = Some(soonest.map_or(left, |known| known.min(left)));
            }
        }
        if beat.ask != Ask::Join && !ours {
            return Renewal::Gone;
        }
        let looked = std::mem::replace(&mut self.looked, true);
        if std::mem::take(&mut self.another) && looked && (ours || lately || soonest.is_some()) {
            self.grace_ms = now + u64::try_from(beat.lease.as_millis()).unwrap();
        }
        let mut changed = !dead.is_empty();
        if beat.ask == Ask::Leave {
            dead.insert(beat.node.to_owned());
            changed = true;
        }
        self.members.retain(|name, _| !dead.contains(name));
        changed |= ours && self.give_back(now_us, beat);
        for entry in self.numbers.values_mut() {
            if entry.owner.as_ref().is_some_and(|owner| dead.contains(owner)) {
                *entry = Entry { owner: None, since_ms: now, after_us: 0, how: How::Lost };
            }
        }
        let mut taken = Vec::new();
        if beat.ask != Ask::Leave {
            changed |= self.renew(now, beat, ours);
            changed |= self.take(now_us, beat, &mut taken);
        }
        self.token = now_us.max(self.token + 1);
        let revision = if changed { self.token } else { self.revision.unwrap_or(self.token) };
        self.revision = Some(revision);
        Renewal::Kept(Kept {
            token: self.token,
            next_end: soonest.map(Duration::from_millis),
            now: WallMs(now),
            taken,
            revision,
            snapshot: (beat.revision != Some(revision)).then(|| self.snapshot()),
        })
    }

    fn give_back(&mut self, now_us: u64, beat: &Beat<'_>) -> bool {
        let mut changed = false;
        for (number, wait) in beat.give_back {
            let theirs = |entry: &&mut Entry| entry.owner.as_deref() == Some(beat.node);
            if let Some(entry) = self.numbers.get_mut(number).filter(theirs) {
                let (after_us, how) = match wait {
                    Some(wait) => (now_us + u64::try_from(wait.as_micros()).unwrap(), How::Given),
                    None => (0, How::Lost),
                };
                *entry = Entry { owner: None, since_ms: now_us / 1000, after_us, how };
                changed = true;
            }
        }
        changed
    }

    fn renew(&mut self, now: u64, beat: &Beat<'_>, ours: bool) -> bool {
        let before = self.members.get(beat.node).filter(|_| ours);
        let mut changed = before.is_none_or(|member| member.entry.leaving != beat.leaving);
        let entry = Node {
            ends_ms: now + u64::try_from(beat.lease.as_millis()).unwrap(),
            acknowledged: beat.acknowledged,
            capacity: beat.capacity,
            joined_ms: before.map_or(now, |member| member.entry.joined_ms),
            leaving: beat.leaving,
            lease: beat.lease,
            offers: BTreeMap::new(),
        };
        let mut offers = before.and_then(|member| member.offers.clone());
        if let Some(news) = beat.offers
            && offers.as_deref() != Some(news)
        {
            offers = Some(news.to_owned());
            changed = true;
        }
        let incarnation = beat.incarnation.to_owned();
        self.members.insert(beat.node.to_owned(), Member { incarnation, entry, offers });
        changed
    }

    fn take(&mut self, now_us: u64, beat: &Beat<'_>, taken: &mut Vec<Taken>) -> bool {
        let mut changed = false;
        for number in beat.take {
            let new = Entry { owner: None, since_ms: 0, after_us: 0, how: How::New };
            let known = self.numbers.get(number).cloned().unwrap_or(new);
            let mine = known.owner.as_deref() == Some(beat.node);
            if self.grace_ms > now_us / 1000 || !mine && (known.owner.is_some() || beat.leaving) {
                continue;
            }
            let (after_us, how) = (known.after_us, known.how);
            if !mine {
                let owner = Some(beat.node.to_owned());
                self.numbers.insert(number.clone(), Entry { owner, since_ms: now_us / 1000, after_us, how });
                changed = true;
            }
            let wait = Duration::from_micros(after_us.saturating_sub(now_us));
            taken.push(Taken { number: number.clone(), wait, given_back: how == How::Given });
        }
        changed
    }

    /// Nodes, numbers and lists as the script stores them.
    pub(crate) fn stored(&self) -> [BTreeMap<String, String>; 3] {
        let node = |member: &Member| {
            let Node { ends_ms, acknowledged, capacity, joined_ms, leaving, lease, .. } = &member.entry;
            let (incarnation, leaving, lease_ms) =
                (&member.incarnation, u8::from(*leaving), lease.as_millis());
            format!("{incarnation} {ends_ms} {acknowledged} {capacity} {joined_ms} {leaving} {lease_ms}")
        };
        let number = |entry: &Entry| {
            let Entry { owner, since_ms, after_us, how } = entry;
            let how = format!("{how:?}").to_lowercase();
            format!("{} {since_ms} {after_us} {how}", owner.as_deref().unwrap_or("-"))
        };
        let lists =
            self.members.iter().filter_map(|(name, member)| Some((name.clone(), member.offers.clone()?)));
        [
            self.members.iter().map(|(name, member)| (name.clone(), node(member))).collect(),
            self.numbers.iter().map(|(id, entry)| (id.to_string(), number(entry))).collect(),
            lists.collect(),
        ]
    }

    /// Who owns a number.
    pub(crate) fn owner(&self, number: &NumberId) -> Option<&str> {
        self.numbers.get(number)?.owner.as_deref()
    }

    /// All nodes and numbers, as a node reads them.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let node = |member: &Member| {
            let words: Vec<&str> = member.offers.as_deref().unwrap_or_default().split_whitespace().collect();
            let offer = |pair: &[&str]| (NumberId::from(pair[0]), pair[1].parse().unwrap());
            Node { offers: words.chunks_exact(2).map(offer).collect(), ..member.entry.clone() }
        };
        let owned = |(number, entry): (&NumberId, &Entry)| {
            let node = entry.owner.clone()?;
            Some((number.clone(), Owned { node, since_ms: entry.since_ms }))
        };
        Snapshot {
            nodes: self.members.iter().map(|(name, member)| (name.clone(), node(member))).collect(),
            owners: self.numbers.iter().filter_map(owned).collect(),
        }
    }

    /// Ends leases that have run out: the rule of `expire.lua`. For how long in ms one may run that was forgotten.
    pub(crate) fn expire(&mut self, now_us: u64) -> u64 {
        let now = now_us / 1000;
        let lease = |entry: &Node| u64::try_from(entry.lease.as_millis()).unwrap();
        let ended = self.members.values().map(|member| member.entry.ends_ms + lease(&member.entry));
        let forgotten = ended.filter(|_| self.looked && self.another).max().unwrap_or(0);
        let unseen = forgotten.max(self.grace_ms).saturating_sub(now);
        let dead = |member: &Member| member.entry.ends_ms <= now;
        if unseen > 0 || !self.members.values().any(dead) {
            return unseen;
        }
        self.members.retain(|_, member| !dead(member));
        for entry in self.numbers.values_mut() {
            if entry.owner.as_ref().is_some_and(|owner| !self.members.contains_key(owner)) {
                *entry = Entry { owner: None, since_ms: now, after_us: 0, how: How::Lost };
            }
        }
        self.token = now_us.max(self.token + 1);
        self.revision = Some(self.token);
        0
    }

    /// The least version that live nodes have acted on; None: there is none.
    pub(crate) fn acted_on(&self, now_ms: u64) -> Option<u64> {
        let live = self.members.values().filter(|member| member.entry.ends_ms > now_ms);
        live.map(|member| member.entry.acknowledged).min()
    }
}
