//! Addresses and security settings: a setting that is wrong, or would have no effect, stops the
//! start with a message that names it and never its value.

use std::{net::TcpListener, process::Output};

use testkit::wait_until;

use crate::support::{Program, Scratch, waybill};

/// An address for documentation, at which nothing answers.
const ELSEWHERE: &str = "192.0.2.1";
const KAFKA: (&str, &str) = ("KAFKA_BROKERS", "127.0.0.1:1");
const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://u@127.0.0.1:1/d");

/// Asserts that the program stopped with 78 and a message with these words. Each secret value of
/// these tests contains the word `secret`.
fn assert_stopped(output: &Output, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{words:?}: {error}");
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error}");
    }
    assert!(!error.contains("secret"), "{error}");
}

#[tokio::test]
async fn an_address_of_another_kind_gets_no_password() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let at = format!("user:secret@{}/db", listener.local_addr().unwrap());
    for (role, variable) in [
        ("orders", "ORDERS_DATABASE_URL"),
        ("orders", "DATABASE_URL"),
        ("couriers", "COURIERS_DATABASE_URL"),
        ("migrate", "ORDERS_DATABASE_URL"),
        ("migrate", "ADMIN_DATABASE_URL"),
        ("audit", "DATABASE_URL"),
        ("up", "COURIERS_DATABASE_URL"),
    ] {
        for scheme in ["mysql://", "https://", "jdbc:postgresql://"] {
            let url = format!("{scheme}{at}");
            let output = waybill(&[role], &[KAFKA, (variable, &url)]).await;
            assert_stopped(&output, &[variable, "it must begin with postgres://"]);
        }
    }
    assert!(listener.accept().is_err(), "nothing connected");
}

#[tokio::test]
async fn settings_of_postgresql_without_effect_stop_the_start() {
    for (query, named) in [
        ("channel_binding=require", "channel_binding"),
        ("require_auth=secret", "require_auth"),
        ("sslcrl=secret", "sslcrl"),
        ("ssl_min_protocol_version=secret", "ssl_min_protocol_version"),
        ("sslmod=secret", "sslmod"),
        ("sslmode=secret", "sslmode"),
        ("sslmode=require&sslcert=secret", "sslkey"),
        ("sslrootcert=secret", "sslrootcert"),
        ("sslmode=verify-full&sslrootcert=secret", "sslrootcert"),
    ] {
        let url = format!("postgres://user:secret@127.0.0.1:1/db?{query}");
        let output = waybill(&["orders"], &[KAFKA, ("ORDERS_DATABASE_URL", &url)]).await;
        assert_stopped(&output, &[named, "ORDERS_DATABASE_URL"]);
    }
    for (variable, value) in [
        ("PGSSLMODE", "verify_full"),
        ("PGCHANNELBINDING", "require"),
        ("PGSSLCERT", "secret"),
        ("PGSSLROOTCERT", "secret"),
        ("POSTGRES_SSLMODE", "verify_full"),
        ("POSTGRES_SSLMODE", "verify-full"),
    ] {
        let output = waybill(&["couriers"], &[KAFKA, DATABASE, (variable, value)]).await;
        assert_stopped(&output, &[variable]);
    }
    // For an address in parts, the variable has an effect.
    let parts = [("POSTGRES_HOST", "127.0.0.1"), ("POSTGRES_SSLMODE", "verify-ca")];
    let output = waybill(&["couriers"], &[&parts[..], &[KAFKA]].concat()).await;
    assert_stopped(&output, &["verify-ca", "sslrootcert"]);
}

#[tokio::test]
async fn settings_of_kafka_without_effect_stop_the_start() {
    let cases: [(&[(&str, &str)], &str); 9] = [
        (&[("KAFKA_SASL_USERNAME", "secret")], "KAFKA_SASL_USERNAME"),
        (&[("KAFKA_SASL_PASSWORD", "secret")], "KAFKA_SASL_PASSWORD"),
        (&[("KAFKA_SASL_PASSWORD_FILE", "/secret")], "KAFKA_SASL_PASSWORD_FILE"),
        (&[("KAFKA_SASL_MECHANISM", "PLAIN")], "KAFKA_SASL_MECHANISM"),
        (&[("KAFKA_SSL_CA_LOCATION", "/secret")], "KAFKA_SSL_CA_LOCATION"),
        (
            &[("KAFKA_SECURITY_PROTOCOL", "sasl_plaintext"), ("KAFKA_SSL_CA_LOCATION", "/secret")],
            "KAFKA_SSL_CA_LOCATION",
        ),
        (
            &[("KAFKA_SECURITY_PROTOCOL", "ssl"), ("KAFKA_SSL_CERTIFICATE_LOCATION", "/secret")],
            "KAFKA_SSL_KEY_LOCATION",
        ),
        (
            &[("KAFKA_SECURITY_PROTOCOL", "ssl"), ("KAFKA_SSL_KEY_LOCATION", "/secret")],
            "KAFKA_SSL_CERTIFICATE_LOCATION",
        ),
        (&[("KAFKA_SECURITY_PROTOCOL", "secret")], "KAFKA_SECURITY_PROTOCOL"),
    ];
    for (settings, named) in cases {
        for role in ["orders", "load"] {
            let output = waybill(&[role], &[settings, &[KAFKA, DATABASE]].concat()).await;
            assert_stopped(&output, &[named]);
        }
    }
}

