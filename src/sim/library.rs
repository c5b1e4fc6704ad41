//! The templates that the simulated Meta holds: what it lists, and what it holds a send against.
//!
//! Without files of its own it lists the templates of `config/campaigns/*.toml`, approved, and takes sends of any
//! other template too; with files (`--templates`) only what they name exists.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::request::Refusal;

mod file;

use super::codes;

/// Templates at most: as many as a verified portfolio may have.
pub const TEMPLATES_MAX: usize = 6_000;

/// The campaign files that come with the program, so that a first look needs no file.
const BUILT_IN: [(&str, &str); 5] = [
    ("lembrete-vencimento.toml", include_str!("../../config/campaigns/lembrete-vencimento.toml")),
    ("segunda-via.toml", include_str!("../../config/campaigns/segunda-via.toml")),
    ("vamos-conversar.toml", include_str!("../../config/campaigns/vamos-conversar.toml")),
    ("vence-hoje.toml", include_str!("../../config/campaigns/vence-hoje.toml")),
    ("vencimento-amanha.toml", include_str!("../../config/campaigns/vencimento-amanha.toml")),
];

/// All templates, in the order of the files.
#[derive(Clone, Debug)]
pub struct Library {
    templates: Vec<KnownTemplate>,
    by_name: HashMap<String, Vec<usize>>,
    /// Whether a send of any other template is refused.
    strict: bool,
}

/// One template.
#[derive(Clone, Debug)]
struct KnownTemplate {
    language: String,
    status: String,
    body_params: usize,
    /// Format of its header, if that is a medium.
    media: Option<&'static str>,
    /// As it is listed.
    listed: Value,
}

/// Why templates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// A file or folder cannot be read.
    #[error("cannot read the templates in {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds no templates.
    #[error("{name}: {what}")]
    Invalid {
        /// Its name.
        name: String,
        /// What is wrong with it, and what it should hold.
        what: String,
    },
    /// There are too many.
    #[error("there are more than {TEMPLATES_MAX} templates, the most that an account may have")]
    TooMany,
}

/// What `GET …/message_templates` asks for.
#[derive(Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// Part of the name, as Meta filters.
    pub(crate) name: Option<&'a str>,
    pub(crate) language: Option<&'a str>,
    pub(crate) status: Option<&'a str>,
}

impl Default for Library {
    fn default() -> Self {
        let mut library = Self { templates: Vec::new(), by_name: HashMap::new(), strict: false };
        for (name, text) in BUILT_IN {
            // A test reads them all; what could not be read would only be missing from the list.
            let _ = library.add(name, text);
        }
        library
    }
}

impl Library {
    /// Reads files and folders (their `*.toml` and `*.json`); nothing else exists then.
    ///
    /// # Errors
    /// When one cannot be read or holds no templates.
    pub fn read(paths: &[PathBuf]) -> Result<Self, LibraryError> {
        let mut library = Self { templates: Vec::new(), by_name: HashMap::new(), strict: true };
        for path in paths {
            let unreadable = |source| LibraryError::Read { path: path.clone(), source };
            if path.is_dir() {
                let entries = std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
                let mut files: Vec<PathBuf> =
                    entries.map_err(unreadable)?.into_iter().map(|entry| entry.path()).collect();
                files.retain(|file| file.extension().is_some_and(|end| end == "toml" || end == "json"));
                files.sort_unstable();
                files.iter().try_for_each(|file| library.add_file(file))?;
            } else {
                library.add_file(path)?;
            }
        }
        Ok(library)
    }

