//! The list of this process, shared by its threads: parts with a lock each, so that a part that grows holds up a message
//! for less than a millisecond, and a version that tells whether anything changed since a message was looked up.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use siphasher::sip::SipHasher13;

use super::batch::{Batch, Op, Who};
use crate::clock::WallMs;
use crate::domain::person::{PersonKey, Phone};
use crate::domain::stop::{StopDay, StopKind, Subject};
use crate::policy::stops::{AccountIndex, Rule, Scope, StopTable};

/// Parts of the list.
pub(super) const PARTS: usize = 64;

/// Sets the hashes of debts, users and people apart from others under the installation's key.
const DEBT: u64 = 0x6465_6274;
const USER: u64 = 0x7573_6572;
const PERSON: u64 = 0x7065_7273;

/// How many stops are alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub stops: u64,
    /// Those that begin on a later day.
    pub later: u64,
}

/// The stop list of one process.
#[derive(Debug)]
pub struct StopList {
    parts: Vec<RwLock<StopTable>>,
    /// Accounts that stops or messages named, by their index less one.
    accounts: RwLock<Vec<Box<str>>>,
    version: AtomicU64,
    /// Stops of debts, so that nothing is hashed while there are none.
    debts: AtomicU64,
    key: (u64, u64),
    clock_shift_ms: i64,
}

impl StopList {
    /// An empty list. `key` is the installation's; days are judged by a wall clock so far ahead.
    pub fn new(key: (u64, u64), clock_shift_ms: i64) -> Self {
        Self {
            parts: (0..PARTS).map(|_| RwLock::default()).collect(),
            accounts: RwLock::default(),
            version: AtomicU64::new(0),
            debts: AtomicU64::new(0),
            key,
            clock_shift_ms,
        }
    }

    /// An empty one of the same installation.
    pub(super) fn anew(&self) -> Self {
        let other = Self::new(self.key, self.clock_shift_ms);
        other.write(&other.accounts).clone_from(&self.read(&self.accounts));
        other
    }

    /// The last entry of the log that is in here. What was looked up under it need not be looked up again.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What a message is, as far as stops go.
    pub fn scope(&self, account: &str, marketing: bool) -> Scope {
        Scope { account: self.account(Some(account)), marketing }
    }

    /// The day by which stops are judged.
    pub fn today(&self, now: WallMs) -> StopDay {
        StopDay::at(WallMs(now.0.saturating_add_signed(self.clock_shift_ms)))
    }

    /// Why a message is not to be sent; None: it may be. `phone` as chunks hold it, `debt` as [`StopList::debt`] made it.
    pub fn look(&self, scope: Scope, phone: u64, debt: Option<u64>, today: StopDay) -> Option<StopKind> {
        let person = Phone::from_digits(phone).map(Phone::person);
        let of_person = person.and_then(|person| self.part(person.0).person(person, scope, today));
        of_person.or_else(|| debt.and_then(|hash| self.part(hash).debt(hash)))
    }

    /// The hash of a debt, for [`StopList::look`]; None while no debt is stopped.
    pub fn debt(&self, account: &str, reference: &str) -> Option<u64> {
        let any = self.debts.load(Ordering::Acquire) > 0 && !reference.is_empty();
        any.then(|| self.debt_hash(account, reference))
    }

