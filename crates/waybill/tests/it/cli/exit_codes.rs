//! How the real program ends: its exit code, and a sentence that says what to do.

use std::process::Output;

use sqlx::{Connection as _, PgConnection};
use testkit::{TestEnvironment, shared, wait_until};

use crate::support::{Program, Scratch, waybill};

/// Nothing answers there: the port is reserved and never given to anybody.
const NOWHERE: &str = "127.0.0.1:1";

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
    let list = ["rejected", "list"];
    ends(&waybill(&list, &[("ORDERS_URL", "nonsense")]).await, 78, &["nonsense", "ORDERS_URL"]);
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
    ends(&rejected, 69, &["nobody answers at http://127.0.0.1:1/", "start that service"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_courier_service_is_a_silent_dependency_of_the_generator() {
    let env = TestEnvironment::new(shared()).await;
    let topic = env.orders_topic();
    let mut flags = vec!["load", "--kafka-brokers", &env.servers.kafka, "--kafka-topic", &topic];
    flags.extend(["--couriers", "3", "--couriers-url", "http://127.0.0.1:1"]);
    ends(&waybill(&flags, &[]).await, 69, &["the courier service was silent for 10 seconds"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_told_so_and_not_kept_waiting() {
    let env = TestEnvironment::new(shared()).await;
    let server = env.servers.postgres.rsplit_once('/').unwrap().0;
    let host = server.rsplit_once('@').unwrap().1;
    // A user of the server without any right in this database.
    let stranger = format!("{}_stranger", env.name);
    let mut administrator = PgConnection::connect(&env.servers.postgres).await.unwrap();
    let make = format!("CREATE ROLE {stranger} LOGIN");
    sqlx::raw_sql(sqlx::AssertSqlSafe(make)).execute(&mut administrator).await.unwrap();
    env.courier_database().await;
    for service in ["orders", "couriers"] {
        let own = format!("{}_{service}", env.name);
        for (user, database, role) in [
            ("nobody", own.as_str(), service),
            (&stranger, "no_such_database", service),
            (&stranger, &own, service),
            ("nobody", &own, "migrate"),
            (&stranger, "no_such_database", "migrate"),
        ] {
            let url = format!("postgres://{user}@{host}/{database}");
            let (database, address) =
                (format!("--{service}-database-url"), format!("--{service}-http-addr"));
            let mut flags = vec![role, &database, &url];
            let brokers = env.servers.kafka.as_str();
            if role == service {
                flags.extend([address.as_str(), "127.0.0.1:0", "--kafka-brokers", brokers]);
                flags.extend(["--kafka-create-topics", "false"]);
            }
            let told = waybill(&flags, &[]).await;
            ends(&told, 78, &["PostgreSQL"]);
        }
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
    for role in ["orders", "couriers"] {
        let database = format!("--{role}-database-url");
        let flags = [
            ("--kafka-brokers", NOWHERE),
            (database.as_str(), "postgres://somebody@127.0.0.1:1/x"),
        ];
        let folder = Scratch::new();
        let log = folder.0.join("log");
        let service = Program::start_with(role, &flags, &log);
        wait_until("it to say what it waits for", async || {
            let log = std::fs::read_to_string(&log).unwrap();
            log.contains("waiting for Kafka at 127.0.0.1:1")
                && log.contains("waiting for PostgreSQL")
        })
        .await;
        assert_eq!(service.status("/readyz").await, 503, "{role}");
        // Ready without being warm, ten seconds after the start.
        service.ready().await;
        let status = service.terminate().await;
        assert_eq!(status.code(), Some(0), "{role}: {status}");
        let log = std::fs::read_to_string(&log).unwrap();
        for wait in ["waiting for Kafka", "waiting for PostgreSQL"] {
            assert_eq!(log.matches(wait).count(), 1, "{role}: {log}");
        }
    }
}
