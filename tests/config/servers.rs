//! `[redis]` with sentinels or a cluster, and the promise of their replicas.

use carteiro::config::{RedisMode, WaitFor, redis_urls};

use super::{load, refused};

#[test]
fn sentinels_and_clusters_are_named_by_several_urls() {
    let check = |mode: &str, url: &str, expect: &str| {
        let text = format!("[redis]\n{mode}\nurl = \"{url}\"");
        refused(&text, &format!("c.toml, line {expect}"));
    };
    let (sentinel, two) = ("mode = \"sentinel\"\nsentinel_master = \"m\"", "redis://a:1, redis://b:2");
    let loaded = load(&format!("[redis]\n{sentinel}\nurl = \"{two}\"")).unwrap();
    assert_eq!(loaded.config.redis.mode, RedisMode::Sentinel("m".to_owned()));
    let urls = redis_urls(two, &RedisMode::Cluster).unwrap();
    assert_eq!(urls.iter().map(|url| url.addr().to_string()).collect::<Vec<_>>(), ["a:1", "b:2"]);
    let modes = "must be \"standalone\", \"sentinel\" or \"cluster\"";
    check("mode = \"ring\"", two, &format!("2: redis.mode: {modes}"));
    let shape = "must be a URL: redis://host:6379, rediss://host:6379 or redis+unix:///path/to/socket";
    check("mode = \"standalone\"", "redis://a b", &format!("3: redis.url: {shape}"));
    let name = "needs redis.sentinel_master: the name after `sentinel monitor` in sentinel.conf";
    check("mode = \"sentinel\"", two, &format!("2: redis.mode: {name}"));
    check(
        "mode = \"cluster\"\nsentinel_master = \"m\"",
        two,
        "3: redis.sentinel_master: is for redis.mode = \"sentinel\" only",
    );
    check(
        "mode = \"cluster\"",
        "redis://a,rediss://b",
        "3: redis.url: all URLs must have the same scheme, user and password",
    );
    check("mode = \"cluster\"", "redis://a/1", "3: redis.url: a cluster has database 0 only");
    let unix = "sentinels and clusters are reached by redis:// or rediss:// only";
    check("mode = \"cluster\"", "redis+unix:///s", &format!("3: redis.url: {unix}"));
    let waits = |text: &str| load(&format!("[redis]\n{text}")).unwrap().config.redis.wait_replicas;
    assert_eq!([waits(""), waits("wait_replicas = 2")], [WaitFor::Nobody, WaitFor::Count(2)]);
    assert_eq!(loaded.config.redis.wait_replicas, WaitFor::All);
    let bounds = "must be \"all\" or a whole number from 0 to 16";
    for wrong in ["17", "-1", "\"some\"", "true"] {
        refused(
            &format!("[redis]\nwait_replicas = {wrong}"),
            &format!("c.toml, line 2: redis.wait_replicas: {bounds}"),
        );
    }
    assert!(load("[redis]\nreplay_window = \"61s\"").is_err());
    assert!(load("[redis]\nwait_timeout = \"6s\"").is_err(), "the reply would count as lost before");
    let missing = "needs redis.url: some of the sentinels or nodes, redis://host:port,redis://host:port";
    refused("[redis]\nmode = \"cluster\"", &format!("c.toml, line 2: redis.mode: {missing}"));
}
