//! What management requests are answered with, from bytes to what matters of them. Pure.

use serde::Deserialize;

/// The fields of a template that are asked for.
pub(super) const TEMPLATE_FIELDS: &str =
    "id,name,language,category,status,parameter_format,rejected_reason,components";

/// The fields of a number that are asked for.
pub(super) const NUMBER_FIELDS: &str = "id,display_phone_number,verified_name,name_status,quality_rating,\
                                        platform_type,status,throughput,whatsapp_business_manager_messaging_limit";

/// Characters of Meta's words that are kept.
const MESSAGE_MAX_CHARS: usize = 400;

/// A template as Meta has it. Fields that Meta left out are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteTemplate {
    /// Meta's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its language code.
    pub language: String,
    /// `UTILITY`, `MARKETING`, `AUTHENTICATION`.
    pub category: String,
    /// `APPROVED`, `PENDING`, `REJECTED`, `PAUSED`, `DISABLED`, …
    pub status: String,
    /// `NAMED` or `POSITIONAL`.
    pub parameter_format: String,
    /// Header, body, footer, buttons.
    pub components: Vec<RemoteComponent>,
}

/// A part of a template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteComponent {
    /// `HEADER`, `BODY`, `FOOTER`, `BUTTONS`, …
    pub kind: String,
    /// Of a header: `TEXT`, `DOCUMENT`, `IMAGE`, `VIDEO`, `LOCATION`.
    pub format: Option<String>,
    /// Its text with slots `{{1}}` or `{{name}}`.
    pub text: Option<String>,
    /// Of `BUTTONS`, in order.
    pub buttons: Vec<RemoteButton>,
}

/// A button of a template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteButton {
    /// `QUICK_REPLY`, `URL`, `COPY_CODE`, `PAYMENT_REQUEST`, …
    pub kind: String,
    /// Its label.
    pub text: Option<String>,
    /// Of a URL button; a variable end is `{{1}}`.
    pub url: Option<String>,
}

/// A number as Meta has it. Fields that Meta left out are None.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteNumber {
    /// `phone_number_id`
    pub id: String,
    /// The phone as people dial it.
    pub display_phone_number: Option<String>,
    /// The name that debtors see.
    pub verified_name: Option<String>,
    /// `APPROVED`, `PENDING_REVIEW`, …
    pub name_status: Option<String>,
    /// `GREEN`, `YELLOW`, `RED`, `UNKNOWN`.
    pub quality_rating: Option<String>,
    /// `CLOUD_API`, …
    pub platform_type: Option<String>,
    /// `CONNECTED`, …
    pub status: Option<String>,
    /// `STANDARD` (80 a second), `HIGH` (1,000).
    pub throughput_level: Option<String>,
    /// `TIER_2K`, `TIER_UNLIMITED`, …: people a day of the whole portfolio.
    pub messaging_limit: Option<String>,
}

/// A page of templates.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) templates: Vec<RemoteTemplate>,
    /// Where the next page begins; None: this was the last.
    pub(super) after: Option<String>,
}

#[derive(Deserialize)]
struct RawPage {
    data: Vec<RawTemplate>,
    paging: Option<RawPaging>,
}

