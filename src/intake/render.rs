//! Whether a row's values fit the template: what Meta would refuse later is refused now, by column and bound.
//!
//! Pure and cheap: the template's fixed part is counted once, each value is walked once, nothing is allocated. It
//! does not build the text; for display there is `Template::render_body`.

use crate::domain::campaign::{Campaign, PaymentCheck};
use crate::domain::document::is_full_document;
use crate::domain::format::{Fact, Format, FormatError};
use crate::domain::template::{BODY_MAX_CHARS, HEADER_MAX_CHARS, Header, Text, Value};

/// Longest value of a variable, in characters.
pub const VALUE_MAX_CHARS: usize = 1024;

/// Most spaces in a row that Meta takes in a value.
pub const SPACES_MAX: usize = 4;

/// Why a row's values do not fit. Says nothing of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Nothing there, or only spaces.
    #[error("is empty")]
    Empty,
    /// A line break.
    #[error("holds a line break")]
    Newline,
    /// A tab.
    #[error("holds a tab")]
    Tab,
    /// Another control character.
    #[error("holds a control character")]
    Control,
    /// A run of spaces.
    #[error("holds more than {SPACES_MAX} spaces in a row")]
    Spaces,
    /// Too long for any slot.
    #[error("is longer than {VALUE_MAX_CHARS} characters")]
    Long,
    /// The header's document or image cannot be fetched from it.
    #[error("is no https address")]
    Link,
    /// Its column's format.
    #[error("{0}")]
    Format(FormatError),
    /// A document in full where it would be read.
    #[error(
        "is a full CPF or CNPJ, which no message may show; declare the column as cpf, cnpj or document, or leave it out"
    )]
    Document,
    /// A payment code and the row disagree.
    #[error("has another amount than the payment code of its row")]
    PaymentValue,
    /// A boleto and the row disagree.
    #[error("is another due date than that of the boleto of its row")]
    PaymentDue,
    /// The body with all values in it is too long.
    #[error("makes the message longer than {BODY_MAX_CHARS} characters")]
    Body,
    /// The header with its value in it is too long.
    #[error("makes the header longer than {HEADER_MAX_CHARS} characters")]
    Header,
}

/// A value that does not fit: which variable of the campaign, and why. For a body that is too long it is the longest
/// of the values in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Position in `Campaign::variables`.
    pub variable: usize,
    /// Why.
    pub error: ValueError,
}

/// The checks of one campaign, prepared for many rows.
#[derive(Clone, Debug)]
pub struct RenderChecks {
    body_fixed_chars: usize,
    header_fixed_chars: usize,
    uses: Vec<Uses>,
    payments: Vec<PaymentCheck>,
}

/// How often a variable stands in body and header, and whether Meta fetches it.
#[derive(Clone, Copy, Debug, Default)]
struct Uses {
    body: usize,
    header: usize,
    link: bool,
    /// Whether a full document could be read in it.
    open: bool,
}

impl RenderChecks {
    /// Counts the fixed part of the campaign's template.
    pub fn new(campaign: &Campaign) -> Self {
        let template = &campaign.template;
        let mut uses = vec![Uses::default(); campaign.variables.len()];
        for variable in template.body.variables() {
            uses[variable].body += 1;
        }
        let mut header_fixed_chars = 0;
        match &template.header {
            Some(Header::Text(text)) => {
                header_fixed_chars = text.fixed_chars();
                Text::variables(text).for_each(|variable| uses[variable].header += 1);
            }
            Some(Header::Document { link, .. } | Header::Image { link }) => {
                if let Value::Variable(variable) = link {
                    uses[*variable].link = true;
                }
            }
            // Files are looked at before the load.
            Some(Header::DocumentFile { .. } | Header::ImageFile { .. }) | None => {}
        }
        for (uses, variable) in uses.iter_mut().zip(&campaign.variables) {
            let plain = matches!(variable.format, Format::Text | Format::Digits { .. });
            uses.open = plain && uses.body + uses.header > 0;
        }
        let payments = campaign.checks.clone();
        Self { payments, body_fixed_chars: template.body.fixed_chars(), header_fixed_chars, uses }
    }

