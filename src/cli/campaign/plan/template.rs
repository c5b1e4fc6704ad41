//! The campaign's template against what Meta has: name, language, status, category, parameters, text, buttons. Pure.

use serde_json::{Value, json};

use crate::cloud::manage::{RemoteComponent, RemoteTemplate};
use crate::domain::campaign::Campaign;
use crate::domain::template::{Button, Header, Piece, Text};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// The template as Meta has it, if it has one of this name and language.
    pub remote: Option<RemoteTemplate>,
    /// What does not fit; with any of these Meta would refuse, or people would read something else.
    pub problems: Vec<Problem>,
}

/// One thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `name`, `language`, `status`, `body`, `body_text`, `header`, `buttons`.
    pub field: &'static str,
    /// In words.
    pub message: String,
}

impl Compared {
    /// As JSON.
    pub fn json(&self) -> Value {
        let problems = self.problems.iter();
        json!({
            "found": self.remote.is_some(), "status": self.remote.as_ref().map(|remote| &remote.status),
            "category": self.remote.as_ref().map(|remote| &remote.category),
            "meta_id": self.remote.as_ref().map(|remote| &remote.id),
            "problems": problems.map(|one| json!({ "field": one.field, "message": one.message })).collect::<Vec<_>>(),
        })
    }

    fn problem(&mut self, field: &'static str, message: String) {
        self.problems.push(Problem { field, message });
    }
}

/// Compares a campaign's template with those that Meta has of its name.
pub fn compare(campaign: &Campaign, found: &[RemoteTemplate]) -> Compared {
    let ours = &campaign.template;
    let mut compared = Compared::default();
    let same_name: Vec<&RemoteTemplate> = found.iter().filter(|remote| remote.name == ours.name).collect();
    let Some(remote) = same_name.iter().find(|remote| remote.language == ours.language) else {
        if same_name.is_empty() {
            compared.problem("name", format!("account {} has no template {}", campaign.account, ours.name));
        } else {
            let languages: Vec<&str> = same_name.iter().map(|remote| remote.language.as_str()).collect();
            let message =
                format!("Meta has {} in {}, not in {}", ours.name, languages.join(", "), ours.language);
            compared.problem("language", message);
        }
        return compared;
    };
    compared.remote = Some((*remote).clone());
    if remote.status != "APPROVED" {
        compared.problem("status", format!("is {}, and only an APPROVED template is sent", remote.status));
    }
    let body = part(remote, "BODY").and_then(|body| body.text.as_deref()).unwrap_or_default();
    parameters(&ours.body, body, "body", &mut compared);
    if squeezed(&written(&ours.body)) != squeezed(&body.replace(['\r'], "")) {
        let message = "the text that Meta has is another one; the debtor reads Meta's".to_owned();
        compared.problem("body_text", message);
    }
    header(ours.header.as_ref(), part(remote, "HEADER"), &mut compared);
    buttons(&ours.buttons, part(remote, "BUTTONS"), &mut compared);
    compared
}

/// A part of a template by its kind.
pub fn part<'a>(remote: &'a RemoteTemplate, kind: &str) -> Option<&'a RemoteComponent> {
    remote.components.iter().find(|component| component.kind.eq_ignore_ascii_case(kind))
}

fn parameters(ours: &Text, theirs: &str, field: &'static str, compared: &mut Compared) {
    let remote = slots(theirs);
    let positional = ours.params.iter().all(|param| param.name.is_none());
    if positional {
        if ours.params.len() != remote.len() {
            let message = format!("has {} parameters here and {} at Meta", ours.params.len(), remote.len());
            compared.problem(field, message);
        } else if remote.iter().any(|slot| slot.parse::<u32>().is_err()) {
            compared.problem(
                field,
                format!("has numbered parameters here and named ones at Meta: {}", remote.join(", ")),
            );
        }
        return;
    }
    let mut names: Vec<&str> = ours.params.iter().filter_map(|param| param.name.as_deref()).collect();
    let mut remote: Vec<&str> = remote.iter().map(String::as_str).collect();
    names.sort_unstable();
    remote.sort_unstable();
    if names != remote {
        let message =
            format!("has the parameters {} here and {} at Meta", names.join(", "), remote.join(", "));
        compared.problem(field, message);
    }
}

fn header(ours: Option<&Header>, theirs: Option<&RemoteComponent>, compared: &mut Compared) {
    let format = |theirs: &RemoteComponent| theirs.format.clone().unwrap_or_else(|| "TEXT".to_owned());
    let expected = match ours {
        None => None,
        Some(Header::Text(_)) => Some("TEXT"),
        Some(Header::Document { .. } | Header::DocumentFile { .. }) => Some("DOCUMENT"),
        Some(Header::Image { .. } | Header::ImageFile { .. }) => Some("IMAGE"),
    };
    match (expected, theirs) {
        (None, None) => {}
        // A fixed header needs no parameter, so the campaign need not name it.
        (None, Some(theirs)) if format(theirs) == "TEXT" => {
            if !slots(theirs.text.as_deref().unwrap_or_default()).is_empty() {
                compared.problem("header", "has a parameter at Meta and is missing here".to_owned());
            }
        }
        (Some(expected), Some(theirs)) if format(theirs) == expected => {
            if let Some(Header::Text(text)) = ours {
                parameters(text, theirs.text.as_deref().unwrap_or_default(), "header", compared);
            }
        }
        (expected, theirs) => {
            let theirs = theirs.map_or_else(|| "none".to_owned(), format);
            compared
                .problem("header", format!("is {} here and {theirs} at Meta", expected.unwrap_or("none")));
        }
    }
}

