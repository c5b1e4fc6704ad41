//! How a campaign is sent, from the raw file to the domain: the brake, its hours, its share of the pace.

use toml::{Spanned, Value};

use super::Fault;
use super::raw::Words;
use crate::domain::campaign::StopIf;
use crate::domain::hours::WeekHours;

/// Messages after which the brake looks, at most: beyond it it would be no brake.
const AFTER_MAX: i64 = 10_000_000;

/// The most that one campaign may have for each message of another.
const WEIGHT_MAX: u32 = 100;

/// `false`, or a table of `after` and `failed`; left out, the defaults.
pub(super) fn stop_if(raw: Option<&Spanned<Value>>) -> Result<Option<StopIf>, Fault> {
    let Some(raw) = raw else { return Ok(Some(StopIf::default())) };
    let invalid = |message: &str| {
        Fault::new(Some(raw.span().start), "stop_if", message)
            .hint("write stop_if = { after = 500, failed = \"5%\" }, or stop_if = false for no brake")
    };
    let table = match raw.get_ref() {
        Value::Boolean(false) => return Ok(None),
        Value::Table(table) => table,
        _ => return Err(invalid("is neither false nor a table")),
    };
    let mut stop = StopIf::default();
    for (key, value) in table {
        match (key.as_str(), value) {
            ("after", Value::Integer(after)) if (1..=AFTER_MAX).contains(after) => {
                stop.after = u64::try_from(*after).unwrap_or(1);
            }
            ("after", _) => return Err(invalid(&format!("`after` is no number within 1 to {AFTER_MAX}"))),
            ("failed", Value::String(share)) => {
                stop.failed_per_mille = per_mille(share).ok_or_else(|| invalid(SHARE))?;
            }
            ("failed", _) => return Err(invalid(SHARE)),
            _ => return Err(invalid(&format!("`{key}` is none of after, failed"))),
        }
    }
    Ok(Some(stop))
}

const SHARE: &str = "`failed` is no share within \"0.1%\" to \"100%\"";

pub(super) fn hours(raw: Option<&Words>) -> Result<Option<WeekHours>, Fault> {
    let read = |words: &Words| {
        WeekHours::parse(words.get_ref()).map_err(|what| Fault::new(Some(words.span().start), "hours", what))
    };
    raw.map(read).transpose()
}

/// `"50%"`; all of it is no limit.
pub(super) fn share(raw: Option<&Words>) -> Result<Option<u16>, Fault> {
    let Some(words) = raw else { return Ok(None) };
    let share = per_mille(words.get_ref()).ok_or_else(|| {
        Fault::new(Some(words.span().start), "pace_share", "is no share within \"0.1%\" to \"100%\"")
            .hint("write it like \"50%\"")
    })?;
    Ok((share < 1000).then_some(share))
}

/// A whole number, 1 where it is left out.
pub(super) fn weight(raw: Option<&Spanned<i64>>) -> Result<u32, Fault> {
    let Some(raw) = raw else { return Ok(1) };
    u32::try_from(*raw.get_ref()).ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight)).ok_or_else(|| {
        Fault::new(Some(raw.span().start), "weight", format!("is no whole number within 1 to {WEIGHT_MAX}"))
            .hint("a campaign with weight = 3 gets three messages for each one of another with weight = 1")
    })
}

/// `5%` or `0.5%` in thousandths, from one to a thousand.
fn per_mille(text: &str) -> Option<u16> {
    let number = text.trim().strip_suffix('%')?.trim();
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(tenth) || tenth.len() != 1 {
        return None;
    }
    let (whole, tenth): (u16, u16) = (whole.parse().ok()?, tenth.parse().ok()?);
    whole.checked_mul(10)?.checked_add(tenth).filter(|share| (1..=1000).contains(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_exactly() {
        let all = ["5%", "0.5%", "100%", " 12.5 %", "0%", "101%", "5", "x%", "1.25%", "-1%", "%", "99999%"];
        let expect =
            [Some(50), Some(5), Some(1000), Some(125), None, None, None, None, None, None, None, None];
        assert_eq!(all.map(per_mille), expect);
    }
}
