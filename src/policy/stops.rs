//! The stop list in memory: millions of stops, looked up once per message.
//!
//! A person whose stops are alike (all for the same account) takes one word of 64 bits: the person's own key (34 bits,
//! exact, so nobody is stopped by a collision), which kinds, the account, the first day. The rare others stand in a map
//! beside it. A debt takes one word too: 62 bits of a keyed hash of account and reference, and which kinds. A table of n
//! words costs 10 to 21 bytes each (9 bytes a place, 44 to 88% of them taken).
//!
//! Pure and of one thread; `queue::stops` shares it between threads and follows the log in Redis.

use std::collections::HashMap;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::classify::table::own;
use crate::domain::person::PersonKey;
use crate::domain::stop::{StopDay, StopKind};

/// An account, as this process numbers them: 0 stands for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountIndex(pub u16);

/// What a stop says of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    /// Why.
    pub kind: StopKind,
    /// For whom it holds.
    pub account: AccountIndex,
    /// From which day on.
    pub from: StopDay,
}

/// What a message is, as far as stops go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Its account.
    pub account: AccountIndex,
    /// Whether it is marketing.
    pub marketing: bool,
}

/// One table of stops.
#[derive(Debug, Default)]
pub struct StopTable {
    /// People by `Packed`.
    people: HashTable<u64>,
    /// People whose stops are not alike.
    mixed: HashMap<u64, Vec<Rule>>,
    /// Debts: hash, then one bit for paid and one for disputed.
    debts: HashTable<u64>,
    /// People by Meta's id, hashed.
    users: HashMap<u64, Vec<Rule>>,
    /// Stops by kind.
    counts: [u64; StopKind::ALL.len()],
}

/// Bits of a person's word below the key: four kinds, eleven of the account, fifteen of the day.
const DATA_BITS: u32 = 30;
const KIND_SHIFT: u32 = 26;
const ACCOUNT_SHIFT: u32 = 15;
const ACCOUNT_MASK: u64 = 0x7ff;
const DAY_MASK: u64 = 0x7fff;

/// A person's key has to fit above the data.
const _: () = assert!(9_999_999_999u64 < 1 << (64 - DATA_BITS));

/// Bits of a debt's word below the hash.
const DEBT_BITS: u32 = 2;

/// Kinds that fit into a person's word, by their bit.
const INLINE: [StopKind; 4] =
    [StopKind::OptedOut, StopKind::Marketing, StopKind::DoNotContact, StopKind::WrongPerson];

/// The reason that a stopped message's record says: a row of the error table.
pub const fn reason(kind: StopKind) -> u8 {
    match kind {
        StopKind::OptedOut => own::OPTED_OUT,
        StopKind::Marketing => own::OPTED_OUT_OF_MARKETING,
        StopKind::DoNotContact | StopKind::Exempt => own::DO_NOT_CONTACT,
        StopKind::WrongPerson => own::WRONG_PERSON,
        StopKind::Paid => own::PAID,
        StopKind::Disputed => own::DISPUTED,
    }
}

impl StopTable {
    /// Why a person is not to be written to by a message of this scope, today; None: they may be.
    pub fn person(&self, person: PersonKey, scope: Scope, today: StopDay) -> Option<StopKind> {
        let word = *self.people.find(mix(person.0), |word| word >> DATA_BITS == person.0)?;
        if is_mixed(word) {
            return judge(&self.mixed.get(&person.0)?.iter().copied(), scope, today);
        }
        judge(&unpacked(word), scope, today)
    }

    /// Why nothing is to be sent about a debt, by the hash of account and reference.
    pub fn debt(&self, hash: u64) -> Option<StopKind> {
        let hash = hash >> DEBT_BITS;
        let word = *self.debts.find(mix(hash), |word| word >> DEBT_BITS == hash)?;
        // A disputed debt needs a person to look at it, paid or not.
        Some(if word & 2 != 0 { StopKind::Disputed } else { StopKind::Paid })
    }

