//! Exit codes of the real program, and error messages that say what to do.

use std::process::Output;

use sqlx::{Connection as _, PgConnection};
use testkit::{TestEnvironment, shared, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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
    let output = waybill(&["orders"], &[("LANES", "many")]).await;
    assert_ends(&output, 78, &["LANES"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("many"), "it may be a secret");

    let list = ["rejected", "list"];
    assert_ends(
        &waybill(&list, &[("ORDERS_URL", "nonsense")]).await,
        78,
        &["not an HTTP address", "ORDERS_URL"],
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
async fn a_number_or_time_out_of_its_range_stops_the_start() {
    let database = ("DATABASE_URL", "postgres://someone@127.0.0.1:1/x");
    for (role, variable, wrong, range) in [
        ("orders", "BATCH_ROWS", ["0", "10001"], "from 1 to 10000"),
        ("couriers", "BATCH_BYTES", ["0", "4294967296"], "from 1024 to 268435456"),
        ("orders", "BATCH_AGE_MS", ["60001", "18446744073709551615"], "from 0 to 60000"),
        ("couriers", "LANES", ["0", "65535"], "from 1 to 64"),
        ("orders", "POSTGRES_CONNECTIONS", ["0", "4294967295"], "from 1 to 10000"),
        ("couriers", "POSTGRES_PORT", ["0", "65536"], "from 1 to 65535"),
        ("couriers", "HTTP_CONNECTIONS", ["0", "2305843009213693952"], "from 1 to 1000000"),
        ("orders", "CACHE_BYTES", ["-1", "18446744073709551615"], "from 0 to 274877906944"),
        ("orders", "CACHE_MAX_AGE", ["-1", "18446744073709551615"], "from 0 to 31536000"),
        ("couriers", "DELIVERY_TIME_ON_FOOT", ["5", "8761h"], "from 0s to 8760h"),
        ("couriers", "DELIVERY_TIME_SCOOTER", ["-1s", "8761h"], "from 0s to 8760h"),
        ("couriers", "DELIVERY_TIME_CAR", ["1d", "8761h"], "from 0s to 8760h"),
        ("couriers", "RELEASED_ORDERS", ["drop", "Keep"], "must be keep or requeue"),
        ("couriers", "OVERDUE_GRACE", ["x", "18446744073709551615h"], "from 0s to 8760h"),
        ("audit", "DISPATCH_SWEEP", ["0s", "2h"], "from 10ms to 1h"),
    ] {
        for wrong in wrong {
            let output = waybill(&[role], &[database, (variable, wrong)]).await;
            assert_ends(&output, 78, &[variable, range]);
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(!error.contains("listens on"), "no port was bound: {error}");
        }
    }
    for (flags, range) in [
        (["load", "--rate", "1000001"], "from 0 to 1000000"),
        (["load", "--count", "18446744073709551615"], "from 0 to 1000000000000"),
        (["load", "--couriers", "1000001"], "from 0 to 1000000"),
        (["load", "--invalid", "1.5"], "from 0 to 1"),
        (["load", "--walk", "86401"], "from 0 to 86400"),
        (["up", "--rate", "10001"], "from 0 to 10000"),
        (["up", "--couriers", "1000001"], "from 0 to 1000000"),
        (["audit", "--dispatch-sweep", "0s"], "from 10ms to 1h"),
        (["migrate", "--database-port", "0"], "from 1 to 65535"),
        (["orders", "--batch-bytes", "0"], "from 1024 to 268435456"),
    ] {
        assert_ends(&waybill(&flags, &[]).await, 2, &[flags[1], range]);
    }
    let list = ["rejected", "list", "--limit=-1"];
    assert_ends(&waybill(&list, &[]).await, 2, &["--limit", "from 0 to 1000000000"]);
}

#[tokio::test]
async fn a_text_that_cannot_be_used_stops_the_start() {
    let database = ("DATABASE_URL", "postgres://someone@127.0.0.1:1/x");
    for (variable, wrong, word) in [
        ("KAFKA_BROKERS", ",", "host:port"),
        ("KAFKA_BROKERS", "user:secret-word@kafka:9092", "host:port"),
        ("KAFKA_BROKER", "kafka:0", "from 1 to 65535"),
        ("KAFKA_GROUP_ID", "a\tb", "1 to 200 bytes"),
        ("KAFKA_CONSUMER_GROUP", "a\tb", "1 to 200 bytes"),
        ("KAFKA_TOPIC", "two words", "1 to 245"),
        ("KAFKA_STATUS_TOPIC", "..", "is not `.` or `..`"),
        ("KAFKA_DELIVERIES_TOPIC", "a b", "1 to 245"),
        ("KAFKA_SECURITY_PROTOCOL", "tls", "plaintext, ssl, sasl_plaintext, sasl_ssl"),
        ("KAFKA_SASL_USERNAME", "someone", "has no effect"),
        ("KAFKA_SASL_MECHANISM", "PLAIN", "has no effect"),
        ("KAFKA_SASL_PASSWORD", "secret-word", "has no effect"),
        ("KAFKA_SASL_PASSWORD_FILE", "/nowhere", "has no effect"),
        ("KAFKA_SSL_CA_LOCATION", "/nowhere", "has no effect"),
    ] {
        for role in ["orders", "couriers"] {
            let output = waybill(&[role], &[database, (variable, wrong)]).await;
            assert_ends(&output, 78, &[variable, word]);
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(!error.contains("listens on"), "no port was bound: {error}");
            assert!(!error.contains("secret-word"), "{error}");
        }
    }
    // A topic with such a name cannot exist beside the other one.
    let topics = [database, ("KAFKA_ORDERS_TOPIC", "a.b"), ("KAFKA_STATUS_TOPIC", "a_b")];
    assert_ends(&waybill(&["orders"], &topics).await, 78, &["a.b", "a_b", "must differ"]);
    for (role, other) in [("orders", "KAFKA_ORDERS_TOPIC"), ("couriers", "KAFKA_STATUS_TOPIC")] {
        let topics = [database, (other, "same"), ("KAFKA_DELIVERIES_TOPIC", "same")];
        let expected = format!("{other} and KAFKA_DELIVERIES_TOPIC are both same");
        assert_ends(&waybill(&[role], &topics).await, 78, &[&expected]);
    }
    let redis = [database, ("REDIS_URL", "http://redis")];
    assert_ends(&waybill(&["orders"], &redis).await, 78, &["REDIS_URL"]);

    // The protocols that use SASL and TLS need their settings.
    let sasl = [database, ("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")];
    let named = [sasl[0], sasl[1], ("KAFKA_SASL_MECHANISM", "PLAIN")];
    assert_ends(&waybill(&["couriers"], &sasl).await, 78, &["requires KAFKA_SASL_MECHANISM"]);
    assert_ends(&waybill(&["couriers"], &named).await, 78, &["requires KAFKA_SASL_USERNAME"]);
    for role in ["load", "audit"] {
        assert_ends(&waybill(&[role], &sasl).await, 78, &["requires KAFKA_SASL_MECHANISM"]);
    }
}

#[tokio::test]
async fn a_variable_that_is_not_utf8_is_named() {
    use std::os::unix::ffi::OsStrExt as _;

    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_waybill"));
    let value = std::ffi::OsStr::from_bytes(b"\xff");
    command.arg("orders").env_clear().env("KAFKA_GROUP_ID", value).current_dir("/");
    let output = command.stdin(std::process::Stdio::null()).output().await.unwrap();
    assert_ends(&output, 78, &["KAFKA_GROUP_ID"]);
}

#[tokio::test]
async fn a_command_ignores_settings_that_it_does_not_use() {
    let unused = [("POSTGRES_CONNECTIONS", "0"), ("KAFKA_CREATE_TOPICS", "maybe")];
    let help = ["load", "--kafka-brokers", UNREACHABLE];
    assert_ends(&waybill(&help, &unused).await, 69, &["did not answer for 10 seconds"]);
    let unused = [("OVERDUE_GRACE", "soon"), ("POSTGRES_CONNECTIONS", "0")];
    assert_ends(&waybill(&["audit"], &unused).await, 78, &["no PostgreSQL address is given"]);
}

#[tokio::test]
async fn an_address_that_is_not_http_is_refused() {
    for flags in [
        &["rejected", "--orders-url", "ftp:x", "list"][..],
        &["explain", "1", "--orders-url", "ftp:x"],
        &["explain", "1", "--couriers-url", "nonsense"],
        &["probe", "ftp://127.0.0.1/readyz"],
    ] {
        assert_ends(&waybill(flags, &[]).await, 2, &["not an HTTP address"]);
    }
    let variables = [("COURIERS_URL", "ftp:x")];
    let explain = ["explain", "1"];
    let words = ["COURIERS_URL", "not an HTTP address"];
    assert_ends(&waybill(&explain, &variables).await, 78, &words);
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
    let services = ["--orders-url", "http://127.0.0.1:1", "--couriers-url", "http://127.0.0.1:1"];
    let explain = [&["explain", "1"], &services[..]].concat();
    let explain = waybill(&explain, &[]);
    let begun = std::time::Instant::now();
    let (migrate, load, rejected, explain) = tokio::join!(migrate, load, rejected, explain);

    assert_ends(
        &migrate,
        69,
        &["PostgreSQL at 127.0.0.1:1 did not answer for 10 seconds", "start it"],
    );
    assert_ends(&load, 69, &["Kafka at 127.0.0.1:1 did not answer for 10 seconds", "start it"]);
    let words = ["the service at http://127.0.0.1:1/ did not answer for 10 seconds", "start it"];
    assert_ends(&rejected, 69, &words);
    let words = ["the order service at http://127.0.0.1:1/ did not answer for 10 seconds"];
    assert_ends(&explain, 69, &words);
    assert!(begun.elapsed() > std::time::Duration::from_secs(9), "they wait");
}

#[tokio::test]
async fn a_tool_waits_for_a_service_that_is_starting() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{address}");
    let starting = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4_096]).await;
        let body = r#"{"items":[],"next":null}"#;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    };
    // Both names of variables, and a proxy that does not exist: it is not used for this machine.
    let proxy = [("HTTP_PROXY", "http://127.0.0.1:1"), ("http_proxy", "http://127.0.0.1:1")];
    let flags = ["rejected", "--orders-url", &url, "list"];
    let (output, ()) = tokio::join!(waybill(&flags, &proxy), starting);
    assert_ends(&output, 0, &[]);
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

    // The courier service must be able to send to the deliveries topic.
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let dead_letters = format!("{}.dlq", env.status_topic());
    env.create_large_topic(&dead_letters).await;
    let flags = env.courier_flags(&database);
    let mut flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let place = flags.iter().position(|flag| *flag == "--kafka-deliveries-topic").unwrap();
    flags[place + 1] = "nix";
    flags.extend(["--kafka-create-topics", "false"]);
    let output = waybill(&[&["couriers"], &flags[..]].concat(), &[]).await;
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
