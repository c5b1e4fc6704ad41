//! The documents that the rows of a file name, looked at and uploaded before the first row is loaded.

use std::collections::HashMap;
use std::path::Path;

use crate::queue::connection::Connection;

use super::super::context::Context;
use super::super::exit::CliError;
use super::super::output::counted;
use super::input::open;
use crate::app::media::{FILES_MAX, MediaError, Uploader};
use crate::domain::campaign::Campaign;
use crate::domain::ids::CampaignSeq;
use crate::domain::template::{MediaKind, Value};
use crate::intake::files::{self, FileFacts, FileFault};
use crate::intake::guards::Files;
use crate::intake::row::Outcome;
use crate::intake::rows::InputOptions;
use crate::queue::media;

/// What became of each file that the recipients name.
pub struct Documents {
    variable: usize,
    found: HashMap<Box<str>, Result<FileFacts, FileFault>>,
}

impl Documents {
    /// Reads the recipients once and looks at every file that they name; None: the campaign has no documents by row.
    pub fn gather(
        input: &Path,
        campaign: &Campaign,
        options: &InputOptions,
    ) -> Result<Option<Self>, CliError> {
        let Some((Value::Variable(variable), kind)) = campaign.template.media_file() else {
            return Ok(None);
        };
        if input == Path::new("-") {
            let message =
                "this campaign's rows name files beside the recipients file, so it cannot be standard input";
            return Err(CliError::usage("documents_need_a_file", message)
                .hint("save the recipients and load that file"));
        }
        let mut documents = Self { variable: *variable, found: HashMap::new() };
        let mut reader =
            open(input, campaign, options).map_err(|error| CliError::from(error).in_file(input.display()))?;
        while let Some(outcome) = reader.next_row()? {
            let Outcome::Row(row) = outcome else { continue };
            let Some(text) = row.values.get(*variable) else { continue };
            if documents.found.contains_key(text) {
                continue;
            }
            if documents.found.len() >= FILES_MAX {
                let message =
                    format!("the rows name more than {FILES_MAX} different files; nothing was loaded");
                return Err(CliError::usage("too_many_documents", message)
                    .in_file(input.display())
                    .hint("split the file, or give documents by link (https)"));
            }
            documents.found.insert(text.into(), look(input, text, kind));
        }
        Ok(Some(documents))
    }

    /// As a dry run needs them: nothing is uploaded.
    pub fn unsent(self) -> Files {
        let ids = self.found.into_iter().map(|(text, found)| (text, found.map(|_| Box::default())));
        Files { variable: self.variable, ids: ids.collect() }
    }

    /// Uploads what Meta does not have yet. If that fails, nothing has been loaded.
    pub async fn upload(
        self,
        redis: &Connection,
        (seq, campaign): (CampaignSeq, &Campaign),
        context: &Context,
    ) -> Result<Files, CliError> {
        let good: Vec<FileFacts> = self.found.values().filter_map(|found| found.clone().ok()).collect();
        context
            .out
            .hint(format!("{} to have at Meta before the rows", counted(good.len() as u64, "document")));
        let uploader = Uploader::new(&context.config, campaign)?;
        let media = uploader.ensure_all(redis, good).await?;
        if let Some(oldest_ms) = media.values().map(|medium| medium.uploaded_ms).min() {
            media::note_oldest(&mut redis.clone(), seq, oldest_ms).await?;
        }
        let id = |facts: FileFacts| {
            let medium = media.get(&media::name(&facts.sha256, facts.mime));
            medium.map(|medium| medium.id.as_str().into()).ok_or(FileFault::Missing)
        };
        let ids = self.found.into_iter().map(|(text, found)| (text, found.and_then(id)));
        Ok(Files { variable: self.variable, ids: ids.collect() })
    }
}

fn look(input: &Path, text: &str, kind: MediaKind) -> Result<FileFacts, FileFault> {
    let folder = input.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    files::inspect(&files::below(folder, text)?, kind)
}

impl std::fmt::Debug for Documents {
    /// Names of files may hold personal data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Documents").field("found", &self.found.len()).finish_non_exhaustive()
    }
}

impl From<MediaError> for CliError {
    fn from(error: MediaError) -> Self {
        use super::super::exit::Exit;
        let (exit, code) = match error {
            MediaError::Queue(error) => return error.into(),
            MediaError::Manage(_) => (Exit::Failed, "meta_refused"),
            MediaError::NoNumber(_) => (Exit::Usage, "no_number"),
            MediaError::File { .. } => (Exit::Usage, "document_unusable"),
            MediaError::Changed { .. } | MediaError::Expired { .. } => (Exit::Refused, "documents_expired"),
        };
        Self::new(exit, code, error.to_string())
    }
}
