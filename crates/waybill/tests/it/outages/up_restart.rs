//! `waybill up` once more: killed and started again, and with servers that it did not start.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::{TestEnvironment, eventually, shared};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::support::{Scratch, order, record};

/// The program, and what it said when it was up.
struct Up {
    child: Child,
    banner: String,
    /// From its start to its banner.
    took: Duration,
}

impl Up {
    /// What the banner says beside this word.
    fn says(&self, word: &str) -> &str {
        let line = self.banner.lines().find_map(|line| line.trim().strip_prefix(word));
        line.unwrap_or_else(|| panic!("no {word} in {}", self.banner)).trim()
    }

    /// What the order service answers, as text.
    async fn get(&self, path: &str, accept: &str) -> (u16, String) {
        let request = reqwest::Client::new().get(format!("{}{path}", self.says("orders")));
        let answer = request.header("accept", accept).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

/// The program with these flags, else on free ports, and without any server given.
fn command(folder: &Scratch, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.arg("up").arg("--data-dir").arg(folder.0.join("data")).args(more);
    for (flag, value) in [
        ("--postgres-port", "0"),
        ("--kafka-port", "0"),
        ("--orders-http-addr", "127.0.0.1:0"),
        ("--couriers-http-addr", "127.0.0.1:0"),
    ] {
        if !more.contains(&flag) {
            command.args([flag, value]);
        }
    }
    for variable in ["DATABASE_URL", "ORDERS_DATABASE_URL", "POSTGRES_HOST", "KAFKA_BROKERS"] {
        command.env_remove(variable);
    }
    command.current_dir(&folder.0).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Starts it and waits for its banner.
async fn up(folder: &Scratch, more: &[&str]) -> Up {
    let begun = Instant::now();
    let mut child = command(folder, more)
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(folder.0.join("log")).unwrap())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut banner = String::new();
    let reading = async {
        while !banner.contains("Ctrl-C stops everything") {
            banner.push_str(&lines.next_line().await.unwrap().expect("a banner"));
            banner.push('\n');
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("it comes up");
    // Whoever reads the banner may go away.
    Up { child, banner, took: begun.elapsed() }
}

/// Has it end in good order, so that nothing of it outlives its folder.
async fn stop(mut up: Up) {
    let id = Pid::from_raw(up.child.id().unwrap().cast_signed()).unwrap();
    kill_process(id, Signal::INT).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), up.child.wait()).await;
    assert_eq!(ended.expect("it ends").unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_one_after_a_kill_has_the_orders_and_sends_more() {
    let folder = Scratch::new();
    let mut killed = up(&folder, &["--rate", "0"]).await;
    let kept = order("kept", 7);
    let post = reqwest::Client::new().post(format!("{}/order", killed.says("orders")));
    assert_eq!(post.body(kept.to_string()).send().await.unwrap().status(), 202);
    let (status, text) = killed.get("/order/kept?wait=30s", "application/json").await;
    assert_eq!((status, serde_json::from_str::<Value>(&text).unwrap()), (200, kept.clone()));
    let listed = |text: &str| -> Vec<String> {
        let list: Value = serde_json::from_str(text).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        items.map(|order| order["order_uid"].as_str().unwrap().to_owned()).collect()
    };
    let (_, text) = killed.get("/orders", "application/json").await;
    assert_eq!(listed(&text), ["kept"], "nothing is sent at a rate of 0");
    assert!(killed.banner.contains("No orders are sent"), "{}", killed.banner);
    // At once, while the servers of the killed one are still leaving.
    killed.child.kill().await.unwrap();
    let next = up(&folder, &["--rate", "20"]).await;
    assert!(next.took < Duration::from_secs(10), "the banner took {:?}", next.took);
    assert!(next.banner.contains("20 orders a second are sent"), "{}", next.banner);
    let (status, text) = next.get("/order/kept?wait=30s", "application/json").await;
    assert_eq!((status, serde_json::from_str::<Value>(&text).unwrap()), (200, kept));
    let newest = eventually("orders that were sent", async || {
        let (_, text) = next.get("/orders", "application/json").await;
        let listed = listed(&text);
        (listed.len() > 5).then(|| listed[0].clone())
    })
    .await;
    let (status, page) = next.get(&format!("/order/{newest}"), "text/html").await;
    assert!(status == 200 && page.contains(&newest), "{page}");
    let (_, page) = next.get("/", "text/html").await;
    assert!(page.contains("href=\"/order/"), "the newest orders are on the page: {page}");

    // Another at the same address is told what to do, and disturbs nothing.
    let address = next.says("orders").trim_start_matches("http://");
    let other = Scratch::new();
    let output = command(&other, &["--orders-http-addr", address]).output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("--orders-http-addr chooses another address"), "{told}");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(78), 0));
    assert_eq!(next.get("/livez", "*/*").await.0, 200);
    stop(next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_postgresql_and_a_kafka_it_starts_none() {
    let env = TestEnvironment::new(shared()).await;
    let couriers = env.courier_database().await;
    let folder = Scratch::new();
    let mut flags = env.flags();
    flags.extend(["--couriers-database-url", &couriers.url].map(str::to_owned));
    flags.extend(["--rate", "0", "--couriers", "1"].map(str::to_owned));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let up = up(&folder, &flags).await;
    assert!(!up.banner.contains("psql"), "{}", up.banner);
    assert!(up.says("Kafka").contains(&env.servers.kafka), "{}", up.banner);
    env.send_all([record(&order("given", 7))]).await;
    assert_eq!(up.get("/order/given?wait=30s", "application/json").await.0, 200);
    assert_eq!(env.count("orders.orders").await, 1, "it is in the database that was given");
    assert!(!folder.0.join("data").join("postgres").exists());
    assert!(!folder.0.join("data").join("kafka").exists());
    stop(up).await;
}
