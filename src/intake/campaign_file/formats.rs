//! Formats of columns, and what payment buttons ask of theirs.

use toml::Spanned;

use super::raw::{RawButton, RawTemplate, RawVariable, Words};
use super::text::Slots;
use super::{Fault, did_you_mean};
use crate::domain::campaign::{PaymentCheck, Variable};
use crate::domain::format::{BrlInput, DateInput, Format, MonthInput};
use crate::domain::template::{Button, Header, Payment, Piece, Template, Text, Value};

/// Most digits of a column of digits.
const LENGTH_MAX: i64 = 64;

/// The format that the file declares for a variable.
pub(super) fn format(name: &str, raw: &RawVariable) -> Result<Format, Fault> {
    let field = |key: &str| format!("columns.variables.{name}.{key}");
    let named = raw.format.as_ref().map_or("text", |words| words.get_ref().as_str());
    let input = raw.input.as_ref();
    let format = match named {
        "text" => Format::Text,
        "first_name" => Format::FirstName,
        "brl" => Format::Brl(one_of(input, &field("input"), &BrlInput::ALL, BrlInput::as_str)?),
        "amount" => Format::Amount(one_of(input, &field("input"), &BrlInput::ALL, BrlInput::as_str)?),
        "date" => Format::Date(one_of(input, &field("input"), &DateInput::ALL, DateInput::as_str)?),
        "month" => Format::Month(one_of(input, &field("input"), &MonthInput::ALL, MonthInput::as_str)?),
        "digits" => Format::Digits { length: length(raw.length.as_ref(), &field("length"))? },
        "cpf" => Format::Cpf,
        "cnpj" => Format::Cnpj,
        "document" => Format::Document,
        "boleto" => Format::Boleto,
        "pix" => Format::Pix,
        _ => {
            let at = raw.format.as_ref().map(|words| words.span().start);
            let message = format!("`{named}` is none of {}", Format::NAMES.join(", "));
            return Err(
                Fault::new(at, &field("format"), message).maybe_hint(did_you_mean(named, Format::NAMES))
            );
        }
    };
    let takes_input =
        matches!(format, Format::Brl(_) | Format::Amount(_) | Format::Date(_) | Format::Month(_));
    if let Some(words) = input.filter(|_| !takes_input) {
        let message = format!("the format {named} is written in one way only");
        return Err(Fault::new(Some(words.span().start), &field("input"), message).hint("remove it"));
    }
    if let Some(length) = raw.length.as_ref().filter(|_| !matches!(format, Format::Digits { .. })) {
        let message = format!("the format {named} has no length");
        return Err(Fault::new(Some(length.span().start), &field("length"), message).hint("remove it"));
    }
    Ok(format)
}

/// What payment buttons compare their codes with. The variables count as used.
pub(super) fn payments(
    raw: &RawTemplate,
    template: &Template,
    slots: &mut dyn Slots,
) -> Result<Vec<PaymentCheck>, Fault> {
    let mut checks = Vec::new();
    for (position, (raw, button)) in raw.buttons.iter().zip(&template.buttons).enumerate() {
        let Some(check) = &raw.get_ref().check else { continue };
        let field = format!("template.buttons[{position}].check");
        let at = Some(check.span().start);
        let Button::PaymentRequest { kind: Payment::Boleto | Payment::Pix, value: Value::Variable(code) } =
            button
        else {
            return Err(Fault::new(
                at,
                &field,
                "belongs to a payment button whose boleto or pix is a column",
            ));
        };
        let check = check.get_ref();
        if check.value.is_none() && check.due.is_none() {
            return Err(Fault::new(at, &field, "needs value, due or both")
                .hint("name variables, such as { value = \"valor\", due = \"vencimento\" }"));
        }
        if let (Some(due), Button::PaymentRequest { kind: Payment::Pix, .. }) = (&check.due, button) {
            let message = "a Pix code holds no due date";
            return Err(Fault::new(Some(due.span().start), &format!("{field}.due"), message));
        }
        let mut find = |words: &Option<Words>, key: &str| {
            let find =
                |words: &Words| slots.find(words.get_ref(), words.span().start, &format!("{field}.{key}"));
            words.as_ref().map(find).transpose()
        };
        let (value, due) = (find(&check.value, "value")?, find(&check.due, "due")?);
        checks.push(PaymentCheck { code: *code, value, due });
    }
    Ok(checks)
}

