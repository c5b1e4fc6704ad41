//! From a campaign file to the request that Meta reads: every kind of header, text and button, and values that JSON
//! must escape.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use carteiro::cloud::body::Body;
use carteiro::domain::ids::WireId;
use carteiro::intake::campaign_file::parse;
use serde_json::{Value, json};

const WIRE_ID: &str = "ct1.k3v9.7.41.130.2";

/// The request of a campaign whose template holds these lines, with these variables, for one row.
fn request(template: &str, row: &[(&str, &str)]) -> Value {
    let variables: String = row.iter().map(|(name, _)| format!("{name:?} = \"col_{name}\"\n")).collect();
    let text = format!(
        "id = \"c\"\naccount = \"1\"\n[template]\nname = \"aviso_1\"\nlanguage = \"pt_BR\"\n{template}\n\
         [columns]\nphone = \"telefone\"\n[columns.variables]\n{variables}"
    );
    let campaign = parse(&text, "c.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
    let values: Vec<&str> = campaign
        .variables
        .iter()
        .map(|variable| row.iter().find(|(name, _)| *name == variable.name).unwrap().1)
        .collect();
    let id: WireId = WIRE_ID.parse().unwrap();
    let bytes = Body::compile(&campaign).render(5_531_998_765_432, &id, |at| values[at]);
    serde_json::from_slice(&bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&bytes)))
}

/// The components of that request.
fn check(template: &str, row: &[(&str, &str)], expect: &Value) {
    assert_eq!(&request(template, row)["template"]["components"], expect, "{template}");
}

/// One button behind a body without slots.
fn button(lines: &str, row: &[(&str, &str)], expect: &Value) {
    check(&format!("body = \"Olá.\"\n[[template.buttons]]\n{lines}"), row, &json!([expect]));
}

#[test]
fn the_whole_request_with_named_parameters() {
    let row = [("nome", "Ana"), ("valor", "1.234,56")];
    let expect = json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "+5531998765432",
        "type": "template",
        "template": {
            "name": "aviso_1",
            "language": {"policy": "deterministic", "code": "pt_BR"},
            "components": [{"type": "body", "parameters": [
                {"type": "text", "parameter_name": "nome", "text": "Ana"},
                {"type": "text", "parameter_name": "valor", "text": "1.234,56"},
            ]}],
        },
        "biz_opaque_callback_data": WIRE_ID,
    });
    assert_eq!(request("body = \"Olá {{nome}}, R$ {{valor}}. Até logo, {{nome}}.\"", &row), expect);
}

#[test]
fn positional_parameters_go_by_their_number() {
    let text = |text: &str| json!({"type": "text", "text": text});
    check(
        "body = \"De {{2}} para {{1}}.\"",
        &[("1", "um"), ("2", "dois")],
        &json!([{"type": "body", "parameters": [text("um"), text("dois")]}]),
    );
}

#[test]
fn a_template_without_slots_has_no_components() {
    check("body = \"Olá.\"\nheader = { text = \"Aviso\" }", &[], &json!([]));
}

#[test]
fn headers() {
    let row = [("arquivo", "https://x.example/b.pdf?a=1&b=\"2\""), ("nome", "boleto.pdf")];
    check(
        "body = \"Olá.\"\nheader = { document = \"{{arquivo}}\", filename = \"{{nome}}\" }",
        &row,
        &json!([{"type": "header", "parameters": [
            {"type": "document", "document": {"link": row[0].1, "filename": "boleto.pdf"}},
        ]}]),
    );
    check(
        "body = \"Olá.\"\nheader = { image = \"https://x.example/logo.png\" }",
        &[],
        &json!([{"type": "header", "parameters": [{"type": "image", "image": {"link": "https://x.example/logo.png"}}]}]),
    );
    check(
        "body = \"Olá.\"\nheader = { text = \"Fatura de {{mes}}\" }",
        &[("mes", "maio")],
        &json!([{"type": "header", "parameters": [{"type": "text", "parameter_name": "mes", "text": "maio"}]}]),
    );
}

#[test]
fn buttons() {
    let one = |sub_type: &str, parameter: Value| json!({"type": "button", "sub_type": sub_type, "index": "0", "parameters": [parameter]});
    button(
        "type = \"quick_reply\"\npayload = \"QUERO_CONVERSAR\"",
        &[],
        &one("quick_reply", json!({"type": "payload", "payload": "QUERO_CONVERSAR"})),
    );
    button(
        "type = \"url\"\nsuffix = \"{{contrato}}\"",
        &[("contrato", "A/1?x=2")],
        &one("url", json!({"type": "text", "text": "A/1?x=2"})),
    );
    button(
        "type = \"copy_code\"\ncode = \"{{codigo}}\"",
        &[("codigo", "PAGUE10")],
        &one("copy_code", json!({"type": "coupon_code", "coupon_code": "PAGUE10"})),
    );
    let payments = [
        ("boleto", "00190500954014481606906809350314337370000000100", json!({"digitable_line": null})),
        ("pix", "00020126580014br.gov.bcb.pix", json!({"code": null})),
        ("link", "https://pague.example/1", json!({"uri": null})),
    ];
    for (key, value, mut inner) in payments {
        let kind = match key {
            "pix" => "pix_dynamic_code",
            "link" => "payment_link",
            other => other,
        };
        inner.as_object_mut().unwrap().values_mut().for_each(|slot| *slot = json!(value));
        let action = json!({"payment_request": {"payment_setting": {"type": kind, kind: inner}}});
        button(
            &format!("type = \"payment_request\"\n{key} = \"{{{{dado}}}}\""),
            &[("dado", value)],
            &one("payment_request", json!({"type": "action", "action": action})),
        );
    }
}

#[test]
fn a_button_keeps_its_place_behind_one_that_says_nothing() {
    let template = "body = \"Olá.\"\n[[template.buttons]]\ntype = \"url\"\n[[template.buttons]]\ntype = \"quick_reply\"\npayload = \"A\"";
    let components = request(template, &[])["template"]["components"].clone();
    assert_eq!((components.as_array().unwrap().len(), &components[0]["index"]), (1, &json!("1")));
}

#[test]
fn values_arrive_as_they_are_whatever_they_hold() {
    for value in [
        "\"",
        "\\",
        "\\\"}",
        "a\u{1}b",
        "é😊",
        "{{nome}}",
        "\u{7f}",
        "</script>",
        "\u{2028}",
        "\u{f8ff}",
        "\u{f8ff}0\u{f8ff}",
    ] {
        let sent = request("body = \"Olá {{nome}}.\"", &[("nome", value)]);
        assert_eq!(sent["template"]["components"][0]["parameters"][0]["text"], value, "{value:?}");
        assert_eq!(sent["biz_opaque_callback_data"], WIRE_ID);
    }
}

#[test]
fn the_ready_campaigns_make_requests() {
    for name in ["lembrete-vencimento", "segunda-via", "vamos-conversar", "vence-hoje", "vencimento-amanha"] {
        let text =
            std::fs::read_to_string(format!("{}/config/campaigns/{name}.toml", env!("CARGO_MANIFEST_DIR")))
                .unwrap();
        let campaign = parse(&text, name).unwrap();
        let names: Vec<String> =
            campaign.variables.iter().map(|variable| format!("value of {}", variable.name)).collect();
        let bytes =
            Body::compile(&campaign).render(5_511_987_654_321, &WIRE_ID.parse().unwrap(), |at| &names[at]);
        let request: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(request["template"]["name"], campaign.template.name.as_str());
        let sent = request.to_string();
        for value in &names {
            assert!(sent.contains(value.as_str()), "{name}: {value}");
        }
    }
}
