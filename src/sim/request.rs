//! The body of a message request: what the simulator reads of it, and what it refuses, as Meta would.
//!
//! Only the fields that decide something are read, borrowed from the body; the rest is skipped.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use super::codes;
use super::identity::Phone;
use super::library::Library;
use super::media::Media;
use super::plan::Validity;
use crate::clock::Mono;

/// Characters of `biz_opaque_callback_data` at most.
const OPAQUE_MAX_CHARS: usize = 512;

/// Characters that all parameters of a body may have together, since the body itself may have no more.
const BODY_MAX_CHARS: usize = 1_024;

/// Consecutive spaces in a parameter at most.
const SPACES_MAX: usize = 4;

/// What a request is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    pub(crate) validity: &'a Validity,
    pub(crate) library: &'a Library,
    pub(crate) media: &'a Media,
    pub(crate) now: Mono,
}

/// A request that Meta would take.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) to: Cow<'a, str>,
    pub(crate) phone: Phone,
    pub(crate) opaque: Option<Cow<'a, str>>,
}

/// A request that Meta would not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: i64,
    pub(crate) details: &'static str,
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(borrow)]
    messaging_product: Option<Text<'a>>,
    #[serde(borrow)]
    to: Option<Text<'a>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    template: Option<RawTemplate<'a>>,
    #[serde(borrow)]
    biz_opaque_callback_data: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct RawTemplate<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    language: Option<RawLanguage<'a>>,
    #[serde(borrow, default)]
    components: Vec<RawComponent<'a>>,
}

#[derive(Deserialize)]
struct RawLanguage<'a> {
    #[serde(borrow)]
    code: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct RawComponent<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    sub_type: Option<Text<'a>>,
    #[serde(borrow, default)]
    parameters: Vec<RawParameter<'a>>,
}

#[derive(Deserialize)]
struct RawParameter<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    payload: Option<Filled>,
    coupon_code: Option<Filled>,
    #[serde(borrow)]
    document: Option<RawMedia<'a>>,
    #[serde(borrow)]
    image: Option<RawMedia<'a>>,
    #[serde(borrow)]
    video: Option<RawMedia<'a>>,
}

#[derive(Deserialize)]
struct RawMedia<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    link: Option<Filled>,
}

/// Whether a string has anything in it: all that matters of some fields, in one byte.
#[derive(Clone, Copy, Debug)]
struct Filled(bool);

/// A string, borrowed unless it has escapes. (`Option<Cow<str>>` would always copy.)
#[derive(Debug)]
struct Text<'a>(Cow<'a, str>);

/// Reads and checks a body.
pub(crate) fn check<'a>(body: &'a [u8], known: &Known<'_>) -> Result<Message<'a>, Refusal> {
    let malformed = refusal(codes::BAD_PARAMETER, "the body is not valid JSON");
    // One check of the whole body is cheaper than one for every string in it.
    let text = std::str::from_utf8(body).map_err(|_| malformed)?;
    let raw: RawMessage<'a> = serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => refusal(codes::BAD_PARAMETER, "a field has the wrong type"),
        _ => malformed,
    })?;
    if raw.messaging_product.is_none_or(|product| product.0 != "whatsapp") {
        return Err(refusal(codes::BAD_PARAMETER, "messaging_product must be whatsapp"));
    }
    let to = required(raw.to, "to is missing")?;
    let Some(phone) = Phone::parse(&to) else {
        return Err(refusal(codes::BAD_VALUE, "to is not a phone number"));
    };
    check_kind(&required(raw.kind, "type is missing")?)?;
    let Some(template) = raw.template else {
        return Err(refusal(codes::MISSING, "template is missing"));
    };
    check_template(template, known)?;
    let opaque = raw.biz_opaque_callback_data.map(|text| text.0);
    if opaque.as_ref().is_some_and(|text| longer_than(text, OPAQUE_MAX_CHARS)) {
        let details = "biz_opaque_callback_data has more than 512 characters";
        return Err(refusal(codes::BAD_PARAMETER, details));
    }
    Ok(Message { to, phone, opaque: opaque.filter(|text| !text.is_empty()) })
}