/// Gives payment codes their formats, and refuses formats that cannot be meant.
pub(super) fn settle(
    raw: &RawTemplate,
    template: &Template,
    checks: &[PaymentCheck],
    variables: &mut [Variable],
) -> Result<(), Fault> {
    for (position, (raw, button)) in raw.buttons.iter().zip(&template.buttons).enumerate() {
        code(raw, position, button, variables)?;
    }
    for check in checks {
        let wrong = |at: usize, key: &str, format: &str| {
            let name = &variables[at].name;
            Fault::new(
                None,
                &format!("columns.variables.{name}"),
                format!("is compared with a payment code as {key}"),
            )
            .hint(format!("declare it as {name} = {{ column = \"…\", format = \"{format}\" }}"))
        };
        if let Some(at) = check.value
            && !matches!(variables[at].format, Format::Brl(_) | Format::Amount(_))
        {
            return Err(wrong(at, "value", "brl"));
        }
        if let Some(at) = check.due
            && !matches!(variables[at].format, Format::Date(_))
        {
            return Err(wrong(at, "due", "date"));
        }
    }
    currency(&template.body, "template.body", raw.body.span().start, variables)?;
    match (&template.header, &raw.header) {
        (Some(Header::Text(text)), Some(raw)) => {
            currency(text, "template.header.text", raw.span().start, variables)
        }
        _ => Ok(()),
    }
}

/// A boleto or Pix button: its column gets the format, its fixed code is checked.
fn code(
    raw: &Spanned<RawButton>,
    position: usize,
    button: &Button,
    variables: &mut [Variable],
) -> Result<(), Fault> {
    let Button::PaymentRequest { kind, value } = button else { return Ok(()) };
    let format = match kind {
        Payment::Boleto => Format::Boleto,
        Payment::Pix => Format::Pix,
        Payment::Link => return Ok(()),
    };
    let field = format!("template.buttons[{position}].{}", kind.as_str());
    let at = Some(raw.span().start);
    match value {
        Value::Fixed(text) => {
            let checked = format.apply(text, &mut String::new());
            checked.map(|_| ()).map_err(|error| Fault::new(at, &field, error.to_string()))
        }
        Value::Variable(variable) => {
            let variable = &mut variables[*variable];
            if !variable.format.is_text() && variable.format != format {
                let message = format!("takes the column {} as {}", variable.column, variable.format.as_str());
                return Err(Fault::new(at, &field, message)
                    .hint(format!("leave its format out, or declare {}", format.as_str())));
            }
            variable.format = format;
            Ok(())
        }
    }
}

/// The template has `R$` in front of a slot that writes it too.
fn currency(text: &Text, field: &str, at: usize, variables: &[Variable]) -> Result<(), Fault> {
    for pair in text.pieces.windows(2) {
        let [Piece::Literal(before), Piece::Param(param)] = pair else { continue };
        let Value::Variable(variable) = &text.params[*param].value else { continue };
        let variable = &variables[*variable];
        if matches!(variable.format, Format::Brl(_)) && before.trim_end().ends_with("R$") {
            let message =
                format!("has R$ in front of {{{{{}}}}}, whose format brl writes it too", variable.name);
            return Err(Fault::new(Some(at), field, message)
                .hint("use format = \"amount\", or a template without R$ there"));
        }
    }
    Ok(())
}

/// The named one; the first where nothing is said.
fn one_of<T: Copy>(
    words: Option<&Words>,
    field: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<T, Fault> {
    let Some(words) = words else { return Ok(all[0]) };
    all.iter().copied().find(|one| name(*one) == words.get_ref()).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|one| name(*one)).collect();
        let message = format!("`{}` is none of {}", words.get_ref(), names.join(", "));
        Fault::new(Some(words.span().start), field, message)
    })
}

fn length(raw: Option<&Spanned<i64>>, field: &str) -> Result<Option<u8>, Fault> {
    let Some(raw) = raw else { return Ok(None) };
    let value = *raw.get_ref();
    match u8::try_from(value) {
        Ok(good) if (1..=LENGTH_MAX).contains(&value) => Ok(Some(good)),
        _ => {
            Err(Fault::new(Some(raw.span().start), field, format!("{value} is not within 1 to {LENGTH_MAX}")))
        }
    }
}
