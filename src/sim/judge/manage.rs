//! The management requests, each with its token checked as a message's is; the plan's faults leave them alone.

use std::time::Duration;

use serde_json::json;

use super::{Action, Decision, Judge, check_token};
use crate::clock::Mono;
use crate::sim::codes;
use crate::sim::manage::{self, Query};
use crate::sim::media::Upload;
use crate::sim::reply::{self, Reply};
use crate::sim::request::Refusal;

impl Judge {
    /// `GET /{version}/{id}`: a medium that is known, else a number.
    pub(crate) fn node(
        &mut self,
        now: Mono,
        id: &str,
        token: Option<&[u8]>,
        query: Option<&str>,
    ) -> Decision {
        match self.media.get(id, now) {
            None => match self.ask(now, query) {
                Ok(()) => self.probe(now, id, token, query),
                Err(refusal) => self.told(Err(refusal)),
            },
            Some(medium) => {
                let reply = manage::reply(&manage::medium(id, medium));
                self.told(check_token(&self.validity, token).map(|()| reply))
            }
        }
    }

    /// `DELETE /{version}/{id}`
    pub(crate) fn delete_media(&mut self, now: Mono, id: &str, token: Option<&[u8]>) -> Decision {
        let gone = check_token(&self.validity, token).and_then(|()| {
            let known = self.media.remove(id, now);
            let details = "the object does not exist or cannot be deleted";
            known.then(|| manage::reply(&json!({ "success": true }))).ok_or(unknown(details))
        });
        self.told(gone)
    }

    /// `GET /{version}/{account}/message_templates`
    pub(crate) fn templates(
        &mut self,
        now: Mono,
        account: &str,
        token: Option<&[u8]>,
        query: Option<&str>,
        here: &str,
    ) -> Decision {
        self.counts.template_reads += 1;
        if let Err(refusal) = self.ask(now, Some("fields=templates")) {
            return self.told(Err(refusal));
        }
        let plausible = (1..=64).contains(&account.len())
            && account.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let page = check_token(&self.validity, token).and_then(|()| {
            if !plausible {
                return Err(unknown("no such account"));
            }
            manage::templates(&self.config.library, &Query::parse(query), here)
        });
        self.told(page.map(|page| manage::reply(&page)))
    }

    /// `POST /{version}/{number}/media`, its body read; None: it is no form.
    pub(crate) fn upload(
        &mut self,
        now: Mono,
        number: &str,
        token: Option<&[u8]>,
        upload: Option<&Upload>,
    ) -> Decision {
        let taken = self.number(number).and_then(|_| {
            check_token(&self.validity, token)?;
            let details = "the body is not multipart/form-data";
            let upload = upload.ok_or(Refusal { code: codes::BAD_PARAMETER, details })?;
            self.media.add(upload, self.keys, now)
        });
        self.counts.uploads += u64::from(taken.is_ok());
        self.told(taken.map(|id| manage::reply(&json!({ "id": id }))))
    }

    /// What the answer to a management request says of how many have been made.
    pub(crate) fn usage(&mut self, object: &str, now: Mono) -> Option<[(&'static str, String); 2]> {
        self.allowance.headers(object, now)
    }

    /// Whether one more management request may be made. A probe is none.
    fn ask(&mut self, now: Mono, query: Option<&str>) -> Result<(), Refusal> {
        if Query::parse(query).asks_only("id") {
            return Ok(());
        }
        self.counts.management_requests += 1;
        if self.allowance.ask(now) {
            return Ok(());
        }
        self.counts.over_requests += 1;
        Err(Refusal { code: codes::REQUESTS, details: "more management requests than an hour has" })
    }

    fn told(&self, reply: Result<Reply, Refusal>) -> Decision {
        let reply = reply.unwrap_or_else(|refusal| reply::error(refusal, None, self.counts.template_reads));
        let trace = self.counts.template_reads + self.counts.uploads;
        let delay: Duration = self.latency.draw(self.keys, [trace, u64::MAX - 1]);
        Decision { action: Action::Answer(reply), delay, accepts: false }
    }
}

fn unknown(details: &'static str) -> Refusal {
    Refusal { code: codes::NO_NUMBER, details }
}
