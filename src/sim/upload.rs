//! The body of an upload, read as it streams in: sizes and a hash are kept, never the bytes.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use sha2::{Digest, Sha256};

use super::media::{FILE_MAX_BYTES, Upload};

/// Characters of a text field that are kept.
const TEXT_MAX_BYTES: usize = 1_024;

/// Reads a `multipart/form-data` body to its end, whatever it holds; None when it is none.
pub(crate) async fn read(content_type: Option<&str>, body: Incoming) -> Option<Upload> {
    let boundary = multer::parse_boundary(content_type.unwrap_or_default());
    let Ok(boundary) = boundary else {
        // Read all the same: the client would see a reset in place of the refusal.
        drain(body).await;
        return None;
    };
    let mut parts = multer::Multipart::new(body.into_data_stream(), boundary);
    let mut upload = Upload::default();
    while let Some(mut part) = parts.next_field().await.ok()? {
        let name = part.name().unwrap_or_default().to_owned();
        if name == "file" {
            upload.mime = upload.mime.or_else(|| part.content_type().map(ToString::to_string));
            let (mut hash, mut bytes) = (Sha256::new(), 0u64);
            while let Some(piece) = part.chunk().await.ok()? {
                bytes = (bytes + piece.len() as u64).min(FILE_MAX_BYTES);
                hash.update(&piece);
            }
            upload.file = Some((bytes, hash.finalize().into()));
            continue;
        }
        let mut text = Vec::new();
        while let Some(piece) = part.chunk().await.ok()? {
            let room = TEXT_MAX_BYTES.saturating_sub(text.len());
            text.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        match name.as_str() {
            "messaging_product" => upload.messaging_product = Some(text),
            "type" => upload.mime = Some(text),
            _ => {}
        }
    }
    Some(upload)
}

async fn drain(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}
