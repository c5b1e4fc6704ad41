//! The template of a campaign file: header, body and buttons within Meta's bounds.

use toml::Spanned;

use super::raw::{RawButton, RawHeader, RawTemplate, Words};
use super::text::{self, Slots};
use super::{Fault, did_you_mean};
use crate::domain::template::{
    BODY_MAX_CHARS, BUTTONS_MAX, Button, Category, HEADER_MAX_CHARS, Header, PAYMENT_BUTTONS_MAX, Payment,
    Template, Text, Value,
};

const URL_BUTTONS_MAX: usize = 2;
const FILENAME_MAX_CHARS: usize = 240;

/// Meta numbers the slots of header and body apart, so the header's `{{1}}` is the variable `header_1` if the file
/// declares one, else `1`.
struct HeaderSlots<'a>(&'a mut dyn Slots);

impl Slots for HeaderSlots<'_> {
    fn has(&self, name: &str) -> bool {
        self.0.has(name)
    }

    fn find(&mut self, name: &str, at: usize, field: &str) -> Result<usize, Fault> {
        let own = format!("header_{name}");
        let name = if text::is_number(name) && self.0.has(&own) { &own } else { name };
        self.0.find(name, at, field)
    }
}

pub(super) fn template(raw: &RawTemplate, slots: &mut dyn Slots) -> Result<Template, Fault> {
    let name = raw.name.get_ref();
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if !(1..=512).contains(&name.len()) || !name.bytes().all(good) {
        return Err(Fault::new(
            Some(raw.name.span().start),
            "template.name",
            "is no name of a template: 1 to 512 of a-z, 0-9 and _",
        )
        .hint("copy it from the WhatsApp Manager"));
    }
    check_language(&raw.language)?;
    let header = raw.header.as_ref().map(|raw| header(raw, slots)).transpose()?;
    let body = text::text(&raw.body, "template.body", slots)?;
    bounded(&raw.body, "template.body", &body, BODY_MAX_CHARS)?;
    Ok(Template {
        name: name.clone(),
        language: raw.language.get_ref().clone(),
        category: raw.category.as_ref().map_or(Ok(Category::default()), category)?,
        header,
        body,
        buttons: buttons(&raw.buttons, slots)?,
    })
}

fn category(words: &Words) -> Result<Category, Fault> {
    match words.get_ref().as_str() {
        "utility" => Ok(Category::Utility),
        "marketing" => Ok(Category::Marketing),
        other => {
            let message = format!("`{other}` is none of utility, marketing");
            Err(Fault::new(Some(words.span().start), "template.category", message)
                .maybe_hint(did_you_mean(other, ["utility", "marketing"])))
        }
    }
}

fn check_language(words: &Words) -> Result<(), Fault> {
    let (language, country) = match words.get_ref().split_once('_') {
        Some((language, country)) => (language, Some(country)),
        None => (words.get_ref().as_str(), None),
    };
    let language = matches!(language.len(), 2 | 3) && language.bytes().all(|b| b.is_ascii_lowercase());
    let country = country.is_none_or(|c| c.len() == 2 && c.bytes().all(|b| b.is_ascii_uppercase()));
    if language && country {
        return Ok(());
    }
    let message = format!("`{}` is no language code of a template", words.get_ref());
    Err(Fault::new(Some(words.span().start), "template.language", message).hint("write it like \"pt_BR\""))
}

/// Refuses a text that is empty, or too long whatever the row holds.
fn bounded(words: &Words, field: &str, text: &Text, max_chars: usize) -> Result<(), Fault> {
    let at = Some(words.span().start);
    if words.get_ref().trim().is_empty() {
        return Err(Fault::new(at, field, "is empty"));
    }
    // Every slot gets at least one character, since an empty value rejects its row.
    let least = text.fixed_chars() + text.variables().count();
    if least > max_chars {
        return Err(Fault::new(at, field, format!("has at least {least} characters, more than {max_chars}")));
    }
    Ok(())
}

