//! `waybill up` shows a living system, and ends whole: nothing of it is left, whether it is asked to
//! end or killed.

use std::{
    path::Path,
    process::{Command as Plain, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::wait_until;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::support::Scratch;

/// Starts it, waits for its banner, and gives the courier service's address in it.
async fn up(folder: &Scratch) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.args(["up", "--postgres-port", "0", "--kafka-port", "0"]);
    command.args(["--orders-http-addr", "127.0.0.1:0", "--couriers-http-addr", "127.0.0.1:0"]);
    command.arg("--data-dir").arg(folder.0.join("data"));
    for variable in ["DATABASE_URL", "ORDERS_DATABASE_URL", "POSTGRES_HOST", "KAFKA_BROKERS"] {
        command.env_remove(variable);
    }
    command.current_dir(&folder.0).kill_on_drop(true);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(folder.0.join("log")).unwrap())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let banner = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("a banner");
            if let Some(("couriers", url)) = line.trim().split_once(' ') {
                return url.trim().to_owned();
            }
        }
    };
    let couriers = tokio::time::timeout(Duration::from_secs(60), banner).await;
    // Whoever reads the banner may go away.
    (child, couriers.expect("it comes up"))
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
    let (mut child, couriers) = up(&folder).await;
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
    let (mut child, _) = up(&folder).await;
    signal(&child, Signal::KILL);
    child.wait().await.unwrap();
    wait_until("its children to be gone", async || processes(&folder.0) == 0).await;
}
