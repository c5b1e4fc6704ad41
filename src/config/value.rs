//! Values of the configuration from their text: durations, rates, addresses. Pure; each error says what is
//! allowed.

use std::net::IpAddr;
use std::time::Duration;

/// Fastest pace a number may have: Meta's highest throughput (whatsapp: up to 1,000 messages a second).
const RATE_MAX_PER_S: f64 = 1_000.0;

/// Fastest pace of a whole account: a hundred of the fastest numbers.
const ACCOUNT_RATE_MAX_PER_S: f64 = 100_000.0;

/// Slowest pace that makes sense: one message in a hundred seconds.
const RATE_MIN_PER_S: f64 = 0.01;

/// Longest name of a node.
const NODE_NAME_MAX_BYTES: usize = 64;

/// `5s`, `20ms`, `1h 30m`.
pub(super) fn duration(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let parsed = text
        .parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|parsed| Duration::try_from(parsed).ok())
        .ok_or_else(|| format!("{text:?} is not a duration: write a number with a unit, such as \"5s\""))?;
    if parsed < min || parsed > max {
        return Err(format!("{text:?} is out of bounds: {min:?} to {max:?}"));
    }
    Ok(parsed)
}

/// `180d`.
pub(super) fn days(text: &str, min: u64, max: u64) -> Result<Duration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.trim().parse::<u64>().ok());
    let days = days.ok_or_else(|| format!("{text:?} is not a number of days: write \"180d\""))?;
    if !(min..=max).contains(&days) {
        return Err(format!("{text:?} is out of bounds: {min}d to {max}d"));
    }
    Ok(Duration::from_secs(days * 24 * 60 * 60))
}

/// `64MB`, `512KB`, `1GB`: powers of 1024.
pub(super) fn bytes(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let shape = || format!("{text:?} is not a size: write a number with a unit, such as \"64MB\"");
    let unit = text.len().checked_sub(2).and_then(|at| text.split_at_checked(at)).ok_or_else(shape)?;
    let shift = match unit.1 {
        "KB" => 10,
        "MB" => 20,
        "GB" => 30,
        _ => return Err(shape()),
    };
    let size = unit.0.trim().parse::<u64>().map_err(|_| shape())?.saturating_mul(1 << shift);
    if !(min..=max).contains(&size) {
        return Err(format!("{text:?} is out of bounds: {}KB to {}GB", min >> 10, max >> 30));
    }
    Ok(size)
}

/// `30d`, or a duration.
pub(super) fn age(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.trim().parse::<u32>().ok());
    match days.map(|days| Duration::from_secs(86_400) * days) {
        None => duration(text, min, max),
        Some(age) if (min..=max).contains(&age) => Ok(age),
        Some(_) => Err(format!("{text:?} is out of bounds: {min:?} to {} days", max.as_secs() / 86_400)),
    }
}

/// `5%`, as a part of one; the bounds are in percent.
pub(super) fn percent(text: &str, (least, most): (f64, f64)) -> Result<f64, String> {
    let number = text.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let number = number.ok_or_else(|| format!("{text:?} is not a share: write it like \"5%\""))?;
    if !(least..=most).contains(&number) {
        return Err(format!("{text:?} is out of bounds: {least}% to {most}%"));
    }
    Ok(number / 100.0)
}

/// `80/s` of a number; None is `unlimited`.
pub(super) fn rate(text: &str) -> Result<Option<f64>, String> {
    rate_within(text, RATE_MAX_PER_S)
}

/// `200/s` of a whole account; None is `unlimited`.
pub(super) fn account_rate(text: &str) -> Result<Option<f64>, String> {
    rate_within(text, ACCOUNT_RATE_MAX_PER_S)
}

fn rate_within(text: &str, most: f64) -> Result<Option<f64>, String> {
    if text == "unlimited" {
        return Ok(None);
    }
    let per_s = text
        .strip_suffix("/s")
        .and_then(|number| number.trim().parse::<f64>().ok())
        .ok_or_else(|| format!("{text:?} is not a rate: write messages a second, such as \"80/s\""))?;
    if !(RATE_MIN_PER_S..=most).contains(&per_s) {
        return Err(format!("{text:?} is out of bounds: {RATE_MIN_PER_S}/s to {most}/s"));
    }
    Ok(Some(per_s))
}

/// Name of a node: it stands in keys, lists and logs.
pub(super) fn node_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=NODE_NAME_MAX_BYTES).contains(&text.len()) && text != "-" && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} cannot be a name: up to {NODE_NAME_MAX_BYTES} letters, digits, dots, dashes and underscores"
    ))
}

/// The base URL of the Cloud API, without a trailing slash. Plain http only to this machine: the token would
/// travel in clear.
pub(super) fn cloud_url(text: &str) -> Result<String, String> {
    let shape =
        || "must be a URL such as \"https://graph.facebook.com\", without user, query or fragment".to_owned();
    let trimmed = text.trim_end_matches('/');
    let uri: hyper::Uri = trimmed.parse().map_err(|_| shape())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(shape());
    };
    if authority.as_str().contains('@') || uri.query().is_some() || trimmed.contains('#') {
        return Err(shape());
    }
    match scheme {
        "https" => Ok(trimmed.to_owned()),
        "http" if is_loopback_url(trimmed) => Ok(trimmed.to_owned()),
        "http" => {
            Err("plain http would show the token to the network: use https (http only to this machine)"
                .to_owned())
        }
        _ => Err(shape()),
    }
}

