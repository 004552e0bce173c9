//! How the real program ends: its exit code, and a sentence that says what to do.

use std::process::{Output, Stdio};

use sqlx::{Connection as _, PgConnection};
use testkit::{Bed, shared, wait_until};
use tokio::process::Command;

use crate::support::{Program, Scratch};

/// Nothing answers there: the port is reserved and never given to anybody.
const NOWHERE: &str = "127.0.0.1:1";

/// The program with flags and variables, in a folder without a `.env`.
async fn waybill(flags: &[&str], variables: &[(&str, &str)]) -> Output {
    let folder = Scratch::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
    command.args(flags).current_dir(&folder.0).env_clear().envs(variables.iter().copied());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, command.output()).await.expect("it ends by itself").unwrap()
}

/// It ends with this code, and says this on standard error.
fn ends(output: &Output, code: i32, words: &[&str]) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}");
    for word in words {
        assert!(told.contains(word), "{word:?} is not in {told}");
    }
    assert!(output.stdout.is_empty(), "standard output is for data");
}

#[tokio::test]
async fn a_flag_that_cannot_be_read_is_usage_and_a_variable_is_configuration() {
    ends(&waybill(&["orders", "--lanes", "many"], &[("LANES", "few")]).await, 2, &["--lanes"]);
    ends(&waybill(&["orders", "--lanes=many"], &[]).await, 2, &["--lanes"]);
    ends(&waybill(&["orders", "--nonsense"], &[]).await, 2, &["--nonsense"]);
    ends(&waybill(&["orders"], &[("LANES", "many")]).await, 78, &["many", "LANES"]);
    ends(&waybill(&["orders"], &[]).await, 78, &["ORDERS_DATABASE_URL"]);
    for (orders, status) in [("same", "same"), ("orders", "orders.dlq"), ("status.dlq", "status")] {
        let topics = [
            ("KAFKA_ORDERS_TOPIC", orders),
            ("KAFKA_STATUS_TOPIC", status),
            ("DATABASE_URL", "postgres://x"),
        ];
        ends(&waybill(&["orders"], &topics).await, 78, &[orders, status, "must differ"]);
    }
}

#[tokio::test]
async fn a_replay_of_an_empty_file_is_refused() {
    let replay = ["rejected", "replay", "orders:0:1", "--file", "/dev/null"];
    ends(&waybill(&replay, &[]).await, 2, &["--file is empty"]);
}

#[tokio::test]
async fn tools_give_up_after_ten_seconds_of_silence() {
    let database = [("DATABASE_URL", "postgres://somebody@127.0.0.1:1/x")];
    let migrate = waybill(&["migrate"], &database);
    let load = waybill(&["load", "--kafka-brokers", NOWHERE], &[]);
    let rejected = waybill(&["rejected", "--orders-url", "http://127.0.0.1:1", "list"], &[]);
    let (migrate, load, rejected) = tokio::join!(migrate, load, rejected);
    ends(&migrate, 69, &["PostgreSQL at 127.0.0.1:1 was silent for 10 seconds", "start it"]);
    ends(&load, 69, &["Kafka at 127.0.0.1:1 was silent for 10 seconds", "start it"]);
    ends(&rejected, 69, &["the order service does not answer", "start it"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_told_so_and_not_kept_waiting() {
    let bed = Bed::new(shared()).await;
    let server = bed.servers.postgres.rsplit_once('/').unwrap().0;
    let host = server.rsplit_once('@').unwrap().1;
    // A user of the server without any right in this database.
    let stranger = format!("{}_stranger", bed.name);
    let mut administrator = PgConnection::connect(&bed.servers.postgres).await.unwrap();
    let make = format!("CREATE ROLE {stranger} LOGIN");
    sqlx::raw_sql(sqlx::AssertSqlSafe(make)).execute(&mut administrator).await.unwrap();
    for (user, database, role) in [
        ("nobody", format!("{}_orders", bed.name), "orders"),
        (&stranger, "no_such_database".to_owned(), "orders"),
        (&stranger, format!("{}_orders", bed.name), "orders"),
        ("nobody", format!("{}_orders", bed.name), "migrate"),
        (&stranger, "no_such_database".to_owned(), "migrate"),
    ] {
        let url = format!("postgres://{user}@{host}/{database}");
        let mut flags = vec![role, "--orders-database-url", &url];
        let brokers = bed.servers.kafka.as_str();
        if role == "orders" {
            flags.extend(["--orders-http-addr", "127.0.0.1:0", "--kafka-brokers", brokers]);
            flags.extend(["--kafka-create-topics", "false"]);
        }
        let told = waybill(&flags, &[]).await;
        ends(&told, 78, &["PostgreSQL"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_is_told() {
    let brokers = &shared().kafka;
    let told = waybill(&["load", "--kafka-brokers", brokers, "--kafka-topic", "nix"], &[]).await;
    ends(&told, 78, &["has no topic nix"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_waits_for_its_dependencies_and_says_so_once() {
    let flags = [
        ("--kafka-brokers", NOWHERE),
        ("--orders-database-url", "postgres://somebody@127.0.0.1:1/x"),
    ];
    let folder = Scratch::new();
    let log = folder.0.join("log");
    let service = Program::start_with(&flags, &log);
    wait_until("it to say what it waits for", async || {
        let log = std::fs::read_to_string(&log).unwrap();
        log.contains("waiting for Kafka at 127.0.0.1:1") && log.contains("waiting for PostgreSQL")
    })
    .await;
    assert_eq!(service.status("/readyz").await, 503);
    // Ready without being warm, ten seconds after the start.
    service.ready().await;
    let status = service.terminate().await;
    assert_eq!(status.code(), Some(0), "{status}");
    let log = std::fs::read_to_string(&log).unwrap();
    for wait in ["waiting for Kafka", "waiting for PostgreSQL"] {
        assert_eq!(log.matches(wait).count(), 1, "{log}");
    }
}
