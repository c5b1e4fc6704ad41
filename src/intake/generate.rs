//! Invented recipients: believable Brazilian debtors over all states, for the demonstration, benchmarks and tests.
//!
//! One set of columns serves all ready campaigns. The same plan always writes the same bytes. Without duplicates and
//! bad rows every row is another person: numbers are walked through, not drawn. Nobody real is meant: names are
//! common ones combined at random, contracts, boletos and addresses do not exist, and the file is only ever sent to the simulator.

use std::io::{self, Write};

use self::numbers::Numbers;
use self::random::Random;

mod boleto;
mod names;
mod numbers;
mod random;

/// Most rows of one file.
pub const COUNT_MAX: u64 = 100_000_000;

/// The columns, in order.
pub const COLUMNS: [&str; 11] = [
    "contrato",
    "cliente",
    "nome",
    "primeiro_nome",
    "telefone",
    "valor",
    "vencimento",
    "produto",
    "parcela",
    "linha_digitavel",
    "url_boleto",
];

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Rows, duplicates and bad ones included: 1 to [`COUNT_MAX`].
    pub count: u64,
    /// Another seed, other people.
    pub seed: u64,
    /// Share of rows that repeat an earlier person in another spelling of the phone, 0 to 0.5.
    pub duplicates: f64,
    /// Share of rows that every ready campaign rejects, 0 to 0.5.
    pub bad: f64,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generated {
    /// Rows, the header not counted.
    pub rows: u64,
    /// Rows of people not seen before.
    pub unique: u64,
    /// Rows that repeat a person, and the debt.
    pub duplicates: u64,
    /// Rows that are rejected.
    pub bad: u64,
}

/// Why nothing, or not all, was written.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A bound of the plan.
    #[error("{field} is {value}, not within {bounds}")]
    Plan {
        /// Which.
        field: &'static str,
        /// As given.
        value: String,
        /// What it may be.
        bounds: &'static str,
    },
    /// The system's reason.
    #[error("cannot write the recipients: {0}")]
    Unwritable(#[from] io::Error),
}

/// Written out whenever it is this full.
const BUFFER_BYTES: usize = 64 * 1024;

/// How many earlier people may be repeated; each new one takes the place of a random one, so old ones stay too.
const POOL: u64 = 4096;

/// How many spellings of a phone are written.
const SPELLINGS: u64 = 8;

/// How many kinds of bad rows are written.
const BAD_KINDS: u64 = 12;

#[derive(Clone, Copy)]
struct Debtor {
    contract: u64,
    area: u8,
    /// The last eight digits.
    number: u64,
    spelling: u64,
    first: usize,
    middle: usize,
    last: usize,
    product: usize,
    cents: u64,
    day: u64,
}

/// Writes a header and `plan.count` rows.
pub fn generate(out: &mut impl Write, plan: &Plan) -> Result<Generated, GenerateError> {
    check(plan)?;
    let mut random = Random::new(plan.seed);
    let mut numbers = Numbers::new(&mut random);
    let (duplicate_below, bad_below) = (threshold(plan.duplicates), threshold(plan.duplicates + plan.bad));
    let mut pool: Vec<Debtor> = Vec::new();
    let mut done = Generated::default();
    let mut buffer = Vec::with_capacity(BUFFER_BYTES + 4096);
    buffer.extend_from_slice(COLUMNS.join(";").as_bytes());
    buffer.push(b'\n');
    while done.rows < plan.count {
        done.rows += 1;
        let draw = random.below(1 << 32);
        if draw < duplicate_below && !pool.is_empty() {
            let earlier = pool[index(random.below(pool.len() as u64))];
            let spelling = (earlier.spelling + 1 + random.below(SPELLINGS - 1)) % SPELLINGS;
            write_debtor(&mut buffer, &Debtor { spelling, ..earlier });
            done.duplicates += 1;
        } else if draw >= duplicate_below && draw < bad_below {
            let debtor = Debtor::new(done.rows, (11, 0), &mut random);
            write_bad(&mut buffer, &debtor, random.below(BAD_KINDS), &mut random);
            done.bad += 1;
        } else {
            let debtor = Debtor::new(done.rows, numbers.next(&mut random), &mut random);
            write_debtor(&mut buffer, &debtor);
            remember(&mut pool, debtor, &mut random);
            done.unique += 1;
        }
        if buffer.len() >= BUFFER_BYTES {
            out.write_all(&buffer)?;
            buffer.clear();
        }
    }
    out.write_all(&buffer)?;
    out.flush()?;
    Ok(done)
}

