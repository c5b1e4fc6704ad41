//! Documents by file: uploaded once, used by every message, refused when they are too old.

use std::path::Path;

use crate::rig::{ACCOUNT, Rig, plan, sim};

/// Writes a campaign file with this header and creates the campaign.
fn create(rig: &Rig, id: &str, header: &str) -> std::process::Output {
    let path = rig.path(&format!("{id}.toml"));
    let text = format!(
        "id = \"{id}\"\naccount = \"{ACCOUNT}\"\n[template]\nname = \"n\"\nlanguage = \"pt_BR\"\nheader = {header}\n\
         body = \"Olá {{{{nome}}}}.\"\n[columns]\nphone = \"telefone\"\n[columns.variables]\nnome = \"nome\"\n{}",
        if header.contains("{{") { "boleto = \"boleto\"\n" } else { "" }
    );
    std::fs::write(&path, text).unwrap();
    rig.run(&["campaign", "create", path.to_str().unwrap()])
}

/// Recipients with a file each.
fn recipients(rig: &Rig, name: &str, files: &[&str]) -> String {
    let path = rig.path(name);
    let rows: String =
        files.iter().enumerate().map(|(at, file)| format!("319600000{at:02},Ana,{file}\n")).collect();
    std::fs::write(&path, format!("telefone,nome,boleto\n{rows}")).unwrap();
    path.to_str().unwrap().to_owned()
}

fn pdf(path: &Path, text: &str) {
    std::fs::write(path, format!("%PDF-1.7\n{text}")).unwrap();
}

#[test]
fn one_document_for_everybody_goes_up_once_even_for_the_next_campaign() {
    let rig = Rig::new(1, "unlimited", sim(|_| ()));
    pdf(&rig.path("padrao.pdf"), "a");
    let header = "{ document_file = \"padrao.pdf\", filename = \"fatura.pdf\" }";
    let serve = rig.serve();
    for id in ["a", "b"] {
        let output = create(&rig, id, header);
        assert!(output.status.success(), "{output:?}");
        let file = recipients(&rig, &format!("{id}.csv"), &["", "", ""]);
        rig.ok(&["campaign", "load", id, &file]);
        rig.ok(&["campaign", "start", id, "--yes"]);
        let states = rig.done(id);
        assert_eq!(states["accepted"], 3, "{states}");
    }
    let ledger = rig.ledger();
    assert_eq!((ledger.uploads, ledger.taken, ledger.refused.len()), (1, 6, 0), "{ledger:?}");
    serve.stop();
}

#[test]
fn a_document_per_row_becomes_an_id_and_a_missing_one_rejects_its_row() {
    let rig = Rig::new(1, "unlimited", sim(|_| ()));
    std::fs::create_dir(rig.path("pdf")).unwrap();
    pdf(&rig.path("pdf/1.pdf"), "um");
    pdf(&rig.path("pdf/2.pdf"), "dois");
    pdf(&rig.path("pdf/2b.pdf"), "dois");
    std::fs::write(rig.path("pdf/3.pdf"), "no pdf").unwrap();
    assert!(create(&rig, "a", "{ document_file = \"{{boleto}}\" }").status.success());
    let files =
        ["pdf/1.pdf", "pdf/2.pdf", "pdf/2b.pdf", "pdf/3.pdf", "pdf/4.pdf", "../data", "pdf/1.pdf", ""];
    let file = recipients(&rig, "a.csv", &files);
    let tried = rig.run(&["campaign", "load", "a", &file, "--dry-run", "--json"]);
    assert_eq!(tried.status.code(), Some(3), "{tried:?}");
    assert_eq!(rig.ledger().uploads, 0, "a dry run uploads nothing");
    let loaded = rig.run(&["campaign", "load", "a", &file, "--json"]);
    assert_eq!(loaded.status.code(), Some(3), "{loaded:?}");
    let said: serde_json::Value = serde_json::from_slice(&loaded.stdout).unwrap();
    let reasons = serde_json::json!({
        "file_missing": 1, "file_wrong_type": 1, "file_outside_folder": 1, "value_empty": 1
    });
    assert_eq!((&said["loaded"], &said["reasons"]), (&4.into(), &reasons), "{said}");
    assert_eq!(rig.ledger().uploads, 2, "the same content goes up once");
    let serve = rig.serve();
    rig.ok(&["campaign", "start", "a", "--yes"]);
    let states = rig.done("a");
    assert_eq!(states["accepted"], 4, "{states}");
    serve.stop();
}

/// Makes all ids that Redis holds older than Meta keeps them.
fn age(rig: &Rig, field: &str, text: &str) {
    rig.redis::<i64>(&["HSET", "ct:campaign:1", field, text]);
    rig.redis::<i64>(&["DEL", &format!("ct:media:{ACCOUNT}")]);
}

#[test]
fn an_id_that_is_nearly_over_is_renewed_from_its_file_or_refuses_the_start() {
    let rig = Rig::new(1, "unlimited", sim(|_| ()));
    pdf(&rig.path("padrao.pdf"), "a");
    assert!(create(&rig, "a", "{ document_file = \"padrao.pdf\" }").status.success());
    let file = recipients(&rig, "a.csv", &["", ""]);
    rig.ok(&["campaign", "load", "a", &file]);
    let known: String = rig.redis(&["HGET", "ct:campaign:1", "media"]);
    let mut parts: Vec<&str> = known.split(' ').collect();
    parts[1] = "1000";
    age(&rig, "media", &parts.join(" "));
    pdf(&rig.path("padrao.pdf"), "another");
    let refused = rig.run(&["campaign", "start", "a", "--yes"]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("holds something else now"), "{refused:?}");
    std::fs::remove_file(rig.path("padrao.pdf")).unwrap();
    let refused = rig.run(&["campaign", "start", "a", "--yes"]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    pdf(&rig.path("padrao.pdf"), "a");
    let serve = rig.serve();
    rig.ok(&["campaign", "start", "a", "--yes"]);
    let states = rig.done("a");
    assert_eq!((states["accepted"].as_u64(), rig.ledger().uploads), (Some(2), 2), "{states}");
    serve.stop();
}

#[test]
fn rows_whose_documents_meta_has_forgotten_are_not_sent() {
    let rig = Rig::new(1, "unlimited", sim(|_| ()));
    pdf(&rig.path("1.pdf"), "a");
    assert!(create(&rig, "a", "{ document_file = \"{{boleto}}\" }").status.success());
    let file = recipients(&rig, "a.csv", &["1.pdf"]);
    rig.ok(&["campaign", "load", "a", &file]);
    age(&rig, "media_oldest_ms", "1000");
    let refused = rig.run(&["campaign", "start", "a", "--yes", "--json"]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(error.contains("documents_expired") && error.contains("days ago"), "{error}");
}

#[test]
fn a_document_that_cannot_go_up_leaves_nothing_behind() {
    let rig = Rig::new(1, "unlimited", sim(|config| config.plan = plan("[validity]\ntokens = [\"other\"]")));
    pdf(&rig.path("padrao.pdf"), "a");
    let header = "{ document_file = \"padrao.pdf\" }";
    let refused = create(&rig, "a", header);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{error}");
    assert!(error.contains("190") && !error.contains("EAAsecret"), "{error}");
    assert_eq!(rig.redis::<i64>(&["EXISTS", "ct:campaigns"]), 0);
    for (name, part) in [("none.pdf", "not there"), ("carteiro.toml", "no PDF")] {
        let refused = create(&rig, "a", &header.replace("padrao.pdf", name));
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && error.contains(part), "{error}");
    }
}
