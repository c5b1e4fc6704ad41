//! How much of its management requests an account or app has used, as Meta says in the headers of every answer; and whether
//! to leave it alone for a while, so that what a person asks for still has room. Pure.
//!
//! `x-business-use-case-usage` holds per business object a list of uses, each with percentages and minutes until access is
//! regained; `x-app-usage` the percentages of the whole app.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

/// Business objects and uses that are looked at in one header.
const USES_MAX: usize = 64;

/// How long to leave Meta alone when it does not say: some of an hour's requests are past by then.
const REST: Duration = Duration::from_secs(600);

/// No rest is longer, whatever a header says: limits are by the hour, access comes back within a day.
const REST_MAX: Duration = Duration::from_secs(86_400);

/// What is used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Of what is allowed, in percent: the highest of all that is counted.
    pub percent: f64,
    /// How long until there is access again, where Meta says so.
    pub regain: Option<Duration>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawUse {
    call_count: f64,
    total_cputime: f64,
    total_time: f64,
    /// Minutes.
    estimated_time_to_regain_access: f64,
}

impl Usage {
    /// What the two headers say; None: nothing that can be read.
    pub fn read(business: Option<&str>, app: Option<&str>) -> Option<Self> {
        let business =
            business.and_then(|text| serde_json::from_str::<BTreeMap<String, Vec<RawUse>>>(text).ok());
        let app = app.and_then(|text| serde_json::from_str::<RawUse>(text).ok());
        let uses = business.into_iter().flat_map(BTreeMap::into_values).flatten().take(USES_MAX).chain(app);
        uses.map(Self::from).reduce(|one, other| Self {
            percent: one.percent.max(other.percent),
            regain: one.regain.max(other.regain),
        })
    }

    /// How long to ask for nothing that can wait, if more than this percentage is used.
    pub fn rest(&self, percent_max: f64) -> Option<Duration> {
        let tired = self.percent > percent_max || self.regain.is_some();
        tired.then(|| self.regain.unwrap_or(REST).min(REST_MAX))
    }
}

impl From<RawUse> for Usage {
    fn from(raw: RawUse) -> Self {
        let minutes = raw.estimated_time_to_regain_access;
        let regain = Duration::try_from_secs_f64(minutes * 60.0).ok().filter(|regain| !regain.is_zero());
        Self { percent: raw.call_count.max(raw.total_cputime).max(raw.total_time), regain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(business: &str, app: &str, expect: Option<(f64, Option<u64>)>) {
        let read = Usage::read(
            Some(business).filter(|text| !text.is_empty()),
            Some(app).filter(|text| !text.is_empty()),
        );
        let expect = expect.map(|(percent, minutes)| Usage {
            percent,
            regain: minutes.map(|minutes| Duration::from_secs(minutes * 60)),
        });
        assert_eq!(read, expect, "{business} {app}");
    }

    #[test]
    fn the_highest_of_all_that_is_counted_counts() {
        let one = r#"{"1":[{"type":"x","call_count":28,"total_cputime":3,"total_time":40,"estimated_time_to_regain_access":0}]}"#;
        check(one, "", Some((40.0, None)));
        check(one, r#"{"call_count":75,"total_time":1,"total_cputime":1}"#, Some((75.0, None)));
        let two = r#"{"1":[{"call_count":100,"estimated_time_to_regain_access":7},{"call_count":3}],"2":[]}"#;
        check(two, "", Some((100.0, Some(7))));
        check("", r#"{"call_count":12.5}"#, Some((12.5, None)));
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        for (business, app) in [("", ""), ("{", "x"), ("{}", ""), ("[1]", "7"), (r#"{"1":7}"#, "")] {
            check(business, app, None);
        }
        let wild = r#"{"1":[{"call_count":-3,"estimated_time_to_regain_access":-9}]}"#;
        check(wild, "", Some((0.0, None)));
        let for_ever = r#"{"1":[{"estimated_time_to_regain_access":1e300}]}"#;
        assert_eq!(Usage::read(Some(for_ever), None).unwrap().rest(75.0), None);
        let long = r#"{"1":[{"estimated_time_to_regain_access":1e9}]}"#;
        assert_eq!(Usage::read(Some(long), None).unwrap().rest(75.0), Some(REST_MAX));
    }

    #[test]
    fn meta_is_left_alone_before_it_refuses() {
        let rest = |percent, minutes: Option<u64>| {
            let regain = minutes.map(|minutes| Duration::from_secs(minutes * 60));
            Usage { percent, regain }.rest(75.0)
        };
        assert_eq!(rest(75.0, None), None);
        assert_eq!(rest(76.0, None), Some(REST));
        assert_eq!(rest(100.0, Some(9)), Some(Duration::from_secs(540)));
        assert_eq!(rest(3.0, Some(1)), Some(Duration::from_secs(60)));
    }
}