impl Default for Plan {
    /// A hundred thousand, one in a hundred twice, one in a hundred bad.
    fn default() -> Self {
        Self { count: 100_000, seed: 1, duplicates: 0.01, bad: 0.01 }
    }
}

impl Debtor {
    fn new(contract: u64, (area, number): (u8, u64), random: &mut Random) -> Self {
        // Most bills are small, a few are large.
        let scale = [5_000, 20_000, 50_000, 300_000][index(random.below(4))];
        Self {
            contract,
            area,
            number,
            spelling: random.below(SPELLINGS),
            first: random.pick(&names::FIRST),
            middle: random.pick(&names::LAST),
            last: random.pick(&names::LAST),
            product: random.pick(&names::PRODUCTS),
            cents: 1_500 + random.below(scale),
            day: 1 + random.below(28),
        }
    }
}

fn check(plan: &Plan) -> Result<(), GenerateError> {
    let refuse = |field, value, bounds| Err(GenerateError::Plan { field, value, bounds });
    if !(1..=COUNT_MAX).contains(&plan.count) {
        return refuse("count", plan.count.to_string(), "1 to 100000000");
    }
    for (field, share) in [("duplicates", plan.duplicates), ("bad", plan.bad)] {
        if !(0.0..=0.5).contains(&share) {
            return refuse(field, share.to_string(), "0 to 0.5");
        }
    }
    Ok(())
}

/// The share as a part of 2^32.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the share was checked to be within 0 and 1"
)]
fn threshold(share: f64) -> u64 {
    (share * 4_294_967_296.0) as u64
}

fn remember(pool: &mut Vec<Debtor>, debtor: Debtor, random: &mut Random) {
    if (pool.len() as u64) < POOL {
        pool.push(debtor);
    } else {
        pool[index(random.below(POOL))] = debtor;
    }
}

fn write_debtor(out: &mut Vec<u8>, debtor: &Debtor) {
    write_keys(out, debtor);
    write_names(out, debtor);
    write_phone(out, debtor);
    out.push(b';');
    write_amount(out, debtor.cents);
    write_rest(out, debtor);
    out.push(b'\n');
}

/// Contract and customer.
fn write_keys(out: &mut Vec<u8>, debtor: &Debtor) {
    out.extend_from_slice(b"CT");
    digits(out, debtor.contract, 10);
    out.push(b';');
    // Any fixed number without a common factor with 10^8 scatters the customers' numbers without repeating one.
    digits(out, debtor.contract * 48_271_003 % 100_000_000, 8);
    out.push(b';');
}

/// Full name and first name.
fn write_names(out: &mut Vec<u8>, debtor: &Debtor) {
    let first = names::FIRST[debtor.first];
    for (name, end) in
        [(first, b' '), (names::LAST[debtor.middle], b' '), (names::LAST[debtor.last], b';'), (first, b';')]
    {
        out.extend_from_slice(name.as_bytes());
        out.push(end);
    }
}

fn write_phone(out: &mut Vec<u8>, debtor: &Debtor) {
    let area = u64::from(debtor.area);
    let (left, right) = (debtor.number / 10_000, debtor.number % 10_000);
    let (before, between, nine, dash): (&[u8], &[u8], bool, bool) = match debtor.spelling {
        0 => (b"", b"", true, false),
        1 => (b"(", b") ", true, true),
        2 => (b"+55 ", b" ", true, true),
        3 => (b"55", b"", true, false),
        4 => (b"", b" ", false, true),
        5 => (b"0", b" ", true, true),
        6 => (b"", b"", false, false),
        _ => (b"+55", b"", true, false),
    };
    out.extend_from_slice(before);
    digits(out, area, 2);
    out.extend_from_slice(between);
    if nine {
        out.push(b'9');
    }
    digits(out, left, 4);
    if dash {
        out.push(b'-');
    }
    digits(out, right, 4);
}

/// `1.234,56`
fn write_amount(out: &mut Vec<u8>, cents: u64) {
    let (reais, cents) = (cents / 100, cents % 100);
    if reais >= 1000 {
        out.extend_from_slice((reais / 1000).to_string().as_bytes());
        out.push(b'.');
        digits(out, reais % 1000, 3);
    } else {
        digits(out, reais, if reais >= 100 { 3 } else { 2 });
    }
    out.push(b',');
    digits(out, cents, 2);
}

