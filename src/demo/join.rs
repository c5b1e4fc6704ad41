//! The engine's report against the ids that the simulator took, message by message. Pure: bytes and a reader in.
//!
//! Counters may agree by chance; this says of each message whether what the engine believes is what happened.

use std::collections::HashSet;
use std::hash::Hasher;
use std::io::{self, Read};

use siphasher::sip::SipHasher13;

/// Messages by what the engine says of them and whether they were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Rows of the report.
    pub rows: u64,
    /// Different messages that the simulator took.
    pub taken: u64,
    /// Accepted and taken.
    pub accepted: u64,
    /// Held and taken.
    pub held: u64,
    /// In doubt and taken.
    pub in_doubt_taken: u64,
    /// In doubt and not taken.
    pub in_doubt_not_taken: u64,
    /// Accepted or held, and not taken: said to be sent and never was.
    pub invented: u64,
    /// In any other state, and taken: a loss, or the beginning of a duplicate.
    pub unknown: u64,
    /// Failed.
    pub failed: u64,
    /// Neither of these: queued, waiting, sending, expired, cancelled.
    pub other: u64,
}

/// Joins the report with the ids, one a line, each without the generation of its claim.
pub(super) fn join(taken: &[u8], report: impl Read) -> io::Result<Joined> {
    let lines = taken.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let taken: HashSet<u64> = lines.map(hash).collect();
    let mut joined = Joined { taken: taken.len() as u64, ..Joined::default() };
    let mut rows = csv::ReaderBuilder::new().from_reader(report);
    let header = rows.byte_headers().map_err(io::Error::other)?.clone();
    let place = |name: &str| header.iter().position(|field| field == name.as_bytes());
    let (Some(id), Some(state)) = (place("message_id"), place("state")) else {
        return Err(io::Error::other("the report has no columns message_id and state"));
    };
    let mut row = csv::ByteRecord::new();
    while rows.read_byte_record(&mut row).map_err(io::Error::other)? {
        joined.rows += 1;
        let taken = row.get(id).is_some_and(|id| taken.contains(&hash(id)));
        let place = match (row.get(state).unwrap_or_default(), taken) {
            (b"accepted", true) => &mut joined.accepted,
            (b"held", true) => &mut joined.held,
            (b"accepted" | b"held", false) => &mut joined.invented,
            (b"in_doubt", true) => &mut joined.in_doubt_taken,
            (b"in_doubt", false) => &mut joined.in_doubt_not_taken,
            (_, true) => &mut joined.unknown,
            (b"failed", false) => &mut joined.failed,
            (_, false) => &mut joined.other,
        };
        *place += 1;
    }
    Ok(joined)
}

/// 64 bits are enough to tell a hundred million messages apart.
fn hash(id: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(id);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_looked_up() {
        let taken = b"ct1.a.1.0.0\nct1.a.1.0.1\nct1.a.1.0.2\nct1.a.1.0.3\n";
        let report = "line,message_id,state\n\
            1,ct1.a.1.0.0,accepted\n2,ct1.a.1.0.1,held\n3,ct1.a.1.0.2,in_doubt\n4,ct1.a.1.0.3,failed\n\
            5,ct1.a.1.0.4,in_doubt\n6,ct1.a.1.0.5,accepted\n7,ct1.a.1.0.6,failed\n8,ct1.a.1.0.7,queued\n";
        let joined = join(taken, report.as_bytes()).unwrap();
        let expect = Joined {
            rows: 8,
            taken: 4,
            accepted: 1,
            held: 1,
            in_doubt_taken: 1,
            in_doubt_not_taken: 1,
            invented: 1,
            unknown: 1,
            failed: 1,
            other: 1,
        };
        assert_eq!(joined, expect);
        assert!(join(b"", "line,state\n".as_bytes()).is_err());
    }
}
