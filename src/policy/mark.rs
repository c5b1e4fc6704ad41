//! How far Redis has got, as a process remembers it, and whether the Redis that it finds has got as far.
//!
//! A Redis that was emptied, restored from an old backup or swapped for another one does not know what was sent since:
//! to send on its word would be to send twice. A Redis that lost no more than its last seconds is none of these: what is
//! remembered is always some seconds old.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::clock::Mono;
use crate::domain::ids::CampaignSeq;

/// Observations kept at most.
const KEPT_MAX: usize = 64;

/// How far a Redis has got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Name of the installation; empty: nothing is known.
    pub installation: String,
    /// Name of the data folder that remembers this.
    pub folder: String,
    /// What was last written under that name, in µs: nobody else moves it, so that no other process can hide an older state.
    pub far: u64,
    /// The last fencing token: Redis' time in µs, or more.
    pub token: u64,
    /// The last version of the campaign records.
    pub version: u64,
    /// When an operator last said that this Redis is right as it is, by Redis' time in µs.
    pub accepted: u64,
    /// When a process last found this Redis behind, by Redis' time in µs.
    pub refused: u64,
    /// Ids of all campaigns, archived ones too.
    pub campaigns: BTreeMap<CampaignSeq, String>,
}

/// What is wrong with a Redis that was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rollback {
    /// It is empty, or somebody else's.
    #[error("it is not the one of installation {known}: it holds {found}")]
    Other {
        /// The installation known.
        known: String,
        /// What was found, in words.
        found: String,
    },
    /// A campaign is missing.
    #[error("it has no campaign {campaign}")]
    Lacks {
        /// Its id.
        campaign: String,
    },
    /// Another process found it behind, and nobody has accepted it since.
    #[error("another process found it behind")]
    Refused,
    /// Its last change is older than one that was seen.
    #[error("its last change is {} s older than one that was seen here", by.as_secs())]
    Older {
        /// By how much, by its own clock.
        by: Duration,
    },
}

/// Whether a Redis has got as far as it was known to have. What an operator accepted since is right.
pub fn judge(mark: &Mark, found: &Mark) -> Result<(), Rollback> {
    if mark.installation.is_empty() || (found.accepted > mark.accepted && found.accepted > found.refused) {
        return Ok(());
    }
    if found.installation != mark.installation {
        let what = if found.installation.is_empty() { "nothing" } else { &found.installation };
        return Err(Rollback::Other { known: mark.installation.clone(), found: what.to_owned() });
    }
    if let Some((_, id)) = mark.campaigns.iter().find(|(seq, _)| !found.campaigns.contains_key(*seq)) {
        return Err(Rollback::Lacks { campaign: id.clone() });
    }
    let by = mark.far.saturating_sub(found.far).max(mark.token.saturating_sub(found.token));
    if by > 0 || found.version < mark.version {
        return Err(Rollback::Older { by: Duration::from_micros(by) });
    }
    // It may know all that we know and not what others know: whoever writes again writes only what is his own, and may die.
    if found.refused > found.accepted { Err(Rollback::Refused) } else { Ok(()) }
}

impl Rollback {
    /// Whether others must hear of it, who may not find it out: it is the installation's own Redis, and behind.
    pub fn concerns_all(&self) -> bool {
        matches!(self, Self::Lacks { .. } | Self::Older { .. })
    }
}

impl Mark {
    /// As a file holds it.
    pub fn to_text(&self) -> String {
        let Self { installation, folder, far, token, version, accepted, campaigns, .. } = self;
        let who = format!("installation {installation}\nfolder {folder}\nfar {far}\n");
        let head = format!("{who}token {token}\nversion {version}\naccepted {accepted}\n");
        campaigns.iter().fold(head, |text, (seq, id)| text + &format!("campaign {seq} {id}\n"))
    }

    /// Reads it; None: it is no mark.
    pub fn parse(text: &str) -> Option<Self> {
        let mut mark = Self::default();
        for line in text.lines() {
            let (name, value) = line.split_once(' ')?;
            match name {
                "installation" => value.clone_into(&mut mark.installation),
                "folder" => value.clone_into(&mut mark.folder),
                "far" => mark.far = value.parse().ok()?,
                "token" => mark.token = value.parse().ok()?,
                "version" => mark.version = value.parse().ok()?,
                "accepted" => mark.accepted = value.parse().ok()?,
                "campaign" => {
                    let (seq, id) = value.split_once(' ')?;
                    mark.campaigns.insert(CampaignSeq(seq.parse().ok()?), id.to_owned());
                }
                _ => return None,
            }
        }
        Some(mark).filter(|mark| !mark.installation.is_empty())
    }
}

