//! Campaign files, good and bad.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::domain::campaign::{DedupKey, PaymentCheck, Priority};
use crate::domain::format::{BrlInput, DateInput, Format, MonthInput};
use crate::domain::template::{Button, Header, Payment, Piece, Value};

const GOOD: &str = r#"id = "vencimento-amanha"
account = "1029384756"
[template]
name = "aviso"
language = "pt_BR"
body = "Olá {{nome}}, vence em {{data}}."
[columns]
phone = "telefone"
[columns.variables]
nome = "nome"
data = "vencimento"
"#;

/// Replaces `from` in a good file by `to` and expects the first problem to print as `expect`.
fn check(from: &str, to: &str, expect: &str) {
    assert!(GOOD.contains(from), "{from}");
    let error = parse(&GOOD.replacen(from, to, 1), "c.toml").unwrap_err();
    assert_eq!(error.to_string(), expect);
}

fn ready(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/campaigns").join(name)
}

#[test]
fn the_ready_files_are_good() {
    let mut found: Vec<_> =
        std::fs::read_dir(ready("")).unwrap().map(|entry| read(&entry.unwrap().path()).unwrap().id).collect();
    found.sort();
    let names = ["lembrete-vencimento", "segunda-via", "vamos-conversar", "vence-hoje", "vencimento-amanha"];
    assert_eq!(found, names);
    for name in names {
        let campaign = read(&ready(&format!("{name}.toml"))).unwrap();
        assert_eq!(campaign.id, name, "the file has the campaign's name");
        let body = campaign.template.render_body(&vec!["x"; campaign.variables.len()]);
        assert!(!body.starts_with('\n') && !body.ends_with('\n'));
    }
}

#[test]
fn a_file_in_full() {
    let campaign = read(&ready("vencimento-amanha.toml")).unwrap();
    assert_eq!(campaign.priority, Priority::High);
    assert_eq!(campaign.dedup, DedupKey::Person);
    assert_eq!(campaign.validity, Duration::from_secs(12 * 3600));
    // Values are stored in the order in which slots ask for them: header, body, buttons.
    assert_eq!(campaign.variables[0].name, "fatura");
    assert_eq!(campaign.variables[0].column, "url_boleto");
    assert_eq!(
        campaign.template.header,
        Some(Header::Document {
            link: Value::Variable(0),
            filename: Some(Value::Fixed("fatura.pdf".into())),
        })
    );
    let Button::PaymentRequest { kind, value } = &campaign.template.buttons[0] else {
        panic!("a payment button");
    };
    assert_eq!(*kind, Payment::Boleto);
    let Value::Variable(at) = value else { panic!("a variable") };
    assert_eq!(campaign.variables[*at].column, "linha_digitavel");
    assert!(campaign.template.body.params.iter().all(|param| param.name.is_some()));
}

#[test]
fn numbered_slots_go_by_number_and_the_header_counts_apart() {
    let campaign = read(&ready("vence-hoje.toml")).unwrap();
    let body = &campaign.template.body;
    assert!(body.params.iter().all(|param| param.name.is_none()));
    let columns: Vec<_> = body
        .params
        .iter()
        .map(|param| match param.value {
            Value::Variable(at) => campaign.variables[at].column.as_str(),
            Value::Fixed(_) => "fixed",
        })
        .collect();
    assert_eq!(columns, ["nome", "valor", "contrato"]);
    let Some(Header::Text(header)) = &campaign.template.header else { panic!("a text header") };
    assert_eq!(header.pieces[0], Piece::Literal("Vencimento em ".into()));
    assert_eq!(header.params[0].value, Value::Variable(0));
    assert_eq!(campaign.variables[0].column, "vencimento");
}

#[test]
fn defaults() {
    let campaign = parse(GOOD, "c.toml").unwrap();
    assert!(campaign.numbers.is_empty());
    assert_eq!(campaign.priority, Priority::Normal);
    assert_eq!(campaign.dedup, DedupKey::Person);
    assert_eq!(campaign.validity, Duration::from_secs(24 * 3600));
    assert_eq!(campaign.retry.max_attempts, 5);
    assert_eq!(campaign.expected, None);
    assert_eq!(parse(&format!("\u{feff}{GOOD}"), "c.toml").unwrap(), campaign);
}