/// From due date to the boleto's address, led by a delimiter.
fn write_rest(out: &mut Vec<u8>, debtor: &Debtor) {
    out.push(b';');
    digits(out, debtor.day, 2);
    out.extend_from_slice(b"/12/2026;");
    out.extend_from_slice(names::PRODUCTS[debtor.product].as_bytes());
    out.extend_from_slice(b";dezembro/2026;");
    out.extend_from_slice(&boleto::line(
        debtor.contract,
        boleto::FACTOR_NOV_30_2026 + debtor.day,
        debtor.cents,
    ));
    out.extend_from_slice(b";https://boletos.example/CT");
    digits(out, debtor.contract, 10);
    out.extend_from_slice(b".pdf");
}

/// A row with one thing wrong, which every ready campaign needs to be right.
fn write_bad(out: &mut Vec<u8>, debtor: &Debtor, kind: u64, random: &mut Random) {
    let mut names = Vec::new();
    write_names(&mut names, debtor);
    let mut phone = Vec::new();
    let number = 60_000_000 + random.below(33_000_000) + 1;
    write_phone(&mut phone, &Debtor { number, ..*debtor });
    let mut amount = Vec::new();
    write_amount(&mut amount, debtor.cents);
    let mut extra: &[u8] = b"";
    match kind {
        0 => phone = format!("(11) 3{:03}-{:04}", random.below(1000), random.below(10_000)).into_bytes(),
        1 => phone = format!("119{:04}", random.below(10_000)).into_bytes(),
        2 => phone = b"sem telefone".to_vec(),
        3 => {
            phone = format!("(20) 9{:04}-{:04}", 7000 + random.below(1000), random.below(10_000)).into_bytes()
        }
        4 => phone = b"5,51199E+12".to_vec(),
        5 => phone = b"(11) 99999-9999".to_vec(),
        6 => phone.clear(),
        7 => names = b";;".to_vec(),
        8 => names = b"\"Ana\nLima\";\"Ana\nLima\";".to_vec(),
        9 => {
            names = b"Ana      Lima;Ana      Lima;".to_vec();
            amount = b"12      34".to_vec();
        }
        10 => amount.clear(),
        _ => extra = b";revisar",
    }
    write_keys(out, debtor);
    out.extend_from_slice(&names);
    out.extend_from_slice(&phone);
    out.push(b';');
    out.extend_from_slice(&amount);
    write_rest(out, debtor);
    out.extend_from_slice(extra);
    out.push(b'\n');
}

/// `value` in exactly `width` digits.
fn digits(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = digit_of(value % 10);
        value /= 10;
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a digit is less than ten")]
fn digit_of(digit: u64) -> u8 {
    b'0' + digit as u8
}

#[allow(clippy::cast_possible_truncation, reason = "drawn below the length of a slice")]
fn index(drawn: u64) -> usize {
    drawn as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_in_brazil() {
        for (cents, expect) in
            [(1_500, "15,00"), (99_999, "999,99"), (123_456, "1.234,56"), (100_005, "1.000,05")]
        {
            let mut out = Vec::new();
            write_amount(&mut out, cents);
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        }
    }

    #[test]
    fn a_plan_has_bounds() {
        let mut none = Vec::new();
        for (plan, expect) in [
            (Plan { count: 0, ..Plan::default() }, "count is 0, not within 1 to 100000000"),
            (Plan { bad: -0.1, ..Plan::default() }, "bad is -0.1, not within 0 to 0.5"),
            (Plan { duplicates: f64::NAN, ..Plan::default() }, "duplicates is NaN, not within 0 to 0.5"),
        ] {
            assert_eq!(generate(&mut none, &plan).unwrap_err().to_string(), expect);
        }
        assert!(none.is_empty());
    }

    #[test]
    fn the_first_rows_of_a_seed_never_change() {
        let mut out = Vec::new();
        let plan = Plan { count: 3, seed: 7, ..Plan::default() };
        generate(&mut out, &plan).unwrap();
        let mut again = Vec::new();
        generate(&mut again, &plan).unwrap();
        assert_eq!(out, again);
        let other = Plan { seed: 8, ..plan };
        generate(&mut again, &other).unwrap();
        assert!(!again.ends_with(&out[COLUMNS.join(";").len()..]));
    }
}
