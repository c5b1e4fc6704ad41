//! The rare requests of the Cloud API: templates, the fields of a number, uploads of media.
//!
//! Each is tried a few times when nobody answered or Meta was busy; an upload repeated so leaves at most a medium that
//! nobody uses. Errors carry Meta's code and words, never the token. Nothing here is on the way of a message.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder, Url};

use super::endpoint::{Endpoint, EndpointError};
use super::probe;
use super::usage::Usage;
use crate::config::{CloudConfig, Secret};

mod reply;

pub use reply::{RemoteButton, RemoteComponent, RemoteNumber, RemoteTemplate};

/// Pages of templates that are read at most; with `PAGE` more than an account may have.
pub const PAGES_MAX: usize = 100;

/// Templates asked for at once.
const PAGE: usize = 100;

/// How often a request is tried, and the pause before the second try; each further one is four times as long.
const TRIES: (u32, Duration) = (3, Duration::from_millis(500));

/// Bytes of a reply that are read at most.
const REPLY_MAX_BYTES: usize = 8 << 20;

/// The longest an upload may take.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);

/// Bytes of a file that are sent on at once.
const PIECE_BYTES: usize = 64 << 10;

/// Why a request has no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// The configuration cannot be used.
    #[error("{0}")]
    Endpoint(#[from] EndpointError),
    /// The client cannot be made.
    #[error("cannot set up requests to the Cloud API: {0}")]
    Client(String),
    /// Nobody answered.
    #[error("cannot {what}: {problem}")]
    Unreachable {
        /// What was tried.
        what: String,
        /// Why it failed.
        problem: String,
    },
    /// The proxy said no.
    #[error(
        "cannot {what}: the proxy {proxy} wants another user or password (407): check those of cloud.proxy"
    )]
    Proxy {
        /// What was tried.
        what: String,
        /// `host:port`
        proxy: String,
    },
    /// Meta said no.
    #[error("cannot {what}: Meta refused with code {code} (HTTP {http_status}): {message}")]
    Refused {
        /// What was tried.
        what: String,
        /// Graph code; 0 also stands for none.
        code: i64,
        /// HTTP status.
        http_status: u16,
        /// Meta's words.
        message: String,
    },
    /// The answer is not what Meta documents.
    #[error("cannot {what}: the answer cannot be read ({problem})")]
    Unreadable {
        /// What was tried.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What an upload sends.
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes.
    Bytes(Bytes),
    /// A file, read as it is sent.
    File(PathBuf),
}

/// A client for one account.
#[derive(Clone, Debug)]
pub struct Manage {
    client: Client,
    base: Url,
    token: Secret,
    /// `host:port` of the proxy.
    proxy: Option<String>,
    /// What the last answer said of the requests that were made.
    usage: Arc<Mutex<Option<Usage>>>,
}

impl Manage {
    /// A client that speaks with `token`.
    ///
    /// # Errors
    /// When the configured URL, authority or proxy cannot be used.
    pub fn new(config: &CloudConfig, token: &Secret) -> Result<Self, ManageError> {
        let endpoint = Endpoint::new(config)?;
        let client = probe::builder(config, &endpoint)
            .and_then(|builder| builder.timeout(config.timeout).build())
            .map_err(|error| ManageError::Client(said(&error)))?;
        let base = Url::parse(&endpoint.base).map_err(|_| EndpointError::Url(config.url.clone()))?;
        let proxy = config.proxy.as_ref().map(|proxy| proxy.authority.clone());
        Ok(Self { client, base, token: token.clone(), proxy, usage: Arc::default() })
    }

    /// How much of the requests is used, as the last answer said; None: it did not.
    pub fn usage(&self) -> Option<Usage> {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The templates of an account with exactly this name, in every language; without a name, all.
    ///
    /// # Errors
    /// When Meta does not answer, refuses, or lists more than [`PAGES_MAX`] pages.
    pub async fn templates(
        &self,
        waba: &str,
        name: Option<&str>,
    ) -> Result<Vec<RemoteTemplate>, ManageError> {
        let what = format!("read the templates of account {waba}");
        let mut found: Vec<RemoteTemplate> = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut url = self.url(&[waba, "message_templates"]);
            url.query_pairs_mut()
                .append_pair("fields", reply::TEMPLATE_FIELDS)
                .append_pair("limit", &PAGE.to_string())
                .extend_pairs(name.map(|name| ("name", name)))
                .extend_pairs(after.as_ref().map(|after| ("after", after)));
            let text = self.call(&what, || Ok(self.client.get(url.clone()))).await?;
            let page = reply::templates(&text).map_err(|problem| unreadable(&what, problem))?;
            // Meta filters by a part of the name.
            found.extend(page.templates.into_iter().filter(|one| name.is_none_or(|name| one.name == name)));
            // Only the cursor is taken: the address of the next page is another's word, and would get our token.
            match page.after {
                Some(next) if after.as_ref() != Some(&next) => after = Some(next),
                _ => return Ok(found),
            }
        }
        Err(unreadable(&what, format!("more than {PAGES_MAX} pages")))
    }