#[tokio::test]
async fn an_address_of_a_page_has_no_user_and_password() {
    let url = "http://user:secret@service.example";
    for (role, variable, flag) in [
        (vec!["orders"], "COURIERS_URL", "--couriers-url"),
        (vec!["couriers"], "ORDERS_URL", "--orders-url"),
        (vec!["rejected", "list"], "ORDERS_URL", "--orders-url"),
        (vec!["explain", "x"], "COURIERS_URL", "--couriers-url"),
    ] {
        let output = waybill(&role, &[KAFKA, DATABASE, (variable, url)]).await;
        assert_stopped(&output, &[variable, "must not contain a user or a password"]);

        let output = waybill(&[&role[..], &[flag, url]].concat(), &[KAFKA, DATABASE]).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(flag) && !error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn only_what_a_role_uses_is_checked() {
    // The next error shows that the other settings are not checked.
    let wrong = [
        ("KAFKA_SECURITY_PROTOCOL", "nonsense"),
        ("KAFKA_SASL_MECHANISM", "nonsense"),
        ("KAFKA_SASL_PASSWORD", "secret"),
        ("POSTGRES_PORT", "nonsense"),
        ("POSTGRES_PASSWORD_FILE", "/secret"),
        ("PGSSLMODE", "nonsense"),
        ("COURIERS_DATABASE_URL", "jdbc:secret"),
    ];
    assert_stopped(&waybill(&["up"], &wrong).await, &["COURIERS_DATABASE_URL"]);
    let wrong = [
        ("KAFKA_SASL_PASSWORD", "secret"),
        ("REDIS_URL", "nonsense"),
        ("ADMIN_DATABASE_URL", "jdbc:secret"),
    ];
    assert_stopped(&waybill(&["migrate"], &wrong).await, &["ADMIN_DATABASE_URL"]);
}

/// Starts the order service with these variables until its log contains the words, and returns the
/// log.
async fn log_with(variables: &[(&str, &str)], words: &[&str]) -> String {
    let folder = Scratch::new();
    let path = folder.0.join("log");
    let program = Program::start_in_with_log(&folder, variables, &path);
    let log = || std::fs::read_to_string(&path).unwrap();
    wait_until("the warnings", async || words.iter().all(|word| log().contains(word))).await;
    program.kill().await;
    let log = log();
    assert!(!log.contains("secret"), "{log}");
    log
}

#[tokio::test]
async fn another_machine_without_verified_tls_gets_a_warning() {
    let database = format!("postgres://user:secret@{ELSEWHERE}/db?connect_timeout=3");
    let brokers = format!("127.0.0.1:1,{ELSEWHERE}:9092");
    let variables = [("DATABASE_URL", &*database), ("KAFKA_BROKERS", &brokers)];
    let postgres = format!("the connection to PostgreSQL at {ELSEWHERE} has no verified TLS");
    let kafka = format!("the connection to Kafka at {ELSEWHERE} has no verified TLS");
    let ignored = "the parameter connect_timeout of DATABASE_URL has no effect";
    log_with(&variables, &[&postgres, &kafka, ignored]).await;

    // Loopback needs no TLS, and neither does a verified connection.
    let database = format!("postgres://user:secret@{ELSEWHERE}/db?sslmode=verify-full");
    let variables = [
        ("DATABASE_URL", &*database),
        KAFKA,
        ("KAFKA_SECURITY_PROTOCOL", "plaintext"),
        ("KAFKA_SSL_CA_LOCATION", "/nowhere"),
    ];
    let log = log_with(&variables, &["KAFKA_SSL_CA_LOCATION has no effect", "listens on"]).await;
    assert!(!log.contains("no verified TLS"), "{log}");
}