fn check_kind(kind: &str) -> Result<(), Refusal> {
    match kind {
        "template" => Ok(()),
        "text" | "image" | "document" | "audio" | "video" | "sticker" | "interactive" | "location"
        | "contacts" | "reaction" => {
            let details = "free-form messages need an open service window, the simulator has none";
            Err(refusal(codes::NO_WINDOW, details))
        }
        _ => Err(refusal(codes::BAD_VALUE, "type is unknown")),
    }
}

fn check_template(template: RawTemplate<'_>, against: &Known<'_>) -> Result<(), Refusal> {
    let name = required(template.name, "template.name is missing")?;
    let language = template.language.and_then(|language| language.code);
    let language = required(language, "template.language.code is missing")?;
    let known = match &against.validity.templates {
        None => None,
        Some(list) => {
            let found = list.iter().find(|known| known.name == name && known.language == language);
            let details = "the template does not exist in this language";
            Some(found.ok_or(refusal(codes::NO_TEMPLATE, details))?)
        }
    };
    let (mut body_params, mut media) = (0, None);
    for component in &template.components {
        let kind = component.kind.as_ref().map(|kind| &*kind.0);
        match kind {
            Some("body" | "BODY") => {
                body_params = component.parameters.len();
                check_body(&component.parameters)?;
            }
            Some("header" | "HEADER") => {
                for parameter in &component.parameters {
                    media = check_header(parameter, against)?.or(media);
                }
            }
            Some("button" | "BUTTON") => check_button(component)?,
            Some(_) => {
                return Err(refusal(codes::BAD_PARAMETER, "the type of a component is unknown"));
            }
            None => return Err(refusal(codes::MISSING, "the type of a component is missing")),
        }
    }
    match known.and_then(|known| known.body_params) {
        Some(count) if count != body_params => {
            let details = "the number of body parameters is not the template's";
            Err(refusal(codes::PARAMETER_COUNT, details))
        }
        _ => against.library.check(&name, &language, body_params, media),
    }
}

fn check_body(parameters: &[RawParameter<'_>]) -> Result<(), Refusal> {
    let mut bytes = 0;
    for parameter in parameters {
        // Currencies and dates carry no text of their own.
        if let Some("currency" | "date_time") = parameter.kind.as_ref().map(|kind| &*kind.0) {
            continue;
        }
        bytes += check_text(parameter.text.as_ref())?.len();
    }
    if bytes > BODY_MAX_CHARS {
        let texts = parameters.iter().filter_map(|parameter| parameter.text.as_ref());
        if texts.map(|text| text.0.chars().count()).sum::<usize>() > BODY_MAX_CHARS {
            return Err(refusal(codes::TOO_LONG, "the body has more than 1024 characters"));
        }
    }
    Ok(())
}

/// Checks one parameter; what medium it carries, if any.
fn check_header(parameter: &RawParameter<'_>, against: &Known<'_>) -> Result<Option<&'static str>, Refusal> {
    let (kind, media) = match parameter.kind.as_ref().map(|kind| &*kind.0) {
        Some("document") => ("document", &parameter.document),
        Some("image") => ("image", &parameter.image),
        Some("video") => ("video", &parameter.video),
        Some("location") => return Ok(None),
        _ => return check_text(parameter.text.as_ref()).map(|_| None),
    };
    let missing = refusal(codes::MISSING, "the media of the header has neither id nor link");
    let media = media.as_ref().ok_or(missing)?;
    match media.id.as_ref().filter(|id| !id.0.is_empty()) {
        Some(id) => match against.media.get(&id.0, against.now) {
            Some(medium) if fits(kind, medium.mime) => Ok(Some(kind)),
            Some(_) => Err(refusal(codes::BAD_FORMAT, "the type of the medium is not the header's")),
            None => {
                let details = "the id is not a valid whatsapp business account media attachment ID";
                Err(refusal(codes::BAD_PARAMETER, details))
            }
        },
        None if media.link.is_some_and(|link| link.0) => Ok(Some(kind)),
        None => Err(missing),
    }
}