    /// Everything known of a person.
    pub fn rules(&self, person: PersonKey) -> Vec<Rule> {
        match self.people.find(mix(person.0), |word| word >> DATA_BITS == person.0) {
            Some(word) if is_mixed(*word) => self.mixed.get(&person.0).cloned().unwrap_or_default(),
            Some(word) => unpacked(*word).collect(),
            None => Vec::new(),
        }
    }

    /// Adds a stop of a person; one of the same kind and account is replaced.
    pub fn add_person(&mut self, person: PersonKey, rule: Rule) {
        let mut rules = self.rules(person);
        put(&mut rules, rule);
        self.set_person(person, rules);
    }

    /// Takes a stop of a person back.
    pub fn remove_person(&mut self, person: PersonKey, kind: StopKind, account: AccountIndex) {
        let mut rules = self.rules(person);
        rules.retain(|rule| (rule.kind, rule.account) != (kind, account));
        self.set_person(person, rules);
    }

    /// Forgets everything of a person.
    pub fn forget_person(&mut self, person: PersonKey) {
        self.set_person(person, Vec::new());
    }

    /// Adds or takes back a stop of a debt.
    pub fn set_debt(&mut self, hash: u64, kind: StopKind, stopped: bool) {
        let hash = hash >> DEBT_BITS;
        let bit = if kind == StopKind::Disputed { 2 } else { 1 };
        let known = |word: &u64| word >> DEBT_BITS == hash;
        let before = self.debts.find(mix(hash), known).map_or(0, |word| word & 3);
        let after = if stopped { before | bit } else { before & !bit };
        if after == before {
            return;
        }
        self.count(kind, stopped);
        let word = hash << DEBT_BITS | after;
        match self.debts.entry(mix(hash), known, |word| mix(word >> DEBT_BITS)) {
            Entry::Occupied(entry) if after == 0 => drop(entry.remove()),
            entry => drop(entry.and_modify(|known| *known = word).or_insert(word)),
        }
    }

    /// Whether a debt has this stop.
    pub fn has_debt(&self, hash: u64, kind: StopKind) -> bool {
        let hash = hash >> DEBT_BITS;
        let bit = if kind == StopKind::Disputed { 2 } else { 1 };
        self.debts.find(mix(hash), |word| word >> DEBT_BITS == hash).is_some_and(|word| word & bit != 0)
    }

    /// Adds or takes back a stop of a person whom Meta names by an id.
    pub fn set_user(&mut self, hash: u64, rule: Rule, stopped: bool) {
        let rules = self.users.entry(hash).or_default();
        let before = rules.len();
        if stopped {
            put(rules, rule);
        } else {
            rules.retain(|one| (one.kind, one.account) != (rule.kind, rule.account));
        }
        let after = rules.len();
        if rules.is_empty() {
            self.users.remove(&hash);
        }
        if after != before {
            self.count(rule.kind, after > before);
        }
    }

    /// Everything known of a person by the hash of Meta's id.
    pub fn of_user(&self, hash: u64) -> Vec<Rule> {
        self.users.get(&hash).cloned().unwrap_or_default()
    }

    /// Every person with a stop.
    pub fn people(&self) -> impl Iterator<Item = (PersonKey, Vec<Rule>)> + '_ {
        self.people.iter().map(|word| {
            let person = PersonKey(word >> DATA_BITS);
            let mixed = || self.mixed.get(&person.0).cloned().unwrap_or_default();
            (person, if is_mixed(*word) { mixed() } else { unpacked(*word).collect() })
        })
    }

    /// Every debt with a stop.
    pub fn debts(&self) -> impl Iterator<Item = (u64, StopKind)> + '_ {
        self.debts.iter().flat_map(|word| {
            let kinds = [(1, StopKind::Paid), (2, StopKind::Disputed)];
            let there = move |(bit, kind)| (word & bit != 0).then_some((word & !3, kind));
            kinds.into_iter().filter_map(there)
        })
    }

    /// Every person with a stop whom Meta names by an id.
    pub fn users(&self) -> impl Iterator<Item = (u64, Rule)> + '_ {
        self.users.iter().flat_map(|(hash, rules)| rules.iter().map(|rule| (*hash, *rule)))
    }

    /// How many stops of a kind there are.
    pub fn count_of(&self, kind: StopKind) -> u64 {
        self.counts[usize::from(kind.number()) - 1]
    }

    /// Bytes of memory that the words take, with the places that are free.
    pub fn bytes(&self) -> usize {
        self.people.allocation_size() + self.debts.allocation_size()
    }

    fn count(&mut self, kind: StopKind, more: bool) {
        let count = &mut self.counts[usize::from(kind.number()) - 1];
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
    }

    fn set_person(&mut self, person: PersonKey, rules: Vec<Rule>) {
        for rule in self.rules(person) {
            self.count(rule.kind, false);
        }
        for rule in &rules {
            self.count(rule.kind, true);
        }
        self.mixed.remove(&person.0);
        let entry = self.people.entry(
            mix(person.0),
            |word| word >> DATA_BITS == person.0,
            |word| mix(word >> DATA_BITS),
        );
        if rules.is_empty() {
            if let Entry::Occupied(entry) = entry {
                entry.remove();
            }
            return;
        }
        let word = packed(person, &rules);
        entry.and_modify(|known| *known = word).or_insert(word);
        if is_mixed(word) {
            self.mixed.insert(person.0, rules);
        }
    }
}

