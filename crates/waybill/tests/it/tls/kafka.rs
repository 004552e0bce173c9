//! TLS and SASL to Kafka: one broker with a listener for each certificate.

use std::net::TcpListener;

use testkit::{OwnServers, TestEnvironment};

use super::{
    assert_ended,
    certificates::{Certificates, KEY_PASSWORD, WRONG},
};
use crate::support::{assert_served, order, record, waybill};

/// A listener for each certificate of a server; one that requires a certificate of the client; one
/// that requires a password.
const LISTENERS: [&str; 6] =
    ["right", "other-authority", "expired", "other-name", "mutual", "sasl"];

/// Returns further settings of the broker on `own_port`, and the port of each listener.
fn settings(certificates: &Certificates, own_port: u16) -> (String, Vec<(&'static str, u16)>) {
    // All ports are taken before any is released, so that they differ.
    let free = LISTENERS.map(|name| (name, TcpListener::bind("127.0.0.1:0").unwrap()));
    let ports: Vec<_> =
        free.iter().map(|(name, port)| (*name, port.local_addr().unwrap().port())).collect();
    // A name of a listener has no hyphen.
    let id = |name: &str| name.replace('-', "");
    let each = |form: &dyn Fn(&str, u16) -> String| {
        ports.iter().map(|(name, port)| form(name, *port)).collect::<String>()
    };
    let addresses = each(&|name, port| format!(",{}://localhost:{port}", id(name)));
    let controller = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let protocols = each(&|name, _| {
        format!(",{}:{}", id(name), if name == "sasl" { "SASL_SSL" } else { "SSL" })
    });
    let stores = each(&|name, _| {
        let kind = if WRONG.contains(&name) { name } else { "right" };
        let store = certificates.key_and_certificate(kind);
        let id = id(name);
        format!(
            "listener.name.{id}.ssl.keystore.type=PEM\n\
             listener.name.{id}.ssl.keystore.location={store}\n"
        )
    });
    let ca = certificates.ca();
    let settings = format!(
        "\nlisteners=BROKER://127.0.0.1:{own_port},CONTROLLER://127.0.0.1:{controller}{addresses}\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         advertised.listeners=BROKER://127.0.0.1:{own_port}{addresses}\n\
         listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}\n\
         {stores}\
         listener.name.mutual.ssl.client.auth=required\n\
         listener.name.mutual.ssl.truststore.type=PEM\n\
         listener.name.mutual.ssl.truststore.location={ca}\n\
         listener.name.sasl.sasl.enabled.mechanisms=PLAIN\n\
         listener.name.sasl.plain.sasl.jaas.config=\
         org.apache.kafka.common.security.plain.PlainLoginModule required user_ada=\"secret-right\";\n"
    );
    (settings, ports)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_kafka_needs_the_right_certificates() {
    let certificates = Certificates::new();
    let mut own = OwnServers::start().await;
    let kafka = own.local.kafka.as_mut().unwrap();
    let (settings, ports) = settings(&certificates, kafka.port());
    kafka.restart_with(&settings).await.unwrap();
    let env = TestEnvironment::new(&own.servers()).await;
    let address = |listener: &str| {
        let port = ports.iter().find(|(name, _)| *name == listener).unwrap().1;
        format!("localhost:{port}")
    };
    let ca = certificates.ca();
    let tls = ["--kafka-security-protocol", "ssl", "--kafka-ssl-ca-location", &ca];
    // The plain client of the test stays, and the services use another listener.
    let through = |listener: &str| {
        let mut env = env.clone();
        env.servers.kafka = address(listener);
        env
    };
    let end = async |env: &TestEnvironment, more: &[&str]| {
        let flags = env.flags();
        let flags: Vec<&str> =
            flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
        waybill(&[&["orders"], &flags[..]].concat(), &[]).await
    };

    // The right certificate, then with a certificate of the client, whose key has a password.
    let (certificate, key) = (certificates.certificate("client"), certificates.key("client"));
    let client =
        ["--kafka-ssl-certificate-location", &certificate, "--kafka-ssl-key-location", &key];
    let password = ["--kafka-ssl-key-password", KEY_PASSWORD];
    let mutual = [&tls[..], &client, &password].concat();
    for (number, (listener, options)) in
        [("right", &tls[..]), ("mutual", &mutual)].iter().enumerate()
    {
        let sent = order(&format!("order-{number}"), 7);
        let service = through(listener).start(options).await;
        env.send_all([record(&sent)]).await;
        env.wait_until_drained().await;
        assert_served(&service, &sent).await;
        service.stop().await.unwrap();
    }

    // A service, and a tool.
    for listener in WRONG {
        let advice = ["cannot be used with TLS", "KAFKA_SSL_CA_LOCATION", &address(listener)];
        assert_ended(&end(&through(listener), &tls).await, 78, &advice);
    }
    let (topic, brokers) = (env.orders_topic(), address("expired"));
    let tool =
        ["load", "--count", "1", "--kafka-orders-topic", &topic, "--kafka-brokers", &brokers];
    assert_ended(&waybill(&[&tool[..], &tls].concat(), &[]).await, 78, &["has expired or is for"]);

    // Wrong and missing passwords of the key of the client.
    let mutual_end =
        async |more: &[&str]| end(&through("mutual"), &[&tls[..], more].concat()).await;
    for password in [&["--kafka-ssl-key-password", "secret-wrong"][..], &[]] {
        let output = mutual_end(&[&client[..], password].concat()).await;
        assert_ended(&output, 78, &["KAFKA_SSL_KEY_LOCATION", "KAFKA_SSL_KEY_PASSWORD"]);
    }
    let file = certificates.write("password", &format!("{KEY_PASSWORD}\n"));
    let without_key = ["--kafka-ssl-key-password-file", &file];
    assert_ended(
        &mutual_end(&without_key).await,
        78,
        &["KAFKA_SSL_KEY_PASSWORD_FILE has no effect"],
    );

    // A password of a user.
    for (password, code) in [("secret-wrong", Some(78)), ("secret-right", None)] {
        let more = [
            ["--kafka-security-protocol", "sasl_ssl"],
            ["--kafka-ssl-ca-location", &ca],
            ["--kafka-sasl-mechanism", "PLAIN"],
            ["--kafka-sasl-username", "ada"],
            ["--kafka-sasl-password", password],
        ]
        .concat();
        match code {
            Some(code) => {
                let words = ["refuses the user name or the password", "KAFKA_SASL_PASSWORD"];
                assert_ended(&end(&through("sasl"), &more).await, code, &words);
            }
            None => through("sasl").start(&more).await.stop().await.unwrap(),
        }
    }
    own.stop().await;
}
