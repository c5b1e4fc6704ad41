//! Fields in one buffer, each led by its length: rows on their way through a load, and what two rows are compared by.

/// Stands before a length of four bytes; a shorter one is the byte itself.
const LONG: u8 = u8::MAX;

/// Appends fields to a buffer.
pub fn pack<'a>(fields: impl Iterator<Item = &'a [u8]>, into: &mut Vec<u8>) {
    for field in fields {
        match u8::try_from(field.len()) {
            Ok(short) if short < LONG => into.push(short),
            _ => {
                into.push(LONG);
                // A record is at most 64 KiB.
                into.extend_from_slice(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_le_bytes());
            }
        }
        into.extend_from_slice(field);
    }
}

/// The fields of a buffer.
pub fn fields(mut packed: &[u8]) -> impl Iterator<Item = &[u8]> {
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
