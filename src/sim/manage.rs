//! The management side of the simulated Graph API: templates, fields of numbers and media, paged and filtered as Meta
//! does. Pure: the query comes as text, the reply goes back as bytes.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::codes;
use super::library::{Library, Wanted};
use super::media::Medium;
use super::reply::Reply;
use super::request::Refusal;

/// Items of a page unless the request says otherwise, and at most.
const PAGE: (usize, usize) = (25, 250);

/// The parameters of a request.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what stands behind the question mark.
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let url = reqwest::Url::parse(&format!("http://sim/?{}", query.unwrap_or_default()));
        let pairs = |url: &reqwest::Url| {
            let owned = |(key, value): (Cow<'_, str>, Cow<'_, str>)| (key.into_owned(), value.into_owned());
            url.query_pairs().map(owned).collect()
        };
        Self(url.as_ref().map(pairs).unwrap_or_default())
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Whether no other field is asked for than this one.
    pub(crate) fn asks_only(&self, field: &str) -> bool {
        self.get("fields").is_none_or(|fields| fields == field)
    }

    /// The same parameters but for where the page begins; the token is never among them.
    fn after(&self, cursor: usize) -> String {
        let mut url = reqwest::Url::parse("http://sim/").expect("a constant address is one");
        let kept =
            self.0.iter().filter(|(key, _)| !matches!(key.as_str(), "after" | "before" | "access_token"));
        url.query_pairs_mut().extend_pairs(kept).append_pair("after", &cursor.to_string());
        url.query().unwrap_or_default().to_owned()
    }
}

/// A page of templates. `here` is the address that the next page goes on from.
pub(crate) fn templates(library: &Library, query: &Query, here: &str) -> Result<Value, Refusal> {
    let wrong = |details| Refusal { code: codes::BAD_PARAMETER, details };
    let number = |key: &str| query.get(key).map(str::parse::<usize>).transpose();
    let limit = number("limit").map_err(|_| wrong("limit must be a number"))?.unwrap_or(PAGE.0);
    if !(1..=PAGE.1).contains(&limit) {
        return Err(wrong("limit must be 1 to 250"));
    }
    let from = number("after").map_err(|_| wrong("the cursor is not valid"))?.unwrap_or(0);
    let wanted =
        Wanted { name: query.get("name"), language: query.get("language"), status: query.get("status") };
    let all: Vec<&Value> = library.list(&wanted).collect();
    let page: Vec<Value> = all.iter().skip(from).take(limit).map(|one| fields(one, query)).collect();
    let (end, count) = (from + page.len(), page.len());
    let mut reply = json!({ "data": page });
    if count > 0 {
        reply["paging"] = json!({ "cursors": { "before": from.to_string(), "after": end.to_string() } });
        if end < all.len() {
            reply["paging"]["next"] = json!(format!("{here}?{}", query.after(end)));
        }
    }
    Ok(reply)
}

/// The fields asked for, and the id; all of them when none are named. What Meta does not know it refuses, what is
/// merely empty it leaves out: here the unknown is left out, too.
pub(crate) fn fields(all: &Value, query: &Query) -> Value {
    let (Some(wanted), Some(known)) = (query.get("fields"), all.as_object()) else {
        return all.clone();
    };
    let names = || wanted.split(',').map(|name| name.split(['{', '.']).next().unwrap_or(name).trim());
    let kept = known.iter().filter(|(key, _)| key.as_str() == "id" || names().any(|name| name == *key));
    Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect::<Map<_, _>>())
}

/// What a medium's id stands for.
pub(crate) fn medium(id: &str, medium: &Medium) -> Value {
    let sha256 = medium.sha256.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    json!({
        "messaging_product": "whatsapp", "url": format!("https://lookaside.invalid/whatsapp_business/attachments/?mid={id}"),
        "mime_type": medium.mime, "sha256": sha256, "file_size": medium.bytes, "id": id,
    })
}

/// A 200.
pub(crate) fn reply(value: &Value) -> Reply {
    Reply { status: 200, body: value.to_string().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Value {
        templates(&Library::default(), &Query::parse(Some(query)), "http://sim/v26.0/1/message_templates")
            .unwrap()
    }

    fn names(page: &Value) -> Vec<&str> {
        page["data"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn pages_follow_each_other_until_there_is_no_next() {
        let first = page("limit=2&fields=name&name=v%65nc");
        assert_eq!(names(&first), ["lembrete_vencimento", "vence_hoje"]);
        assert_eq!(first["data"][0].as_object().unwrap().len(), 2, "{first}");
        let next = first["paging"]["next"].as_str().unwrap();
        let (here, query) = next.split_once('?').unwrap();
        assert_eq!(here, "http://sim/v26.0/1/message_templates");
        let second = page(query);
        assert_eq!(names(&second), ["vencimento_amanha"]);
        assert!(second["paging"].get("next").is_none());
        assert!(page("name=nothing").get("paging").is_none());
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for query in ["limit=0", "limit=251", "limit=x", "after=x"] {
            let refused = templates(&Library::default(), &Query::parse(Some(query)), "").unwrap_err();
            assert_eq!(refused.code, 100, "{query}");
        }
    }
}
