//! The configuration as an operator meets it: layers, refusals by file, line and key, secrets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use carteiro::config::{Config, ConfigError, KEYS, LoadOptions, Loaded, Origin, TABLES, find_file};

#[path = "config/portfolios.rs"]
mod portfolios;
#[path = "config/servers.rs"]
mod servers;

const SAMPLE: &str = include_str!("../config/carteiro.toml");

fn options(env: &[(&str, &str)], overrides: &[(&str, &str)]) -> LoadOptions {
    let mut all = HashMap::from([
        ("HOME".to_owned(), "/home/ana".to_owned()),
        ("CARTEIRO_TOKEN".to_owned(), "a-token".to_owned()),
        ("CARTEIRO_APP_SECRET".to_owned(), "a-secret".to_owned()),
        ("CARTEIRO_VERIFY_TOKEN".to_owned(), "a-word".to_owned()),
    ]);
    all.extend(env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    LoadOptions {
        explicit_path: None,
        overrides: overrides.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        env: all,
        cwd: "/srv".into(),
    }
}

fn load_with(text: &str, options: &LoadOptions) -> Result<Loaded, ConfigError> {
    Config::load_text(Some((Path::new("c.toml"), text)), options)
}

fn load(text: &str) -> Result<Loaded, ConfigError> {
    load_with(text, &options(&[], &[]))
}

/// The message of the refusal.
fn refused(text: &str, expect: &str) {
    let error = load(text).unwrap_err();
    assert_eq!(error.to_string(), expect, "{text}");
}

/// A value of a section is refused with these words.
fn wrong(section: &str, key: &str, value: &str, problem: &str) {
    refused(&format!("[{section}]\n{key} = {value}"), &format!("c.toml, line 2: {section}.{key}: {problem}"));
}

/// One value that is out of its bounds.
fn beyond(section: &str, key: &str, value: &str, bounds: &str) {
    wrong(section, key, &format!("\"{value}\""), &format!("\"{value}\" is out of bounds: {bounds}"));
}

fn origin_of<'a>(loaded: &'a Loaded, key: &str) -> (&'a str, &'a Origin) {
    let line = loaded.origins.iter().find(|line| line.key == key).unwrap();
    (&line.value, &line.origin)
}

#[test]
fn the_sample_is_valid() {
    let loaded = load(SAMPLE).unwrap();
    assert_eq!(loaded.config.numbers.len(), 1);
    assert_eq!(loaded.config.numbers[0].rate_per_s, Some(80.0));
    assert_eq!(loaded.config.accounts[0].token.0.as_ref(), "a-token");
}

#[test]
fn the_sample_names_every_key_and_shows_its_default() {
    // With every comment that holds a key taken out of its comment the sample says the same as nothing at all.
    let uncommented: String = SAMPLE
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| is_key_line(rest)).unwrap_or(line))
        .filter(|line| {
            ![
                "url = ",
                "ca_file = ",
                "errors_file = ",
                "words_file = ",
                "data_dir = ",
                "dir = ",
                "shards = ",
                "proxy = ",
                "node = ",
                "sentinel_master = ",
            ]
            .iter()
            .any(|key| line.starts_with(key))
        })
        .fold(String::new(), |all, line| all + line + "\n");
    let (full, bare) = (load(&uncommented).unwrap(), load("").unwrap());
    for line in &bare.origins {
        let same = full.origins.iter().find(|other| other.key == line.key).unwrap();
        assert_eq!(same.value, line.value, "{}", line.key);
        let filtered = ["url", "dir", "shards", "node"].iter().any(|key| line.key.ends_with(key));
        assert!(filtered || same.origin != Origin::Default, "{} is not in the sample", line.key);
    }
    for key in KEYS {
        let name = key.rsplit('.').next().unwrap();
        assert!(SAMPLE.contains(&format!("{name} = ")), "{key} is not in the sample");
    }
}

