//! Configuration: flags override the environment, which overrides `.env`, which overrides defaults;
//! and the aliases of variables.

use serde_json::Value;
use testkit::{TestEnvironment, shared};

use crate::support::{Program, Scratch, order, record, waybill, waybill_in};

/// Asserts which orders topic the program has read: it ends with an error that names the topic if
/// the status topic is the same.
async fn assert_orders_topic(
    folder: &Scratch,
    topic: &str,
    flags: &[&str],
    variables: &[(&str, &str)],
) {
    let flags = [&["orders", "--kafka-status-topic", topic], flags].concat();
    let variables = [&[("DATABASE_URL", "postgres://x")], variables].concat();
    let output = waybill_in(folder, &flags, &variables, b"").await;
    let error = String::from_utf8_lossy(&output.stderr);
    let wanted = format!("KAFKA_ORDERS_TOPIC and KAFKA_STATUS_TOPIC are both {topic}");
    assert!(output.status.code() == Some(78) && error.contains(&wanted), "{flags:?}: {error}");
}

#[tokio::test]
async fn flags_override_the_environment_and_the_file_and_defaults() {
    let folder = Scratch::new();
    let environment = [("KAFKA_ORDERS_TOPIC", "of-the-environment")];
    let flag = ["--kafka-orders-topic", "of-a-flag"];

    assert_orders_topic(&folder, "orders", &[], &[]).await;
    assert_orders_topic(&folder, "of-its-other-name", &[], &[("KAFKA_TOPIC", "of-its-other-name")])
        .await;

    std::fs::write(folder.0.join(".env"), "KAFKA_ORDERS_TOPIC=of-the-file\n").unwrap();
    assert_orders_topic(&folder, "of-the-file", &[], &[]).await;
    assert_orders_topic(&folder, "of-the-environment", &[], &environment).await;
    assert_orders_topic(&folder, "of-a-flag", &flag, &environment).await;

    // Errors name the variable in the file, or the file.
    std::fs::write(folder.0.join(".env"), "LANES=many\n").unwrap();
    let output = waybill_in(&folder, &["orders"], &[], b"").await;
    let error = String::from_utf8_lossy(&output.stderr);

    assert!(output.status.code() == Some(78) && error.contains("LANES"), "{error}");

    std::fs::write(folder.0.join(".env"), "no variable at all\n").unwrap();
    let output = waybill_in(&folder, &["orders"], &[], b"").await;
    let error = String::from_utf8_lossy(&output.stderr);

    assert!(output.status.code() == Some(78) && error.contains("reading .env"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_and_parts_of_an_address_are_enough_to_run() {
    let env = TestEnvironment::new(shared()).await;
    let (user, database) = (format!("{}_user", env.name), format!("{}_orders", env.name));
    let server = env.servers.postgres.rsplit_once('/').unwrap().0;
    let (host, port) = server.rsplit_once('@').unwrap().1.split_once(':').unwrap();
    let (orders, status) = (env.orders_topic(), env.status_topic());
    let variables = [
        ("KAFKA_BROKER", &*env.servers.kafka),
        ("KAFKA_TOPIC", &orders),
        ("KAFKA_STATUS_TOPIC", &status),
        ("KAFKA_CONSUMER_GROUP", &env.name),
        ("POSTGRES_HOST", host),
        ("POSTGRES_PORT", port),
        ("POSTGRES_USER", &user),
        ("POSTGRES_PASSWORD", "secret"),
        ("POSTGRES_DB", &database),
    ];
    let folder = Scratch::new();
    let program = Program::start_in(&folder, &variables);

    program.wait_until_ready().await;
    env.send_all([record(&order("parts", 7))]).await;
    // Offsets are committed only if the service uses the given group.
    env.wait_until_drained().await;

    assert_eq!(env.count("orders.orders").await, 1);
    assert_eq!(program.status("/order/parts").await, 200);
    assert!(program.terminate().await.success());

    // The names that the help lists override the aliases.
    let variables = [("KAFKA_BROKER", "127.0.0.1:1"), ("KAFKA_BROKERS", &*env.servers.kafka)];
    let flags = ["load", "--count", "1", "--json", "--kafka-topic", &orders];
    let output = waybill(&flags, &variables).await;
    let error = String::from_utf8_lossy(&output.stderr);
    let summary: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{error}"));

    assert_eq!(summary["acknowledged"], 1);
}