#[test]
fn what_is_no_campaign_file() {
    let long = "x = 1\n".repeat(FILE_MAX_BYTES);
    assert_eq!(parse(&long, "c.toml").unwrap_err().code(), "campaign_file_too_large");
    assert_eq!(read(&ready("none.toml")).unwrap_err().code(), "campaign_file_unreadable");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("latin.toml");
    std::fs::write(&path, b"id = \"\xe9\"").unwrap();
    assert_eq!(read(&path).unwrap_err().code(), "campaign_file_not_utf8");
    std::fs::write(&path, &long).unwrap();
    assert_eq!(read(&path).unwrap_err().code(), "campaign_file_too_large");
    let problem = parse("id = \n", "c.toml").unwrap_err();
    assert_eq!(problem.problem().unwrap().line, Some(1));
}

#[test]
fn unknown_and_missing_keys() {
    check(
        "account = ",
        "acount = ",
        "c.toml:2: unknown field `acount`, expected one of `id`, `account`, `numbers`, `priority`, `dedup`, `expected`, \
         `validity`, `valid_until`, `calendar`, `stop_if`, `hours`, `pace_share`, `weight`, `cap`, `template`, `columns`, `retry`, `doubt`; \
         did you mean `account`?",
    );
    check("id = \"vencimento-amanha\"\n", "", "c.toml:1: missing field `id`");
}

#[test]
fn ids_and_names() {
    let id = "is no name of a campaign; use 1 to 64 of a-z, 0-9, - and _, such as \"vencimento-amanha\"";
    check("vencimento-amanha", "Vencimento amanhã", &format!("c.toml:1: id: {id}"));
    check("vencimento-amanha", "", &format!("c.toml:1: id: {id}"));
    check(
        "1029384756",
        "10-29",
        "c.toml:2: account: is no id of Meta's: 1 to 32 digits; copy it from the WhatsApp Manager; it is not the phone \
         number itself",
    );
    check("[template]", "numbers = [\"1\", \"2\", \"1\"]\n[template]", "c.toml:3: numbers: 1 is there twice");
    check(
        "[template]",
        "numbers = []\n[template]",
        "c.toml:3: numbers: holds 0 numbers, not 1 to 10000; leave `numbers` out to use all of the account",
    );
    check(
        "pt_BR",
        "pt-br",
        "c.toml:5: template.language: `pt-br` is no language code of a template; write it like \"pt_BR\"",
    );
    check(
        "[template]",
        "priority = \"norml\"\n[template]",
        "c.toml:3: priority: `norml` is none of urgent, high, normal, bulk; did you mean `normal`?",
    );
    check(
        "[template]",
        "dedup = \"person_ref\"\n[template]",
        "c.toml:3: dedup: `person_ref` needs a column that tells debts apart; add ref = \"…\" to [columns]",
    );
}

#[test]
fn days_are_durations_too() {
    let good = GOOD.replacen("[template]", "validity = \"30d\"\n[template]", 1) + "[doubt]\nwait = \"7d\"\n";
    let campaign = parse(&good, "c.toml").unwrap();
    assert_eq!(campaign.validity, Duration::from_secs(30 * 86_400));
    assert_eq!(campaign.doubt.wait, Duration::from_secs(7 * 86_400));
    check("[template]", "validity = \"31d\"\n[template]", "c.toml:3: validity: 31d is not within 1m to 30d");
}

#[test]
fn numbers_and_durations_have_bounds() {
    for (line, expect) in [
        ("expected = 0", "expected: 0 is not within 1 to 100000000"),
        ("validity = \"5s\"", "validity: 5s is not within 1m to 30d"),
        (
            "validity = \"soon\"",
            "validity: `soon` is no duration; write it like \"500ms\", \"90s\", \"10m\", \"24h\" or \"7d\"",
        ),
        ("retry.max_attempts = 16", "retry.max_attempts: 16 is not within 1 to 15"),
        ("retry.max_attempts = 0", "retry.max_attempts: 0 is not within 1 to 15"),
        ("retry.base = \"-2s\"", "retry.base: -2s is not within 100ms to 10m"),
        ("retry.max = \"1s\"", "retry.max: 1s is shorter than retry.base, 2s"),
        (
            "doubt.policy = \"resent\"",
            "doubt.policy: `resent` is none of keep, resend; did you mean `resend`?",
        ),
        ("doubt.wait = \"59s\"", "doubt.wait: 59s is not within 1m to 7d"),
        ("doubt = { policy = \"resend\", wait = \"23h\" }", "doubt.wait: 23h is not within 1d to 7d"),
        ("doubt.wait = \"169h\"", "doubt.wait: 169h is not within 1m to 7d"),
    ] {
        check("[template]", &format!("{line}\n[template]"), &format!("c.toml:3: {expect}"));
    }
}