fn is_key_line(line: &str) -> bool {
    line.split_once(" = ")
        .is_some_and(|(key, _)| key.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')))
}

#[test]
fn a_proxy_shows_no_password_and_takes_it_from_a_secret_only() {
    let env = [("P", "http://u:hunter2@proxy:3128")];
    let loaded = load_with("[cloud]\nproxy = { env = \"P\" }", &options(&env, &[])).unwrap();
    assert_eq!(loaded.config.cloud.proxy.as_ref().unwrap().authority, "proxy:3128");
    assert_eq!(origin_of(&loaded, "cloud.proxy").0, "http://***@proxy:3128");
    assert!(!format!("{loaded:?}").contains("hunter2"));
    let error = load("[cloud]\nproxy = \"http://u:hunter2@proxy:3128\"").unwrap_err().to_string();
    assert!(error.contains("a user may not stand here") && !error.contains("hunter2"), "{error}");
}

#[test]
fn something_acts_on_every_key() {
    // A path that exists lets the optional keys show up too.
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let set = options(
        &[("CARTEIRO_WEBHOOKS__VERIFY_TOKEN", "a-word")],
        &[
            ("redis.url", "redis://h"),
            ("redis.mode", "sentinel"),
            ("redis.sentinel_master", "m"),
            ("redis.ca_file", path),
            ("cloud.ca_file", path),
            ("cloud.errors_file", path),
            ("stops.words_file", path),
            ("cloud.proxy", "http://p:1"),
            ("webhooks.listen", "127.0.0.1:0"),
            ("webhooks.public_url", "https://h"),
        ],
    );
    // Hours have no default of their own to show: what nobody says is taken from elsewhere.
    let hidden = ["app_secret", "hours", "optional_days", "closed", "municipality"];
    let sample = hidden
        .iter()
        .fold(SAMPLE.to_owned(), |text, key| text.replace(&format!("# {key} = "), &format!("{key} = ")));
    let loaded = load_with(&sample, &set).unwrap();
    for key in KEYS {
        origin_of(&loaded, key);
    }
    for (list, keys) in TABLES {
        for key in *keys {
            origin_of(&loaded, &format!("{list}[1].{key}"));
        }
    }
    assert_eq!(loaded.origins.len(), KEYS.len() + TABLES.iter().map(|(_, keys)| keys.len()).sum::<usize>());
}

#[test]
fn webhooks_are_taken_only_where_somebody_can_sign() {
    let account = "[[account]]\nid = \"1\"\ntoken = { env = \"CARTEIRO_TOKEN\" }\n";
    let secret = "app_secret = { env = \"CARTEIRO_APP_SECRET\" }\n";
    let listen = "[webhooks]\nlisten = \"127.0.0.1:0\"\n";
    let token = "verify_token = { env = \"CARTEIRO_VERIFY_TOKEN\" }\n";
    let config = load(&format!("{account}{secret}{listen}{token}")).unwrap().config;
    assert_eq!(config.webhooks.listen, Some("127.0.0.1:0".parse().unwrap()));
    assert_eq!(config.webhooks.verify_token.unwrap().0.as_ref(), "a-word");
    assert_eq!(config.accounts[0].app_secret.as_ref().unwrap().0.as_ref(), "a-secret");
    assert_eq!(load(account).unwrap().config.webhooks.listen, None);
    for (text, expect) in [
        (format!("{account}{listen}{token}"), "needs app_secret"),
        (format!("{account}{secret}{listen}"), "needs verify_token"),
        (format!("{account}{secret}[webhooks]\nlisten = \"here\"\n"), "\"here\" is not an address"),
        (format!("{account}[webhooks]\nverify_token = \"word\"\n"), "a secret may not stand here"),
        (format!("{account}[webhooks]\npublic_url = \"http://example.com\"\n"), "must be an https URL"),
    ] {
        let error = load(&text).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }
}

#[test]
fn command_line_over_environment_over_file_over_default() {
    let text = "[cloud]\ntimeout = \"11s\"\nidle_timeout = \"3s\"\nconnect_timeout = \"4s\"\n";
    let env = [
        ("CARTEIRO_CLOUD__TIMEOUT", "12s"),
        ("CARTEIRO_CLOUD__IDLE_TIMEOUT", "2s"),
        ("CARTEIRO_TIME_SCALE", "1"),
    ];
    let loaded = load_with(text, &options(&env, &[("cloud.timeout", "13s")])).unwrap();
    assert_eq!(loaded.config.cloud.timeout, Duration::from_secs(13));
    assert_eq!(loaded.config.cloud.idle_timeout, Duration::from_secs(2));
    assert_eq!(loaded.config.cloud.connect_timeout, Duration::from_secs(4));
    assert_eq!(origin_of(&loaded, "cloud.timeout"), ("13s", &Origin::Flag));
    assert_eq!(
        origin_of(&loaded, "cloud.idle_timeout").1,
        &Origin::Env("CARTEIRO_CLOUD__IDLE_TIMEOUT".to_owned())
    );
    let file = Origin::File { path: "c.toml".into(), line: 4 };
    assert_eq!(origin_of(&loaded, "cloud.connect_timeout"), ("4s", &file));
    assert_eq!(origin_of(&loaded, "cloud.version"), ("v26.0", &Origin::Default));
    assert_eq!(origin_of(&loaded, "time_scale").1, &Origin::Env("CARTEIRO_TIME_SCALE".to_owned()));
}

#[test]
fn numbers_and_flags_of_the_environment_are_texts() {
    let env = [("CARTEIRO_SENDER__SHARDS", "3"), ("CARTEIRO_REDIS__ALLOW_WEAK_DURABILITY", "true")];
    let config = load_with("", &options(&env, &[])).unwrap().config;
    assert_eq!(config.sender.shards, 3);
    assert!(config.redis.allow_weak_durability);
    let error = load_with("", &options(&[("CARTEIRO_SENDER__SHARDS", "many")], &[])).unwrap_err();
    let expect = "environment CARTEIRO_SENDER__SHARDS: sender.shards: must be a whole number from 1 to 256";
    assert_eq!(error.to_string(), expect);
}

#[test]
fn unknown_keys_are_refused_with_the_one_that_was_meant() {
    refused(
        "[cloud]\ntimeut = \"5s\"",
        "c.toml, line 2: unknown key \"cloud.timeut\"; did you mean \"cloud.timeout\"?",
    );
    refused("\ntimeout = \"5s\"", "c.toml, line 2: unknown key \"timeout\"; did you mean \"cloud.timeout\"?");
    refused("[colud]\nurl = \"x\"", "c.toml, line 1: unknown key \"colud\"; did you mean \"cloud\"?");
    refused(
        "[[nubmer]]\nrate = \"80/s\"",
        "c.toml, line 1: unknown key \"nubmer\"; did you mean \"number\"?",
    );
    refused(
        "[[number]]\nrat = \"80/s\"",
        "c.toml, line 2: unknown key \"number.rat\"; did you mean \"number.rate\"?",
    );
    refused(
        "[nothing]\nkeep = 1",
        "c.toml, line 1: unknown key \"nothing\"; nothing acts on it, so it is refused: remove it",
    );
    refused(
        "[[account]]\nquality = \"1\"",
        "c.toml, line 2: unknown key \"account.quality\"; nothing acts on it, so it is refused: remove it",
    );
    let error = load_with("", &options(&[("CARTEIRO_CLOUD__URI", "x")], &[])).unwrap_err();
    let expect = "environment CARTEIRO_CLOUD__URI: unknown key \"cloud.uri\"; did you mean \"cloud.url\"?";
    assert_eq!(error.to_string(), expect);
    let error = load_with("", &options(&[], &[("pace.tolerence", "1ms")])).unwrap_err();
    assert_eq!(
        (error.key(), error.suggestion(), error.line()),
        (Some("pace.tolerence"), Some("pace.tolerance"), None)
    );
}

#[test]
fn other_variables_of_the_environment_are_left_alone() {
    let env = [("CARTEIRO_LOG", "debug"), ("CARTEIRO_CONFIG", ""), ("CARTEIRO_MY__TOKEN", "s3cret")];
    let text = "[[account]]\nid = \"1\"\ntoken = { env = \"CARTEIRO_MY__TOKEN\" }";
    assert!(load_with(text, &options(&env, &[])).is_ok());
}

#[test]
fn bad_values_name_line_key_bound_and_hint() {
    refused(
        "[cloud]\n\ntimeout = \"5\"",
        "c.toml, line 3: cloud.timeout: \"5\" is not a duration: write a number with a unit, such as \"5s\"",
    );
    wrong("cloud", "timeout", "5", "is an integer, but must be a text such as \"30s\"");
    beyond("cloud", "timeout", "1ms", "1s to 300s");
    wrong("cloud", "max_connections", "0", "must be a whole number from 1 to 65536");
    wrong("cloud", "max_connections", "\"7\"", "must be a whole number from 1 to 65536");
    wrong("cloud", "http2", "\"2\"", "must be \"auto\" or \"never\"");
    wrong("cloud", "max_streams", "1001", "must be a whole number from 1 to 1000");
    refused(
        "[breaker]\nbase = \"5s\"\nmax = \"1s\"",
        "c.toml, line 3: breaker.max: \"1s\" is out of bounds: 5s to 86400s",
    );
    beyond("doubt", "silent_after", "4s", "5s to 3600s");
    beyond("doubt", "give_up", "31d", "3600s to 30 days");
    wrong("redis", "allow_weak_durability", "\"yes\"", "must be true or false");
    let expect = "\"9464\" is not an address: write \"127.0.0.1:9464\" or \"[::1]:9464\"";
    wrong("http", "listen", "\"9464\"", expect);
    wrong("cloud", "ca_file", "\"missing.pem\"", "/srv/missing.pem is not a file that can be read");
    refused(
        "time_scale = 10",
        "c.toml, line 1: time_scale: more than 1 is for the simulator only: cloud.url must lead to this machine",
    );
    refused("number = 1", "c.toml, line 1: number: must be a list of tables: write [[number]]");
    refused("number = [1]", "c.toml, line 1: number: must be a table: write [[number]]");
    let error = load("[cloud]\ntimeout = ").unwrap_err();
    assert!(matches!(error, ConfigError::Syntax { line: 2, .. }), "{error}");
}

const ACCOUNT: &str = "[[account]]\nid = \"1\"\ntoken = { env = \"CARTEIRO_TOKEN\" }\n";

#[test]
fn numbers_and_accounts_are_checked_against_each_other() {
    let number = |id: &str, account: &str| {
        format!("[[number]]\nphone_number_id = \"{id}\"\naccount = \"{account}\"\n")
    };
    assert!(load(&format!("{ACCOUNT}{}{}", number("10", "1"), number("11", "1"))).is_ok());
    let twice = format!("{ACCOUNT}{}{}", number("10", "1"), number("10", "1"));
    refused(
        &twice,
        "c.toml, line 8: number[2].phone_number_id: another [[number]] has it already: remove one of them",
    );
    let stray = format!("{ACCOUNT}{}", number("10", "2"));
    refused(
        &stray,
        "c.toml, line 6: number[1].account: there is no [[account]] with id \"2\": add it, or correct the id",
    );
    refused(
        &format!("{ACCOUNT}{ACCOUNT}"),
        "c.toml, line 5: account[2].id: another [[account]] has it already: remove one of them",
    );
    refused(
        "[[account]]\nid = \"1\"",
        "c.toml, line 1: account[1].token: is missing: write token = { env = \"NAME\" } or { file = \"path\" }",
    );
    refused(
        &format!("{ACCOUNT}[[number]]\naccount = \"1\""),
        "c.toml, line 4: number[1].phone_number_id: is missing",
    );
    let phone = format!("{ACCOUNT}{}", number("+5511987654321", "1"));
    let message = load(&phone).unwrap_err().to_string();
    assert!(message.contains("1 to 32 digits") && !message.contains("5511"), "{message}");
}

#[test]
fn unlimited_and_scaled_time_are_for_the_simulator() {
    let number =
        format!("{ACCOUNT}[[number]]\nphone_number_id = \"10\"\naccount = \"1\"\nrate = \"unlimited\"\n");
    let expect = "c.toml, line 7: number[1].rate: \"unlimited\" is for the simulator only: Meta blocks numbers that ignore its limits";
    refused(&number, expect);
    let local = format!("time_scale = 10\n[cloud]\nurl = \"http://127.0.0.1:9/\"\n{number}");
    let config = load(&local).unwrap().config;
    assert!(config.cloud.is_loopback());
    assert_eq!(config.numbers[0].rate_per_s, None);
    assert_eq!(config.cloud.timeout, Duration::from_secs(3));
    assert_eq!(config.breaker.base, Duration::from_millis(100));
    assert_eq!(config.breaker.max, Duration::from_secs(6));
    assert_eq!(config.sender.drain_timeout, Duration::from_millis(2_500));
    assert_eq!(config.doubt.give_up, Duration::from_secs(60_480));
    assert_eq!(config.pace.tolerance, Duration::from_millis(5), "not scaled");
    assert_eq!(config.sender.settle_delay, Duration::from_millis(100), "not scaled");
    assert_eq!(config.redis.response_timeout, Duration::from_secs(10), "not scaled");
}

#[test]
fn a_node_has_a_plain_name_and_a_lease_in_real_time() {
    let text = "time_scale = 10\n[cloud]\nurl = \"http://127.0.0.1:9/\"\n[ownership]\nnode = \"sp-1\"\nlease = \"3s\"";
    let ownership = load(text).unwrap().config.ownership;
    assert_eq!((ownership.node.as_deref(), ownership.lease), (Some("sp-1"), Duration::from_secs(3)));
    assert_eq!(load("").unwrap().config.ownership.node, None);
    let expect = "c.toml, line 2: ownership.node: \"a b\" cannot be a name: up to 64 letters, digits, dots, dashes and underscores";
    refused("[ownership]\nnode = \"a b\"", expect);
    assert!(load("[ownership]\nlease = \"10ms\"").is_err());
}

#[test]
fn secrets_come_from_the_environment_or_a_file_of_the_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let text = "[[account]]\nid = \"1\"\ntoken = { file = \"token\" }";
    let config = folder.path().join("carteiro.toml");
    let load = || Config::load_text(Some((&config, text)), &options(&[], &[]));
    let write = |content: &[u8], mode: u32| {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let refusal = |part: &str| {
        let message = load().unwrap_err().to_string();
        assert!(message.contains(part) && !message.contains("s3cret"), "{message}");
    };
    refusal("cannot read the secret");
    write(b" s3cret\n", 0o600);
    let loaded = load().unwrap();
    assert_eq!(loaded.config.accounts[0].token.0.as_ref(), "s3cret");
    assert!(!format!("{loaded:?}").contains("s3cret"));
    assert_eq!(origin_of(&loaded, "account[1].token").0, "***");
    for mode in [0o640, 0o604, 0o620] {
        write(b"s3cret", mode);
        refusal("can be read by others: run chmod 600");
    }
    write(b" \n", 0o600);
    refusal("is empty");
    write(b"s3cret\nmore", 0o600);
    refusal("more than one line");
    write(&[b'x'; 65_537], 0o600);
    refusal("larger than 65536 bytes");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refusal("is not a file");
}

#[test]
fn a_secret_in_the_file_itself_is_refused() {
    let hint = "write { env = \"NAME\" } or { file = \"path\" }";
    refused(
        "[[account]]\nid = \"1\"\ntoken = \"s3cret\"",
        &format!("c.toml, line 3: account[1].token: a secret may not stand here: {hint}"),
    );
    let text = "[[account]]\nid = \"1\"\ntoken = { env = \"NOT_SET\" }";
    refused(
        text,
        "c.toml, line 3: account[1].token: the environment has no variable \"NOT_SET\": set it before starting",
    );
}

#[test]
fn a_password_of_redis_is_a_secret() {
    let with = "redis://:s3cret@redis.internal:6379/0";
    let hint = "a password may not stand here: write url = { env = \"NAME\" } or { file = \"path\" }";
    refused(&format!("[redis]\nurl = \"{with}\""), &format!("c.toml, line 2: redis.url: {hint}"));
    let error = load_with("", &options(&[], &[("redis.url", with)])).unwrap_err();
    assert_eq!(error.to_string(), format!("command line: redis.url: {hint}"));
    let socket = "redis+unix:///run/redis.sock?pass=s3cret";
    refused(&format!("[redis]\nurl = \"{socket}\""), &format!("c.toml, line 2: redis.url: {hint}"));
    let shape = "must be a URL: redis://host:6379, rediss://host:6379 or redis+unix:///path/to/socket";
    refused("[redis]\nurl = \"host:6379\"", &format!("c.toml, line 2: redis.url: {shape}"));

    let plain = load("[redis]\nurl = \"rediss://redis.internal:6380\"").unwrap();
    assert_eq!(origin_of(&plain, "redis.url").0, "rediss://redis.internal:6380");
    for (text, env) in
        [("[redis]\nurl = { env = \"URL\" }", ("URL", with)), ("", ("CARTEIRO_REDIS__URL", with))]
    {
        let loaded = load_with(text, &options(&[env], &[])).unwrap();
        assert_eq!(loaded.config.redis.url.as_ref().unwrap().0.as_ref(), with);
        assert_eq!(origin_of(&loaded, "redis.url").0, "***");
        assert!(!format!("{loaded:?}").contains("s3cret"));
    }
}

#[test]
fn the_first_file_of_the_list_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (cwd, home) = (folder.path().join("work"), folder.path().join("home"));
    let user = home.join(".config/carteiro");
    fs::create_dir_all(&cwd).unwrap();
    fs::create_dir_all(&user).unwrap();
    let mut options = LoadOptions { cwd: cwd.clone(), ..options(&[("HOME", home.to_str().unwrap())], &[]) };
    fs::write(user.join("carteiro.toml"), "[sender]\nshards = 4").unwrap();
    assert_eq!(find_file(&options), Some(user.join("carteiro.toml")));
    fs::write(cwd.join("carteiro.toml"), "[sender]\nshards = 3").unwrap();
    assert_eq!(find_file(&options), Some(cwd.join("carteiro.toml")));
    assert_eq!(Config::load(&options).unwrap().config.sender.shards, 3);
    options.env.insert("CARTEIRO_CONFIG".to_owned(), "named.toml".to_owned());
    assert_eq!(find_file(&options), Some(cwd.join("named.toml")));
    let message = Config::load(&options).unwrap_err().to_string();
    assert!(
        message.starts_with("cannot read the configuration ") && message.contains("named.toml"),
        "{message}"
    );
    options.explicit_path = Some("/other.toml".into());
    assert_eq!(find_file(&options), Some("/other.toml".into()));
}

#[test]
fn the_data_folder() {
    let folder =
        |env: &[(&str, &str)], text: &str| load_with(text, &options(env, &[])).unwrap().config.data_dir;
    assert_eq!(folder(&[], ""), Path::new("/home/ana/.local/state/carteiro"));
    assert_eq!(folder(&[("XDG_STATE_HOME", "/state")], ""), Path::new("/state/carteiro"));
    assert_eq!(folder(&[], "data_dir = \"~/x\""), Path::new("/home/ana/x"));
    assert_eq!(folder(&[], "data_dir = \"x\""), Path::new("/srv/x"));
    assert_eq!(folder(&[("CARTEIRO_DATA_DIR", "y")], "data_dir = \"x\""), Path::new("/srv/y"));
    let mut bare = options(&[], &[]);
    bare.env.clear();
    let message = load_with("", &bare).unwrap_err().to_string();
    assert_eq!(
        message,
        "default: data_dir: neither XDG_STATE_HOME nor HOME is set: write data_dir = \"/path/to/a/folder\""
    );
}
