//! Banned words: neither the sources, the documents nor the output of the programs contain one.
//!
//! Readers whose first language is not English should understand every text at the first reading.
//! `banned` lists the words that prevent it. Each test reports all places at once.

mod banned;

use std::{fs, path::Path};

use serde_json::json;
use testkit::{
    Service, TestEnvironment,
    order_json::{SAMPLE, SAMPLE_UID},
    shared, wait_until,
};

use self::banned::{banned_beginnings, banned_words};
use crate::support::{send_keyed_status, wait_for_delivery, waybill};

/// Names of files and folders that are not checked: the list itself, texts of others, compiled
/// files, inputs of fuzz targets, and migrations, which must not change.
const UNCHECKED: [&str; 9] = [
    "crates/waybill/tests/it/words/banned.rs",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "Cargo.lock",
    "target",
    "corpus",
    "migrations",
    "vendor",
    "proptest-regressions",
];

/// Names that begin with a dot and are checked nevertheless; all others are local files.
const CHECKED_DOT_NAMES: [&str; 4] = [".cargo", ".ci", ".dockerignore", ".env.example"];

#[test]
fn the_sources_and_documents_contain_no_banned_word() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let texts = texts_of(root);
    assert!(texts.len() > 400, "only {} files are found", texts.len());

    let mut faults = Vec::new();
    for (path, text) in &texts {
        faults.extend(banned_words(path, text));
        if path.ends_with(".rs") {
            faults.extend(banned_beginnings(path, text));
        }
    }
    assert_none(&faults);
}