#[test]
fn slots_and_columns_must_match() {
    check(
        "{{data}}",
        "{{datas}}",
        "c.toml:6: template.body: no column fills the slot {{datas}}; did you mean `data`?",
    );
    check(
        " vence em {{data}}.",
        " olá.",
        "c.toml:11: columns.variables.data: no slot of the template uses it; remove it, or correct the slot's name",
    );
    check(
        "{{data}}",
        "{{ data }}",
        "c.toml:6: template.body: ` data ` is no name of a variable; use 1 to 64 of a-z, 0-9 and _, without spaces",
    );
    check(
        "{{data}}",
        "{{data}",
        "c.toml:6: template.body: `{{` without `}}`; a slot is written {{nome}} or {{1}}",
    );
    check(
        "{{data}}",
        "{{1}}",
        "c.toml:6: template.body: mixes numbered and named slots; use only {{1}}, {{2}}, … or only names, as the template at \
         Meta does",
    );
    check(
        "{{nome}}, vence em {{data}}",
        "{{1}}, vence em {{3}}",
        "c.toml:6: template.body: has slot {{3}} where {{2}} is expected; number the slots from 1 without a gap",
    );
}

#[test]
fn texts_have_bounds_even_before_a_row_is_known() {
    check("Olá", &"é".repeat(1100), "c.toml:6: template.body: has at least 1115 characters, more than 1024");
    check("Olá {{nome}}, vence em {{data}}.", " ", "c.toml:6: template.body: is empty");
    for (header, expect) in [
        (
            format!("{{ text = \"{}\" }}", "x".repeat(61)),
            "template.header.text: has at least 61 characters, more than 60",
        ),
        ("{ text = \"{{nome}} {{data}}\" }".into(), "template.header.text: has more than one slot"),
        (
            "{ document = \"{{nome}}\", image = \"https://x\" }".into(),
            "template.header: is not exactly one of text, document, document_file, image and image_file",
        ),
        (
            "{ document = \"http://x/a.pdf\" }".into(),
            "template.header.document: is no address that Meta can fetch; write it like \"https://…\", without spaces",
        ),
        (
            "{ image_file = \"a.png\", filename = \"a.png\" }".into(),
            "template.header: has a filename without a document",
        ),
        ("{ filename = \"a.pdf\" }".into(), "template.header: has a filename without a document"),
        (
            "{ image = \"boleto.png\" }".into(),
            "template.header.image: is no address that Meta can fetch; write it like \"https://…\", without spaces",
        ),
        (
            "{ document = \"https://x/{{nome}}\" }".into(),
            "template.header.document: holds a slot and other text; give a fixed text or exactly one {{variable}}; join \
             columns in the recipients file",
        ),
    ] {
        check("body = ", &format!("header = {header}\nbody = "), &format!("c.toml:6: {expect}"));
    }
}

#[test]
fn buttons_obey_metas_bounds() {
    let button = |kind: &str, rest: &str| format!("{{ type = \"{kind}\", {rest} }}");
    let reply = |payload: &str| button("quick_reply", &format!("payload = \"{payload}\""));
    let many: Vec<_> = (0..11).map(|n| reply(&n.to_string())).collect();
    for (buttons, expect) in [
        (many.join(", "), ": a template has at most 10, this one has 11"),
        (
            format!("{}, {}", reply("A"), reply("A")),
            "[1]: repeats a quick reply: their payloads could not be told apart",
        ),
        (
            button("quick_replay", "payload = \"A\""),
            "[0].type: `quick_replay` is none of quick_reply, url, copy_code, payment_request; did you mean `quick_reply`?",
        ),
        (
            button("quick_reply", "code = \"A\""),
            "[0]: `code` does not belong to a quick_reply button; it takes payload",
        ),
        ("{ type = \"copy_code\" }".into(), "[0]: a copy_code button needs code"),
        (
            format!("{0}, {0}", button("copy_code", "code = \"A\"")),
            "[1]: a template has at most one copy_code button",
        ),
        (
            button("payment_request", "pix = \"A\", boleto = \"B\""),
            "[0]: a payment button has exactly one of pix, boleto and link; write one button for each",
        ),
        (
            format!("{0}, {0}", button("payment_request", "pix = \"A\"")),
            "[1]: a template has at most one payment button with pix",
        ),
        (button("quick_reply", "payload = \" \""), "[0].payload: is empty"),
    ] {
        check(
            "body = ",
            &format!("buttons = [{buttons}]\nbody = "),
            &format!("c.toml:6: template.buttons{expect}"),
        );
    }
    let url = GOOD.replacen("body = ", "buttons = [{ type = \"url\" }]\nbody = ", 1);
    let campaign = parse(&url, "c.toml").unwrap();
    assert_eq!(campaign.template.buttons, [Button::Url { suffix: None }]);
}