    /// The hash by which a debt is known.
    pub fn debt_hash(&self, account: &str, reference: &str) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1 ^ DEBT);
        hasher.write(account.as_bytes());
        hasher.write_u8(0xff);
        hasher.write(reference.as_bytes());
        hasher.finish() & !3
    }

    /// The hash by which a person is known whom Meta names by an id.
    pub fn user_hash(&self, user_id: &str) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1 ^ USER);
        hasher.write(user_id.as_bytes());
        hasher.finish()
    }

    /// The name by which the journal knows a person, from which no phone can be read without the installation's key.
    pub fn mark(&self, person: PersonKey) -> String {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1 ^ PERSON);
        hasher.write_u64(person.0);
        format!("person:{:016x}", hasher.finish())
    }

    /// The name by which the journal knows a debt.
    pub fn debt_mark(&self, account: &str, reference: &str) -> String {
        format!("debt:{:016x}", self.debt_hash(account, reference))
    }

    /// Everything known of a person: kind, account, first day.
    pub fn of_person(&self, person: PersonKey) -> Vec<(StopKind, Option<Box<str>>, StopDay)> {
        let rules = self.part(person.0).rules(person);
        rules.into_iter().map(|rule| (rule.kind, self.name(rule.account), rule.from)).collect()
    }

    /// Everything known of a person by the hash of Meta's id: kind and account.
    pub fn of_user(&self, hash: u64) -> Vec<(StopKind, Option<Box<str>>)> {
        let rules = self.part(hash).of_user(hash);
        rules.into_iter().map(|rule| (rule.kind, self.name(rule.account))).collect()
    }

    /// Whether a debt has this stop.
    pub fn has_debt(&self, hash: u64, kind: StopKind) -> bool {
        self.part(hash).has_debt(hash, kind)
    }

    /// Stops by kind, account and what they speak of, and how many of them begin later than `today`. Which account a debt
    /// belongs to is in its hash alone.
    pub fn tally(&self, today: StopDay) -> BTreeMap<(StopKind, Option<Box<str>>, Subject), Tally> {
        let mut all: BTreeMap<_, Tally> = BTreeMap::new();
        let mut add = |kind, account, subject, from| {
            let one = all.entry((kind, account, subject)).or_default();
            one.stops += 1;
            one.later += u64::from(from > today);
        };
        for part in &self.parts {
            let table = self.read(part);
            for (_, rules) in table.people() {
                rules.iter().for_each(|rule| add(rule.kind, rule.account, Subject::Person, rule.from));
            }
            for (_, rule) in table.users() {
                add(rule.kind, rule.account, Subject::User, StopDay::AT_ONCE);
            }
            table.debts().for_each(|(_, kind)| add(kind, AccountIndex(0), Subject::Debt, StopDay::AT_ONCE));
        }
        all.into_iter()
            .map(|((kind, account, who), tally)| ((kind, self.name(account), who), tally))
            .collect()
    }

    /// Stops by kind.
    pub fn counts(&self) -> [(StopKind, u64); StopKind::ALL.len()] {
        StopKind::ALL.map(|kind| {
            let count = |part: &RwLock<StopTable>| self.read(part).count_of(kind);
            (kind, self.parts.iter().map(count).sum())
        })
    }

    /// Bytes of memory that the stops take.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| self.read(part).bytes()).sum()
    }

    /// Does what an entry says.
    pub fn apply(&self, batch: &Batch) {
        let (kind, account) = (batch.kind, self.account(batch.account.as_deref()));
        let add = batch.op == Op::Add;
        match &batch.who {
            Who::People(people) => {
                for (person, from) in people {
                    let mut part = self.write(self.place(person.0));
                    match batch.op {
                        Op::Add => part.add_person(*person, Rule { kind, account, from: *from }),
                        Op::Remove => part.remove_person(*person, kind, account),
                        Op::Forget => part.forget_person(*person),
                    }
                }
            }
            Who::Debts(hashes) => {
                for hash in hashes {
                    self.write(self.place(*hash)).set_debt(*hash, kind, add);
                }
                if add {
                    self.debts.fetch_add(hashes.len() as u64, Ordering::AcqRel);
                }
            }
            Who::Users(hashes) => {
                let rule = Rule { kind, account, from: StopDay::AT_ONCE };
                for hash in hashes {
                    self.write(self.place(*hash)).set_user(*hash, rule, add);
                }
            }
        }
    }

    /// Everything up to this entry is in here.
    pub(super) fn set_version(&self, version: u64) {
        self.version.store(version, Ordering::Release);
    }

    /// Takes the place of what is here, part by part.
    pub(super) fn replace(&self, other: &Self) {
        self.write(&self.accounts).clone_from(&other.read(&other.accounts));
        for (ours, theirs) in self.parts.iter().zip(&other.parts) {
            *self.write(ours) = std::mem::take(&mut *self.write(theirs));
        }
        self.debts.store(other.debts.load(Ordering::Acquire), Ordering::Release);
        self.set_version(other.version());
    }

    /// One part as entries, for a base.
    pub(super) fn dump(&self, part: usize) -> Vec<Batch> {
        let table = self.read(&self.parts[part]);
        let mut groups = BTreeMap::<_, Who>::new();
        for (person, rules) in table.people() {
            for Rule { kind, account, from } in rules {
                let group = groups.entry((kind, account, 'p')).or_insert_with(|| Who::People(Vec::new()));
                if let Who::People(people) = group {
                    people.push((person, from));
                }
            }
        }
        for (hash, kind) in table.debts() {
            let group = groups.entry((kind, AccountIndex(0), 'd')).or_insert_with(|| Who::Debts(Vec::new()));
            if let Who::Debts(hashes) = group {
                hashes.push(hash);
            }
        }
        for (hash, rule) in table.users() {
            let group =
                groups.entry((rule.kind, rule.account, 'u')).or_insert_with(|| Who::Users(Vec::new()));
            if let Who::Users(hashes) = group {
                hashes.push(hash);
            }
        }
        drop(table);
        let batch = |((kind, account, _), who): ((StopKind, AccountIndex, char), Who)| {
            let account = self.name(account);
            sliced(who).into_iter().map(move |who| Batch { op: Op::Add, kind, account: account.clone(), who })
        };
        groups.into_iter().flat_map(batch).collect()
    }

    /// Calls `see` with every person and their stops: kind, account, first day.
    pub fn each_person(&self, mut see: impl FnMut(PersonKey, StopKind, Option<&str>, StopDay)) {
        let accounts = self.read(&self.accounts).clone();
        for part in &self.parts {
            for (person, rules) in self.read(part).people() {
                for Rule { kind, account, from } in rules {
                    let name = usize::from(account.0).checked_sub(1).and_then(|at| accounts.get(at));
                    see(person, kind, name.map(AsRef::as_ref), from);
                }
            }
        }
    }

    fn account(&self, account: Option<&str>) -> AccountIndex {
        let Some(account) = account else { return AccountIndex(0) };
        let index = |at: usize| AccountIndex(u16::try_from(at + 1).unwrap_or(u16::MAX));
        let known = self.read(&self.accounts).iter().position(|known| **known == *account);
        if let Some(at) = known {
            return index(at);
        }
        let mut accounts = self.write(&self.accounts);
        let at = accounts.iter().position(|known| **known == *account).unwrap_or(accounts.len());
        if at == accounts.len() {
            accounts.push(account.into());
        }
        index(at)
    }

    fn name(&self, account: AccountIndex) -> Option<Box<str>> {
        let at = usize::from(account.0).checked_sub(1)?;
        self.read(&self.accounts).get(at).cloned()
    }

    fn place(&self, key: u64) -> &RwLock<StopTable> {
        // Hashes and phones alike differ in these bits.
        let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        &self.parts[usize::try_from(mixed).unwrap_or(0) % PARTS]
    }

    fn part(&self, key: u64) -> RwLockReadGuard<'_, StopTable> {
        self.read(self.place(key))
    }

    /// A thread that panicked has left a whole table: every change of one is a single word or a map's own.
    fn read<'a, T>(&self, lock: &'a RwLock<T>) -> RwLockReadGuard<'a, T> {
        lock.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<'a, T>(&self, lock: &'a RwLock<T>) -> RwLockWriteGuard<'a, T> {
        lock.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sliced(who: Who) -> Vec<Who> {
    let most = super::BATCH_MAX;
    match who {
        Who::People(all) => all.chunks(most).map(|some| Who::People(some.to_vec())).collect(),
        Who::Debts(all) => all.chunks(most).map(|some| Who::Debts(some.to_vec())).collect(),
        Who::Users(all) => all.chunks(most).map(|some| Who::Users(some.to_vec())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: u64 = 5_511_987_654_321;

    fn person(phone: u64) -> PersonKey {
        Phone::from_digits(phone).unwrap().person()
    }

    fn batch(op: Op, kind: StopKind, account: Option<&str>, who: Who) -> Batch {
        Batch { op, kind, account: account.map(Box::from), who }
    }

    fn list() -> StopList {
        let list = StopList::new((1, 2), 0);
        let people = Who::People(vec![(person(ANA), StopDay::AT_ONCE)]);
        list.apply(&batch(Op::Add, StopKind::OptedOut, Some("100"), people));
        let debt = list.debt_hash("100", "C7");
        list.apply(&batch(Op::Add, StopKind::Paid, Some("100"), Who::Debts(vec![debt])));
        let user = Who::Users(vec![list.user_hash("BR.1")]);
        list.apply(&batch(Op::Add, StopKind::OptedOut, None, user));
        list
    }

    fn look(list: &StopList, account: &str, phone: u64, reference: &str) -> Option<StopKind> {
        let (scope, today) = (list.scope(account, false), list.today(WallMs(1_800_000_000_000)));
        list.look(scope, phone, list.debt(account, reference), today)
    }

    fn check(list: &StopList) {
        assert_eq!(look(list, "100", ANA, ""), Some(StopKind::OptedOut));
        assert_eq!(look(list, "200", ANA, ""), None);
        assert_eq!(look(list, "100", ANA + 1, "C7"), Some(StopKind::Paid));
        assert_eq!(look(list, "200", ANA + 1, "C7"), None);
        assert_eq!(look(list, "100", ANA + 1, "C8"), None);
        assert_eq!(look(list, "100", 7, ""), None);
    }

    #[test]
    fn a_message_is_stopped_by_its_person_or_its_debt() {
        let list = list();
        check(&list);
        assert_eq!(StopList::new((1, 2), 0).debt("100", "C7"), None);
        let people = Who::People(vec![(person(ANA), StopDay::AT_ONCE)]);
        list.apply(&batch(Op::Forget, StopKind::OptedOut, None, people));
        assert_eq!(look(&list, "100", ANA, ""), None);
    }

    #[test]
    fn what_is_dumped_is_what_is_there() {
        let list = list();
        let other = StopList::new((1, 2), 0);
        for part in 0..PARTS {
            list.dump(part).iter().for_each(|batch| other.apply(batch));
        }
        check(&other);
        assert_eq!(list.counts(), other.counts());
        let today = StopDay::from_number(5);
        assert_eq!((list.tally(today).len(), list.tally(today)), (3, other.tally(today)));
        let fresh = list.anew();
        fresh.replace(&other);
        check(&fresh);
        let people = Who::People(vec![(person(ANA), today), (person(ANA + 1), StopDay::from_number(6))]);
        list.apply(&batch(Op::Add, StopKind::DoNotContact, None, people));
        let tally = list.tally(today)[&(StopKind::DoNotContact, None, Subject::Person)];
        assert_eq!((tally, list.mark(person(ANA)).len()), (Tally { stops: 2, later: 1 }, 23));
        assert_ne!(list.mark(person(ANA)), list.mark(person(ANA + 1)));
    }

    #[test]
    fn the_parts_are_of_about_one_size() {
        let list = StopList::new((1, 2), 0);
        let people = (0..6_400).map(|at| (person(ANA + at), StopDay::AT_ONCE)).collect::<Vec<_>>();
        list.apply(&batch(Op::Add, StopKind::DoNotContact, None, Who::People(people)));
        let sizes: Vec<usize> = list.parts.iter().map(|part| list.read(part).people().count()).collect();
        assert!(sizes.iter().all(|size| (50..200).contains(size)), "{sizes:?}");
    }
}
