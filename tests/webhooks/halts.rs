//! What Meta's events stop, and let go on.

use carteiro::queue::{campaigns, halts};
use serde_json::json;

use super::{Place, change, status, statuses};

#[tokio::test]
async fn what_meta_forbids_stops_at_once() {
    let mut place = Place::start(1).await;
    let before = campaigns::version(&mut place.redis).await.unwrap();
    let ban = json!({"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "DISABLE"}});
    assert_eq!(place.post_signed(change("account_update", &ban)).await, 200);
    let paused =
        json!({"event": "PAUSED", "message_template_name": "aviso", "message_template_language": "pt_BR"});
    assert_eq!(place.post_signed(change("message_template_status_update", &paused)).await, 200);
    let mut spam = status("failed", 0);
    spam["errors"] = json!([{"code": 131_048}]);
    assert_eq!(place.post_signed(statuses(&[spam])).await, 200);
    let stopped: Vec<String> =
        halts::read(&mut place.redis).await.unwrap().keys().map(ToString::to_string).collect();
    assert_eq!(stopped, ["number:201", "template:100/aviso", "account:100"]);
    assert!(campaigns::version(&mut place.redis).await.unwrap() >= before + 3);
}

#[tokio::test]
async fn a_paused_template_goes_on_when_meta_approves_it_again_and_nothing_else_does() {
    let mut place = Place::start(1).await;
    let event = |event: &str, name: &str| {
        change(
            "message_template_status_update",
            &json!({"event": event, "message_template_name": name, "message_template_language": "pt_BR"}),
        )
    };
    let operator = halts::Scope::Template("100/pausado".to_owned());
    halts::stop(&mut place.redis, &operator, &halts::Why::Operator).await.unwrap();
    for (word, name) in [("PAUSED", "aviso"), ("DISABLED", "morto"), ("PAUSED", "pausado")] {
        assert_eq!(place.post_signed(event(word, name)).await, 200);
    }
    let before = campaigns::version(&mut place.redis).await.unwrap();
    for name in ["aviso", "morto", "pausado", "outro"] {
        assert_eq!(place.post_signed(event("APPROVED", name)).await, 200);
    }
    let stopped: Vec<String> =
        halts::read(&mut place.redis).await.unwrap().keys().map(ToString::to_string).collect();
    assert_eq!(stopped, ["template:100/morto", "template:100/pausado"]);
    assert!(campaigns::version(&mut place.redis).await.unwrap() > before, "the engine hears of it");
}
