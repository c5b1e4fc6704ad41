//! The management requests against the simulator: templates page by page, a number's fields, media and what becomes
//! of a send that names one.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use std::sync::Arc;
use std::time::Duration;

use carteiro::cloud::manage::{Content, Manage, ManageError};
use carteiro::config::{CloudConfig, Secret};
use carteiro::sim::{FaultPlan, Library, Server, SimConfig};
use serde_json::{Value, json};

const TOKEN: &str = "EAAtoken";
const ACCOUNT: &str = "100000000000001";
const NUMBER: &str = "550000000000001";

fn config(url: &str) -> CloudConfig {
    CloudConfig {
        url: url.to_owned(),
        version: "v26.0".to_owned(),
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(10),
        ca_file: None,
        errors_file: None,
        proxy: None,
        max_connections: 16,
        http2: true,
        max_streams: 100,
        max_request_usage: 0.75,
    }
}

fn manage(server: &Server, token: &str) -> Manage {
    Manage::new(&config(&server.url), &Secret(token.into())).unwrap()
}

/// A client of the test itself; the program installs the provider that reqwest wants.
fn client() -> reqwest::Client {
    carteiro::tls::install_default();
    reqwest::Client::new()
}

fn start(change: impl FnOnce(&mut SimConfig)) -> Server {
    let mut config = SimConfig { rate_per_s: 0, ..SimConfig::default() };
    change(&mut config);
    Server::start(config).unwrap()
}

/// Sends a message with this header; HTTP status and Graph code.
async fn send(server: &Server, header: Value) -> (u16, Option<i64>) {
    let body = json!({
        "messaging_product": "whatsapp", "to": "+5531987654321", "type": "template",
        "template": {"name": "n", "language": {"code": "pt_BR"}, "components": [
            {"type": "header", "parameters": [header]},
        ]},
    });
    let url = format!("{}/v26.0/{NUMBER}/messages", server.url);
    let reply = client().post(url).bearer_auth(TOKEN).json(&body).send().await.unwrap();
    let status = reply.status().as_u16();
    (status, reply.json::<Value>().await.unwrap()["error"]["code"].as_i64())
}

#[tokio::test]
async fn templates_are_read_page_by_page_and_by_their_exact_name() {
    let folder = tempfile::tempdir().unwrap();
    let list = |n: usize| {
        let body = json!([{"type": "BODY", "text": "{{1}}"}, {"type": "BUTTONS", "buttons": [
            {"type": "URL", "text": "Abrir", "url": "https://x/{{1}}"}]}]);
        json!({"name": format!("aviso_{n}"), "language": "pt_BR", "components": body, "status": "PAUSED"})
    };
    let file = folder.path().join("templates.json");
    std::fs::write(&file, json!({"data": (0..250).map(list).collect::<Vec<_>>()}).to_string()).unwrap();
    let server = start(|config| config.library = Arc::new(Library::read(&[file]).unwrap()));
    let manage = manage(&server, TOKEN);
    let all = manage.templates(ACCOUNT, None).await.unwrap();
    assert_eq!((all.len(), all[249].name.as_str()), (250, "aviso_249"));
    assert_eq!((all[7].status.as_str(), all[7].category.as_str()), ("PAUSED", "UTILITY"));
    assert_eq!(all[7].components[0].text.as_deref(), Some("{{1}}"));
    assert_eq!(all[7].components[1].buttons[0].url.as_deref(), Some("https://x/{{1}}"));
    assert_eq!(server.ledger().unwrap().template_reads, 3);
    let one = manage.templates(ACCOUNT, Some("aviso_2")).await.unwrap();
    assert_eq!(one.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["aviso_2"]);
    assert_eq!(manage.templates(ACCOUNT, Some("outro")).await.unwrap(), []);
}

#[tokio::test]
async fn without_a_file_the_simulator_knows_the_campaigns_that_come_with_the_program() {
    let server = start(|_| {});
    let found = manage(&server, TOKEN).templates(ACCOUNT, Some("vencimento_amanha")).await.unwrap();
    let [template] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((template.language.as_str(), template.status.as_str()), ("pt_BR", "APPROVED"));
    assert_eq!(template.parameter_format, "NAMED");
    let kinds: Vec<&str> = template.components.iter().map(|one| one.kind.as_str()).collect();
    assert_eq!(kinds, ["HEADER", "BODY", "BUTTONS"]);
    assert_eq!(template.components[0].format.as_deref(), Some("DOCUMENT"));
}

#[tokio::test]
async fn a_number_says_what_it_is() {
    let server = start(|config| config.rate_per_s = 80);
    let number = manage(&server, TOKEN).number(NUMBER).await.unwrap();
    assert_eq!((number.id.as_str(), number.throughput_level.as_deref()), (NUMBER, Some("STANDARD")));
    assert_eq!(
        (number.quality_rating.as_deref(), number.name_status.as_deref()),
        (Some("GREEN"), Some("APPROVED"))
    );
}