    /// Checks one row's values, which come in the order of `Campaign::variables`, trimmed.
    pub fn check<'a>(&self, values: impl IntoIterator<Item = &'a str>) -> Result<(), Misfit> {
        let mut body_chars = self.body_fixed_chars;
        let mut header_chars = self.header_fixed_chars;
        let mut longest_in_body = (0, 0);
        let mut in_header = 0;
        for (variable, (value, uses)) in values.into_iter().zip(&self.uses).enumerate() {
            let chars = chars_of(value).map_err(|error| Misfit { variable, error })?;
            if uses.link && !value.starts_with("https://") {
                let error = ValueError::Link;
                return Err(Misfit { variable, error });
            }
            if uses.open && is_full_document(value) {
                let error = ValueError::Document;
                return Err(Misfit { variable, error });
            }
            body_chars += uses.body * chars;
            header_chars += uses.header * chars;
            if uses.body > 0 && chars >= longest_in_body.0 {
                longest_in_body = (chars, variable);
            }
            if uses.header > 0 {
                in_header = variable;
            }
        }
        if header_chars > HEADER_MAX_CHARS {
            return Err(Misfit { variable: in_header, error: ValueError::Header });
        }
        if body_chars > BODY_MAX_CHARS {
            return Err(Misfit { variable: longest_in_body.1, error: ValueError::Body });
        }
        Ok(())
    }

    /// Whether values mean something that is compared: then [`RenderChecks::compare`] is worth calling.
    pub fn compares(&self) -> bool {
        !self.payments.is_empty()
    }

    /// Compares a row's payment codes with its amount and due date. A code without an amount or a date agrees with any.
    pub fn compare(&self, facts: &[Fact]) -> Result<(), Misfit> {
        for check in &self.payments {
            let (cents, boleto) = match facts[check.code] {
                Fact::Boleto(boleto) => (boleto.cents(), Some(boleto)),
                Fact::Pix(cents) => (cents, None),
                _ => (None, None),
            };
            if let (Some(variable), Some(cents)) = (check.value, cents)
                && facts[variable] != Fact::Cents(cents)
            {
                return Err(Misfit { variable, error: ValueError::PaymentValue });
            }
            if let (Some(variable), Some(boleto)) = (check.due, boleto)
                && let Fact::Date(due) = facts[variable]
                && boleto.due_near(due).is_some_and(|found| found != due)
            {
                return Err(Misfit { variable, error: ValueError::PaymentDue });
            }
        }
        Ok(())
    }
}

impl ValueError {
    /// What this control character is called.
    pub(crate) fn control(byte: u8) -> Self {
        match byte {
            b'\n' | b'\r' => Self::Newline,
            b'\t' => Self::Tab,
            _ => Self::Control,
        }
    }

    /// The code in the rejects file and in counts; never changes.
    pub fn reason_code(self) -> &'static str {
        match self {
            Self::Empty => "value_empty",
            Self::Newline => "value_newline",
            Self::Tab => "value_tab",
            Self::Control => "value_control",
            Self::Spaces => "value_spaces",
            Self::Long => "value_too_long",
            Self::Link => "value_not_a_link",
            Self::Format(error) => error.reason_code(),
            Self::Document => "document_in_text",
            Self::PaymentValue => "payment_value",
            Self::PaymentDue => "payment_due",
            Self::Body => "body_too_long",
            Self::Header => "header_too_long",
        }
    }
}

