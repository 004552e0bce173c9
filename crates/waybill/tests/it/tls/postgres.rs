//! TLS to PostgreSQL with `sslmode=verify-full`.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
};

use testkit::{OwnServers, TestEnvironment};

use super::{
    assert_ended,
    certificates::{Certificates, WRONG},
};
use crate::support::{Program, Scratch, order, record, run_as_administrator, waybill};

/// Only connections with TLS and a password are accepted, except those of the administrator.
const ACCESS: &str = "\
host all waybill_admin 127.0.0.1/32 trust
hostssl all all 127.0.0.1/32 scram-sha-256
";

/// Restarts PostgreSQL with this certificate.
async fn restart_with(own: &mut OwnServers, certificates: &Certificates, kind: &str) {
    let postgres = own.local.postgres.as_mut().unwrap();
    let cluster = postgres.cluster().to_owned();
    let owner = fs::metadata(&cluster).unwrap();
    for (name, text) in [
        ("test.pem", fs::read_to_string(certificates.certificate(kind)).unwrap()),
        ("test.key", fs::read_to_string(certificates.key(kind)).unwrap()),
        ("test.hba", ACCESS.to_owned()),
    ] {
        let path = cluster.join(name);
        fs::write(&path, text).unwrap();
        // PostgreSQL refuses a key that others can read, and runs as another user than root.
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let hba = cluster.join("test.hba");
    let settings = vec![
        "ssl=on".to_owned(),
        "ssl_cert_file=test.pem".to_owned(),
        "ssl_key_file=test.key".to_owned(),
        format!("hba_file={}", hba.display()),
    ];
    postgres.restart_with(settings).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_postgresql_needs_the_right_certificate() {
    let certificates = Certificates::new();
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let user = format!("{}_user", env.name);
    run_as_administrator(&env, &format!("ALTER USER {user} PASSWORD 'secret-right'")).await;
    let port = own.local.postgres.as_ref().unwrap().port();
    let ca = certificates.ca();
    let address = |password: &str, more: &str| {
        let database = format!("{}_orders", env.name);
        format!(
            "postgres://{user}:{password}@localhost:{port}/{database}?sslmode=verify-full{more}"
        )
    };
    let right = address("secret-right", &format!("&sslrootcert={ca}"));
    let (orders, status, deliveries) =
        (env.orders_topic(), env.status_topic(), env.deliveries_topic());
    let variables = |address: &str| {
        [
            ("ORDERS_DATABASE_URL", address.to_owned()),
            ("KAFKA_BROKERS", env.servers.kafka.clone()),
            ("KAFKA_ORDERS_TOPIC", orders.clone()),
            ("KAFKA_STATUS_TOPIC", status.clone()),
            ("KAFKA_DELIVERIES_TOPIC", deliveries.clone()),
            ("KAFKA_GROUP_ID", env.name.clone()),
            ("ORDERS_HTTP_ADDR", "127.0.0.1:0".to_owned()),
        ]
    };
    let end = async |role: &str, address: &str| {
        let variables = variables(address);
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        waybill(&[role], &variables).await
    };

    restart_with(&mut own, &certificates, "right").await;
    let folder = Scratch::new();
    let given = variables(&right);
    let given: Vec<_> = given[..6].iter().map(|(name, value)| (*name, value.as_str())).collect();
    let program = Program::start_in(&folder, &given);
    program.wait_until_ready().await;
    env.send_all([record(&order("with-tls", 7))]).await;
    env.wait_until_drained().await;
    assert_eq!(program.status("/order/with-tls").await, 200);
    assert!(program.terminate().await.success());

    // Without the file, only the authorities of the operating system are trusted.
    let unknown = address("secret-right", "");
    let trust = ["PostgreSQL is not trusted", "sslrootcert"];
    assert_ended(&end("orders", &unknown).await, 78, &trust);
    let wrong_password = address("secret-wrong", &format!("&sslrootcert={ca}"));
    assert_ended(&end("orders", &wrong_password).await, 78, &["PostgreSQL refuses the service"]);

    for kind in WRONG {
        restart_with(&mut own, &certificates, kind).await;
        assert_ended(&end("orders", &right).await, 78, &trust);
        // A tool ends at once, too.
        assert_ended(&end("migrate", &right).await, 78, &["invalid peer certificate"]);
    }

    // A server without TLS.
    own.local.postgres.as_mut().unwrap().restart_with(Vec::new()).await.unwrap();
    let words = ["cannot be used with TLS", "server does not support TLS"];
    assert_ended(&end("orders", &right).await, 78, &words);
    own.stop().await;
}
