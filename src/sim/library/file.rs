//! Templates from a file: JSON as Meta lists them, or TOML as a campaign file writes its `[template]`.

use serde_json::{Value, json};
use siphasher::sip::SipHasher13;

/// `{"data":[…]}`, a list, or one template.
pub(super) fn json(text: &str) -> Result<Vec<Value>, String> {
    let root: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let list = root.get("data").unwrap_or(&root);
    let list = list.as_array().cloned().unwrap_or_else(|| vec![list.clone()]);
    list.into_iter().map(complete).collect()
}

/// The `[template]` of a campaign file, or a list of `[[template]]`, each with `category` and `status` if wanted.
pub(super) fn toml(text: &str) -> Result<Vec<Value>, String> {
    let root: Value = toml::from_str(text).map_err(|error| error.to_string().replace('\n', " "))?;
    let found = root.get("template").ok_or("has no [template]")?;
    let list = found.as_array().cloned().unwrap_or_else(|| vec![found.clone()]);
    list.iter().map(|one| complete(listed(one)?)).collect()
}

/// The slots of a text, each once, in their order.
pub(super) fn slots(text: &str) -> Vec<&str> {
    let mut slots: Vec<&str> = Vec::new();
    for piece in text.split("{{").skip(1) {
        if let Some((name, _)) = piece.split_once("}}")
            && !slots.contains(&name.trim())
        {
            slots.push(name.trim());
        }
    }
    slots
}

/// A campaign file's template as Meta would list it.
fn listed(template: &Value) -> Result<Value, String> {
    let body = template["body"].as_str().ok_or("a template has no body")?;
    let mut components = Vec::new();
    if let Some(header) = template.get("header") {
        components.push(match header["text"].as_str() {
            Some(text) => json!({ "type": "HEADER", "format": "TEXT", "text": text }),
            None => {
                let media = [("document", "DOCUMENT"), ("image", "IMAGE"), ("video", "VIDEO")];
                let has = |kind: &str| {
                    header.get(kind).is_some() || header.get(format!("{kind}_file").as_str()).is_some()
                };
                let format = media.into_iter().find(|(kind, _)| has(kind)).map(|(_, format)| format);
                json!({ "type": "HEADER", "format": format.ok_or("a header is neither text nor medium")? })
            }
        });
    }
    components.push(json!({ "type": "BODY", "text": body }));
    let buttons: Vec<Value> =
        template["buttons"].as_array().into_iter().flatten().map(button).collect::<Result<_, _>>()?;
    if !buttons.is_empty() {
        components.push(json!({ "type": "BUTTONS", "buttons": buttons }));
    }
    let mut listed = template.clone();
    listed["components"] = Value::Array(components);
    for key in ["body", "header", "buttons"] {
        listed.as_object_mut().and_then(|fields| fields.remove(key));
    }
    Ok(listed)
}

fn button(button: &Value) -> Result<Value, String> {
    Ok(match button["type"].as_str().ok_or("a button has no type")? {
        "quick_reply" => json!({ "type": "QUICK_REPLY", "text": button["payload"] }),
        "url" => {
            let end = if button.get("suffix").is_some() { "{{1}}" } else { "" };
            json!({ "type": "URL", "text": "Abrir", "url": format!("https://example.com/{end}") })
        }
        "copy_code" => json!({ "type": "COPY_CODE", "text": "Copiar código" }),
        other => json!({ "type": other.to_uppercase() }),
    })
}

/// Adds what every listed template has.
fn complete(mut template: Value) -> Result<Value, String> {
    for key in ["name", "language"] {
        if template[key].as_str().is_none_or(str::is_empty) {
            return Err(format!("a template has no {key}"));
        }
    }
    let Some(components) = template["components"].as_array() else {
        return Err("a template has no components".to_owned());
    };
    let body = components.iter().find(|one| one["type"] == "BODY").and_then(|body| body["text"].as_str());
    let body = body.ok_or("a template has no body")?;
    let named = slots(body).iter().any(|slot| !slot.bytes().all(|byte| byte.is_ascii_digit()));
    let seed = format!("{}/{}", template["name"], template["language"]);
    let id = SipHasher13::new().hash(seed.as_bytes()) % 1_000_000_000_000_000;
    let defaults = [
        ("id", format!("{id:015}")),
        ("status", "APPROVED".to_owned()),
        ("category", "UTILITY".to_owned()),
        ("parameter_format", if named { "NAMED" } else { "POSITIONAL" }.to_owned()),
    ];
    for (key, value) in defaults {
        if template.get(key).is_none() {
            template[key] = Value::String(value);
        }
    }
    Ok(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_file_is_listed_as_meta_would() {
        let text = r#"
            id = "c"
            [template]
            name = "n"
            language = "pt_BR"
            category = "MARKETING"
            header = { document_file = "a.pdf" }
            body = "{{nome}}, {{ valor }} e {{nome}}"
            buttons = [{ type = "url", suffix = "{{k}}" }, { type = "payment_request", pix = "{{p}}" }]
        "#;
        let all = toml(text).unwrap();
        let [one] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((&one["category"], &one["status"]), (&json!("MARKETING"), &json!("APPROVED")));
        assert_eq!(one["parameter_format"], "NAMED");
        assert_eq!(one["components"][0], json!({ "type": "HEADER", "format": "DOCUMENT" }));
        assert_eq!(one["components"][2]["buttons"][0]["url"], "https://example.com/{{1}}");
        assert_eq!(one["components"][2]["buttons"][1]["type"], "PAYMENT_REQUEST");
        assert_eq!(slots("{{nome}}, {{ valor }} e {{nome}}"), ["nome", "valor"]);
    }

    #[test]
    fn what_is_no_template_is_named() {
        let check = |result: Result<Vec<Value>, String>, part: &str| {
            assert!(result.as_ref().is_err_and(|error| error.contains(part)), "{result:?}");
        };
        check(toml("id = 1"), "no [template]");
        check(toml("[template]\nname = \"n\""), "no body");
        check(toml("[template]\nbody = \"x\""), "no name");
        check(json("{}"), "no name");
        check(json(r#"[{"name":"n","language":"pt_BR"}]"#), "no components");
    }
}