    fn add_file(&mut self, path: &Path) -> Result<(), LibraryError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| LibraryError::Read { path: path.to_owned(), source })?;
        self.add(&path.display().to_string(), &text)
    }

    /// Takes in the text of a file; its name says which kind it is.
    pub(crate) fn add(&mut self, name: &str, text: &str) -> Result<(), LibraryError> {
        let read = if name.ends_with(".json") { file::json(text) } else { file::toml(text) };
        let listed = read.map_err(|what| LibraryError::Invalid { name: name.to_owned(), what })?;
        for listed in listed {
            if self.templates.len() >= TEMPLATES_MAX {
                return Err(LibraryError::TooMany);
            }
            let text = |key: &str| listed[key].as_str().unwrap_or_default().to_owned();
            let component = |kind: &str| {
                let all = listed["components"].as_array().into_iter().flatten();
                all.into_iter().find(move |one| one["type"] == kind)
            };
            let body = component("BODY").and_then(|body| body["text"].as_str()).unwrap_or_default();
            let format = component("HEADER").and_then(|header| header["format"].as_str());
            let known = KnownTemplate {
                language: text("language"),
                status: text("status"),
                body_params: file::slots(body).len(),
                media: ["DOCUMENT", "IMAGE", "VIDEO"].into_iter().find(|kind| Some(*kind) == format),
                listed: listed.clone(),
            };
            self.by_name.entry(text("name")).or_default().push(self.templates.len());
            self.templates.push(known);
        }
        Ok(())
    }

    /// What is listed of those wanted.
    pub(crate) fn list<'a>(&'a self, wanted: &'a Wanted<'_>) -> impl Iterator<Item = &'a Value> {
        let fits = move |known: &&KnownTemplate| {
            let name = known.listed["name"].as_str().unwrap_or_default();
            wanted.name.is_none_or(|part| name.contains(part))
                && wanted.language.is_none_or(|language| known.language == language)
                && wanted.status.is_none_or(|status| known.status == status)
        };
        self.templates.iter().filter(fits).map(|known| &known.listed)
    }

    /// Holds a send against the template it names. `media` is what its header carries.
    pub(crate) fn check(
        &self,
        name: &str,
        language: &str,
        body_params: usize,
        media: Option<&str>,
    ) -> Result<(), Refusal> {
        if !self.strict {
            return Ok(());
        }
        let refuse = |code, details| Err(Refusal { code, details });
        let found = self.by_name.get(name).into_iter().flatten().map(|at| &self.templates[*at]);
        let Some(known) = found.into_iter().find(|known| known.language == language) else {
            return refuse(codes::NO_TEMPLATE, "the template does not exist in this language");
        };
        match known.status.as_str() {
            "APPROVED" => {}
            "PAUSED" => return refuse(codes::PAUSED, "the template is paused"),
            "DISABLED" => return refuse(codes::DISABLED, "the template is disabled"),
            _ => return refuse(codes::NO_TEMPLATE, "the template is not approved"),
        }
        if known.body_params != body_params {
            return refuse(codes::PARAMETER_COUNT, "the number of body parameters is not the template's");
        }
        let same = match (known.media, media) {
            (Some(format), Some(media)) => format.eq_ignore_ascii_case(media),
            (format, media) => format.is_none() && media.is_none(),
        };
        if same { Ok(()) } else { refuse(codes::BAD_FORMAT, "the header is not the template's") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_with_the_program_is_listed_and_refuses_nothing() {
        let library = Library::default();
        let all = Wanted::default();
        let names: Vec<&str> = library.list(&all).map(|one| one["name"].as_str().unwrap()).collect();
        let expect =
            ["lembrete_vencimento", "segunda_via", "vamos_conversar", "vence_hoje", "vencimento_amanha"];
        assert_eq!(names, expect);
        let part = Wanted { name: Some("venc"), language: Some("pt_BR"), ..Wanted::default() };
        assert_eq!(library.list(&part).count(), 3);
        assert_eq!(library.check("any", "xx", 7, None), Ok(()));
    }

    #[test]
    fn with_a_file_only_what_it_names_exists() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("templates.json");
        let json = r#"{"data":[
            {"name":"a","language":"pt_BR","components":[{"type":"HEADER","format":"DOCUMENT"},{"type":"BODY","text":"{{1}} {{2}} {{1}}"}]},
            {"name":"b","language":"pt_BR","status":"PAUSED","components":[{"type":"BODY","text":"x"}]},
            {"name":"c","language":"pt_BR","status":"REJECTED","components":[{"type":"BODY","text":"x"}]}]}"#;
        std::fs::write(&file, json).unwrap();
        let library = Library::read(&[folder.path().to_owned()]).unwrap();
        let code = |name, language, params, media| {
            library.check(name, language, params, media).err().map(|refusal| refusal.code)
        };
        assert_eq!(code("a", "pt_BR", 2, Some("document")), None);
        assert_eq!(code("a", "pt_PT", 2, Some("document")), Some(132_001));
        assert_eq!(code("a", "pt_BR", 1, Some("document")), Some(132_000));
        assert_eq!(code("a", "pt_BR", 2, None), Some(132_012));
        assert_eq!(code("a", "pt_BR", 2, Some("image")), Some(132_012));
        assert_eq!(code("b", "pt_BR", 0, None), Some(132_015));
        assert_eq!(code("c", "pt_BR", 0, None), Some(132_001));
        std::fs::write(&file, "{").unwrap();
        assert!(Library::read(&[file]).unwrap_err().to_string().contains("templates.json"));
    }
}
