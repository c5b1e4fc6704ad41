//! A fault plan as its file writes it, and how it becomes a [`FaultPlan`].
//!
//! One flat struct for all kinds, so that unknown keys are refused; which key belongs to which kind is checked here.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use super::{FAULTS_MAX, Fault, FaultKind, FaultPlan, PlanError, Target, Validity};
use crate::sim::{codes, webhook};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlan {
    #[serde(default)]
    fault: Vec<RawFault>,
    #[serde(default)]
    validity: Validity,
    #[serde(default)]
    rates: BTreeMap<String, u32>,
    #[serde(default)]
    webhooks: webhook::RawWebhooks,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawKind {
    Error,
    ErrorAfterTaking,
    ResetBefore,
    RefusedStream,
    GoAway,
    ResetAfter,
    Stall,
    #[serde(rename = "http_5xx_empty")]
    Http5xxEmpty,
    #[serde(rename = "http_5xx_before")]
    Http5xxBefore,
    Held,
    SuccessWithoutWamid,
    Throttle,
    Outage,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFault {
    kind: RawKind,
    share: Option<f64>,
    from: Option<String>,
    to: Option<String>,
    numbers: Option<Vec<String>>,
    on: Option<Target>,
    code: Option<i64>,
    http_status: Option<u16>,
    status: Option<u16>,
    r#for: Option<String>,
}

pub(super) fn parse(text: &str) -> Result<FaultPlan, PlanError> {
    let raw: RawPlan = toml::from_str(text)?;
    if raw.fault.len() > FAULTS_MAX {
        return Err(PlanError::TooMany { count: raw.fault.len() });
    }
    let resolve = |(position, fault): (usize, RawFault)| {
        let kind = kind_of(&fault).map(FaultKind::name);
        resolve(fault).map_err(|what| PlanError::Fault {
            position: position + 1,
            kind: kind.unwrap_or("incomplete"),
            what,
        })
    };
    Ok(FaultPlan {
        faults: raw.fault.into_iter().enumerate().map(resolve).collect::<Result<_, _>>()?,
        validity: raw.validity,
        rates: raw.rates,
        webhooks: webhook::resolve(&raw.webhooks).map_err(PlanError::Webhooks)?,
    })
}

fn resolve(raw: RawFault) -> Result<Fault, String> {
    refuse_foreign_keys(&raw)?;
    let kind = kind_of(&raw)?;
    let from = duration("from", raw.from.as_deref())?.unwrap_or_default();
    let to = duration("to", raw.to.as_deref())?;
    if to.is_some_and(|to| to <= from) {
        return Err("`to` must lie after `from`".to_owned());
    }
    let share = match (kind, raw.share) {
        (FaultKind::Outage, None) => 1.0,
        (FaultKind::Outage, Some(_)) => return Err("an outage is total: leave `share` out".to_owned()),
        (_, None) => return Err("`share` is missing: which share of the requests, 0 to 1".to_owned()),
        (_, Some(share)) if (0.0..=1.0).contains(&share) => share,
        (_, Some(share)) => return Err(format!("`share` is {share}, it must be 0 to 1")),
    };
    if kind == FaultKind::Outage && to.is_none() {
        return Err("an outage needs `to`: when it ends".to_owned());
    }
    Ok(Fault { kind, share, from, to, numbers: raw.numbers, on: raw.on.unwrap_or_default() })
}

fn kind_of(raw: &RawFault) -> Result<FaultKind, String> {
    let code = || match raw.code {
        Some(code) if code >= 0 => Ok(code),
        Some(code) => Err(format!("`code` is {code}, it must not be negative")),
        None => Err("`code` is missing: which Graph error code".to_owned()),
    };
    let http_status = || status("http_status", raw.http_status, 200);
    Ok(match raw.kind {
        RawKind::Error => FaultKind::Error { code: code()?, http_status: http_status()? },
        RawKind::ErrorAfterTaking => {
            FaultKind::ErrorAfterTaking { code: code()?, http_status: http_status()? }
        }
        RawKind::ResetBefore => FaultKind::ResetBefore,
        RawKind::RefusedStream => FaultKind::RefusedStream,
        RawKind::GoAway => FaultKind::GoAway,
        RawKind::ResetAfter => FaultKind::ResetAfter,
        RawKind::Stall => FaultKind::Stall { after: duration("for", raw.r#for.as_deref())? },
        RawKind::Http5xxEmpty => {
            FaultKind::Http5xxEmpty { status: status("status", raw.status, 500)?.unwrap_or(502) }
        }
        RawKind::Http5xxBefore => FaultKind::Http5xxBefore {
            status: status("status", raw.status, 500)?.unwrap_or(503),
            code: if raw.code.is_some() { code()? } else { codes::UNAVAILABLE },
        },
        RawKind::Held => FaultKind::Held,
        RawKind::SuccessWithoutWamid => FaultKind::SuccessWithoutWamid,
        RawKind::Throttle => FaultKind::Throttle,
        RawKind::Outage => FaultKind::Outage,
    })
}

/// A key that a kind does not know would be ignored in silence; say so instead.
fn refuse_foreign_keys(raw: &RawFault) -> Result<(), String> {
    use RawKind::{Error, ErrorAfterTaking, Held, Http5xxBefore, Http5xxEmpty, Outage, Stall};
    use RawKind::{SuccessWithoutWamid, Throttle};
    let coded = matches!(raw.kind, Error | ErrorAfterTaking);
    let only_messages = matches!(raw.kind, ErrorAfterTaking | Held | SuccessWithoutWamid | Throttle);
    let outage = matches!(raw.kind, Outage);
    let foreign = [
        ("code", raw.code.is_some() && !coded && !matches!(raw.kind, Http5xxBefore)),
        ("http_status", raw.http_status.is_some() && !coded),
        ("status", raw.status.is_some() && !matches!(raw.kind, Http5xxEmpty | Http5xxBefore)),
        ("for", raw.r#for.is_some() && !matches!(raw.kind, Stall)),
        ("numbers", raw.numbers.is_some() && outage),
        ("on", raw.on.is_some() && outage),
    ];
    if let Some((key, _)) = foreign.iter().find(|(_, there)| *there) {
        return Err(format!("`{key}` does not belong to this kind"));
    }
    if only_messages && raw.on.is_some_and(|on| on != Target::Messages) {
        return Err("this kind strikes messages only: leave `on` out".to_owned());
    }
    Ok(())
}

fn status(key: &str, status: Option<u16>, lowest: u16) -> Result<Option<u16>, String> {
    match status {
        Some(status) if !(lowest..=599).contains(&status) => {
            Err(format!("`{key}` is {status}, it must be {lowest} to 599"))
        }
        status => Ok(status),
    }
}

fn duration(key: &str, text: Option<&str>) -> Result<Option<Duration>, String> {
    let Some(text) = text else { return Ok(None) };
    let parsed = jiff::SignedDuration::from_str(text).ok();
    let duration = parsed.and_then(|duration| Duration::try_from(duration).ok());
    duration
        .map(Some)
        .ok_or_else(|| format!("`{key}` is \"{text}\", it must be a duration such as \"90s\" or \"3m\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_error(text: &str, expect: &str) {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(expect), "{text}\n  gives: {error}\n  wanted: {expect}");
    }

    #[test]
    fn a_plan_says_what_it_says() {
        let plan = parse(
            "[validity]\ntokens = [\"t\"]\ntemplates = [{ name = \"n\", language = \"pt_BR\" }]\n[rates]\n7 = 20\n\
             [[fault]]\nkind = \"stall\"\nshare = 0.5\nfor = \"2s\"\nfrom = \"1m\"\nto = \"90s\"\n\
             [[fault]]\nkind = \"outage\"\nfrom = \"3m\"\nto = \"13m\"",
        )
        .unwrap()
        .scaled(10);
        assert_eq!(plan.rates["7"], 20);
        let stall = &plan.faults[0];
        assert_eq!(stall.kind, FaultKind::Stall { after: Some(Duration::from_millis(200)) });
        assert_eq!((stall.from, stall.to), (Duration::from_secs(6), Some(Duration::from_secs(9))));
        let outage =
            [17_999, 18_000, 77_999, 78_000].map(|ms| plan.faults[1].is_on(Duration::from_millis(ms)));
        assert_eq!(outage, [false, true, true, false]);
    }

    #[test]
    fn a_malformed_plan_is_refused_with_its_place() {
        let fault = |rest: &str| format!("[[fault]]\nkind = \"held\"\nshare = 0.1\n[[fault]]\n{rest}");
        check_error("[[fault]]\nkind = \"melt\"\nshare = 1.0", "melt");
        check_error(&fault("kind = \"held\"\nshare = 0.1\nshard = 1"), "shard");
        check_error("speed = 1", "speed");
        check_error(&fault("kind = \"held\"\nshare = 1.5"), "fault 2 (held) of the plan: `share` is 1.5");
        check_error(&fault("kind = \"held\""), "`share` is missing");
        check_error(&fault("kind = \"error\"\nshare = 0.1"), "`code` is missing");
        check_error(&fault("kind = \"error\"\nshare = 0.1\ncode = -1"), "`code` is -1");
        check_error(
            &fault("kind = \"error\"\nshare = 0.1\ncode = 1\nhttp_status = 700"),
            "`http_status` is 700",
        );
        check_error(&fault("kind = \"held\"\nshare = 0.1\ncode = 1"), "`code` does not belong");
        check_error(&fault("kind = \"held\"\nshare = 0.1\non = \"all\""), "messages only");
        check_error(&fault("kind = \"held\"\nshare = 0.1\nfrom = \"soon\""), "`from` is \"soon\"");
        check_error(&fault("kind = \"held\"\nshare = 0.1\nfrom = \"9s\"\nto = \"9s\""), "after `from`");
        check_error(&fault("kind = \"http_5xx_empty\"\nshare = 0.1\nstatus = 404"), "`status` is 404");
        check_error(&fault("kind = \"outage\"\nfrom = \"1s\""), "needs `to`");
        check_error(&fault("kind = \"outage\"\nto = \"1s\"\nshare = 0.5"), "leave `share` out");
        let many = "[[fault]]\nkind = \"held\"\nshare = 0.0\n".repeat(FAULTS_MAX + 1);
        check_error(&many, "65 faults");
    }

    #[test]
    fn the_ready_plans_are_valid() {
        for text in [
            include_str!("../../../config/faults/rough-day.toml"),
            include_str!("../../../config/faults/outage.toml"),
            include_str!("../../../config/faults/rough-webhooks.toml"),
        ] {
            assert!(!parse(text).unwrap().faults.is_empty());
        }
    }
}