/// Whether HTTP/2 is spoken where it is offered.
pub(super) fn http2(text: &str) -> Result<bool, String> {
    match text {
        "auto" => Ok(true),
        "never" => Ok(false),
        _ => Err("must be \"auto\" or \"never\"".to_owned()),
    }
}

/// Where webhooks arrive from outside, without a trailing slash.
pub(super) fn webhook_url(text: &str) -> Result<String, String> {
    cloud_url(text).map_err(|_| {
        "must be an https URL such as \"https://webhooks.example.com\", without user, query or fragment"
            .to_owned()
    })
}

/// True when the URL's host is this machine.
pub(super) fn is_loopback_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<hyper::Uri>() else {
        return false;
    };
    uri.host().is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

/// `v26.0`.
pub(super) fn version(text: &str) -> Result<String, String> {
    let digits = |part: &str| !part.is_empty() && part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
    let known = text.strip_prefix('v').and_then(|rest| rest.split_once('.'));
    match known {
        Some((major, minor)) if digits(major) && digits(minor) => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not a version of the Graph API: write \"v26.0\"")),
    }
}

/// An id of Meta: digits.
pub(super) fn phone_number_id(text: &str) -> Result<(), String> {
    if (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(());
    }
    Err("must be the phone_number_id of the Cloud API, 1 to 32 digits (not the phone)".to_owned())
}

/// An id of an account.
pub(super) fn account_id(text: &str) -> Result<(), String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if (1..=64).contains(&text.len()) && text.bytes().all(fine) {
        return Ok(());
    }
    Err("must be the id of the WhatsApp Business Account: 1 to 64 letters, digits, - or _".to_owned())
}

/// Id of a business portfolio; it stands in keys of Redis.
pub(super) fn portfolio_id(text: &str) -> Result<(), String> {
    account_id(text).map_err(|_| "must be the id of a portfolio: 1 to 64 letters, digits, - or _".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let parse = |text| duration(text, Duration::from_millis(1), Duration::from_secs(3_600));
        for (text, ms) in [("5s", 5_000), ("20ms", 20), ("1m30s", 90_000), ("1h", 3_600_000), ("0.5s", 500)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["5", "", "s", "-5s", "0s", "2h", "5 parsecs", "99999999999999999999h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn days_and_sizes() {
        assert_eq!(days("180d", 1, 3_650), Ok(Duration::from_secs(180 * 86_400)));
        for text in ["0d", "3651d", "d", "", "180", "1h", "-1d"] {
            assert!(days(text, 1, 3_650).is_err(), "{text}");
        }
        for (text, expect) in [("64KB", 64 << 10), ("64MB", 64 << 20), ("1 GB", 1 << 30)] {
            assert_eq!(bytes(text, 64 << 10, 4 << 30), Ok(expect), "{text}");
        }
        for text in ["63KB", "5GB", "64", "MB", "", "B", "64mb", "99999999999999999999GB", "é"] {
            assert!(bytes(text, 64 << 10, 4 << 30).is_err(), "{text}");
        }
    }

    #[test]
    fn ages() {
        let (hour, day) = (Duration::from_secs(3_600), Duration::from_secs(86_400));
        let parse = |text| age(text, hour, day * 3_650);
        assert_eq!((parse("30d"), parse("36h")), (Ok(day * 30), Ok(hour * 36)));
        assert!(["0d", "4000d", "d", "1 week", "30", "-1d", "10m"].iter().all(|text| parse(text).is_err()));
    }

    #[test]
    fn rates() {
        for (text, expect) in
            [("80/s", Some(80.0)), ("0.5/s", Some(0.5)), ("1000/s", Some(1_000.0)), ("unlimited", None)]
        {
            assert_eq!(rate(text), Ok(expect), "{text}");
        }
        for text in ["80", "0/s", "-1/s", "NaN/s", "inf/s", "1001/s", "80/min", "", "Unlimited"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn urls_of_the_cloud() {
        for (text, expect) in [
            ("https://graph.facebook.com/", Some("https://graph.facebook.com")),
            ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080")),
            ("http://[::1]:8080", Some("http://[::1]:8080")),
            ("https://proxy.example/meta", Some("https://proxy.example/meta")),
            ("http://graph.facebook.com", None),
            ("http://127.0.0.1@example.com", None),
            ("http://127.0.0.1.example.com", None),
            ("https://user@graph.facebook.com", None),
            ("https://graph.facebook.com?x=1", None),
            ("graph.facebook.com", None),
            ("ftp://127.0.0.1", None),
            ("", None),
        ] {
            assert_eq!(cloud_url(text).ok().as_deref(), expect, "{text}");
        }
    }

    #[test]
    fn loopback() {
        for (text, expect) in [
            ("http://localhost:1", true),
            ("https://127.8.9.1/x", true),
            ("http://[::1]", true),
            ("http://localhost.example.com", false),
            ("http://0.0.0.0", false),
            ("http://10.0.0.1", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_loopback_url(text), expect, "{text}");
        }
    }

    #[test]
    fn ids_and_versions() {
        assert!(
            version("v26.0").is_ok()
                && version("26.0").is_err()
                && version("v26").is_err()
                && version("v.").is_err()
        );
        assert!(phone_number_id("106540352242922").is_ok());
        assert!(phone_number_id("+5511987654321").is_err() && phone_number_id("").is_err());
        assert!(account_id("demo-1").is_ok() && account_id("a b").is_err() && account_id("").is_err());
    }
}
