//! `waybill rejected` as operators and their scripts use it: standard output contains data alone.

use std::process::Output;

use serde_json::{Value, json};
use testkit::{Service, TestEnvironment, shared, wait_until};

use crate::support::{Scratch, order, waybill, waybill_in};

/// More records than one page of `GET /rejected` contains.
const MANY: usize = 510;

/// Asserts that a run succeeded without messages, and returns its output.
fn assert_success(output: Output) -> String {
    let messages = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*messages), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the flags of the tool for this service.
fn rejected_flags<'a>(service: &'a Service, more: &[&'a str]) -> Vec<&'a str> {
    [&["rejected", "--orders-url", &service.url], more].concat()
}

/// Runs the tool and returns its output.
async fn rejected(service: &Service, more: &[&str]) -> String {
    assert_success(waybill(&rejected_flags(service, more), &[]).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_listed_shown_and_replayed() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let many = (0..MANY).map(|number| (Vec::new(), format!("{{\"cut\": {number}").into_bytes()));

    env.send_all(many).await;
    let mut bad = order("edited", 1);
    bad["payment"]["currency"] = json!("XXY");
    bad["delivery"]["name"] = json!("Ünal 👩‍🚒");
    let text = bad.to_string();
    let binary = [0xff, 0x00, 0xfe, b'\n'];
    let (partition, offset) = env.send(Some(5), Some(b"edited"), Some(text.as_bytes())).await;
    let with_text = format!("{}:{partition}:{offset}", env.orders_topic());
    let (partition, offset) = env.send(Some(5), Some(b"\xff"), Some(&binary)).await;
    let with_binary = format!("{}:{partition}:{offset}", env.orders_topic());
    env.wait_until_drained().await;

    let list =
        rejected(&service, &["list", "--reason", "invalid_json", "--limit", "0", "--json"]).await;
    let listed: Vec<Value> = list
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is a JSON object"))
        .collect();
    assert!(listed.iter().all(|one| one["reason"] == "invalid_json"));

    let ids: std::collections::BTreeSet<&str> =
        listed.iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!((listed.len(), ids.len()), (MANY, MANY), "each once, over two pages");
    assert_eq!(rejected(&service, &["list"]).await.lines().count(), 50);

    let one = rejected(&service, &["list", "--reason", "unknown_currency", "--limit", "3"]).await;
    assert_eq!(one.lines().count(), 1);
    for words in [&*with_text, "unknown_currency", "/payment/currency"] {
        assert!(one.contains(words), "{words:?} is not in {one}");
    }

    // The value is shown exactly, so that an edited copy differs only in the edit.
    let shown = rejected(&service, &["show", &with_text, "--json"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["value"], &shown["value_encoding"]), (&json!(text), &json!("utf-8")));

    let shown = rejected(&service, &["show", &with_text]).await;
    assert!(shown.contains("/payment/currency unknown_currency:"), "{shown}");
    assert!(shown.ends_with(&format!("key (utf-8): edited\nvalue (utf-8):\n{text}\n")), "{shown}");

    let shown = rejected(&service, &["show", &with_binary, "--json"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["value"], &shown["value_encoding"]), (&json!("/wD+Cg=="), &json!("base64")));
    assert_eq!((&shown["key"], &shown["key_encoding"]), (&json!("/w=="), &json!("base64")));

    let shown = rejected(&service, &["show", &with_binary]).await;
    assert!(shown.ends_with("key (base64): /w==\nvalue (base64):\n/wD+Cg==\n"), "{shown}");

    // Unchanged: the same bytes are sent again and rejected again.
    let output = rejected(&service, &["replay", &with_text]).await;
    assert_eq!(output, format!("{with_text} was sent again\n"));

    let again = "orders.rejected_records WHERE reason = 'unknown_currency'";
    wait_until("the replayed record to be rejected again", async || env.count(again).await == 2)
        .await;

    // With the content of a file, and with standard input.
    let folder = Scratch::new();
    let (file, mut edited) = (folder.0.join("edited.json"), bad.clone());
    edited["payment"]["currency"] = json!("USD");
    std::fs::write(&file, edited.to_string()).unwrap();
    rejected(&service, &["replay", &with_text, "--file", file.to_str().unwrap()]).await;

    assert_eq!(service.json("/order/edited?wait=30s").await, edited);

    edited["order_uid"] = json!("piped");
    let piped = rejected_flags(&service, &["replay", &with_binary, "--file", "-", "--json"]);
    let piped =
        assert_success(waybill_in(&folder, &piped, &[], edited.to_string().as_bytes()).await);

    assert_eq!(serde_json::from_str::<Value>(&piped).unwrap(), json!({ "replay_of": with_binary }));
    assert_eq!(service.json("/order/piped?wait=30s").await, edited);

    env.wait_until_drained().await;

    let shown = rejected(&service, &["show", &with_text]).await;
    let replays: Vec<bool> = shown
        .lines()
        .filter(|line| line.starts_with("  replayed "))
        .map(|line| line.ends_with(", edited"))
        .collect();
    assert_eq!(replays, [false, true]);

    // Errors are written to standard error alone.
    for (flags, words) in [
        (rejected_flags(&service, &["show", "orders:0:999999"]), "no rejected record is kept"),
        (
            rejected_flags(&service, &["replay", &with_text, "--file", "/nowhere"]),
            "reading /nowhere",
        ),
    ] {
        let output = waybill_in(&folder, &flags, &[], b"").await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{error}");
        assert!(error.contains(words), "{words:?} is not in {error}");
    }
    assert_eq!(env.count(again).await, 2, "nothing was sent");
    service.stop().await.unwrap();
}
