//! Finds the configuration file and reads it. The only part of the configuration that touches the disk, apart
//! from secrets; the environment and the working folder come as arguments.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Config;
use super::error::ConfigError;
use super::raw::Raw;
use super::resolve::{self, OriginLine};

/// Largest configuration file.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Name of the file in every folder that is looked into.
const FILE_NAME: &str = "carteiro.toml";

/// What a configuration is loaded from.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// `--config`.
    pub explicit_path: Option<PathBuf>,
    /// Keys and values of the command line, such as (`redis.url`, `redis://…`).
    pub overrides: Vec<(String, String)>,
    /// The environment.
    pub env: HashMap<String, String>,
    /// The working folder.
    pub cwd: PathBuf,
}

/// A configuration and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The file, if there was one.
    pub path: Option<PathBuf>,
    /// Every value in words, with its origin.
    pub origins: Vec<OriginLine>,
}

impl LoadOptions {
    /// Options for this process: its environment and working folder.
    pub fn of_process(explicit_path: Option<PathBuf>, overrides: Vec<(String, String)>) -> Self {
        // A variable that is not UTF-8 cannot be one of ours.
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            explicit_path,
            overrides,
            env: std::env::vars_os().filter_map(text).collect(),
            cwd: std::env::current_dir().unwrap_or_default(),
        }
    }
}

impl Config {
    /// Loads and validates a configuration: flag over environment over file over default.
    ///
    /// # Errors
    /// Names file, line and key, and what is allowed.
    pub fn load(options: &LoadOptions) -> Result<Loaded, ConfigError> {
        let path = find_file(options);
        let text = path.as_deref().map(read).transpose()?;
        Self::load_text(path.as_deref().zip(text.as_deref()), options)
    }

    /// The same from a text that is in memory; `path` is the name in messages, and relative paths of the text
    /// start at its folder.
    ///
    /// # Errors
    /// Names file, line and key, and what is allowed.
    pub fn load_text(file: Option<(&Path, &str)>, options: &LoadOptions) -> Result<Loaded, ConfigError> {
        let mut raw = Raw::default();
        if let Some((path, text)) = file {
            raw.add_file(path, text)?;
        }
        raw.add_env(&options.env)?;
        raw.add_overrides(&options.overrides)?;
        let (config, origins) = resolve::resolve(&raw, options)?;
        Ok(Loaded { config, path: file.map(|(path, _)| path.to_owned()), origins })
    }
}

/// The file that counts: `--config`, `CARTEIRO_CONFIG`, `./carteiro.toml`, the user's folder, `/etc/carteiro`. A
/// path that was named counts even if it does not exist, so that a typing error is not passed over.
pub fn find_file(options: &LoadOptions) -> Option<PathBuf> {
    let set = |name: &str| options.env.get(name).filter(|value| !value.is_empty());
    if let Some(path) = &options.explicit_path {
        return Some(options.cwd.join(path));
    }
    if let Some(path) = set("CARTEIRO_CONFIG") {
        return Some(options.cwd.join(path));
    }
    let user = set("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| Path::new(home).join(".config")))
        .map(|folder| folder.join("carteiro").join(FILE_NAME));
    [Some(options.cwd.join(FILE_NAME)), user, Some(Path::new("/etc/carteiro").join(FILE_NAME))]
        .into_iter()
        .flatten()
        .find(|path| path.exists())
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let refused = |problem: String| ConfigError::Read { path: path.to_owned(), problem };
    let file = File::open(path).map_err(|error| refused(error.to_string()))?;
    let mut text = String::new();
    file.take(FILE_MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| refused(error.to_string()))?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(refused(format!("it is larger than {FILE_MAX_BYTES} bytes")));
    }
    Ok(text)
}
