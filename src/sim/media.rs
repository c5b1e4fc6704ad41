//! Uploaded media as the simulated Meta remembers them: what they are and when they came, not their bytes.
//!
//! As at Meta, the same file uploaded twice has two ids, and an id ends 30 days after its upload.

use std::collections::HashMap;
use std::time::Duration;

use super::codes;
use super::hash::{Domain, Keys};
use super::request::Refusal;
use crate::clock::Mono;

/// How long an id lives.
pub(crate) const MEDIA_LIFE: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Media remembered at most; further uploads are refused.
const MEDIA_MAX: usize = 1_000_000;

/// What Meta takes: content type and largest size in bytes.
const KINDS: [(&str, u64); 17] = [
    ("application/pdf", 100 << 20),
    ("text/plain", 100 << 20),
    ("application/msword", 100 << 20),
    ("application/vnd.ms-excel", 100 << 20),
    ("application/vnd.ms-powerpoint", 100 << 20),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", 100 << 20),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", 100 << 20),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation", 100 << 20),
    ("image/jpeg", 5 << 20),
    ("image/png", 5 << 20),
    ("image/webp", 512 << 10),
    ("video/mp4", 16 << 20),
    ("video/3gpp", 16 << 20),
    ("audio/mpeg", 16 << 20),
    ("audio/mp4", 16 << 20),
    ("audio/amr", 16 << 20),
    ("audio/ogg", 16 << 20),
];

/// Bytes of a file that are read at most: the largest that any kind may have, and one more.
pub(crate) const FILE_MAX_BYTES: u64 = (100 << 20) + 1;

/// An upload as its request said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Upload {
    pub(crate) messaging_product: Option<String>,
    /// Content type: the field `type`, else the file's own.
    pub(crate) mime: Option<String>,
    /// Size and SHA-256 of the file.
    pub(crate) file: Option<(u64, [u8; 32])>,
}

/// One medium.
#[derive(Clone, Debug)]
pub(crate) struct Medium {
    pub(crate) mime: &'static str,
    pub(crate) bytes: u64,
    pub(crate) sha256: [u8; 32],
    uploaded: Mono,
}

/// All media.
#[derive(Clone, Debug, Default)]
pub(crate) struct Media {
    by_id: HashMap<String, Medium>,
    life: Duration,
    uploads: u64,
}

impl Media {
    /// With ids that live so long.
    pub(crate) fn new(life: Duration) -> Self {
        Self { life, ..Self::default() }
    }

    /// Takes an upload; the id it has from now on.
    pub(crate) fn add(&mut self, upload: &Upload, keys: Keys, now: Mono) -> Result<String, Refusal> {
        let refuse = |code, details| Err(Refusal { code, details });
        if upload.messaging_product.as_deref() != Some("whatsapp") {
            return refuse(codes::BAD_PARAMETER, "messaging_product must be whatsapp");
        }
        let Some((bytes, sha256)) = upload.file else {
            return refuse(codes::BAD_PARAMETER, "file is required");
        };
        let mime = upload.mime.as_deref().unwrap_or_default();
        let mime = mime.split(';').next().unwrap_or_default().trim();
        let Some((mime, bytes_max)) = KINDS.into_iter().find(|(known, _)| *known == mime) else {
            return refuse(codes::BAD_PARAMETER, "the type of the file is none of those supported");
        };
        if bytes == 0 || bytes > bytes_max {
            return refuse(codes::MEDIA_UPLOAD, "the file is empty or too large for its type");
        }
        if self.by_id.len() >= MEDIA_MAX {
            return refuse(codes::MEDIA_UPLOAD, "the simulator remembers no further media");
        }
        self.uploads += 1;
        // Digits like Meta's; a number of the simulator has 15 at most here, so the two are told apart.
        let id = format!("9{:015}", keys.words(Domain::Media, [self.uploads]) % 1_000_000_000_000_000);
        self.by_id.insert(id.clone(), Medium { mime, bytes, sha256, uploaded: now });
        Ok(id)
    }

    /// A medium that is there and has not expired.
    pub(crate) fn get(&self, id: &str, now: Mono) -> Option<&Medium> {
        self.by_id.get(id).filter(|medium| now.since(medium.uploaded) < self.life)
    }

    /// Forgets one; false: there is none.
    pub(crate) fn remove(&mut self, id: &str, now: Mono) -> bool {
        let alive = self.get(id, now).is_some();
        self.by_id.remove(id);
        alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(mime: &str, bytes: u64) -> Upload {
        let product = Some("whatsapp".to_owned());
        Upload { messaging_product: product, mime: Some(mime.to_owned()), file: Some((bytes, [0; 32])) }
    }

    #[test]
    fn every_upload_has_an_id_of_its_own_until_it_expires() {
        let mut media = Media::new(MEDIA_LIFE);
        let pdf = upload("application/pdf", 10);
        let at = |days: u64| Mono(Duration::from_secs(days * 24 * 3_600));
        let first = media.add(&pdf, Keys(1), at(0)).unwrap();
        let second = media.add(&pdf, Keys(1), at(5)).unwrap();
        assert_ne!(first, second);
        assert!(media.get(&first, at(29)).is_some() && media.get(&first, at(30)).is_none());
        assert!(media.get(&second, at(30)).is_some());
        assert!(media.remove(&second, at(30)) && !media.remove(&second, at(30)));
    }

    #[test]
    fn what_meta_would_not_take_is_refused() {
        let check = |upload: &Upload, expect: Option<i64>| {
            let refused = Media::new(MEDIA_LIFE).add(upload, Keys(1), Mono::default()).err();
            assert_eq!(refused.map(|refusal| refusal.code), expect, "{upload:?}");
        };
        check(&upload("application/pdf", 100 << 20), None);
        check(&upload("image/png; charset=x", 1), None);
        check(&upload("application/pdf", (100 << 20) + 1), Some(131_053));
        check(&upload("image/png", (5 << 20) + 1), Some(131_053));
        check(&upload("application/pdf", 0), Some(131_053));
        check(&upload("application/zip", 1), Some(100));
        check(&Upload { file: None, ..upload("image/png", 1) }, Some(100));
        check(&Upload { messaging_product: None, ..upload("image/png", 1) }, Some(100));
    }
}