    /// What Meta says of a number.
    ///
    /// # Errors
    /// When Meta does not answer or refuses.
    pub async fn number(&self, phone_number_id: &str) -> Result<RemoteNumber, ManageError> {
        let what = format!("read the fields of number {phone_number_id}");
        let mut url = self.url(&[phone_number_id]);
        url.query_pairs_mut().append_pair("fields", reply::NUMBER_FIELDS);
        let text = self.call(&what, || Ok(self.client.get(url.clone()))).await?;
        reply::number(&text).map_err(|problem| unreadable(&what, problem))
    }

    /// Uploads a medium through a number; its id, good for 30 days for the whole account.
    ///
    /// # Errors
    /// When the file cannot be read, Meta does not answer, or refuses.
    pub async fn upload(
        &self,
        phone_number_id: &str,
        filename: &str,
        mime: &str,
        content: &Content,
    ) -> Result<String, ManageError> {
        let what = format!("upload {filename}");
        let url = self.url(&[phone_number_id, "media"]);
        let request = || {
            let part = part(content)?.file_name(filename.to_owned()).mime_str(mime);
            let part = part.map_err(|_| unreadable(&what, format!("{mime} is no content type")))?;
            let form = Form::new()
                .text("messaging_product", "whatsapp")
                .text("type", mime.to_owned())
                .part("file", part);
            Ok(self.client.post(url.clone()).multipart(form).timeout(UPLOAD_TIMEOUT))
        };
        let text = self.call(&what, request).await?;
        reply::media_id(&text).map_err(|problem| unreadable(&what, problem))
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// Sends a request, again if that can help; the body of a success.
    async fn call(
        &self,
        what: &str,
        request: impl Fn() -> Result<RequestBuilder, ManageError>,
    ) -> Result<Vec<u8>, ManageError> {
        let mut pause = TRIES.1;
        for _ in 1..TRIES.0 {
            match self.once(what, request()?).await {
                Err(error) if passes(&error) => tokio::time::sleep(pause).await,
                other => return other,
            }
            pause *= 4;
        }
        self.once(what, request()?).await
    }

    async fn once(&self, what: &str, request: RequestBuilder) -> Result<Vec<u8>, ManageError> {
        let lost = |error: reqwest::Error| {
            let through = self.proxy.as_ref().map(|proxy| format!(" (through the proxy {proxy})"));
            let problem = format!("{}{}", said(&error), through.unwrap_or_default());
            ManageError::Unreachable { what: what.to_owned(), problem }
        };
        let mut reply = request.bearer_auth(&self.token.0).send().await.map_err(lost)?;
        let http_status = reply.status().as_u16();
        let header = |name: &str| reply.headers().get(name).and_then(|value| value.to_str().ok());
        let usage = Usage::read(header("x-business-use-case-usage"), header("x-app-usage"));
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = usage;
        let mut body = Vec::new();
        while let Some(piece) = reply.chunk().await.map_err(lost)? {
            body.extend_from_slice(&piece);
            if body.len() > REPLY_MAX_BYTES {
                return Err(unreadable(what, format!("it is larger than {REPLY_MAX_BYTES} bytes")));
            }
        }
        if let (407, Some(proxy)) = (http_status, &self.proxy) {
            return Err(ManageError::Proxy { what: what.to_owned(), proxy: proxy.clone() });
        }
        match reply::refusal(&body) {
            None if (200..300).contains(&http_status) => Ok(body),
            refusal => {
                let (code, message) = refusal.unwrap_or_default();
                let message = reply::clean(&message, &self.token.0);
                Err(ManageError::Refused { what: what.to_owned(), code, http_status, message })
            }
        }
    }
}

/// Whether the same request may succeed a little later.
fn passes(error: &ManageError) -> bool {
    match error {
        ManageError::Unreachable { .. } => true,
        ManageError::Refused { code, http_status, .. } => {
            matches!(code, 1 | 2 | 4 | 613 | 80_007 | 80_008 | 131_000 | 131_016 | 133_004)
                || matches!(http_status, 429 | 500..)
        }
        _ => false,
    }
}

/// A file goes out piece by piece, so that many large ones fit beside each other.
fn part(content: &Content) -> Result<Part, ManageError> {
    match content {
        Content::Bytes(bytes) => Ok(Part::stream_with_length(bytes.clone(), bytes.len() as u64)),
        Content::File(path) => {
            let unreadable = |source| ManageError::File { path: path.clone(), source };
            let file = std::fs::File::open(path).map_err(unreadable)?;
            let length = file.metadata().map_err(unreadable)?.len();
            let pieces = futures_util::stream::try_unfold(file, async |mut file| {
                let mut piece = vec![0; PIECE_BYTES];
                let read = std::io::Read::read(&mut file, &mut piece)?;
                piece.truncate(read);
                Ok::<_, std::io::Error>((read > 0).then_some((piece, file)))
            });
            Ok(Part::stream_with_length(reqwest::Body::wrap_stream(pieces), length))
        }
    }
}

fn unreadable(what: &str, problem: impl Into<String>) -> ManageError {
    ManageError::Unreadable { what: what.to_owned(), problem: problem.into() }
}

/// An error with its causes, and without the address: a proxy's may hold a password.
fn said(error: &reqwest::Error) -> String {
    let mut words = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    match words.last() {
        _ if error.is_timeout() => "no answer in time".to_owned(),
        Some(last) => last.clone(),
        None => "the request failed".to_owned(),
    }
}
