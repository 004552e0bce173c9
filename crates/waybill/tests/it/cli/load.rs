//! `waybill load` on the real Kafka: the summary agrees with the records on the topic.

use std::collections::BTreeMap;

use serde_json::Value;
use testkit::{Received, TestEnvironment, eventually, shared, wait_until};
use tokio::process::Command;

use crate::support::{Scratch, status_event};

/// Runs `waybill load` to its end and returns the summary.
async fn run_load(env: &TestEnvironment, topic: &str, more: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.args(["load", "--json", "--kafka-brokers", &env.servers.kafka]);
    command.args(["--kafka-orders-topic", topic]).args(more).kill_on_drop(true);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs `waybill load` with a simulation, gives the status topic these options while it runs, and
/// returns the exit code and the summary.
async fn run_simulation_with_topic_options(
    env: &TestEnvironment,
    more: &[&str],
    options: &[(&str, &str)],
) -> (Option<i32>, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.args(["load", "--json", "--quiet", "--walk", "3", "--seed", "7"]).args(more);
    command.args(["--kafka-brokers", &env.servers.kafka]);
    command.args(["--kafka-orders-topic", &env.orders_topic()]);
    command.args(["--kafka-status-topic", &env.status_topic()]).kill_on_drop(true);
    let load = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let sent = eventually("the generator to send records", async || {
        env.read_all(&env.orders_topic()).await.pop()
    })
    .await;
    let order_id = String::from_utf8(sent.key.unwrap()).unwrap();
    // Only the order that the generator has sent gets statuses.
    for order_id in ["1", &order_id] {
        env.send_status(Some(order_id), &status_event(order_id, "created")).await;
    }
    env.alter_topic(&env.status_topic(), options).await;
    let limit = std::time::Duration::from_secs(60);
    let output = tokio::time::timeout(limit, load.wait_with_output()).await;
    let output = output.expect("it ends by itself").unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

/// Reads a topic, partition by partition.
async fn records_in_order(env: &TestEnvironment, topic: &str) -> Vec<Received> {
    let mut records = env.read_all(topic).await;
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

const ALL_KINDS: [&str; 14] = [
    "--count",
    "400",
    "--seed",
    "7",
    "--rate",
    "0",
    "--duplicates",
    "0.1",
    "--changed",
    "0.1",
    "--invalid",
    "0.1",
    "--unparsable",
    "0.1",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_summary_counts_the_records_on_the_topic_by_kind() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let summary = run_load(&env, &env.orders_topic(), &ALL_KINDS).await;

    assert_eq!((&summary["sent"], &summary["acknowledged"]), (&400.into(), &400.into()));

    env.wait_until_drained().await;

    let rejected: Vec<(i32, i64)> =
        sqlx::query_as(r#"SELECT "partition", "offset" FROM orders.rejected_records"#)
            .fetch_all(&env.pool)
            .await
            .unwrap();
    let mut counted: BTreeMap<&str, u64> = BTreeMap::new();
    let mut known: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let records = records_in_order(&env, &env.orders_topic()).await;
    for record in &records {
        let (key, value) = (record.key.clone().unwrap(), record.value.clone().unwrap());
        let kind = if serde_json::from_slice::<Value>(&value).is_err() {
            "unparsable"
        } else if rejected.contains(&(record.partition, record.offset)) {
            "invalid"
        } else {
            match known.insert(key, value.clone()) {
                None => "new",
                Some(before) if before == value => "duplicate",
                Some(_) => "changed",
            }
        };
        *counted.entry(kind).or_default() += 1;
    }
    let mut summarised: BTreeMap<String, u64> =
        serde_json::from_value(summary["by_kind"].clone()).unwrap();
    summarised.retain(|_, count| *count > 0);

    assert_eq!(serde_json::json!(counted), serde_json::json!(summarised));
    assert_eq!(counted.len(), 5, "every kind is there: {counted:?}");
    assert_eq!(rejected.len() as u64, counted["invalid"] + counted["unparsable"]);
    assert_eq!(env.count("orders.orders").await as u64, counted["new"]);

    let bytes = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
    let bytes: usize = records.iter().map(|r| bytes(&r.key) + bytes(&r.value)).sum();
    assert_eq!(summary["bytes"], bytes);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulation_brings_every_order_to_its_end() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let (orders, couriers) = env.start_both(&database).await;
    let status_topic = env.status_topic();
    let flags = [
        "--count",
        "40",
        "--rate",
        "0",
        "--seed",
        "7",
        "--walk",
        "0.1",
        "--cancels",
        "0.3",
        "--repeats",
        "0.3",
        "--reordered",
        "0.3",
        "--unknown",
        "0.3",
        "--couriers",
        "12",
        "--couriers-url",
        &couriers.url,
        "--kafka-status-topic",
        &status_topic,
    ];
    let summary = run_load(&env, &env.orders_topic(), &flags).await;

    assert_eq!(summary["acknowledged"], 40);

    env.wait_until_status_drained().await;
    env.wait_until_couriers_drained().await;

    let ended = "orders.order_status WHERE rank >= 5";
    let cancelled = env.count("orders.order_status WHERE rank = 6").await;
    assert_eq!((env.count("orders.order_status").await, env.count(ended).await), (40, 40));
    assert!((1..30).contains(&cancelled), "{cancelled} cancelled");
    for reason in ["repeated", "lower", "unknown_status"] {
        let ignored = format!("orders.order_events WHERE ignored = '{reason}'");
        assert_ne!(env.count(&ignored).await, 0, "{reason}");
    }

    let statistics = couriers.json("/statistics").await;
    assert_eq!(statistics["active"], 0);

    // Some orders end before one of the twelve couriers is available.
    let carried = statistics["completed"].as_i64().unwrap();
    assert!((1..=40 - cancelled).contains(&carried), "{statistics}");

    let listed = couriers.json("/couriers?limit=500").await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 12);

    // The same couriers are not registered a second time.
    run_load(
        &env,
        &env.orders_topic(),
        &["--count", "1", "--couriers", "13", "--couriers-url", &couriers.url],
    )
    .await;
    let listed = couriers.json("/couriers?limit=500").await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 13);
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_run_completes_the_orders_of_a_killed_one() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let (orders_topic, status_topic) = (env.orders_topic(), env.status_topic());
    let flags = ["--kafka-status-topic", &status_topic, "--resume", "--kafka-group-id", &env.name];

    // Its orders would end after an hour.
    let mut killed = Command::new(env!("CARGO_BIN_EXE_waybill"));
    killed.args(["load", "--quiet", "--count", "30", "--rate", "0", "--walk", "3600"]);
    killed.args(["--kafka-brokers", &env.servers.kafka, "--kafka-orders-topic", &orders_topic]);
    let mut killed = killed.args(flags).kill_on_drop(true).spawn().unwrap();
    wait_until("all orders to be stored", async || env.count("orders.orders").await == 30).await;
    killed.kill().await.unwrap();

    // An order of another sender is not continued.
    env.send_status(Some("other"), &status_event("other", "created")).await;
    let flags = [&["--count", "1", "--walk", "0.1"], &flags[..]].concat();
    let summary = run_load(&env, &orders_topic, &flags).await;
    env.wait_until_status_drained().await;

    assert_eq!(summary["sent"], 1);
    assert_eq!(env.count("orders.order_status WHERE rank >= 5").await, 31);
    assert_eq!(env.count("orders.order_status WHERE order_uid = 'other' AND rank = 0").await, 1);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_sends_the_same_bytes() {
    let env = TestEnvironment::new(shared()).await;
    let again = format!("{}.again", env.name);

    env.create_large_topic(&again).await;
    run_load(&env, &env.orders_topic(), &ALL_KINDS).await;
    run_load(&env, &again, &ALL_KINDS).await;
    let bytes = |records: Vec<Received>| {
        records.into_iter().map(|record| (record.partition, record.key, record.value))
    };
    let first: Vec<_> = bytes(records_in_order(&env, &env.orders_topic()).await).collect();
    let second: Vec<_> = bytes(records_in_order(&env, &again).await).collect();

    assert!(first.len() == 400 && first == second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_sent_line_by_line_as_it_is() {
    let env = TestEnvironment::new(shared()).await;
    let folder = Scratch::new();
    let file = folder.0.join("records");

    std::fs::write(&file, "{\"order_uid\":\"a\"}\nno order \u{e9}\n{}\n").unwrap();
    let summary = run_load(&env, &env.orders_topic(), &["--file", file.to_str().unwrap()]).await;
    assert_eq!((&summary["sent"], &summary["by_kind"]["given"]), (&3.into(), &3.into()));

    let mut sent: Vec<_> = records_in_order(&env, &env.orders_topic())
        .await
        .into_iter()
        .map(|record| (record.key, String::from_utf8(record.value.unwrap()).unwrap()))
        .collect();
    sent.sort();
    let wanted = [
        (None, "no order \u{e9}".to_owned()),
        (None, "{}".to_owned()),
        (Some(b"a".to_vec()), "{\"order_uid\":\"a\"}".to_owned()),
    ];

    assert_eq!(sent, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statuses_of_the_summary_are_those_on_the_topic() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let status_topic = env.status_topic();
    let mut flags = vec!["--count", "30", "--rate", "0", "--walk", "0.1", "--repeats", "0.5"];

    flags.extend(["--cancels", "0.2", "--kafka-status-topic", &status_topic]);
    let summary = run_load(&env, &env.orders_topic(), &flags).await;
    let mut published: BTreeMap<String, u64> = BTreeMap::new();
    for event in env.read_all(&status_topic).await {
        // The order service's own events name their source.
        if !event.headers.contains_key("ce_source") {
            let event: Value = serde_json::from_slice(&event.value.unwrap()).unwrap();
            *published.entry(event["status"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }

    assert_eq!(summary["statuses"], serde_json::json!(published));
    assert_eq!(summary["statuses_acknowledged"], published.values().sum::<u64>());
    assert_eq!(summary["statuses_failed"], 0);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_that_kafka_refuses_are_counted_as_failed() {
    let env = TestEnvironment::new(shared()).await;
    let (code, summary) =
        run_simulation_with_topic_options(&env, &["--count", "1"], &[("max.message.bytes", "50")])
            .await;
    assert_eq!((code, &summary["ended"]["how"]), (Some(1), &"done".into()), "{summary}");
    assert_eq!(
        (&summary["statuses_acknowledged"], &summary["statuses_failed"]),
        (&0.into(), &5.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulation_that_cannot_publish_ends_the_run() {
    let env = TestEnvironment::new(shared()).await;
    // Every record is older than this limit.
    let options =
        [("message.timestamp.type", "CreateTime"), ("message.timestamp.before.max.ms", "0")];
    let (code, summary) =
        run_simulation_with_topic_options(&env, &["--count", "0", "--rate", "20"], &options).await;

    assert_eq!(
        (code, &summary["ended"]["how"]),
        (Some(1), &"simulation_failed".into()),
        "{summary}"
    );
}
