//! The stop list against a plain model, and what it costs.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use proptest::prelude::*;

use super::*;
use crate::policy::classify::ErrorTable;

const ANA: PersonKey = PersonKey(1_187_654_321);
const BOTH: AccountIndex = AccountIndex(0);
const ONE: AccountIndex = AccountIndex(1);
const OTHER: AccountIndex = AccountIndex(2);

fn rule(kind: StopKind, account: AccountIndex) -> Rule {
    Rule { kind, account, from: StopDay::AT_ONCE }
}

fn scope(account: AccountIndex) -> Scope {
    Scope { account, marketing: false }
}

fn day(day: i8) -> StopDay {
    StopDay::of(Date::constant(2026, 12, day)).unwrap()
}

fn check(rules: &[Rule], scope: Scope, today: StopDay, expect: Option<StopKind>) {
    let mut table = StopTable::default();
    rules.iter().for_each(|rule| table.add_person(ANA, *rule));
    assert_eq!(table.person(ANA, scope, today), expect, "{rules:?} {scope:?}");
    assert_eq!(table.person(PersonKey(ANA.0 + 1), scope, today), None);
}

#[test]
fn what_stops_whom() {
    use StopKind::{DoNotContact, Exempt, Marketing, OptedOut, WrongPerson};
    let today = day(10);
    check(&[rule(OptedOut, BOTH)], scope(ONE), today, Some(OptedOut));
    check(&[rule(OptedOut, ONE)], scope(ONE), today, Some(OptedOut));
    check(&[rule(OptedOut, ONE)], scope(OTHER), today, None);
    check(&[rule(OptedOut, ONE), rule(OptedOut, OTHER)], scope(OTHER), today, Some(OptedOut));
    check(&[rule(Marketing, ONE)], scope(ONE), today, None);
    check(&[rule(Marketing, ONE)], Scope { account: ONE, marketing: true }, today, Some(Marketing));
    check(&[rule(OptedOut, BOTH), rule(WrongPerson, BOTH)], scope(ONE), today, Some(WrongPerson));
    let from = |from| Rule { from, ..rule(DoNotContact, BOTH) };
    check(&[from(day(11))], scope(ONE), today, None);
    check(&[from(day(10))], scope(ONE), today, Some(DoNotContact));
    check(&[from(day(11)), from(day(9))], scope(ONE), today, Some(DoNotContact));
    check(&[from(day(9)), rule(Exempt, ONE)], scope(ONE), today, None);
    check(&[from(day(9)), rule(Exempt, ONE)], scope(OTHER), today, Some(DoNotContact));
    check(&[rule(OptedOut, BOTH), rule(Exempt, ONE)], scope(ONE), today, Some(OptedOut));
}

#[test]
fn an_account_of_a_high_number_is_kept_beside() {
    let far = AccountIndex(5_000);
    check(&[rule(StopKind::OptedOut, far)], scope(far), day(1), Some(StopKind::OptedOut));
    check(&[rule(StopKind::OptedOut, far)], scope(ONE), day(1), None);
}

#[test]
fn what_is_taken_back_stops_no_more() {
    let mut table = StopTable::default();
    table.add_person(ANA, rule(StopKind::OptedOut, ONE));
    table.add_person(ANA, rule(StopKind::WrongPerson, OTHER));
    table.remove_person(ANA, StopKind::OptedOut, ONE);
    assert_eq!(table.person(ANA, scope(ONE), day(1)), None);
    assert_eq!(table.person(ANA, scope(OTHER), day(1)), Some(StopKind::WrongPerson));
    table.forget_person(ANA);
    assert_eq!((table.rules(ANA), table.people().count()), (Vec::new(), 0));
    for kind in [StopKind::Paid, StopKind::Disputed, StopKind::Paid] {
        table.set_debt(40, kind, true);
    }
    assert_eq!((table.debt(40), table.count_of(StopKind::Paid)), (Some(StopKind::Disputed), 1));
    table.set_debt(40, StopKind::Disputed, false);
    assert_eq!((table.debt(40), table.debt(44)), (Some(StopKind::Paid), None));
    table.set_debt(40, StopKind::Paid, false);
    assert_eq!((table.debt(40), table.debts().count()), (None, 0));
    table.set_user(9, rule(StopKind::OptedOut, ONE), true);
    table.set_user(9, rule(StopKind::OptedOut, ONE), false);
    let left: u64 = StopKind::ALL.into_iter().map(|kind| table.count_of(kind)).sum();
    assert_eq!((table.users().count(), left), (0, 0));
}

#[test]
fn a_stop_takes_at_most_21_bytes() {
    let mut table = StopTable::default();
    for at in 0..50_000 {
        table.add_person(PersonKey(1_100_000_000 + at * 7), rule(StopKind::DoNotContact, BOTH));
        table.set_debt(at << 20, StopKind::Paid, true);
    }
    let each = table.bytes() / 100_000;
    assert!((9..=21).contains(&each), "{each} bytes");
}

#[test]
fn every_kind_has_a_row_of_its_own_in_the_error_table() {
    let table = ErrorTable::builtin();
    let names = StopKind::ALL.map(|kind| table.reason(reason(kind)).map(|row| row.name.clone()).unwrap());
    let expect = [
        "opted_out",
        "opted_out_of_marketing",
        "do_not_contact",
        "wrong_person",
        "paid",
        "disputed",
        "do_not_contact",
    ];
    assert_eq!(names, expect);
}

proptest! {
    #[test]
    fn it_is_the_plain_map(ops in proptest::collection::vec((0u64..4, 0usize..5, 0u16..3, 0u16..5, any::<bool>()), 0..60)) {
        let kinds = [StopKind::OptedOut, StopKind::Marketing, StopKind::DoNotContact, StopKind::WrongPerson, StopKind::Exempt];
        let mut table = StopTable::default();
        let mut plain: BTreeMap<(u64, StopKind, u16), StopDay> = BTreeMap::new();
        for (person, kind, account, from, add) in ops {
            let kind = kinds[kind];
            let from = if kind.may_begin_later() { StopDay::from_number(from) } else { StopDay::AT_ONCE };
            if add {
                table.add_person(PersonKey(person), Rule { kind, account: AccountIndex(account), from });
                plain.insert((person, kind, account), from);
            } else {
                table.remove_person(PersonKey(person), kind, AccountIndex(account));
                plain.remove(&(person, kind, account));
            }
        }
        let all: BTreeSet<_> = table
            .people()
            .flat_map(|(person, rules)| rules.into_iter().map(move |rule| (person.0, rule.kind, rule.account.0, rule.from)))
            .collect();
        let expect: BTreeSet<_> = plain.iter().map(|((person, kind, account), from)| (*person, *kind, *account, *from)).collect();
        prop_assert_eq!(all, expect);
        for kind in kinds {
            prop_assert_eq!(table.count_of(kind), plain.keys().filter(|key| key.1 == kind).count() as u64);
        }
    }
}
