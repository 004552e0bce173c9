//! Exit codes of the real program, and error messages that say what to do.

use std::process::Output;

use sqlx::{Connection as _, PgConnection};
use testkit::{TestEnvironment, shared, wait_until};

use crate::support::{Program, Scratch, waybill};

/// An address at which nothing listens, because the port is reserved.
const UNREACHABLE: &str = "127.0.0.1:1";

/// Asserts that the program ended with this code, and wrote these words to standard error and
/// nothing to standard output.
fn assert_ends(output: &Output, code: i32, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error}");
    }
    assert!(output.stdout.is_empty(), "nothing is written to standard output");
}

#[tokio::test]
async fn a_bad_flag_is_a_usage_error_a_bad_variable_is_not() {
    assert_ends(
        &waybill(&["orders", "--lanes", "many"], &[("LANES", "few")]).await,
        2,
        &["--lanes"],
    );
    assert_ends(&waybill(&["orders", "--lanes=many"], &[]).await, 2, &["--lanes"]);
    assert_ends(&waybill(&["orders", "--nonsense"], &[]).await, 2, &["--nonsense"]);
    assert_ends(&waybill(&["orders"], &[("LANES", "many")]).await, 78, &["many", "LANES"]);

    let list = ["rejected", "list"];
    assert_ends(
        &waybill(&list, &[("ORDERS_URL", "nonsense")]).await,
        78,
        &["nonsense", "ORDERS_URL"],
    );
    assert_ends(&waybill(&["orders"], &[]).await, 78, &["ORDERS_DATABASE_URL"]);
    for (orders, status) in [("same", "same"), ("orders", "orders.dlq"), ("status.dlq", "status")] {
        let topics = [
            ("KAFKA_ORDERS_TOPIC", orders),
            ("KAFKA_STATUS_TOPIC", status),
            ("DATABASE_URL", "postgres://x"),
        ];
        assert_ends(&waybill(&["orders"], &topics).await, 78, &[orders, status, "must differ"]);
    }
}

#[tokio::test]
async fn a_replay_of_an_empty_file_is_refused() {
    let replay = ["rejected", "replay", "orders:0:1", "--file", "/dev/null"];
    assert_ends(&waybill(&replay, &[]).await, 2, &["--file is empty"]);
}

#[tokio::test]
async fn tools_give_up_ten_seconds_after_the_last_answer() {
    let database = [("DATABASE_URL", "postgres://someone@127.0.0.1:1/x")];
    let migrate = waybill(&["migrate"], &database);
    let load = waybill(&["load", "--kafka-brokers", UNREACHABLE], &[]);
    let rejected = waybill(&["rejected", "--orders-url", "http://127.0.0.1:1", "list"], &[]);
    let (migrate, load, rejected) = tokio::join!(migrate, load, rejected);

    assert_ends(
        &migrate,
        69,
        &["PostgreSQL at 127.0.0.1:1 did not answer for 10 seconds", "start it"],
    );
    assert_ends(&load, 69, &["Kafka at 127.0.0.1:1 did not answer for 10 seconds", "start it"]);
    assert_ends(&rejected, 69, &["no service answers at http://127.0.0.1:1/", "start it"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_generator_gives_up_if_the_courier_service_is_down() {
    let env = TestEnvironment::new(shared()).await;
    let topic = env.orders_topic();
    let mut flags = vec!["load", "--kafka-brokers", &env.servers.kafka, "--kafka-topic", &topic];

    flags.extend(["--couriers", "3", "--couriers-url", "http://127.0.0.1:1"]);
    assert_ends(
        &waybill(&flags, &[]).await,
        69,
        &["the courier service did not answer for 10 seconds"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_end_the_program_at_once() {
    let env = TestEnvironment::new(shared()).await;
    let server = env.servers.postgres.rsplit_once('/').unwrap().0;
    let host = server.rsplit_once('@').unwrap().1;
    // A user of the server without any right in this database.
    let outsider = format!("{}_outsider", env.name);
    let mut administrator = PgConnection::connect(&env.servers.postgres).await.unwrap();
    let make = format!("CREATE ROLE {outsider} LOGIN");

    sqlx::raw_sql(sqlx::AssertSqlSafe(make)).execute(&mut administrator).await.unwrap();
    env.courier_database().await;
    for service in ["orders", "couriers"] {
        let own = format!("{}_{service}", env.name);
        for (user, database, role) in [
            ("nobody", own.as_str(), service),
            (&outsider, "no_such_database", service),
            (&outsider, &own, service),
            ("nobody", &own, "migrate"),
            (&outsider, "no_such_database", "migrate"),
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
            let output = waybill(&flags, &[]).await;
            assert_ends(&output, 78, &["PostgreSQL"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_reported() {
    let brokers = &shared().kafka;
    let output = waybill(&["load", "--kafka-brokers", brokers, "--kafka-topic", "nix"], &[]).await;
    assert_ends(&output, 78, &["has no topic nix"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_waits_for_its_dependencies_and_logs_it_once() {
    for role in ["orders", "couriers"] {
        let database = format!("--{role}-database-url");
        let flags = [
            ("--kafka-brokers", UNREACHABLE),
            (database.as_str(), "postgres://someone@127.0.0.1:1/x"),
        ];
        let folder = Scratch::new();
        let log = folder.0.join("log");
        let service = Program::start_with_log(role, &flags, &log);
        wait_until("the log to name the dependency", async || {
            let log = std::fs::read_to_string(&log).unwrap();
            log.contains("waiting for Kafka at 127.0.0.1:1")
                && log.contains("waiting for PostgreSQL")
        })
        .await;
        assert_eq!(service.status("/readyz").await, 503, "{role}");
        // It is ready ten seconds after the start, even if it is not warm.
        service.wait_until_ready().await;
        let status = service.terminate().await;
        assert_eq!(status.code(), Some(0), "{role}: {status}");
        let log = std::fs::read_to_string(&log).unwrap();
        for wait in ["waiting for Kafka", "waiting for PostgreSQL"] {
            assert_eq!(log.matches(wait).count(), 1, "{role}: {log}");
        }
    }
}
