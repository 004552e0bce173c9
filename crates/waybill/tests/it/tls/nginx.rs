//! The nginx example of SECURITY.md, in front of the real program.

use std::{net::SocketAddr, path::Path, time::Duration};

use reqwest::{Certificate, Client, RequestBuilder};
use testkit::{Nginx, TestEnvironment, shared};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};

use super::certificates::Certificates;
use crate::support::{Program, Scratch, order, record};

const SECURITY: &str = include_str!("../../../../../SECURITY.md");
const NAME: &str = "orders.example.com";

/// Starts nginx with the example; only its addresses and paths are replaced.
async fn start_example(certificates: &Certificates, upstream: &str) -> Nginx {
    let (_, example) = SECURITY.split_once("```nginx\n").expect("SECURITY.md has an example");
    let (example, _) = example.split_once("```").expect("the example ends");
    let users = certificates.write("users", &format!("ada:{}\n", hashed("secret")));
    Nginx::start(|port, _: &Path| {
        let mut text = example.to_owned();
        for (documented, own) in [
            ("listen 443 ssl", &*format!("listen 127.0.0.1:{port} ssl")),
            ("/etc/nginx/waybill.pem", &certificates.certificate("public")),
            ("/etc/nginx/waybill.key", &certificates.key("public")),
            ("/etc/nginx/waybill.users", &users),
            ("http://127.0.0.1:8081", upstream),
        ] {
            assert!(text.contains(documented), "the example has no {documented}");
            text = text.replace(documented, own);
        }
        text
    })
    .await
}

/// Returns the password as the documented command hashes it.
fn hashed(password: &str) -> String {
    let output = std::process::Command::new("openssl").args(["passwd", "-6", password]).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
}

/// A client that finds the name of the example at this address.
fn client(certificates: &Certificates, address: SocketAddr) -> Client {
    let ca = std::fs::read(certificates.ca()).unwrap();
    let client = Client::builder().tls_certs_only([Certificate::from_pem(&ca).unwrap()]);
    client.resolve(NAME, address).no_proxy().build().unwrap()
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_security_md_protects_a_service() {
    let env = TestEnvironment::new(shared()).await;
    let certificates = Certificates::new();
    let (folder, database) = (Scratch::new(), format!("{}_orders", env.name));
    let server = env.servers.postgres.rsplit_once('/').unwrap().0.rsplit_once('@').unwrap().1;
    let database = format!("postgres://{}_user:secret@{server}/{database}", env.name);
    let (orders, statuses, deliveries) =
        (env.orders_topic(), env.status_topic(), env.deliveries_topic());
    let program = Program::start_in(
        &folder,
        &[
            ("KAFKA_BROKERS", &env.servers.kafka),
            ("KAFKA_ORDERS_TOPIC", &orders),
            ("KAFKA_STATUS_TOPIC", &statuses),
            ("KAFKA_DELIVERIES_TOPIC", &deliveries),
            ("KAFKA_GROUP_ID", &env.name),
            ("ORDERS_DATABASE_URL", &database),
            ("HTTP_HOSTS", NAME),
        ],
    );
    program.wait_until_ready().await;
    let nginx = start_example(&certificates, program.url()).await;
    let client = client(&certificates, nginx.address);
    let origin = format!("https://{NAME}:{}", nginx.address.port());
    let at = |path: &str| format!("{origin}{path}");
    let get = |path: &str| client.get(at(path)).basic_auth("ada", Some("secret"));
    let post = |uid: &str| {
        let body = order(uid, 7).to_string();
        let request = client.post(at("/order")).basic_auth("ada", Some("secret")).body(body);
        request.header("content-type", "application/json")
    };

    // No user, a wrong password, and the right one.
    assert_eq!(status(client.get(at("/"))).await, 401);
    assert_eq!(status(client.get(at("/")).basic_auth("ada", Some("wrong"))).await, 401);
    assert_eq!(status(client.post(at("/order")).body("{}")).await, 401);
    let page = get("/").header("accept", "text/html").send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("<html"));

    // The live feed sends an event while the stream is open.
    let mut live = get("/live").send().await.unwrap();
    assert_eq!(live.status(), 200);
    env.send_all([record(&order("streamed", 7))]).await;
    let mut events = String::new();
    while !events.contains("streamed") {
        let chunk = timeout(Duration::from_secs(30), live.chunk()).await;
        let chunk = chunk.expect("the event is not kept back").unwrap().expect("it stays open");
        events.push_str(&String::from_utf8_lossy(&chunk));
    }
    drop(live);

    // Requests from pages: a browser sends Sec-Fetch-Site, or at least Origin.
    for (header, value, expected) in [
        ("sec-fetch-site", "same-origin", 202),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "same-site", 403),
        ("origin", &*origin, 202),
        ("origin", "https://evil.example", 403),
    ] {
        let uid = format!("{header}-{expected}");
        assert_eq!(status(post(&uid).header(header, value)).await, expected, "{header}: {value}");
    }
    // A program sends neither.
    assert_eq!(status(post("program")).await, 202);
    assert_eq!(status(get("/order/program?wait=30s")).await, 200);
    assert!(program.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_names_the_user_and_hides_the_password() {
    let certificates = Certificates::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", listener.local_addr().unwrap());
    let nginx = start_example(&certificates, &upstream).await;
    let client = client(&certificates, nginx.address);
    let port = nginx.address.port();

    for path in ["/order/x", "/live"] {
        let request = client.get(format!("https://{NAME}:{port}{path}"));
        let request = request.basic_auth("ada", Some("secret")).header("x-actor", "mallory");
        let answer = tokio::spawn(request.send());
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = String::new();
        while !head.contains("\r\n\r\n") {
            let mut bytes = [0; 4_096];
            let count = stream.read(&mut bytes).await.unwrap();
            assert!(count > 0, "the head is incomplete: {head}");
            head.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        let answered = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
        stream.write_all(answered.as_bytes()).await.unwrap();
        assert_eq!(answer.await.unwrap().unwrap().status(), 204);

        let head = head.to_ascii_lowercase();
        assert!(head.contains(&format!("\r\nhost: {NAME}:{port}\r\n")), "{head}");
        assert!(head.contains("\r\nx-actor: ada\r\n"), "{head}");
        assert!(!head.contains("mallory") && !head.contains("authorization"), "{head}");
    }
}