#[tokio::test]
async fn the_help_of_every_command_contains_no_banned_word() {
    let mut commands = vec![Vec::new()];
    let mut faults = Vec::new();
    let mut next = 0;

    while let Some(command) = commands.get(next).cloned() {
        next += 1;
        for flag in ["--help", "-h"] {
            let flags: Vec<&str> = command.iter().map(String::as_str).chain([flag]).collect();
            let output = waybill(&flags, &[]).await;
            assert_eq!(output.status.code(), Some(0), "{flags:?}");
            let help = String::from_utf8(output.stdout).unwrap();
            faults.extend(banned_words(&format!("waybill {}", flags.join(" ")), &help));
            if flag == "-h" {
                let subcommands = subcommands(&help);
                commands.extend(subcommands.map(|name| [&command[..], &[name]].concat()));
            }
        }
    }
    assert!(commands.contains(&vec!["rejected".to_owned(), "list".to_owned()]), "{commands:?}");
    assert_none(&faults);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answers_of_both_services_contain_no_banned_word() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;
    env.send(Some(0), None, Some(SAMPLE.as_bytes())).await;
    env.send(Some(0), None, Some(b"no order")).await;
    wait_until("the records", async || {
        env.count("orders.orders").await + env.count("orders.rejected_records").await == 2
    })
    .await;
    env.send_status(None, b"no event").await;
    for status in ["pending", "lost", "pending"] {
        send_keyed_status(&env, SAMPLE_UID, status).await;
    }
    wait_for_delivery(&couriers, SAMPLE_UID, "waiting").await;
    env.wait_until_couriers_drained().await;
    env.wait_until_status_drained().await;

    let mut faults = Vec::new();
    for (service, name) in [(&orders, "orders"), (&couriers, "couriers")] {
        let rejected = service.json("/rejected").await["items"][0]["id"].clone();
        let rejected = format!("/rejected/{}", rejected.as_str().unwrap());
        let mut answers = Answers { service, name, faults: &mut faults };

        for path in ["/metrics", "/openapi.json", "/readyz", "/rejected", &rejected] {
            answers.check_get(path, "application/json", 200).await;
        }
        for lang in ["en", "ru"] {
            for path in ["/", "/docs", "/flow"] {
                answers.check_get(&format!("{path}?lang={lang}"), "text/html", 200).await;
            }
            answers.check_get(&format!("/nowhere?lang={lang}"), "text/html", 404).await;
        }
        answers.check_get("/nowhere", "application/json", 404).await;
        answers.check_get("/rejected?limit=0", "application/json", 400).await;
        answers.check_get("/rejected/x", "application/json", 400).await;
        answers.check_post("/livez", "", 405).await;
    }

    let mut answers = Answers { service: &orders, name: "orders", faults: &mut faults };
    let order = format!("/order/{SAMPLE_UID}");
    for lang in ["en", "ru"] {
        for (path, status) in [(&*order, 200), ("/rejected", 200), ("/order/unknown", 404)] {
            answers.check_get(&format!("{path}?lang={lang}"), "text/html", status).await;
        }
    }
    for (path, status) in [("/order/unknown", 404), ("/order/%20", 400), ("/orders?limit=x", 400)] {
        answers.check_get(path, "application/json", status).await;
    }
    answers.check_get(&format!("{order}/history"), "application/json", 200).await;
    answers.check_post("/order", "{}", 422).await;
    answers.check_post("/order", "{", 422).await;
    answers.check_post(&format!("{order}/complete"), "", 202).await;
    answers.check_post("/order/unknown/cancel", "", 404).await;

    let mut answers = Answers { service: &couriers, name: "couriers", faults: &mut faults };
    let delivery = format!("/delivery/{SAMPLE_UID}");
    let sample = json!({ "order_id": SAMPLE_UID }).to_string();
    for (path, status) in [(&*delivery, 200), ("/queue", 200), ("/courier/99", 404)] {
        answers.check_get(path, "application/json", status).await;
    }
    answers.check_post("/courier", r#"{"name":"","phone":"1"}"#, 422).await;
    answers.check_post("/delivery/assign", &sample, 409).await;
    answers.check_post("/delivery/unassign", &sample, 409).await;
    assert_none(&faults);
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

/// The requests to one service, and the banned words in its answers.
struct Answers<'a> {
    service: &'a Service,
    name: &'a str,
    faults: &'a mut Vec<String>,
}

impl Answers<'_> {
    async fn check_get(&mut self, path: &str, accept: &str, status: u16) {
        let request = self.service.http.get(self.service.at(path)).header("accept", accept);
        self.check(&format!("GET {path} as {accept}"), request, status).await;
    }

    async fn check_post(&mut self, path: &str, body: &str, status: u16) {
        let request = self.service.http.post(self.service.at(path)).body(body.to_owned());
        let request = request.header("content-type", "application/json");
        self.check(&format!("POST {path} {body}"), request, status).await;
    }

    async fn check(&mut self, call: &str, request: reqwest::RequestBuilder, status: u16) {
        let answer = request.send().await.unwrap();
        let call = format!("{}: {call}", self.name);
        assert_eq!(answer.status().as_u16(), status, "{call}");
        self.faults.extend(banned_words(&call, &answer.text().await.unwrap()));
    }
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "{} banned words:\n{}", faults.len(), faults.join("\n"));
}

/// Returns the text files below the root, each with its path.
fn texts_of(root: &Path) -> Vec<(String, String)> {
    let mut folders = vec![root.to_owned()];
    let mut texts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let from_root = path.strip_prefix(root).unwrap().to_str().unwrap();
            let is_local = name.starts_with('.') && !CHECKED_DOT_NAMES.contains(&name);
            if is_local || UNCHECKED.iter().any(|one| [name, from_root].contains(one)) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = String::from_utf8(fs::read(&path).unwrap()) {
                texts.push((from_root.to_owned(), text));
            }
        }
    }
    texts.sort();
    texts
}

/// Returns the names of the commands that a help text lists.
fn subcommands(help: &str) -> impl Iterator<Item = String> {
    let list = help.split("Commands:\n").nth(1).unwrap_or_default();
    let list = list.lines().take_while(|line| !line.is_empty());
    let names = list.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned)
}
