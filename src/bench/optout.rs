//! How long an opt-out takes: from the moment at which somebody asks until every process has it in its list, as its own
//! metrics say. Asked by a webhook and through the log in turn, each time by another person.

use std::time::Duration;

use reqwest::Client;

use crate::clock;
use crate::domain::person::Phone;
use crate::domain::stop::{StopDay, StopKind};
use crate::http::webhooks::SIGNATURE;
use crate::metrics::STOP_LIST_VERSION_NAME;
use crate::queue::connection::Connection;
use crate::queue::stops::{Batch, Op, Who, log};
use crate::rig::{APP_SECRET, RigError};
use crate::sim::signed_text;

/// A process that has not heard of it by then never will.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two looks at a process: what is measured is not finer.
const POLL: Duration = Duration::from_micros(500);

/// Where the opt-outs of a measurement come from and go to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// `http://host:port` of every process' metrics.
    pub(super) processes: &'a [String],
    /// The whole URL at which one of them takes webhooks.
    pub(super) webhook: &'a str,
    /// The account whose people ask.
    pub(super) account: &'a str,
    /// The number that they answer to.
    pub(super) number: &'a str,
}

/// Has each person ask once; milliseconds until the last process had it.
///
/// # Errors
/// When Redis, a process or the webhook does not answer, or a process has not heard of it within [`PATIENCE`].
pub(super) async fn optout_ms(
    place: Place<'_>,
    people: &[Phone],
    redis: &mut Connection,
) -> Result<Vec<f64>, RigError> {
    let client = Client::builder().no_proxy().timeout(PATIENCE).build().map_err(|error| unusable(&error))?;
    let mut all = Vec::with_capacity(people.len());
    for (at, phone) in people.iter().enumerate() {
        let began = clock::mono();
        let version = if at.is_multiple_of(2) {
            by_webhook(place, *phone, &client, redis).await?
        } else {
            let who = Who::People(vec![(phone.person(), StopDay::AT_ONCE)]);
            let account = Some(place.account.into());
            let batch = Batch { op: Op::Add, kind: StopKind::OptedOut, account, who };
            log::append(redis, &batch, clock::wall().0).await?
        };
        for process in place.processes {
            while seen(process, &client).await? < version {
                if clock::mono().since(began) > PATIENCE {
                    return Err(RigError::Unusable(format!(
                        "{process} has not heard of an opt-out in {PATIENCE:?}"
                    )));
                }
                tokio::time::sleep(POLL).await;
            }
        }
        all.push(clock::mono().since(began).as_secs_f64() * 1e3);
    }
    Ok(all)
}

/// The version of the list that has it.
async fn by_webhook(
    place: Place<'_>,
    phone: Phone,
    client: &Client,
    redis: &mut Connection,
) -> Result<u64, RigError> {
    let (digits, at_ms) = (phone.digits().to_string(), clock::wall().0);
    let said = signed_text(place.account, APP_SECRET, at_ms, (place.number, &digits, "PARE"));
    let (body, signature) = said.ok_or_else(|| RigError::Unusable("a phone is none".to_owned()))?;
    let answer = client.post(place.webhook).header(SIGNATURE, signature).body(body).send().await;
    let answer = answer.map_err(|error| unusable(&error))?;
    if answer.status().as_u16() != 200 {
        return Err(RigError::Unusable(format!("the webhook was answered {}", answer.status())));
    }
    Ok(log::last(redis).await?)
}

/// The version of the list that a process says it has.
async fn seen(process: &str, client: &Client) -> Result<u64, RigError> {
    let answer = client.get(format!("{process}/metrics")).send().await.map_err(|error| unusable(&error))?;
    let text = answer.text().await.map_err(|error| unusable(&error))?;
    Ok(version(&text).unwrap_or(0))
}

fn unusable(error: &reqwest::Error) -> RigError {
    RigError::Unusable(format!("a process does not answer: {error}"))
}

fn version(metrics: &str) -> Option<u64> {
    let line =
        metrics.lines().find_map(|line| line.strip_prefix(STOP_LIST_VERSION_NAME)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_metrics() {
        let text = "# HELP carteiro_stop_list_version x\ncarteiro_stop_list{kind=\"optout\"} 7\ncarteiro_stop_list_version 12\n";
        assert_eq!((version(text), version("")), (Some(12), None));
    }
}
