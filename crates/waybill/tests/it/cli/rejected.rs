//! `waybill rejected` as operators and their scripts use it: standard output contains data alone.

use std::process::Output;

use serde_json::{Value, json};
use testkit::{Service, TestEnvironment, shared, wait_until};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::support::{Scratch, order, status_event, waybill, waybill_in};

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
    // The name contains a character that is invisible on a terminal.
    let escaped = text.replace('\u{200d}', "\\u{200d}");
    let end = format!("key (utf-8): edited\nvalue (utf-8):\n{escaped}\n");
    assert!(shown.ends_with(&end), "{shown}");

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

/// Clears the screen, sets its title, changes the colour by a C1 control, turns the direction of the
/// text, hides a space, and begins a line of its own.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{202e}\u{200b}\r\n\t2026  forged:0:1";

fn assert_harmless(output: &str) {
    let is_hidden = |char: char| char.is_control() || "\u{202e}\u{200b}".contains(char);
    // Line ends and tabs are the layout of a value.
    let shown = output.replace(['\n', '\t'], "");
    let hidden: Vec<_> = shown.chars().filter(|char| is_hidden(*char)).collect();
    assert!(hidden.is_empty(), "{hidden:?} in {output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_records_and_events_cannot_control_a_terminal() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let value = json!({ "order_uid": HOSTILE, HOSTILE: HOSTILE }).to_string();
    // As it is, without the escapes of JSON.
    let raw = format!("not JSON: {HOSTILE}");
    let (partition, offset) = env.send(None, Some(HOSTILE.as_bytes()), Some(raw.as_bytes())).await;
    let id = format!("{}:{partition}:{offset}", env.orders_topic());
    env.send_with_headers(Some(value.as_bytes()), &[(HOSTILE, HOSTILE)]).await;
    // A status with control characters is not recorded.
    let status = "\u{202e}\u{200b}forged:0:1";
    env.send_status(Some("hostile"), &status_event("hostile", status)).await;
    env.wait_until_drained().await;
    env.wait_until_status_drained().await;

    let list = rejected(&service, &["list"]).await;
    assert_harmless(&list);
    assert_eq!(list.lines().count(), 2, "no text begins a line: {list}");
    for id in list.lines().map(|line| line.split_whitespace().nth(1).unwrap()) {
        assert_harmless(&rejected(&service, &["show", id]).await);
    }
    let shown = rejected(&service, &["show", &id]).await;
    assert!(
        shown.contains(r"key (utf-8): \u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{202e}"),
        "{shown}"
    );

    // The meaning of JSON is the same.
    let shown = rejected(&service, &["show", &id, "--json"]).await;
    assert_harmless(&shown);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["key"], &shown["value"]), (&json!(HOSTILE), &json!(raw)));

    for more in [&[][..], &["--json"]] {
        let (url, unused) = (&*service.url, "http://127.0.0.1:1");
        let flags = ["explain", "hostile", "--orders-url", url, "--couriers-url", unused];
        let explained = waybill(&[&flags, more].concat(), &[]).await;
        let error = String::from_utf8_lossy(&explained.stderr);
        let explained = String::from_utf8(explained.stdout).unwrap();
        assert!(explained.contains("forged"), "{explained}, {error}");
        assert_harmless(&explained);
    }

    // An answer of another server, in an error.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4_096]).await.unwrap();
        let body = json!({ "detail": HOSTILE }).to_string();
        let length = body.len();
        let head = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all((head + &body).as_bytes()).await.unwrap();
    });
    let output = waybill(&["rejected", "list", "--orders-url", &url], &[]).await;
    answering.await.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("forged"), "{error}");
    assert_harmless(&error);
    service.stop().await.unwrap();
}
