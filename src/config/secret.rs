//! Secrets: read from a variable of the environment or from a file that only its owner can read. No message
//! here ever holds the secret itself.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Secret;

/// Largest secret; tokens are a few hundred bytes.
const SECRET_MAX_BYTES: u64 = 64 * 1024;

/// The secret in a variable.
pub(super) fn from_env(name: &str, env: &HashMap<String, String>) -> Result<Secret, String> {
    let text = env
        .get(name)
        .ok_or_else(|| format!("the environment has no variable {name:?}: set it before starting"))?;
    checked(text, &format!("the variable {name:?}"))
}

/// The secret in a file.
pub(super) fn from_file(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| format!("cannot read the secret in {shown}: {error}"))?;
    let meta = file.metadata().map_err(|error| format!("cannot read the secret in {shown}: {error}"))?;
    if !meta.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    if meta.permissions().mode() & 0o077 != 0 {
        return Err(format!("{shown} can be read by others: run chmod 600 {shown}"));
    }
    let mut text = String::new();
    file.take(SECRET_MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot read the secret in {shown}: {error}"))?;
    if text.len() as u64 > SECRET_MAX_BYTES {
        return Err(format!("{shown} is larger than {SECRET_MAX_BYTES} bytes, so it is no secret"));
    }
    checked(&text, &shown.to_string())
}

fn checked(text: &str, source: &str) -> Result<Secret, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("{source} is empty"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{source} holds more than one line or control characters"));
    }
    Ok(Secret(text.into()))
}
