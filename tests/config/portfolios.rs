//! `[[portfolio]]` and `[budget]`: how many people may be written to, and who shares it.

use super::{load, origin_of, refused};

const LOCAL: &str = "[cloud]\nurl = \"http://127.0.0.1:1\"\n";

fn people(value: &str) -> Option<u64> {
    let loaded = load(&format!("[[portfolio]]\nid = \"p\"\npeople_per_day = {value}")).unwrap();
    let shown = origin_of(&loaded, "portfolio[1].people_per_day").0;
    assert_eq!(shown, value.trim_matches('"'));
    loaded.config.portfolios[0].people_per_day
}

#[test]
fn people_a_day_are_a_number_or_unlimited() {
    assert_eq!((people("250"), people("100000"), people("\"unlimited\"")), (Some(250), Some(100_000), None));
    let said_nothing = load("[[portfolio]]\nid = \"p\"").unwrap();
    assert_eq!(said_nothing.config.portfolios[0].people_per_day, None);
    let wrong = |value: &str, problem: &str| {
        let text = format!("[[portfolio]]\nid = \"p\"\npeople_per_day = {value}");
        refused(&text, &format!("c.toml, line 3: portfolio[1].people_per_day: {problem}"));
    };
    wrong("0", "is 0: it must be 1 to 100000, or \"unlimited\"");
    wrong("-1", "is -1: it must be 1 to 100000, or \"unlimited\"");
    wrong("200000", "is 200000: it must be 1 to 100000, or \"unlimited\"");
    wrong("\"2000\"", "must be a number of people without quotes, such as 2000, or \"unlimited\"");
}

#[test]
fn an_account_names_a_portfolio_that_is_there() {
    let account = |portfolio: &str| {
        format!(
            "[[portfolio]]\nid = \"p\"\n[[account]]\nid = \"1\"\nportfolio = \"{portfolio}\"\ntoken = {{ env = \"CARTEIRO_TOKEN\" }}"
        )
    };
    let loaded = load(&account("p")).unwrap();
    assert_eq!(loaded.config.accounts[0].portfolio.as_deref(), Some("p"));
    refused(
        &account("q"),
        "c.toml, line 5: account[1].portfolio: there is no [[portfolio]] with id \"q\": add it, or correct the id",
    );
    refused(
        "[[portfolio]]\nid = \"p\"\n[[portfolio]]\nid = \"p\"",
        "c.toml, line 4: portfolio[2].id: another [[portfolio]] has it already: remove one of them",
    );
    let shape = "must be the id of a portfolio: 1 to 64 letters, digits, - or _";
    refused("[[portfolio]]\nid = \"{p}\"", &format!("c.toml, line 2: portfolio[1].id: {shape}"));
}

#[test]
fn a_day_is_shorter_on_this_machine_only() {
    let problem = "less is for the simulator only: Meta counts people for 24 hours";
    for (key, value) in [("window", "10s"), ("margin", "59s")] {
        let text = format!("[budget]\n{key} = \"{value}\"");
        refused(&text, &format!("c.toml, line 2: budget.{key}: {problem}"));
        assert!(load(&format!("{LOCAL}{text}")).is_ok());
    }
    let longer = load("[budget]\nwindow = \"25h\"\nmargin = \"5m\"").unwrap();
    assert_eq!(longer.config.budget.window.as_secs() + longer.config.budget.margin.as_secs(), 90_300);
}
