//! `waybill rejected replay --all` and `settle`: results on standard output, the summary on standard
//! error.

use std::process::Output;

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::{Service, TestEnvironment, shared, wait_until};
use tokio::process::Command;

use crate::support::{order, signal, waybill};

/// Inserts valid orders as rejected records, as if a rule was changed since, and as record 1 an invalid
/// one. The topic has no partition 8, so no replay that is rejected again gets the place of one of them.
async fn insert_rejected(env: &TestEnvironment, count: i64) {
    for number in 0..count {
        let value = match number {
            1 => "{".to_owned(),
            _ => order(&format!("order-{number}"), 5).to_string(),
        };
        sqlx::query(
            "INSERT INTO orders.rejected_records (topic, \"partition\", \"offset\", \
                 record_timestamp, value, reason, violations, rejected_at) \
             VALUES ($1, 8, $2, date_trunc('milliseconds', now()), $3, 'unknown_currency', '[]', \
                 now() - interval '1 hour' + $2 * interval '1 second')",
        )
        .bind(env.orders_topic())
        .bind(number)
        .bind(value.as_bytes())
        .execute(&env.pool)
        .await
        .unwrap();
    }
}

async fn rejected(service: &Service, more: &[&str]) -> (Option<i32>, String, String) {
    let flags = [&["rejected", "--orders-url", &service.url], more].concat();
    let Output { status, stdout, stderr } = waybill(&flags, &[]).await;
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_records_of_a_filter_are_replayed() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    insert_rejected(&env, 12).await;
    env.send(Some(0), None, Some(b"[]")).await;
    env.wait_until_drained().await;
    let all = ["replay", "--all", "--reason", "unknown_currency"];

    let (code, output, messages) = rejected(&service, &[&all[..], &["--dry-run"]].concat()).await;
    assert_eq!((code, output.lines().count()), (Some(0), 10), "{output}");
    let summary = "12 records match, of which 10 are shown; nothing was sent (--dry-run)\n";
    assert_eq!(messages, summary);
    assert_eq!(env.read_all(&env.orders_topic()).await.len(), 1);

    let flags = ["--rate", "100", "--json", "--header", "X-Actor: ada"];
    let (code, output, messages) = rejected(&service, &[&all[..], &flags].concat()).await;
    let summary = "12 replayed: 11 accepted, 1 rejected again, 0 not read yet; 0 not sent\n";
    assert_eq!((code, &*messages), (Some(1), summary));
    let results: Vec<Value> =
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let id = |number| format!("{}:8:{number}", env.orders_topic());
    assert_eq!(results[0]["id"], id(11), "newest first");
    let again: Vec<_> = results.iter().filter(|one| one["result"] == "rejected").collect();
    assert_eq!((again.len(), &again[0]["id"]), (1, &json!(id(1))));
    let shown = service.json(&format!("/rejected/{}", id(3))).await;
    assert_eq!(shown["replays"][0]["by"], "ada", "{shown}");

    // Nothing of this reason is left, and a run without records is a success.
    let (code, output, messages) = rejected(&service, &all).await;
    assert_eq!((code, &*output), (Some(0), ""));
    assert!(messages.starts_with("0 replayed"), "{messages}");

    for (wrong, part) in [
        (&["replay", "--all", "orders:0:1"][..], "cannot be used with"),
        (
            &["replay", "orders:0:1", "--reason", "missing"],
            "filters, --rate and --dry-run need --all",
        ),
        (&["replay", "orders:0:1", "--dry-run"], "need --all"),
        (&["replay", "orders:0:1", "--rate", "5"], "need --all"),
        (&["replay"], "required"),
        (&["replay", "--all", "--rate", "101"], "--rate"),
    ] {
        let (code, _, messages) = rejected(&service, wrong).await;
        assert_eq!(code, Some(2), "{wrong:?}: {messages}");
        assert!(messages.contains(part), "{wrong:?}: {messages}");
    }
    let (code, _, messages) = rejected(&service, &["replay", "--all", "--from", "soon"]).await;
    assert_eq!(code, Some(1));
    assert!(messages.contains("the parameter from must be a time"), "{messages}");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_replay_has_an_exact_summary() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    insert_rejected(&env, 40).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.args(["rejected", "--orders-url", &service.url, "replay", "--all", "--rate", "3"]);
    command.env_clear().kill_on_drop(true);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let left = "orders.rejected_records WHERE settled_at IS NULL";
    wait_until("some replays", async || env.count(left).await <= 37).await;

    signal(&child, Signal::INT);
    let output = child.wait_with_output().await.unwrap();

    let (stdout, stderr) = (output.stdout, String::from_utf8(output.stderr).unwrap());
    let sent = String::from_utf8(stdout).unwrap().lines().count();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with(&format!("{sent} replayed: ")), "{sent}: {stderr}");
    assert!(stderr.trim_end().ends_with("run the command again to continue"), "{stderr}");
    assert!((3..40).contains(&sent));
    assert_eq!(env.read_all(&env.orders_topic()).await.len(), sent, "and nothing else was sent");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_settled_listed_and_reopened() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let (partition, offset) = env.send(None, None, Some(b"{")).await;
    env.wait_until_drained().await;
    let id = format!("{}:{partition}:{offset}", env.orders_topic());

    let flags = ["settle", &id, "--note", "a \x1b test", "--header", "X-Actor: ada"];
    let (code, _, messages) = rejected(&service, &flags).await;
    assert_eq!(code, Some(1), "a control character");
    assert!(messages.contains("/note must not hold control characters"), "{messages}");
    let flags = ["settle", &id, "--note", "a test", "--header", "X-Actor: ada"];
    let (code, output, _) = rejected(&service, &flags).await;
    assert_eq!((code, output), (Some(0), format!("{id} is settled\n")));

    let (_, output, _) = rejected(&service, &["list"]).await;
    assert_eq!(output, "");
    let (_, output, _) = rejected(&service, &["list", "--state", "settled"]).await;
    assert!(output.contains(&id) && output.contains("(settled)"), "{output}");
    let (_, output, _) = rejected(&service, &["show", &id]).await;
    assert!(output.contains("by ada (not verified): a test"), "{output}");

    let (code, output, _) = rejected(&service, &["reopen", &id]).await;
    assert_eq!((code, output), (Some(0), format!("{id} is left to do\n")));
    let (_, output, _) = rejected(&service, &["list"]).await;
    assert_eq!(output.lines().count(), 1);
    service.stop().await.unwrap();
}
