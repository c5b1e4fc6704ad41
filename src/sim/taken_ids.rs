//! The ids of all messages taken, one a line, kept only on request: segments that are never moved once full.

use bytes::Bytes;

/// Bytes of ids that are kept at most; with ids of 25 bytes that is forty million messages.
pub(crate) const TAKEN_IDS_MAX_BYTES: usize = 1 << 30;

const SEGMENT_BYTES: usize = 1 << 16;

/// Ids in the order in which they were taken first.
#[derive(Debug, Default)]
pub(crate) struct TakenIds {
    full: Vec<Bytes>,
    open: Vec<u8>,
    bytes: usize,
}

impl TakenIds {
    /// Keeps an id; false when no more fit.
    pub(crate) fn push(&mut self, id: &str) -> bool {
        if self.bytes + id.len() >= TAKEN_IDS_MAX_BYTES {
            return false;
        }
        if self.open.len() + id.len() >= SEGMENT_BYTES {
            self.full.push(std::mem::take(&mut self.open).into());
        }
        self.open.extend_from_slice(id.as_bytes());
        self.open.push(b'\n');
        self.bytes += id.len() + 1;
        true
    }

    /// All of them; the full segments are shared, not copied.
    pub(crate) fn segments(&self) -> Vec<Bytes> {
        let open = Bytes::copy_from_slice(&self.open);
        self.full.iter().cloned().chain([open]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_in_order_whatever_the_segments() {
        let mut ids = TakenIds::default();
        let mut expect = String::new();
        for n in 0..10_000 {
            let id = format!("ct1.a.1.{n}.0");
            assert!(ids.push(&id));
            expect += &id;
            expect.push('\n');
        }
        let segments = ids.segments();
        assert!(segments.len() > 1);
        assert!(segments.concat() == expect.as_bytes());
    }
}
