//! `waybill up` shows a living system, and ends whole: nothing of it is left, whether it is asked to
//! end or killed.

use std::{
    path::Path,
    process::{Command as Plain, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::{TestEnvironment, shared, wait_until};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::support::Scratch;

/// Starts it and waits for its banner.
async fn up(folder: &Scratch) -> Child {
    up_with(folder, &[], &[]).await.0
}

/// The same, with more flags and with variables; tells the banner, too.
async fn up_with(folder: &Scratch, more: &[&str], variables: &[(&str, &str)]) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.args(["up", "--postgres-port", "0", "--kafka-port", "0"]);
    command.args(["--orders-http-addr", "127.0.0.1:0", "--couriers-http-addr", "127.0.0.1:0"]);
    command.arg("--data-dir").arg(folder.0.join("data")).args(more);
    for variable in ["DATABASE_URL", "ORDERS_DATABASE_URL", "POSTGRES_HOST", "KAFKA_BROKERS"] {
        command.env_remove(variable);
    }
    command.envs(variables.iter().copied());
    command.current_dir(&folder.0).kill_on_drop(true);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(folder.0.join("log")).unwrap())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let banner = async {
        let mut banner = String::new();
        while !banner.contains("Ctrl-C") {
            banner += &lines.next_line().await.unwrap().expect("a banner");
            banner.push('\n');
        }
        banner
    };
    let banner = tokio::time::timeout(Duration::from_secs(60), banner).await;
    // Whoever reads the banner may go away.
    (child, banner.expect("it comes up"))
}

/// The courier service's address.
fn couriers_in(banner: &str) -> &str {
    let address = banner.lines().find_map(|line| line.trim().strip_prefix("couriers "));
    address.expect("the banner names it").trim()
}

fn signal(child: &Child, signal: Signal) {
    let id = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    kill_process(id, signal).unwrap();
}

/// How many processes name the folder in their command line.
fn processes(folder: &Path) -> usize {
    let ps = Plain::new("ps").args(["-A", "-ww", "-o", "args="]).output().unwrap();
    let folder = folder.to_string_lossy();
    String::from_utf8_lossy(&ps.stdout).lines().filter(|line| line.contains(&*folder)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_all_of_it_within_five_seconds() {
    let folder = Scratch::new();
    let (mut child, banner) = up_with(&folder, &[], &[]).await;
    let couriers = couriers_in(&banner);
    wait_until("an order to have a courier", async || {
        let Ok(answer) = reqwest::get(format!("{couriers}/statistics")).await else { return false };
        answer.json::<Value>().await.is_ok_and(|figures| figures["active"].as_i64() > Some(0))
    })
    .await;
    assert!(processes(&folder.0) > 2, "the program, PostgreSQL and Kafka");
    let asked = Instant::now();
    signal(&child, Signal::INT);
    let status = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
    let status = status.expect("it ends").unwrap();
    let took = asked.elapsed();
    let log = std::fs::read_to_string(folder.0.join("log")).unwrap();
    assert_eq!(status.code(), Some(0), "{status}: {log}");
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    assert_eq!(processes(&folder.0), 0, "its children ended before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_it_leaves_no_child() {
    let folder = Scratch::new();
    let mut child = up(&folder).await;
    signal(&child, Signal::KILL);
    child.wait().await.unwrap();
    wait_until("its children to be gone", async || processes(&folder.0) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_by_which_browsers_know_the_order_service_may_be_given() {
    let folder = Scratch::new();
    let (mut child, banner) =
        up_with(&folder, &["--orders-url", "https://orders.example"], &[]).await;
    let ping = format!("{}/ping", couriers_in(&banner));
    let asking = reqwest::Client::new().get(ping).header("origin", "https://orders.example");
    let answer = asking.send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://orders.example");
    signal(&child, Signal::INT);
    child.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_yours_is_used_and_the_local_postgresql_has_the_other() {
    let env = TestEnvironment::new(shared()).await;
    let flags = env.flags();
    let flag = |name: &str| &flags[flags.iter().position(|flag| flag == name).unwrap() + 1];
    let variables = [
        ("ORDERS_DATABASE_URL", flag("--orders-database-url").as_str()),
        ("KAFKA_BROKERS", flag("--kafka-brokers")),
        ("KAFKA_ORDERS_TOPIC", flag("--kafka-orders-topic")),
        ("KAFKA_STATUS_TOPIC", flag("--kafka-status-topic")),
        ("KAFKA_GROUP_ID", flag("--kafka-group-id")),
    ];
    let folder = Scratch::new();
    let (mut child, banner) = up_with(&folder, &[], &variables).await;
    assert!(!banner.contains("/waybill_orders"), "{banner}");
    assert!(banner.contains("/waybill_couriers"), "{banner}");
    wait_until("orders to come", async || env.count("orders.orders").await > 0).await;
    signal(&child, Signal::INT);
    child.wait().await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_before_anything_starts() {
    let folder = Scratch::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.args(["up", "--orders-http-addr", "127.0.0.1:0", "--couriers-http-addr"]);
    command.args(["127.0.0.1:0", "--data-dir"]).arg(folder.0.join("data"));
    command.env_clear().env("COURIERS_DATABASE_URL", "nonsense").current_dir(&folder.0);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(60), output).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{told}");
    assert!(told.contains("COURIERS_DATABASE_URL is not a PostgreSQL address"), "{told}");
    assert!(!folder.0.join("data").exists(), "nothing was started");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_one_on_the_same_folder_is_told_of_the_folder() {
    let folder = Scratch::new();
    let mut first = up(&folder).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.args(["up", "--orders-http-addr", &taken, "--data-dir"]);
    command.arg(folder.0.join("data")).current_dir(&folder.0).env_clear();
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(60), output).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{told}");
    let holder = format!("is in use by process {}: stop that one first", first.id().unwrap());
    assert!(told.contains(&holder), "{told}");
    signal(&first, Signal::INT);
    first.wait().await.unwrap();
}

#[tokio::test]
async fn what_keeps_the_local_servers_from_running_is_configuration() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = Scratch::new();
    for (variables, flags, words) in [
        (vec![("PG_BIN_DIR", "/nowhere")], vec![], "PG_BIN_DIR is /nowhere"),
        (vec![], vec!["--postgres-port", &port], "for PostgreSQL is in use"),
        (vec![], vec!["--data-dir", "/proc/nowhere"], "cannot use the folder /proc/nowhere"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
        command.args(["up", "--orders-http-addr", "127.0.0.1:0", "--couriers-http-addr"]);
        command.args(["127.0.0.1:0", "--kafka-brokers", "127.0.0.1:1"]).args(&flags);
        command.current_dir(&folder.0).env_clear().envs(variables);
        command.env("PATH", std::env::var_os("PATH").unwrap());
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let output = tokio::time::timeout(Duration::from_secs(60), output).await.unwrap().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{told}");
        assert!(told.contains(words), "{told}");
    }
}
