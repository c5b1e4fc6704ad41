//! Rows as they were read, kept until it is known that they are no duplicates.

/// Stands before a length of four bytes; a shorter one is the byte itself.
const LONG: u8 = u8::MAX;

/// Rows in one buffer: each field is its length and its bytes.
#[derive(Debug, Default)]
pub(super) struct RawRows {
    bytes: Vec<u8>,
    rows: Vec<RawRow>,
}

/// Where a row lies in the buffer, its line and its fingerprint.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawRow {
    pub(super) line: u32,
    pub(super) fingerprint: u32,
    from: u32,
    to: u32,
}

impl RawRows {
    pub(super) fn push<'a>(&mut self, fields: impl Iterator<Item = &'a [u8]>, line: u64, fingerprint: u32) {
        let from = length(self.bytes.len());
        for field in fields {
            match u8::try_from(field.len()) {
                Ok(short) if short < LONG => self.bytes.push(short),
                _ => {
                    self.bytes.push(LONG);
                    self.bytes.extend_from_slice(&length(field.len()).to_le_bytes());
                }
            }
            self.bytes.extend_from_slice(field);
        }
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        self.rows.push(RawRow { line, fingerprint, from, to: length(self.bytes.len()) });
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() + self.rows.len() * size_of::<RawRow>()
    }

    /// Every row with its packed fields.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RawRow, &[u8])> {
        self.rows.iter().map(|row| (*row, &self.bytes[row.from as usize..row.to as usize]))
    }

    /// Removes the rows at the positions where `drop` says so; their bytes stay until the chunk goes.
    pub(super) fn remove(&mut self, drop: &[bool]) {
        let mut drop = drop.iter();
        self.rows.retain(|_| !drop.next().copied().unwrap_or(false));
    }
}

/// The fields of a packed row.
pub(super) fn fields(mut packed: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = match packed.split_first()? {
            (&LONG, rest) => {
                let (length, rest) = rest.split_first_chunk::<4>()?;
                (u32::from_le_bytes(*length) as usize, rest)
            }
            (short, rest) => (usize::from(*short), rest),
        };
        let (field, rest) = rest.split_at_checked(length)?;
        packed = rest;
        Some(field)
    })
}

/// A chunk's rows are at most 128 of 64 KiB each.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_but_for_those_removed() {
        let mut rows = RawRows::default();
        for line in 2..5u64 {
            let text = format!("row {line}");
            rows.push([text.as_bytes(), b"", b"a;b", &[b'x'; 255], &[b'y'; 70_000]].into_iter(), line, 7);
        }
        rows.remove(&[false, true, false]);
        let found: Vec<_> = rows
            .iter()
            .map(|(row, packed)| (row.line, fields(packed).map(<[u8]>::to_vec).collect::<Vec<_>>()))
            .collect();
        let expect = |line: u32| {
            let first = format!("row {line}").into_bytes();
            (line, vec![first, Vec::new(), b"a;b".to_vec(), vec![b'x'; 255], vec![b'y'; 70_000]])
        };
        assert!(found == [expect(2), expect(4)]);
    }
}
