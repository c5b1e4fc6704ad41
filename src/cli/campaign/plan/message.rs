//! A message as the debtor will see it, and as Meta will get it. Pure.
//!
//! The phone is masked in both: what is printed is kept in scrollbacks and logs of others. The values are shown,
//! since they are what a manager has to see.

use serde_json::{Value as Json, json};

use super::rows::Sample;
use super::template::part;
use crate::cloud::body::Body;
use crate::cloud::manage::RemoteTemplate;
use crate::domain::campaign::Campaign;
use crate::domain::ids::{CampaignSeq, LaneId, MessageId, WireId};
use crate::domain::template::{Button, Header, Payment, Value};

/// A message to be shown.
#[derive(Clone, PartialEq)]
pub struct Shown {
    /// Line of its row; None: it is no row of a file.
    pub line: Option<u64>,
    /// The phone without its middle.
    pub to: String,
    /// What stands above the body.
    pub header: Option<String>,
    /// The body.
    pub body: String,
    /// The small print, as Meta has it.
    pub footer: Option<String>,
    /// Labels or kinds, with what each carries.
    pub buttons: Vec<String>,
    /// The request, with the phone masked.
    pub request: Json,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("line", &self.line).finish_non_exhaustive()
    }
}

impl Shown {
    /// Renders a row.
    pub fn new(campaign: &Campaign, sample: &Sample, remote: Option<&RemoteTemplate>) -> Self {
        let (template, values) = (&campaign.template, &sample.values);
        let header = match &template.header {
            Some(Header::Text(text)) => Some(text.render(values)),
            Some(Header::Document { link, filename }) => {
                let name = filename.as_ref().map(|name| name.resolve(values));
                Some(format!("[document] {}", name.unwrap_or_else(|| link.resolve(values))))
            }
            Some(Header::DocumentFile { file, filename }) => {
                let name = filename.as_ref().map(|name| name.resolve(values));
                Some(format!("[document] {}", name.unwrap_or_else(|| file.resolve(values))))
            }
            Some(Header::Image { link }) => Some(format!("[image] {}", link.resolve(values))),
            Some(Header::ImageFile { file }) => Some(format!("[image] {}", file.resolve(values))),
            None => remote.and_then(|remote| part(remote, "HEADER")?.text.clone()),
        };
        let labels = remote.and_then(|remote| part(remote, "BUTTONS")).map(|part| part.buttons.as_slice());
        let button = |(at, button): (usize, &Button)| {
            let label = labels.and_then(|labels| labels.get(at)?.text.as_deref());
            button_text(button, label, values)
        };
        let request = Body::compile(campaign)
            .render(sample.phone, &nobody(), |variable| values.get(variable).map_or("", String::as_str));
        let mut request: Json = serde_json::from_slice(&request).unwrap_or(Json::Null);
        let to = masked(sample.phone);
        if let Some(field) = request.get_mut("to") {
            *field = json!(to);
        }
        Self {
            line: (sample.line > 0).then_some(sample.line),
            to,
            header,
            body: template.render_body(values),
            footer: remote.and_then(|remote| part(remote, "FOOTER")?.text.clone()),
            buttons: template.buttons.iter().enumerate().map(button).collect(),
            request,
        }
    }

    /// As JSON.
    pub fn json(&self) -> Json {
        json!({
            "line": self.line, "to": self.to, "header": self.header, "body": self.body, "footer": self.footer,
            "buttons": self.buttons, "request": self.request,
        })
    }

    /// As lines of a box.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.header.iter().map(|header| format!("*{header}*")));
        lines.extend(self.body.lines().map(str::to_owned));
        lines.extend(self.footer.iter().map(|footer| format!("({footer})")));
        lines.extend(self.buttons.iter().map(|button| format!("[ {button} ]")));
        lines
    }
}

/// A phone with its middle digits hidden: `+5511*****4321`.
pub fn masked(phone: u64) -> String {
    let digits = phone.to_string();
    let (first, last) = (4.min(digits.len()), digits.len().saturating_sub(4).max(4.min(digits.len())));
    format!("+{}{}{}", &digits[..first], "*".repeat(last - first), &digits[last..])
}

/// The id of a message that is none of an installation's: receipts of it are ignored.
pub fn nobody() -> WireId {
    let lane = LaneId { campaign: CampaignSeq(0), lane: 0 };
    WireId { installation: "plan".to_owned(), message: MessageId { lane, index: 0 }, generation: 1 }
}

fn button_text(button: &Button, label: Option<&str>, values: &[String]) -> String {
    let carries = |what: &str, value: Option<&Value>| {
        let value = value.map(|value| format!(": {}", value.resolve(values))).unwrap_or_default();
        match label {
            Some(label) => format!("{label} ({what}{value})"),
            None => format!("{what}{value}"),
        }
    };
    match button {
        Button::QuickReply { payload } => carries("answers", Some(payload)),
        Button::Url { suffix } => carries("opens the template's address", suffix.as_ref()),
        Button::CopyCode { code } => carries("copies", Some(code)),
        Button::PaymentRequest { kind, value } => carries(
            match kind {
                Payment::Boleto => "copies the boleto line",
                Payment::Pix => "copies the Pix code",
                Payment::Link => "opens the payment",
            },
            Some(value),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::campaign_file;

    #[test]
    fn a_phone_is_masked_everywhere() {
        assert_eq!(masked(5_511_987_654_321), "+5511*****4321");
        assert_eq!(masked(551), "+551");
        assert_eq!(masked(55_119_876), "+55119876");
    }

    #[test]
    fn a_message_is_shown_as_the_debtor_reads_it() {
        let file = include_str!("../../../../config/campaigns/vence-hoje.toml");
        let campaign = campaign_file::parse(file, "f").unwrap();
        let value = |variable: &crate::domain::campaign::Variable| format!("<{}>", variable.name);
        let values = campaign.variables.iter().map(value).collect();
        let shown = Shown::new(&campaign, &Sample { line: 2, phone: 5_511_987_654_321, values }, None);
        assert_eq!(shown.header.as_deref(), Some("Vencimento em <header_1>"));
        assert!(shown.body.starts_with("Olá, <1>! Aqui é"), "{}", shown.body);
        assert_eq!(shown.buttons[0], "copies the boleto line: <linha_digitavel>");
        assert_eq!(shown.request["to"], "+5511*****4321");
        assert!(!shown.json().to_string().contains("87654321"));
        assert_eq!(shown.request["template"]["name"], "vence_hoje");
    }
}