fn fits(kind: &str, mime: &str) -> bool {
    let family = mime.split('/').next().unwrap_or_default();
    match kind {
        "document" => matches!(family, "application" | "text"),
        other => family == other,
    }
}

fn check_button(component: &RawComponent<'_>) -> Result<(), Refusal> {
    if component.sub_type.as_ref().is_none_or(|kind| kind.0.is_empty()) {
        return Err(refusal(codes::MISSING, "sub_type of a button is missing"));
    }
    for parameter in &component.parameters {
        let filled = match parameter.kind.as_ref().map(|kind| &*kind.0) {
            Some("text") => parameter.text.as_ref().is_some_and(|text| !text.0.is_empty()),
            Some("payload") => parameter.payload.is_some_and(|value| value.0),
            Some("coupon_code") => parameter.coupon_code.is_some_and(|value| value.0),
            _ => continue,
        };
        if !filled {
            return Err(refusal(codes::MISSING, "a parameter of a button is empty"));
        }
    }
    Ok(())
}

/// Meta refuses empty texts, newlines, tabs and more than four spaces in a row.
fn check_text<'t>(text: Option<&'t Text<'_>>) -> Result<&'t str, Refusal> {
    let Some(text) = text.filter(|text| !text.0.is_empty()) else {
        return Err(refusal(codes::MISSING, "the text of a parameter is empty"));
    };
    let mut spaces = 0;
    for byte in text.0.bytes() {
        spaces = if byte == b' ' { spaces + 1 } else { 0 };
        if matches!(byte, b'\n' | b'\r' | b'\t') || spaces > SPACES_MAX {
            let details = "a parameter has a newline, a tab or more than four consecutive spaces";
            return Err(refusal(codes::BAD_FORMAT, details));
        }
    }
    Ok(&text.0)
}

fn required<'a>(text: Option<Text<'a>>, details: &'static str) -> Result<Cow<'a, str>, Refusal> {
    let text = text.filter(|text| !text.0.is_empty());
    text.map(|text| text.0).ok_or(refusal(codes::MISSING, details))
}

fn longer_than(text: &str, chars: usize) -> bool {
    text.len() > chars && text.chars().count() > chars
}