#[derive(Deserialize)]
struct RawPaging {
    cursors: Option<RawCursors>,
    next: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct RawCursors {
    after: Option<String>,
}

#[derive(Deserialize)]
struct RawTemplate {
    id: String,
    name: String,
    #[serde(default)]
    language: String,
    #[serde(default)]
    category: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    parameter_format: String,
    #[serde(default)]
    components: Vec<RawComponent>,
}

#[derive(Deserialize)]
struct RawComponent {
    #[serde(rename = "type")]
    kind: String,
    format: Option<String>,
    text: Option<String>,
    #[serde(default)]
    buttons: Vec<RawButton>,
}

#[derive(Deserialize)]
struct RawButton {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    url: Option<String>,
}

#[derive(Deserialize)]
struct RawNumber {
    id: String,
    display_phone_number: Option<String>,
    verified_name: Option<String>,
    name_status: Option<String>,
    quality_rating: Option<String>,
    platform_type: Option<String>,
    status: Option<String>,
    throughput: Option<RawThroughput>,
    whatsapp_business_manager_messaging_limit: Option<String>,
}

#[derive(Deserialize)]
struct RawThroughput {
    level: Option<String>,
}

#[derive(Deserialize)]
struct RawMedia {
    id: String,
}

#[derive(Deserialize)]
struct RawRefusal {
    error: RawError,
}

#[derive(Deserialize)]
struct RawError {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
    error_data: Option<serde_json::Value>,
}

/// A page of templates.
pub(super) fn templates(body: &[u8]) -> Result<Page, String> {
    let page: RawPage = parse(body)?;
    let more = page.paging.filter(|paging| paging.next.is_some());
    let after = more.and_then(|paging| paging.cursors?.after);
    Ok(Page { templates: page.data.into_iter().map(template).collect(), after })
}

/// The fields of a number.
pub(super) fn number(body: &[u8]) -> Result<RemoteNumber, String> {
    let raw: RawNumber = parse(body)?;
    Ok(RemoteNumber {
        id: raw.id,
        display_phone_number: raw.display_phone_number,
        verified_name: raw.verified_name,
        name_status: raw.name_status,
        quality_rating: raw.quality_rating,
        platform_type: raw.platform_type,
        status: raw.status,
        throughput_level: raw.throughput.and_then(|throughput| throughput.level),
        messaging_limit: raw.whatsapp_business_manager_messaging_limit,
    })
}

/// The id of an uploaded medium.
pub(super) fn media_id(body: &[u8]) -> Result<String, String> {
    let RawMedia { id } = parse(body)?;
    let good = (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if good { Ok(id) } else { Err("the id of the medium is no id".to_owned()) }
}

/// Code and words of a Graph error; None when the body is none.
pub(super) fn refusal(body: &[u8]) -> Option<(i64, String)> {
    let RawRefusal { error } = serde_json::from_slice(body).ok()?;
    let details = error.error_data.as_ref().map(|data| data["details"].as_str().or(data.as_str()));
    let words = match details.flatten() {
        Some(details) => format!("{}: {details}", error.message),
        None => error.message,
    };
    Some((error.code, words))
}

/// Meta's words as they may be shown: Meta repeats a token that it cannot read.
pub(super) fn clean(message: &str, token: &str) -> String {
    let hidden = message.replace(token, "***");
    let plain = hidden.chars().map(|c| if c.is_control() { ' ' } else { c });
    let kept: String = plain.take(MESSAGE_MAX_CHARS).collect();
    if kept.is_empty() { "without saying why".to_owned() } else { kept }
}

fn template(raw: RawTemplate) -> RemoteTemplate {
    let button = |raw: RawButton| RemoteButton { kind: raw.kind, text: raw.text, url: raw.url };
    let component = |raw: RawComponent| RemoteComponent {
        kind: raw.kind,
        format: raw.format,
        text: raw.text,
        buttons: raw.buttons.into_iter().map(button).collect(),
    };
    RemoteTemplate {
        id: raw.id,
        name: raw.name,
        language: raw.language,
        category: raw.category,
        status: raw.status,
        parameter_format: raw.parameter_format,
        components: raw.components.into_iter().map(component).collect(),
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_meta_repeats_is_hidden() {
        let body = br#"{"error":{"message":"Malformed access token EAAx\n9","code":190,"error_data":"d"}}"#;
        let (code, message) = refusal(body).unwrap();
        assert_eq!(code, 190);
        assert_eq!(clean(&message, "EAAx\n9"), "Malformed access token ***: d");
        assert_eq!(clean("", "t"), "without saying why");
        assert_eq!(refusal(b"<html>"), None);
    }

    #[test]
    fn the_cursor_counts_only_while_there_is_a_next_page() {
        let page =
            |paging: &str| templates(format!(r#"{{"data":[],"paging":{paging}}}"#).as_bytes()).unwrap().after;
        assert_eq!(page(r#"{"cursors":{"after":"x"},"next":"u"}"#).as_deref(), Some("x"));
        assert_eq!(page(r#"{"cursors":{"after":"x"}}"#), None);
        assert!(templates(b"{}").is_err());
    }

    #[test]
    fn an_id_is_an_id() {
        assert_eq!(media_id(br#"{"id":"9123"}"#).as_deref(), Ok("9123"));
        assert!(media_id(br#"{"id":"a\"b"}"#).is_err() && media_id(br#"{"id":""}"#).is_err());
    }
}