fn put(rules: &mut Vec<Rule>, rule: Rule) {
    match rules.iter_mut().find(|one| (one.kind, one.account) == (rule.kind, rule.account)) {
        Some(known) => *known = rule,
        None => rules.push(rule),
    }
}

/// The first reason, the gravest first, that holds for a message of this scope today.
fn judge(rules: &(impl Iterator<Item = Rule> + Clone), scope: Scope, today: StopDay) -> Option<StopKind> {
    let exempt = || rules.clone().any(|rule| rule.kind == StopKind::Exempt && rule.account == scope.account);
    let holds = |rule: &Rule| {
        let ours = rule.account == AccountIndex(0) || rule.account == scope.account;
        ours && match rule.kind {
            StopKind::DoNotContact => rule.from <= today && !exempt(),
            StopKind::Marketing => scope.marketing,
            StopKind::Exempt => false,
            _ => true,
        }
    };
    rules.clone().filter(holds).map(|rule| rule.kind).min_by_key(|kind| gravity(*kind))
}

const fn gravity(kind: StopKind) -> u8 {
    match kind {
        StopKind::WrongPerson => 0,
        StopKind::OptedOut => 1,
        StopKind::DoNotContact => 2,
        _ => 3,
    }
}

/// One word, if the rules are alike; else the mark of the map beside it.
fn packed(person: PersonKey, rules: &[Rule]) -> u64 {
    let key = person.0 << DATA_BITS;
    let account = rules.first().map_or(AccountIndex(0), |rule| rule.account);
    let (mut kinds, mut day) = (0, 0);
    for rule in rules {
        let bit = INLINE.iter().position(|kind| *kind == rule.kind);
        let (Some(bit), true) = (bit, rule.account == account && u64::from(account.0) <= ACCOUNT_MASK) else {
            return key;
        };
        kinds |= 1 << bit;
        if rule.kind.may_begin_later() {
            day = u64::from(rule.from.number());
        }
    }
    key | kinds << KIND_SHIFT | u64::from(account.0) << ACCOUNT_SHIFT | day
}

fn is_mixed(word: u64) -> bool {
    word >> KIND_SHIFT & 0xf == 0
}

fn unpacked(word: u64) -> impl Iterator<Item = Rule> + Clone {
    let account = AccountIndex(u16::try_from(word >> ACCOUNT_SHIFT & ACCOUNT_MASK).unwrap_or(0));
    let day = StopDay::from_number(u16::try_from(word & DAY_MASK).unwrap_or(0));
    let there = move |(bit, kind): (usize, StopKind)| {
        let from = if kind.may_begin_later() { day } else { StopDay::AT_ONCE };
        (word >> KIND_SHIFT >> bit & 1 == 1).then_some(Rule { kind, account, from })
    };
    INLINE.into_iter().enumerate().filter_map(there)
}

/// Spreads keys that lie close together over all bits.
fn mix(key: u64) -> u64 {
    let key = (key ^ key >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (key ^ key >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

#[cfg(test)]
mod tests;
