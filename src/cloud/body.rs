//! The body of a request: a template compiled once per campaign into fixed bytes and holes, filled per message.
//!
//! What is written follows the platform's reference: header, body and button components of a template message.
//! The debtor's data stands nowhere but in the bytes that it returns.

use serde_json::{Value as Json, json};

use crate::domain::campaign::Campaign;
use crate::domain::ids::WireId;
use crate::domain::template::{Button, Category, Header, Param, Payment, Text, Value};

/// A campaign's request, ready to be filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    segments: Vec<Segment>,
    /// Bytes of the fixed parts, a hint for the buffer.
    fixed_bytes: usize,
    account: Box<str>,
    marketing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Fixed(Vec<u8>),
    To,
    WireId,
    Variable(usize),
}

/// Stands for a hole while the JSON is put together. It is a private-use character that no template holds.
const HOLE: char = '\u{f8ff}';

impl Body {
    /// Compiles the request of a campaign that has no file of its own.
    pub fn compile(campaign: &Campaign) -> Self {
        Self::compile_with(campaign, "")
    }

    /// Compiles the request of a campaign; `media` is the id of the one file that all its messages carry.
    pub fn compile_with(campaign: &Campaign, media: &str) -> Self {
        let request = json!({
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": hole("to"),
            "type": "template",
            "template": {
                "name": campaign.template.name,
                "language": { "policy": "deterministic", "code": campaign.template.language },
                "components": components(campaign, media),
            },
            "biz_opaque_callback_data": hole("id"),
        });
        let mut segments = Vec::new();
        let text = request.to_string();
        for (at, piece) in text.split(HOLE).enumerate() {
            segments.push(match (at % 2, piece) {
                (0, fixed) => Segment::Fixed(fixed.as_bytes().to_vec()),
                (_, "to") => Segment::To,
                (_, "id") => Segment::WireId,
                (_, variable) => Segment::Variable(variable.parse().unwrap_or(usize::MAX)),
            });
        }
        let bytes = |segment: &Segment| {
            if let Segment::Fixed(bytes) = segment { bytes.len() } else { 0 }
        };
        let fixed_bytes = segments.iter().map(bytes).sum();
        let marketing = campaign.template.category == Category::Marketing;
        Self { segments, fixed_bytes, account: campaign.account.as_str().into(), marketing }
    }

    /// The account that sends it.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Whether it is marketing, which people can stop by itself.
    pub fn is_marketing(&self) -> bool {
        self.marketing
    }

    /// Writes the request of one message. `value` gives the row's variables.
    pub fn render<'a>(&self, phone: u64, id: &WireId, value: impl Fn(usize) -> &'a str) -> Vec<u8> {
        use std::io::Write as _;
        let mut out = Vec::with_capacity(self.fixed_bytes + 256);
        for segment in &self.segments {
            match segment {
                Segment::Fixed(bytes) => out.extend_from_slice(bytes),
                Segment::To => write!(out, "+{phone}").expect("a vector takes every write"),
                Segment::WireId => write!(out, "{id}").expect("a vector takes every write"),
                Segment::Variable(variable) => escape(value(*variable), &mut out),
            }
        }
        out
    }
}

fn components(campaign: &Campaign, media: &str) -> Vec<Json> {
    let template = &campaign.template;
    let mut components = Vec::new();
    if let Some(header) = &template.header {
        let parameters = header_parameters(header, media);
        if !parameters.is_empty() {
            components.push(json!({ "type": "header", "parameters": parameters }));
        }
    }
    if !template.body.params.is_empty() {
        components.push(json!({ "type": "body", "parameters": text_parameters(&template.body) }));
    }
    for (index, button) in template.buttons.iter().enumerate() {
        if let Some((sub_type, parameter)) = button_parameter(button) {
            components.push(json!({
                "type": "button", "sub_type": sub_type, "index": index.to_string(), "parameters": [parameter],
            }));
        }
    }
    components
}

fn header_parameters(header: &Header, media: &str) -> Vec<Json> {
    match header {
        Header::Text(text) => text_parameters(text),
        Header::Document { link, filename } => {
            let mut document = json!({ "link": written(link) });
            if let Some(filename) = filename {
                document["filename"] = written(filename);
            }
            vec![json!({ "type": "document", "document": document })]
        }
        Header::DocumentFile { file, filename } => {
            let mut document = json!({ "id": id(file, media) });
            if let Some(filename) = filename {
                document["filename"] = written(filename);
            }
            vec![json!({ "type": "document", "document": document })]
        }
        Header::ImageFile { file } => {
            vec![json!({ "type": "image", "image": { "id": id(file, media) } })]
        }
        Header::Image { link } => vec![json!({ "type": "image", "image": { "link": written(link) } })],
    }
}

/// The id of a file: the row's own, or the one of all.
fn id(file: &Value, media: &str) -> Json {
    match file {
        Value::Fixed(_) => Json::String(media.to_owned()),
        Value::Variable(_) => written(file),
    }
}

fn text_parameters(text: &Text) -> Vec<Json> {
    let parameter = |param: &Param| match &param.name {
        Some(name) => json!({ "type": "text", "parameter_name": name, "text": written(&param.value) }),
        None => json!({ "type": "text", "text": written(&param.value) }),
    };
    text.params.iter().map(parameter).collect()
}

fn button_parameter(button: &Button) -> Option<(&'static str, Json)> {
    Some(match button {
        Button::QuickReply { payload } => {
            ("quick_reply", json!({ "type": "payload", "payload": written(payload) }))
        }
        Button::Url { suffix } => ("url", json!({ "type": "text", "text": written(suffix.as_ref()?) })),
        Button::CopyCode { code } => {
            ("copy_code", json!({ "type": "coupon_code", "coupon_code": written(code) }))
        }
        Button::PaymentRequest { kind, value } => {
            let value = written(value);
            let setting = match kind {
                Payment::Boleto => json!({ "type": "boleto", "boleto": { "digitable_line": value } }),
                Payment::Pix => json!({ "type": "pix_dynamic_code", "pix_dynamic_code": { "code": value } }),
                Payment::Link => json!({ "type": "payment_link", "payment_link": { "uri": value } }),
            };
            let action = json!({ "payment_request": { "payment_setting": setting } });
            ("payment_request", json!({ "type": "action", "action": action }))
        }
    })
}

fn written(value: &Value) -> Json {
    match value {
        Value::Fixed(text) => Json::String(text.replace(HOLE, "")),
        Value::Variable(at) => hole(&at.to_string()),
    }
}

fn hole(name: &str) -> Json {
    Json::String(format!("{HOLE}{name}{HOLE}"))
}

/// Writes a text as the inside of a JSON string.
fn escape(text: &str, out: &mut Vec<u8>) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let quoted = Json::String(text.to_owned()).to_string();
    out.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_break_the_json() {
        let mut out = Vec::new();
        escape("a\u{1}b\tc", &mut out);
        assert_eq!(out, b"a\\u0001b\\tc");
    }
}