fn header(raw: &Spanned<RawHeader>, slots: &mut dyn Slots) -> Result<Header, Fault> {
    let at = Some(raw.span().start);
    let invalid = |message: &str| Fault::new(at, "template.header", message);
    let raw = raw.get_ref();
    match (&raw.text, &raw.document, &raw.document_file, &raw.image, &raw.image_file) {
        (Some(_) | None, None, None, _, _) if raw.filename.is_some() => {
            Err(invalid("has a filename without a document"))
        }
        (Some(words), None, None, None, None) => {
            let field = "template.header.text";
            let text = text::text(words, field, &mut HeaderSlots(slots))?;
            bounded(words, field, &text, HEADER_MAX_CHARS)?;
            if text.params.len() > 1 {
                return Err(Fault::new(Some(words.span().start), field, "has more than one slot"));
            }
            if words.get_ref().contains('\n') {
                return Err(Fault::new(Some(words.span().start), field, "holds a newline"));
            }
            Ok(Header::Text(text))
        }
        (None, Some(words), None, None, None) => Ok(Header::Document {
            link: link(words, "template.header.document", slots)?,
            filename: raw.filename.as_ref().map(|words| file_name(words, slots)).transpose()?,
        }),
        (None, None, Some(words), None, None) => Ok(Header::DocumentFile {
            file: text::value(words, "template.header.document_file", slots)?,
            filename: raw.filename.as_ref().map(|words| file_name(words, slots)).transpose()?,
        }),
        (None, None, None, Some(words), None) => {
            Ok(Header::Image { link: link(words, "template.header.image", slots)? })
        }
        (None, None, None, None, Some(words)) => {
            Ok(Header::ImageFile { file: text::value(words, "template.header.image_file", slots)? })
        }
        _ => Err(invalid("is not exactly one of text, document, document_file, image and image_file")),
    }
}

fn link(words: &Words, field: &str, slots: &mut dyn Slots) -> Result<Value, Fault> {
    let value = text::value(words, field, slots)?;
    match &value {
        Value::Fixed(text) if !is_link(text) => {
            Err(Fault::new(Some(words.span().start), field, "is no address that Meta can fetch")
                .hint("write it like \"https://…\", without spaces"))
        }
        _ => Ok(value),
    }
}

fn file_name(words: &Words, slots: &mut dyn Slots) -> Result<Value, Fault> {
    let field = "template.header.filename";
    let value = text::value(words, field, slots)?;
    match &value {
        Value::Fixed(text) if text.chars().count() > FILENAME_MAX_CHARS => Err(Fault::new(
            Some(words.span().start),
            field,
            format!("is longer than {FILENAME_MAX_CHARS} characters"),
        )),
        _ => Ok(value),
    }
}

/// Whether Meta could fetch it.
fn is_link(text: &str) -> bool {
    text.starts_with("https://") && !text.contains(char::is_whitespace)
}

fn buttons(raw: &[Spanned<RawButton>], slots: &mut dyn Slots) -> Result<Vec<Button>, Fault> {
    if let Some(extra) = raw.get(BUTTONS_MAX) {
        let message = format!("a template has at most {BUTTONS_MAX}, this one has {}", raw.len());
        return Err(Fault::new(Some(extra.span().start), "template.buttons", message));
    }
    let mut buttons = Vec::with_capacity(raw.len());
    for (position, raw) in raw.iter().enumerate() {
        let field = format!("template.buttons[{position}]");
        let next = button(raw, &field, slots)?;
        if let Some(message) = too_many(&buttons, &next) {
            return Err(Fault::new(Some(raw.span().start), &field, message));
        }
        buttons.push(next);
    }
    Ok(buttons)
}