/// Replaces the variable `data` of a good file and gives its format, or the first problem.
fn format_of(declared: &str) -> Result<Format, String> {
    let text = GOOD.replacen("data = \"vencimento\"", &format!("data = {declared}"), 1);
    let campaign = parse(&text, "c.toml").map_err(|error| error.to_string())?;
    assert_eq!(campaign.variables[1].column, "vencimento");
    Ok(campaign.variables[1].format)
}

#[test]
fn columns_have_formats() {
    let of = |rest: &str| format_of(&format!("{{ column = \"vencimento\"{rest} }}"));
    assert_eq!(format_of("\"vencimento\""), Ok(Format::Text));
    assert_eq!(of(""), Ok(Format::Text));
    assert_eq!(of(", format = \"first_name\""), Ok(Format::FirstName));
    assert_eq!(of(", format = \"brl\""), Ok(Format::Brl(BrlInput::Comma)));
    assert_eq!(of(", format = \"amount\", input = \"cents\""), Ok(Format::Amount(BrlInput::Cents)));
    assert_eq!(of(", format = \"date\", input = \"iso\""), Ok(Format::Date(DateInput::Iso)));
    assert_eq!(of(", format = \"month\", input = \"mes/aaaa\""), Ok(Format::Month(MonthInput::Name)));
    assert_eq!(of(", format = \"digits\", length = 8"), Ok(Format::Digits { length: Some(8) }));
    let problem = |rest: &str, expect: &str| {
        let found = of(rest).unwrap_err();
        assert_eq!(found, format!("c.toml:11: columns.variables.data{expect}"));
    };
    problem(
        ", format = \"frist_name\"",
        ".format: `frist_name` is none of text, first_name, brl, amount, date, month, digits, cpf, cnpj, document, boleto, \
         pix; did you mean `first_name`?",
    );
    problem(", format = \"brl\", input = \"reais\"", ".input: `reais` is none of 1.234,56, 1234.56, cents");
    problem(
        ", format = \"cpf\", input = \"cents\"",
        ".input: the format cpf is written in one way only; remove it",
    );
    problem(", length = 8", ".length: the format text has no length; remove it");
    problem(", format = \"digits\", length = 0", ".length: 0 is not within 1 to 64");
    let unknown = of(", fromat = \"brl\"").unwrap_err();
    assert!(unknown.starts_with("c.toml:11: unknown field `fromat`"), "{unknown}");
}

#[test]
fn payment_codes_are_compared_with_columns_of_a_fitting_format() {
    let file = |check: &str, data: &str| {
        let button = format!(
            "buttons = [{{ type = \"payment_request\", boleto = \"{{{{linha}}}}\", check = {check} }}]\n"
        );
        let text = GOOD.replacen("body = ", &format!("{button}body = "), 1);
        let text = text.replacen("data = \"vencimento\"", &format!("data = {data}\nlinha = \"linha\""), 1);
        parse(&text, "c.toml").map_err(|error| error.to_string())
    };
    let date = "{ column = \"vencimento\", format = \"date\" }";
    let good = file("{ due = \"data\" }", date).unwrap();
    assert_eq!(good.checks, [PaymentCheck { code: 2, value: None, due: Some(1) }]);
    assert_eq!(good.variables[2].format, Format::Boleto);
    assert_eq!(
        file("{ due = \"data\" }", "\"vencimento\"").unwrap_err(),
        "c.toml: columns.variables.data: is compared with a payment code as due; declare it as data = { column = \"…\", \
         format = \"date\" }"
    );
    assert!(file("{}", date).unwrap_err().contains("template.buttons[0].check: needs value, due or both"));
    assert!(file("{ value = \"valr\" }", date).unwrap_err().contains("no column fills the slot {{valr}}"));
    let fixed = GOOD.replacen(
        "body = ",
        "buttons = [{ type = \"payment_request\", pix = \"00020126\" }]\nbody = ",
        1,
    );
    let refused = parse(&fixed, "c.toml").unwrap_err().to_string();
    assert!(refused.starts_with("c.toml:6: template.buttons[0].pix: "), "{refused}");
}

#[test]
fn the_currency_is_not_written_twice() {
    let text = GOOD.replacen("vence em {{data}}", "são R$ {{data}}", 1).replacen(
        "data = \"vencimento\"",
        "data = { column = \"valor\", format = \"brl\" }",
        1,
    );
    assert_eq!(
        parse(&text, "c.toml").unwrap_err().to_string(),
        "c.toml:6: template.body: has R$ in front of {{data}}, whose format brl writes it too; use format = \"amount\", or a \
         template without R$ there"
    );
    assert!(parse(&text.replace("\"brl\"", "\"amount\""), "c.toml").is_ok());
}
