//! Where the program's configuration comes from: a flag beats the environment, which beats `.env`,
//! which beats the default; and the other names that a variable may have.

use serde_json::Value;
use testkit::{TestEnvironment, shared};

use crate::support::{Program, Scratch, order, record, waybill, waybill_in};

/// Two equal topic names end the program with a sentence that names them, so this tells the topic
/// of orders: the one that `KAFKA_STATUS_TOPIC` must not be.
async fn is_the_orders_topic(
    folder: &Scratch,
    topic: &str,
    flags: &[&str],
    variables: &[(&str, &str)],
) {
    let flags = [&["orders", "--kafka-status-topic", topic], flags].concat();
    let variables = [&[("DATABASE_URL", "postgres://x")], variables].concat();
    let output = waybill_in(folder, &flags, &variables, b"").await;
    let told = String::from_utf8_lossy(&output.stderr);
    let wanted = format!("KAFKA_ORDERS_TOPIC and KAFKA_STATUS_TOPIC are both {topic}");
    assert!(output.status.code() == Some(78) && told.contains(&wanted), "{flags:?}: {told}");
}

#[tokio::test]
async fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let folder = Scratch::new();
    let environment = [("KAFKA_ORDERS_TOPIC", "of-the-environment")];
    let flag = ["--kafka-orders-topic", "of-a-flag"];
    is_the_orders_topic(&folder, "orders", &[], &[]).await;
    is_the_orders_topic(&folder, "of-its-other-name", &[], &[("KAFKA_TOPIC", "of-its-other-name")])
        .await;
    std::fs::write(folder.0.join(".env"), "KAFKA_ORDERS_TOPIC=of-the-file\n").unwrap();
    is_the_orders_topic(&folder, "of-the-file", &[], &[]).await;
    is_the_orders_topic(&folder, "of-the-environment", &[], &environment).await;
    is_the_orders_topic(&folder, "of-a-flag", &flag, &environment).await;

    // What cannot be read is told with the name that it has there; a broken file, too.
    std::fs::write(folder.0.join(".env"), "LANES=many\n").unwrap();
    let output = waybill_in(&folder, &["orders"], &[], b"").await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(78) && told.contains("LANES"), "{told}");
    std::fs::write(folder.0.join(".env"), "no variable at all\n").unwrap();
    let output = waybill_in(&folder, &["orders"], &[], b"").await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(78) && told.contains("reading .env"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_names_and_the_parts_of_an_address_are_enough_to_run() {
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
    program.ready().await;
    env.send_all([record(&order("parts", 7))]).await;
    // By the group that was named, or these offsets would not be committed.
    env.drained().await;
    assert_eq!(env.count("orders.orders").await, 1);
    assert_eq!(program.status("/order/parts").await, 200);
    assert!(program.terminate().await.success());

    // The names that the help tells of beat the others.
    let nobody = [("KAFKA_BROKER", "127.0.0.1:1"), ("KAFKA_BROKERS", &*env.servers.kafka)];
    let flags = ["load", "--count", "1", "--json", "--kafka-topic", &orders];
    let output = waybill(&flags, &nobody).await;
    let told = String::from_utf8_lossy(&output.stderr);
    let summary: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{told}"));
    assert_eq!(summary["acknowledged"], 1);
}