fn button(raw: &Spanned<RawButton>, field: &str, slots: &mut dyn Slots) -> Result<Button, Fault> {
    let RawButton { r#type, payload, suffix, code, pix, boleto, link, check: _ } = raw.get_ref();
    let keys = [
        ("payload", payload),
        ("suffix", suffix),
        ("code", code),
        ("pix", pix),
        ("boleto", boleto),
        ("link", link),
    ];
    let (kind, allowed) = button_type(r#type, field)?;
    let given: Vec<_> = keys.into_iter().filter_map(|(key, words)| Some((key, words.as_ref()?))).collect();
    if let Some((key, words)) = given.iter().find(|(key, _)| !allowed.contains(key)) {
        let message = format!("`{key}` does not belong to a {kind} button");
        return Err(Fault::new(Some(words.span().start), field, message)
            .hint(format!("it takes {}", allowed.join(" or "))));
    }
    let mut given = given.into_iter();
    let value = match (given.next(), given.next()) {
        (Some((key, words)), None) => Some((key, text::value(words, &format!("{field}.{key}"), slots)?)),
        (None, _) if kind == "url" => None,
        (None, _) => {
            let message = format!("a {kind} button needs {}", allowed.join(" or "));
            return Err(Fault::new(Some(raw.span().start), field, message));
        }
        (Some(_), Some(_)) => {
            return Err(Fault::new(
                Some(raw.span().start),
                field,
                "a payment button has exactly one of pix, boleto and link",
            )
            .hint("write one button for each"));
        }
    };
    Ok(match (kind, value) {
        ("quick_reply", Some((_, payload))) => Button::QuickReply { payload },
        ("copy_code", Some((_, code))) => Button::CopyCode { code },
        ("payment_request", Some((key, value))) => Button::PaymentRequest {
            kind: Payment::ALL.into_iter().find(|kind| kind.as_str() == key).unwrap_or(Payment::Link),
            value,
        },
        (_, suffix) => Button::Url { suffix: suffix.map(|(_, suffix)| suffix) },
    })
}

/// A button's type, and the keys one of which carries its value.
fn button_type<'a>(words: &'a Words, field: &str) -> Result<(&'a str, &'static [&'static str]), Fault> {
    let kind = words.get_ref().as_str();
    let keys: &[&str] = match kind {
        "quick_reply" => &["payload"],
        "url" => &["suffix"],
        "copy_code" => &["code"],
        "payment_request" => &["pix", "boleto", "link"],
        _ => {
            let known = ["quick_reply", "url", "copy_code", "payment_request"];
            let message = format!("`{kind}` is none of {}", known.join(", "));
            let fault = Fault::new(Some(words.span().start), &format!("{field}.type"), message);
            return Err(fault.maybe_hint(did_you_mean(kind, known)));
        }
    };
    Ok((kind, keys))
}

/// Why a template cannot have `next` after `before`: Meta's bounds per kind of button.
fn too_many(before: &[Button], next: &Button) -> Option<String> {
    let count = |of: fn(&Button) -> bool| before.iter().filter(|button| of(button)).count();
    match next {
        Button::QuickReply { .. } if before.contains(next) => {
            Some("repeats a quick reply: their payloads could not be told apart".into())
        }
        Button::Url { .. } if count(|b| matches!(b, Button::Url { .. })) >= URL_BUTTONS_MAX => {
            Some(format!("a template has at most {URL_BUTTONS_MAX} url buttons"))
        }
        Button::CopyCode { .. } if count(|b| matches!(b, Button::CopyCode { .. })) >= 1 => {
            Some("a template has at most one copy_code button".into())
        }
        Button::PaymentRequest { kind, .. } => {
            let same = |button: &&Button| matches!(button, Button::PaymentRequest { kind: other, .. } if other == kind);
            if before.iter().any(|button| same(&button)) {
                Some(format!("a template has at most one payment button with {}", kind.as_str()))
            } else if count(|b| matches!(b, Button::PaymentRequest { .. })) >= PAYMENT_BUTTONS_MAX {
                Some(format!("a template has at most {PAYMENT_BUTTONS_MAX} payment buttons"))
            } else {
                None
            }
        }
        _ => None,
    }
}