fn buttons(ours: &[Button], theirs: Option<&RemoteComponent>, compared: &mut Compared) {
    let kind = |button: &Button| match button {
        Button::QuickReply { .. } => "QUICK_REPLY",
        Button::Url { .. } => "URL",
        Button::CopyCode { .. } => "COPY_CODE",
        Button::PaymentRequest { .. } => "PAYMENT_REQUEST",
    };
    let ours_kinds: Vec<&str> = ours.iter().map(kind).collect();
    let theirs = theirs.map(|part| part.buttons.as_slice()).unwrap_or_default();
    let their_kinds: Vec<&str> = theirs.iter().map(|button| button.kind.as_str()).collect();
    if ours_kinds != their_kinds {
        let named = |kinds: &[&str]| if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") };
        compared.problem(
            "buttons",
            format!("are {} here and {} at Meta", named(&ours_kinds), named(&their_kinds)),
        );
        return;
    }
    for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        if let Button::Url { suffix } = ours {
            let variable = theirs.url.as_deref().is_some_and(|url| url.contains("{{"));
            if suffix.is_some() != variable {
                let message = format!(
                    "button {}: its address has a variable end only {}",
                    at + 1,
                    if variable { "at Meta" } else { "here" }
                );
                compared.problem("buttons", message);
            }
        }
    }
}

/// The text with its slots, as Meta lists it.
fn written(text: &Text) -> String {
    let mut out = String::new();
    for piece in &text.pieces {
        match piece {
            Piece::Literal(literal) => out.push_str(literal),
            Piece::Param(at) => match &text.params[*at].name {
                Some(name) => out.push_str(&format!("{{{{{name}}}}}")),
                None => out.push_str(&format!("{{{{{}}}}}", at + 1)),
            },
        }
    }
    out
}

/// Without the spaces at the ends of lines and of the text: they are not seen.
fn squeezed(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
    lines.join("\n")
}

/// The names in `{{…}}`, each once, in order.
fn slots(text: &str) -> Vec<String> {
    let mut slots: Vec<String> = Vec::new();
    for piece in text.split("{{").skip(1) {
        if let Some((name, _)) = piece.split_once("}}") {
            let name = name.trim().to_owned();
            if !slots.contains(&name) {
                slots.push(name);
            }
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::manage::RemoteButton;
    use crate::intake::campaign_file;

    fn campaign() -> Campaign {
        let text = "id = \"a\"\naccount = \"1\"\n[template]\nname = \"aviso\"\nlanguage = \"pt_BR\"\nheader = { text = \"Fatura {{1}}\" }\nbody = \"Olá, {{nome}}! São {{valor}}.\"\n[[template.buttons]]\ntype = \"quick_reply\"\npayload = \"SIM\"\n[columns]\nphone = \"t\"\n[columns.variables]\nnome = \"n\"\nvalor = \"v\"\nheader_1 = \"f\"\n";
        campaign_file::parse(text, "a.toml").unwrap()
    }

    fn remote() -> RemoteTemplate {
        let part = |kind: &str, format: Option<&str>, text: Option<&str>| RemoteComponent {
            kind: kind.to_owned(),
            format: format.map(str::to_owned),
            text: text.map(str::to_owned),
            buttons: Vec::new(),
        };
        let button = RemoteButton { kind: "QUICK_REPLY".to_owned(), text: Some("Sim".to_owned()), url: None };
        RemoteTemplate {
            id: "9".to_owned(),
            name: "aviso".to_owned(),
            language: "pt_BR".to_owned(),
            category: "UTILITY".to_owned(),
            status: "APPROVED".to_owned(),
            parameter_format: "NAMED".to_owned(),
            components: vec![
                part("HEADER", Some("TEXT"), Some("Fatura {{1}}")),
                part("BODY", None, Some("Olá, {{nome}}! São {{valor}}.")),
                part("FOOTER", None, Some("Lojas Aurora")),
                RemoteComponent { buttons: vec![button], ..part("BUTTONS", None, None) },
            ],
        }
    }

    fn check(change: impl FnOnce(&mut RemoteTemplate), expect: &[&str]) {
        let mut remote = remote();
        change(&mut remote);
        let fields: Vec<&str> =
            compare(&campaign(), &[remote]).problems.iter().map(|one| one.field).collect();
        assert_eq!(fields, expect);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        check(|_| (), &[]);
        check(|remote| remote.name = "outro".to_owned(), &["name"]);
        check(|remote| remote.language = "pt_PT".to_owned(), &["language"]);
        check(|remote| remote.status = "PAUSED".to_owned(), &["status"]);
        check(
            |remote| remote.components[1].text = Some("Olá, {{nome}}! São {{valor}}!".to_owned()),
            &["body_text"],
        );
        check(
            |remote| remote.components[1].text = Some("Olá, {{nome}}! São {{total}}.".to_owned()),
            &["body", "body_text"],
        );
        check(|remote| remote.components[0].format = Some("IMAGE".to_owned()), &["header"]);
        check(|remote| remote.components[0].text = Some("Fatura".to_owned()), &["header"]);
        check(|remote| remote.components[3].buttons.clear(), &["buttons"]);
        check(|remote| drop(remote.components.remove(0)), &["header"]);
        assert_eq!(compare(&campaign(), &[]).problems[0].field, "name");
    }
}
