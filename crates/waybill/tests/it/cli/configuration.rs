//! Configuration: flags override the environment, which overrides `.env`, which overrides defaults;
//! and the aliases of variables.

use std::{fs::Permissions, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio};

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

    // The text of a malformed line may contain a secret.
    std::fs::write(folder.0.join(".env"), "A=b\nPASSWORD=secret word\n").unwrap();
    let output = waybill_in(&folder, &["orders"], &[], b"").await;
    let error = String::from_utf8_lossy(&output.stderr);

    assert!(output.status.code() == Some(78) && error.contains("line 2 "), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[tokio::test]
async fn an_empty_variable_counts_as_unset() {
    let folder = Scratch::new();
    let empty = [
        ("KAFKA_ORDERS_TOPIC", ""),
        ("KAFKA_TOPIC", ""),
        ("LANES", ""),
        ("COURIERS_URL", ""),
        ("KAFKA_SECURITY_PROTOCOL", ""),
        ("KAFKA_SASL_PASSWORD_FILE", ""),
        ("ORDERS_DATABASE_URL", ""),
        ("ORDERS_DATABASE_URL_FILE", ""),
        ("POSTGRES_SSLMODE", ""),
        ("PGSSLMODE", ""),
        ("REDIS_URL", ""),
        ("RUST_LOG", ""),
    ];
    assert_orders_topic(&folder, "orders", &[], &empty).await;

    // Then the value in the file is used, and an empty line of the file is unset as well.
    let text = "KAFKA_ORDERS_TOPIC=of-the-file\nLANES=\nREDIS_URL=''\n";
    std::fs::write(folder.0.join(".env"), text).unwrap();
    assert_orders_topic(&folder, "of-the-file", &[], &empty).await;

    // An empty value on the command line is an error.
    let output = waybill_in(&folder, &["orders", "--database-url", ""], &[], b"").await;
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn a_file_in_a_parent_folder_is_named_and_refused_if_others_can_write_to_it() {
    let parent = Scratch::new();
    let (file, child) = (parent.0.join(".env"), parent.0.join("child"));
    std::fs::create_dir(&child).unwrap();
    std::fs::write(&file, "KAFKA_ORDERS_TOPIC=same\nKAFKA_STATUS_TOPIC=same\n").unwrap();
    let run = async |folder: &Path| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_waybill"));
        command.arg("orders").env_clear().current_dir(folder).stdin(Stdio::null());
        let output = command.output().await.unwrap();
        assert_eq!(output.status.code(), Some(78));
        String::from_utf8(output.stderr).unwrap()
    };
    let mode = |mode| std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    let (path, read) = (file.to_str().unwrap(), "are both same");

    for secure in [0o600, 0o644] {
        mode(secure);
        let error = run(&child).await;
        let named = format!("variables are read from {path}");
        assert!(error.contains(&named) && error.contains(read), "{error}");
    }
    for insecure in [0o664, 0o646, 0o666] {
        mode(insecure);
        let error = run(&child).await;
        assert!(error.contains(&format!("chmod go-w {path}")), "{error}");
        assert!(!error.contains(read), "it was not read: {error}");

        // The user can see the file of the current folder, so it is read and not named.
        let error = run(&parent.0).await;
        assert!(!error.contains("variables are read from") && error.contains(read), "{error}");
    }

    // Only root can give a file to another user.
    mode(0o600);
    if std::os::unix::fs::chown(&file, Some(65_534), None).is_ok() {
        let error = run(&child).await;
        assert!(error.contains(&format!("{path} belongs to another user")), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_and_parts_of_an_address_are_enough_to_run() {
    let env = TestEnvironment::new(shared()).await;
    let (user, database) = (format!("{}_user", env.name), format!("{}_orders", env.name));
    let server = env.servers.postgres.rsplit_once('/').unwrap().0;
    let (host, port) = server.rsplit_once('@').unwrap().1.split_once(':').unwrap();
    let (orders, status, deliveries) =
        (env.orders_topic(), env.status_topic(), env.deliveries_topic());
    let variables = [
        ("KAFKA_BROKER", &*env.servers.kafka),
        ("KAFKA_TOPIC", &orders),
        ("KAFKA_STATUS_TOPIC", &status),
        ("KAFKA_DELIVERIES_TOPIC", &deliveries),
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