#[tokio::test]
async fn refusals_carry_metas_code_and_never_the_token() {
    let plan = "[validity]\ntokens = [\"other\"]";
    let server = start(|config| config.plan = FaultPlan::parse(plan).unwrap());
    let manage = manage(&server, TOKEN);
    for error in [
        manage.templates(ACCOUNT, None).await.unwrap_err(),
        manage.number(NUMBER).await.unwrap_err(),
        manage.upload(NUMBER, "a.pdf", "application/pdf", &pdf()).await.unwrap_err(),
    ] {
        assert!(matches!(error, ManageError::Refused { code: 190, http_status: 401, .. }), "{error:?}");
        assert!(!format!("{error} {error:?} {manage:?}").contains(TOKEN));
    }
}

fn pdf() -> Content {
    Content::Bytes("%PDF-1.7\nfatura".into())
}

#[tokio::test]
async fn an_uploaded_document_can_be_sent_until_it_is_gone() {
    let server = start(|_| {});
    let manage = manage(&server, TOKEN);
    let id = manage.upload(NUMBER, "fatura.pdf", "application/pdf", &pdf()).await.unwrap();
    let again = manage.upload(NUMBER, "fatura.pdf", "application/pdf", &pdf()).await.unwrap();
    assert_ne!(id, again, "Meta does not recognise a file");
    assert_eq!(server.ledger().unwrap().uploads, 2);
    let header = |id: &str| json!({"type": "document", "document": {"id": id, "filename": "fatura.pdf"}});
    assert_eq!(send(&server, header(&id)).await, (200, None));
    assert_eq!(send(&server, json!({"type": "image", "image": {"id": id}})).await, (400, Some(132_012)));
    assert_eq!(send(&server, header("9000000000000000")).await, (400, Some(100)));
    let client = client();
    let url = format!("{}/v26.0/{id}", server.url);
    let medium: Value = client.get(&url).bearer_auth(TOKEN).send().await.unwrap().json().await.unwrap();
    assert_eq!((&medium["mime_type"], &medium["file_size"]), (&json!("application/pdf"), &json!(15)));
    assert_eq!(client.delete(&url).send().await.unwrap().status(), 401);
    assert_eq!(client.delete(&url).bearer_auth(TOKEN).send().await.unwrap().status(), 200);
    assert_eq!(client.delete(&url).bearer_auth(TOKEN).send().await.unwrap().status(), 400);
    assert_eq!(send(&server, header(&id)).await, (400, Some(100)));
}

#[tokio::test]
async fn a_file_is_streamed_and_what_meta_would_not_take_is_refused() {
    let server = start(|_| {});
    let manage = manage(&server, TOKEN);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big.png");
    std::fs::write(&path, vec![7; 5 << 20]).unwrap();
    manage.upload(NUMBER, "big.png", "image/png", &Content::File(path.clone())).await.unwrap();
    std::fs::write(&path, vec![7; (5 << 20) + 1]).unwrap();
    let error =
        manage.upload(NUMBER, "big.png", "image/png", &Content::File(path.clone())).await.unwrap_err();
    assert!(matches!(error, ManageError::Refused { code: 131_053, .. }), "{error:?}");
    let error = manage.upload(NUMBER, "x.zip", "application/zip", &pdf()).await.unwrap_err();
    assert!(matches!(error, ManageError::Refused { code: 100, .. }), "{error:?}");
    let gone =
        manage.upload(NUMBER, "x.pdf", "application/pdf", &Content::File(folder.path().join("none"))).await;
    assert!(matches!(gone, Err(ManageError::File { .. })), "{gone:?}");
}

#[tokio::test]
async fn answers_say_how_many_requests_are_left_and_the_last_is_refused() {
    let server = start(|config| config.requests_per_hour = 8);
    let manage = manage(&server, TOKEN);
    assert_eq!(manage.usage(), None);
    let used = |manage: &Manage| manage.usage().unwrap();
    for _ in 0..3 {
        manage.number(NUMBER).await.unwrap();
    }
    assert_eq!((used(&manage).percent, used(&manage).rest(75.0)), (37.0, None));
    manage.templates(ACCOUNT, Some("vence_hoje")).await.unwrap();
    assert_eq!(used(&manage).percent, 50.0);
    for _ in 0..4 {
        manage.number(NUMBER).await.unwrap();
    }
    let rest = used(&manage).rest(75.0).unwrap();
    assert!(rest > Duration::from_secs(3_400) && rest <= Duration::from_secs(3_600), "{rest:?}");
    let refused = manage.number(NUMBER).await.unwrap_err();
    assert!(matches!(refused, ManageError::Refused { code: 80_007, .. }), "{refused}");
    let ledger = server.ledger().unwrap();
    assert_eq!(ledger.management_requests - ledger.over_requests, 8, "{ledger:?}");
}
