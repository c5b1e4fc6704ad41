//! Single values of the configuration by key: its text, number, switch, path or secret, or its default, checked and shown.
//!
//! Which keys there are, and what they mean together, is in `resolve.rs`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{OriginLine, Resolver};
use crate::config::error::ConfigError;
use crate::config::raw::{Entry, Origin, RawValue};
use crate::config::value;
use crate::config::{Secret, secret};

impl Resolver<'_> {
    pub(in crate::config) fn show(&self, key: &str, value: &str, origin: &Origin) {
        let line = OriginLine { key: key.to_owned(), value: value.to_owned(), origin: origin.clone() };
        self.shown.borrow_mut().push(line);
    }

    /// The text of a key or its default, shown and parsed.
    pub(in crate::config) fn text<T>(
        &self,
        key: &str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<(T, Origin), ConfigError> {
        let (text, origin) = match self.raw.entries.get(key) {
            None => (default, Origin::Default),
            Some(Entry { value: RawValue::Text(text), origin }) => (text.as_str(), origin.clone()),
            Some(Entry { value, origin }) => {
                let problem = format!("is {}, but must be a text such as {default:?}", value.type_name());
                return Err(ConfigError::value(key, origin, problem));
            }
        };
        let parsed = parse(text).map_err(|problem| ConfigError::value(key, &origin, problem))?;
        self.show(key, text, &origin);
        Ok((parsed, origin))
    }

    pub(in crate::config) fn duration(
        &self,
        key: &str,
        default: &str,
        min: Duration,
        max: Duration,
    ) -> Result<Duration, ConfigError> {
        Ok(self.text(key, default, |text| value::duration(text, min, max))?.0)
    }

    pub(in crate::config) fn integer(
        &self,
        key: &str,
        default: u64,
        min: u64,
        max: u64,
    ) -> Result<(u64, Origin), ConfigError> {
        let bounds = format!("must be a whole number from {min} to {max}");
        let (number, origin) = match self.raw.entries.get(key) {
            None => (Some(default), &Origin::Default),
            Some(Entry { value: RawValue::Integer(number), origin }) => (u64::try_from(*number).ok(), origin),
            // The environment and the command line only have texts.
            Some(Entry { value: RawValue::Text(text), origin }) if origin.file().is_none() => {
                (text.parse().ok(), origin)
            }
            Some(Entry { origin, .. }) => (None, origin),
        };
        let number = number
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| ConfigError::value(key, origin, bounds))?;
        self.show(key, &number.to_string(), origin);
        Ok((number, origin.clone()))
    }

    pub(in crate::config) fn size(
        &self,
        key: &str,
        default: usize,
        min: u64,
        max: u64,
    ) -> Result<usize, ConfigError> {
        let (number, _) = self.integer(key, default as u64, min, max)?;
        Ok(usize::try_from(number).unwrap_or(usize::MAX))
    }

    pub(in crate::config) fn boolean(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        let (value, origin) = match self.raw.entries.get(key) {
            None => (Some(default), &Origin::Default),
            Some(Entry { value: RawValue::Bool(value), origin }) => (Some(*value), origin),
            Some(Entry { value: RawValue::Text(text), origin }) if origin.file().is_none() => {
                (text.parse().ok(), origin)
            }
            Some(Entry { origin, .. }) => (None, origin),
        };
        let value = value.ok_or_else(|| ConfigError::value(key, origin, "must be true or false"))?;
        self.show(key, &value.to_string(), origin);
        Ok(value)
    }

    /// A path: `~/` is the home folder, relative ones start at the file that names them, else at the working folder.
    pub(in crate::config) fn path(&self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        let Some(entry) = self.raw.entries.get(key) else {
            return Ok(None);
        };
        let RawValue::Text(text) = &entry.value else {
            let problem = format!("is {}, but must be a path", entry.value.type_name());
            return Err(ConfigError::value(key, &entry.origin, problem));
        };
        if text.is_empty() {
            return Err(ConfigError::value(key, &entry.origin, "is empty, but must be a path"));
        }
        let path = self.absolute(text, &entry.origin);
        self.show(key, &path.display().to_string(), &entry.origin);
        Ok(Some(path))
    }

    pub(in crate::config) fn existing_file(&self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        let path = self.path(key)?;
        match &path {
            Some(path) if !path.is_file() => {
                let origin = self.raw.entries.get(key).map_or(Origin::Default, |entry| entry.origin.clone());
                let problem = format!("{} is not a file that can be read", path.display());
                Err(ConfigError::value(key, &origin, problem))
            }
            _ => Ok(path),
        }
    }

    pub(in crate::config) fn absolute(&self, text: &str, origin: &Origin) -> PathBuf {
        if let (Some(rest), Some(home)) = (text.strip_prefix("~/"), self.options.env.get("HOME")) {
            return Path::new(home).join(rest);
        }
        let folder = origin.file().and_then(Path::parent).map(|folder| self.options.cwd.join(folder));
        folder.unwrap_or_else(|| self.options.cwd.clone()).join(text)
    }

    pub(in crate::config) fn secret(&self, key: &str, entry: &Entry) -> Result<Secret, ConfigError> {
        match &entry.value {
            RawValue::SecretEnv(name) => secret::from_env(name, &self.options.env),
            // Of the environment already, by the key's own variable.
            RawValue::Text(text) if matches!(entry.origin, Origin::Env(_)) => {
                Ok(Secret(text.as_str().into()))
            }
            RawValue::SecretFile(path) => secret::from_file(&self.absolute(path, &entry.origin)),
            _ => {
                Err("a secret may not stand here: write { env = \"NAME\" } or { file = \"path\" }".to_owned())
            }
        }
        .map_err(|problem| ConfigError::value(key, &entry.origin, problem))
    }
}