/// Characters of a value that Meta would take.
fn chars_of(value: &str) -> Result<usize, ValueError> {
    let bytes = value.as_bytes();
    // Counted without leaving early, so that the compiler takes many bytes at once.
    let count = |of: fn(u8) -> bool| bytes.iter().map(|byte| usize::from(of(*byte))).sum::<usize>();
    let control: fn(u8) -> bool = |byte| byte < b' ' || byte == 0x7f;
    if count(control) > 0 || count(|byte| byte == b' ') > SPACES_MAX {
        let mut spaces = 0;
        for byte in bytes {
            if control(*byte) {
                return Err(ValueError::control(*byte));
            }
            spaces = if *byte == b' ' { spaces + 1 } else { 0 };
            if spaces > SPACES_MAX {
                return Err(ValueError::Spaces);
            }
        }
    }
    // Every byte that does not continue a character begins one.
    let chars = count(|byte| byte & 0xc0 != 0x80);
    match chars {
        0 => Err(ValueError::Empty),
        1..=VALUE_MAX_CHARS => Ok(chars),
        _ => Err(ValueError::Long),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::campaign_file;

    fn checks(header: &str, body: &str) -> RenderChecks {
        let text = format!(
            "id = \"a\"\naccount = \"1\"\n[template]\nname = \"a\"\nlanguage = \"pt_BR\"\n{header}\nbody = \"{body}\"\n\
             [columns]\nphone = \"t\"\n[columns.variables]\na = \"col a\"\nb = \"col b\"\n"
        );
        RenderChecks::new(&campaign_file::parse(&text, "c.toml").unwrap())
    }

    fn check(values: [&str; 2], expect: Result<(), (usize, ValueError)>) {
        let checks = checks("", "{{a}}: {{b}}, {{b}}");
        let found = checks.check(values).map_err(|misfit| (misfit.variable, misfit.error));
        assert_eq!(found, expect);
    }

    #[test]
    fn values_that_meta_would_refuse() {
        use ValueError as E;
        check(["x", "y"], Ok(()));
        check(["a    b", "R$\u{a0}1.234,56 é 😊"], Ok(()));
        check(["", "y"], Err((0, E::Empty)));
        check(["x", "a\nb"], Err((1, E::Newline)));
        check(["x", "a\rb"], Err((1, E::Newline)));
        check(["x", "a\tb"], Err((1, E::Tab)));
        check(["x", "a\0b"], Err((1, E::Control)));
        check(["x", "a     b"], Err((1, E::Spaces)));
        check([&"é".repeat(1025), "y"], Err((0, E::Long)));
    }

    #[test]
    fn the_body_is_measured_with_every_value_in_it() {
        // Four fixed characters, `a` once, `b` twice.
        check(["x", &"é".repeat(509)], Ok(()));
        check(["xx", &"é".repeat(509)], Ok(()));
        check(["xxx", &"é".repeat(509)], Err((1, ValueError::Body)));
        check([&"é".repeat(1000), &"é".repeat(11)], Err((0, ValueError::Body)));
    }

    #[test]
    fn the_header_too() {
        let checks = checks("header = { text = \"Fatura {{b}}\" }", "{{a}}");
        assert_eq!(checks.check([&"é".repeat(53), "x"]), Ok(()));
        let misfit = checks.check([&"é".repeat(54), "x"]).unwrap_err();
        assert_eq!((misfit.variable, misfit.error), (0, ValueError::Header));
        let links = super::tests::checks("header = { document = \"{{b}}\" }", "{{a}}");
        assert_eq!(links.check(["https://a/b.pdf", "x"]), Ok(()));
        assert_eq!(links.check(["b.pdf", "x"]).unwrap_err().error, ValueError::Link);
    }

    #[test]
    fn a_full_document_is_refused_where_it_would_be_read() {
        for document in ["12345678909", "123.456.789-09", "11222333000181", "11.222.333/0001-81"] {
            check(["x", document], Err((1, ValueError::Document)));
        }
        check(["x", "CPF ***.456.789-**"], Ok(()));
        let button = checks("buttons = [{ type = \"url\", suffix = \"{{b}}\" }]", "{{a}}");
        assert_eq!(button.check(["x", "12345678909"]), Ok(()), "in a button's address it is not read");
    }

    #[test]
    fn payment_codes_say_what_the_row_says() {
        let text = "id = \"a\"\naccount = \"1\"\n[template]\nname = \"a\"\nlanguage = \"pt_BR\"\nbody = \"{{valor}} {{data}}\"\n\
                    [[template.buttons]]\ntype = \"payment_request\"\nboleto = \"{{linha}}\"\n\
                    check = { value = \"valor\", due = \"data\" }\n[columns]\nphone = \"t\"\n[columns.variables]\nlinha = \"l\"\n\
                    valor = { column = \"v\", format = \"brl\" }\ndata = { column = \"d\", format = \"date\" }\n";
        let campaign = campaign_file::parse(text, "c.toml").unwrap();
        let checks = RenderChecks::new(&campaign);
        let line = "00190000090123456700400000101170816560000015075";
        let compare = |line: &str, amount: &str, date: &str| {
            let values = campaign.variables.iter().map(|variable| match variable.name.as_str() {
                "linha" => line,
                "valor" => amount,
                _ => date,
            });
            let facts: Vec<Fact> = values
                .zip(&campaign.variables)
                .map(|(value, variable)| variable.format.apply(value, &mut String::new()).unwrap())
                .collect();
            checks
                .compare(&facts)
                .map_err(|misfit| (campaign.variables[misfit.variable].name.clone(), misfit.error))
        };
        assert!(checks.compares());
        assert_eq!(compare(line, "150,75", "10/12/2026"), Ok(()));
        assert_eq!(compare(line, "150,76", "10/12/2026"), Err(("valor".into(), ValueError::PaymentValue)));
        assert_eq!(compare(line, "150,75", "11/12/2026"), Err(("data".into(), ValueError::PaymentDue)));
        // A line of a city's has an amount and no due date.
        let city = "836800000017507500481233456789012345567890123456";
        assert_eq!(compare(city, "150,75", "11/12/2026"), Ok(()));
        assert_eq!(compare(city, "150,74", "11/12/2026"), Err(("valor".into(), ValueError::PaymentValue)));
    }
}