/// What was observed lately. A Redis may forget its last moments and be right; what it had a while ago it must have.
#[derive(Debug, Default)]
pub struct Observed(VecDeque<(Mono, Mark)>);

impl Observed {
    /// Notes how far Redis is now. Returns how far it was `window` ago, once that is known.
    pub fn note(&mut self, now: Mono, mark: Mark, window: Duration) -> Option<Mark> {
        self.0.push_back((now, mark));
        let mut old = None;
        while self.0.front().is_some_and(|(at, _)| at.after(window) <= now) || self.0.len() > KEPT_MAX {
            old = self.0.pop_front();
        }
        old.map(|(_, mark)| mark)
    }

    /// Redis is only as far as this now: what was observed beyond it is no more, however long it was away since.
    pub fn gone_back_to(&mut self, far: u64) {
        self.0.retain(|(_, mark)| mark.far <= far);
    }

    /// Forgets everything: an operator accepted another state.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        let campaigns = [(1, "a"), (2, "b c")].map(|(seq, id)| (CampaignSeq(seq), id.to_owned())).into();
        let (installation, folder) = ("i".to_owned(), "f".to_owned());
        let (far, token, version, accepted, refused) = (8_000_000, 9_000_000, 7, 5, 0);
        Mark { installation, folder, far, token, version, accepted, refused, campaigns }
    }

    #[test]
    fn a_mark_survives_its_file() {
        assert_eq!(Mark::parse(&mark().to_text()), Some(mark()));
        for broken in ["", "token 1", "installation i\ntoken x", "installation i\ncampaign 1"] {
            assert_eq!(Mark::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn what_is_behind_the_mark_is_refused_until_it_is_accepted() {
        let check = |change: fn(&mut Mark), expect: Option<&str>| {
            let mut found = mark();
            change(&mut found);
            let said = judge(&mark(), &found).err().map(|why| why.to_string());
            assert_eq!(said.as_deref(), expect);
            found.accepted = 6;
            assert_eq!(judge(&mark(), &found), Ok(()));
        };
        check(|_| (), None);
        check(|found| (found.token, found.version) = (10_000_000, 8), None);
        check(
            |found| found.token = 2_000_000,
            Some("its last change is 7 s older than one that was seen here"),
        );
        check(
            |found| found.far = 5_000_000,
            Some("its last change is 3 s older than one that was seen here"),
        );
        check(|found| found.version = 6, Some("its last change is 0 s older than one that was seen here"));
        let missing = |found: &mut Mark| drop(found.campaigns.remove(&CampaignSeq(2)));
        check(missing, Some("it has no campaign b c"));
        check(
            |found| *found = Mark::default(),
            Some("it is not the one of installation i: it holds nothing"),
        );
        let other = |found: &mut Mark| "j".clone_into(&mut found.installation);
        check(other, Some("it is not the one of installation i: it holds j"));
        // An old backup may have been accepted once, before it was made.
        let mut old = mark();
        (old.token, old.accepted) = (1, 4);
        assert!(judge(&mark(), &old).is_err());
        assert_eq!(judge(&Mark::default(), &mark()), Ok(()), "nothing is known yet");
        let refused = Mark { refused: 8, ..mark() };
        assert_eq!(judge(&mark(), &refused), Err(Rollback::Refused), "another process found it behind");
        assert!(judge(&mark(), &Mark { accepted: 7, ..refused.clone() }).is_err(), "and again since");
        assert_eq!(judge(&mark(), &Mark { accepted: 9, ..refused }), Ok(()));
    }

    #[test]
    fn only_what_has_been_true_for_a_while_is_remembered() {
        let (mut observed, window) = (Observed::default(), Duration::from_secs(5));
        let at = |seconds| Mono(Duration::from_secs(seconds));
        let of = |token| Mark { token, ..mark() };
        let known: Vec<Option<u64>> = (0..9)
            .map(|second| observed.note(at(second), of(second), window).map(|mark| mark.token))
            .collect();
        assert_eq!(known, [None, None, None, None, None, Some(0), Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn what_a_failover_lost_is_not_remembered_however_long_it_took() {
        let (second, window) = (|s| Mono(Duration::from_secs(s)), Duration::from_secs(5));
        let at = |far| Mark { far, ..mark() };
        let mut observed = Observed::default();
        for far in [10, 12, 14] {
            assert_eq!(observed.note(second(far), at(far), window), None);
        }
        // Away for long, and back without what was written after 12.
        observed.gone_back_to(12);
        assert_eq!(observed.note(second(30), at(30), window), Some(at(12)));
        assert_eq!(observed.note(second(35), at(35), window), Some(at(30)));
    }
}