fn refusal(code: i64, details: &'static str) -> Refusal {
    Refusal { code, details }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FilledVisitor;
        impl Visitor<'_> for FilledVisitor {
            type Value = Filled;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Filled, E> {
                Ok(Filled(!text.is_empty()))
            }
        }
        deserializer.deserialize_str(FilledVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::plan::KnownTemplate;
    use serde_json::{Value, json};

    fn good() -> Value {
        json!({
            "messaging_product": "whatsapp", "to": "+5531987654321", "type": "template",
            "template": {"name": "aviso", "language": {"code": "pt_BR", "policy": "deterministic"}, "components": [
                {"type": "header", "parameters": [{"type": "document", "document": {"link": "https://x/a.pdf"}}]},
                {"type": "body", "parameters": [{"type": "text", "text": "Ana"}, {"type": "text", "text": "R$ 10"}]},
                {"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": "k"}]},
            ]},
            "biz_opaque_callback_data": "ct1.a.1.2.3.0",
        })
    }

    fn against<'a>(validity: &Validity, body: &'a [u8]) -> Result<Message<'a>, Refusal> {
        let (library, media) = (Library::default(), Media::default());
        check(body, &Known { validity, library: &library, media: &media, now: Mono::default() })
    }

    fn code(body: &Value, validity: &Validity) -> Option<i64> {
        let bytes = serde_json::to_vec(body).unwrap();
        against(validity, &bytes).err().map(|refusal| refusal.code)
    }

    /// Puts `value` at `pointer` (or removes the field when it is null) and tells the code of the refusal.
    fn check_change(pointer: &str, value: impl Into<Value>, expect: Option<i64>) {
        let value: Value = value.into();
        let mut body = good();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = body.pointer_mut(parent).unwrap();
        match parent {
            Value::Object(fields) if value.is_null() => drop(fields.remove(key)),
            Value::Object(fields) => drop(fields.insert(key.to_owned(), value.clone())),
            _ => panic!("{pointer} is in no object"),
        }
        assert_eq!(code(&body, &Validity::default()), expect, "{pointer} = {value}");
    }

    #[test]
    fn a_good_request_is_read_without_copying() {
        let bytes = serde_json::to_vec(&good()).unwrap();
        let message = against(&Validity::default(), &bytes).unwrap();
        assert!(matches!(message.to, Cow::Borrowed("+5531987654321")));
        assert!(matches!(message.opaque, Some(Cow::Borrowed("ct1.a.1.2.3.0"))));
    }

    #[test]
    fn every_fault_of_a_body_has_its_code() {
        let text = "/template/components/1/parameters/0/text";
        check_change("/messaging_product", Value::Null, Some(100));
        check_change("/messaging_product", json!("sms"), Some(100));
        check_change("/to", Value::Null, Some(131_008));
        check_change("/to", json!("nobody"), Some(131_009));
        check_change("/to", json!(5_531_987_654_321_i64), Some(100));
        check_change("/type", Value::Null, Some(131_008));
        check_change("/type", json!("text"), Some(131_047));
        check_change("/type", json!("pigeon"), Some(131_009));
        check_change("/template", Value::Null, Some(131_008));
        check_change("/template/name", json!(""), Some(131_008));
        check_change("/template/language", Value::Null, Some(131_008));
        check_change("/template/components", Value::Null, None);
        check_change("/template/components/0/type", json!("footer"), Some(100));
        check_change("/template/components/0/type", Value::Null, Some(131_008));
        check_change("/template/components/0/parameters/0/document", json!({}), Some(131_008));
        check_change("/template/components/0/parameters/0/document", json!({"id": "9000"}), Some(100));
        check_change("/template/components/2/sub_type", Value::Null, Some(131_008));
        check_change("/template/components/2/parameters/0/text", json!(""), Some(131_008));
        check_change(text, json!(""), Some(131_008));
        check_change(text, json!("a\nb"), Some(132_012));
        check_change(text, json!("a\tb"), Some(132_012));
        check_change(text, json!("a    b"), None);
        check_change(text, json!("a     b"), Some(132_012));
        check_change(text, json!("á".repeat(1_019)), None);
        check_change(text, json!("á".repeat(1_020)), Some(132_005));
        check_change("/biz_opaque_callback_data", Value::Null, None);
        check_change("/biz_opaque_callback_data", json!("é".repeat(512)), None);
        check_change("/biz_opaque_callback_data", json!("é".repeat(513)), Some(100));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for body in [&b""[..], b"{", b"[]", b"\xff", b"{\"to\":\"\xff\"}"] {
            assert_eq!(against(&Validity::default(), body).unwrap_err().code, 100);
        }
    }

    #[test]
    fn only_known_templates_pass_when_the_plan_lists_them() {
        let check = |name: &str, body_params, expect| {
            let templates = Some(vec![KnownTemplate {
                name: name.to_owned(),
                language: "pt_BR".to_owned(),
                body_params,
            }]);
            let validity = Validity { templates, ..Validity::default() };
            assert_eq!(code(&good(), &validity), expect, "{name} {body_params:?}");
        };
        check("aviso", None, None);
        check("aviso", Some(2), None);
        check("aviso", Some(3), Some(132_000));
        check("outro", None, Some(132_001));
    }
}
