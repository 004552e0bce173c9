//! `waybill up`: a running system after one command, with no process left when it ends or is
//! killed.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;
use testkit::{TestEnvironment, shared, wait_until};

use crate::support::{Scratch, Up, waybill_in};

/// Flags with which both services listen on free ports.
const FREE_ADDRESSES: [&str; 4] =
    ["--orders-http-addr", "127.0.0.1:0", "--couriers-http-addr", "127.0.0.1:0"];

/// Counts the processes that name the folder in their command line.
fn count_processes(folder: &Path) -> usize {
    let mut ps = Command::new("ps");
    // With another locale, it replaces the letters that are not ASCII.
    ps.args(["-A", "-ww", "-o", "args="]).env("LC_ALL", "C.UTF-8");
    let ps = ps.output().unwrap();
    let folder = folder.to_string_lossy();
    String::from_utf8_lossy(&ps.stdout).lines().filter(|line| line.contains(&*folder)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_all_processes_within_five_seconds() {
    let folder = Scratch::new();
    let mut up = Up::start(&folder, &[], &[]).await;
    let couriers = up.banner_line("couriers ").to_owned();

    wait_until("an order to have a courier", async || {
        let Ok(answer) = reqwest::get(format!("{couriers}/statistics")).await else { return false };
        answer.json::<Value>().await.is_ok_and(|figures| figures["active"].as_i64() > Some(0))
    })
    .await;
    assert!(count_processes(&folder.0) > 2, "the program, PostgreSQL and Kafka");

    let begun = Instant::now();
    up.signal(Signal::INT);
    let status = tokio::time::timeout(Duration::from_secs(30), up.child.wait()).await;
    let status = status.expect("it ends").unwrap();
    let took = begun.elapsed();
    let log = std::fs::read_to_string(folder.0.join("log")).unwrap();

    assert_eq!(status.code(), Some(0), "{status}: {log}");
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    assert_eq!(count_processes(&folder.0), 0, "its children ended before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_leaves_no_child_process() {
    let folder = Scratch::new();
    let mut up = Up::start(&folder, &[], &[]).await;

    up.signal(Signal::KILL);
    up.child.wait().await.unwrap();
    wait_until("its children to end", async || count_processes(&folder.0) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_may_use_another_address_of_the_order_service() {
    let folder = Scratch::new();
    let up = Up::start(&folder, &["--orders-url", "https://orders.example"], &[]).await;
    let ping = format!("{}/ping", up.banner_line("couriers "));
    let request = reqwest::Client::new().get(ping).header("origin", "https://orders.example");
    let answer = request.send().await.unwrap();

    assert_eq!(answer.headers()["access-control-allow-origin"], "https://orders.example");
    up.interrupt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_database_is_used_and_the_other_one_is_local() {
    let env = TestEnvironment::new(shared()).await;
    let flags = env.flags();
    let flag = |name: &str| &flags[flags.iter().position(|flag| flag == name).unwrap() + 1];
    let variables = [
        ("ORDERS_DATABASE_URL", flag("--orders-database-url").as_str()),
        ("KAFKA_BROKERS", flag("--kafka-brokers")),
        ("KAFKA_ORDERS_TOPIC", flag("--kafka-orders-topic")),
        ("KAFKA_STATUS_TOPIC", flag("--kafka-status-topic")),
        ("KAFKA_DELIVERIES_TOPIC", flag("--kafka-deliveries-topic")),
        ("KAFKA_GROUP_ID", flag("--kafka-group-id")),
    ];
    let folder = Scratch::new();
    let up = Up::start(&folder, &[], &variables).await;

    assert!(!up.banner.contains("/waybill_orders"), "{}", up.banner);
    assert!(up.banner.contains("/waybill_couriers"), "{}", up.banner);

    wait_until("orders to come", async || env.count("orders.orders").await > 0).await;
    up.interrupt().await;
}

#[tokio::test]
async fn an_invalid_address_is_refused_before_anything_starts() {
    let folder = Scratch::new();
    let data = folder.0.join("data");
    let flags = [&["up"], &FREE_ADDRESSES[..], &["--data-dir", data.to_str().unwrap()]].concat();
    let variables = [("COURIERS_DATABASE_URL", "nonsense")];
    let output = waybill_in(&folder, &flags, &variables, b"").await;
    let error = String::from_utf8_lossy(&output.stderr);

    assert_eq!(output.status.code(), Some(78), "{error}");
    assert!(error.contains("COURIERS_DATABASE_URL is not a PostgreSQL address"), "{error}");
    assert!(!folder.0.join("data").exists(), "nothing was started");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_one_in_the_same_folder_names_the_folder() {
    let folder = Scratch::new();
    let first = Up::start(&folder, &[], &[]).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let data = folder.0.join("data");
    let flags = ["up", "--orders-http-addr", &taken, "--data-dir", data.to_str().unwrap()];
    let output = waybill_in(&folder, &flags, &[], b"").await;
    let error = String::from_utf8_lossy(&output.stderr);

    assert_eq!(output.status.code(), Some(78), "{error}");

    let holder = format!("is in use by process {}: stop that one first", first.child.id().unwrap());
    assert!(error.contains(&holder), "{error}");
    first.interrupt().await;
}

#[tokio::test]
async fn a_data_folder_that_kafka_cannot_use_is_not_created() {
    let folder = Scratch::new();
    let flags = [&["up"], &FREE_ADDRESSES[..], &["--data-dir", "orders, couriers"]].concat();

    let output = waybill_in(&folder, &flags, &[], b"").await;
    let error = String::from_utf8_lossy(&output.stderr);

    assert_eq!(output.status.code(), Some(78), "{error}");
    assert!(error.contains("its name contains a comma"), "{error}");
    assert!(!folder.0.join("orders, couriers").exists());
}

#[tokio::test]
async fn unusable_local_servers_are_a_configuration_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = Scratch::new();
    let path = std::env::var("PATH").unwrap();

    for (variables, flags, words) in [
        (vec![("PG_BIN_DIR", "/nowhere")], vec![], "PG_BIN_DIR is /nowhere"),
        (vec![], vec!["--postgres-port", &port], "for PostgreSQL is in use"),
        (vec![], vec!["--data-dir", "/proc/nowhere"], "cannot use the folder /proc/nowhere"),
    ] {
        let kafka = ["--kafka-brokers", "127.0.0.1:1"];
        let flags = [&["up"], &FREE_ADDRESSES[..], &kafka, &flags].concat();
        let variables = [&variables[..], &[("PATH", &*path)]].concat();
        let output = waybill_in(&folder, &flags, &variables, b"").await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{error}");
        assert!(error.contains(words), "{error}");
    }
}
