//! TLS to Redis: `rediss://` and `REDIS_CA_FILE`.

use std::net::TcpListener;

use rustix::process::Signal;
use testkit::{TestEnvironment, shared, wait_until};

use super::{
    assert_ended,
    certificates::{Certificates, WRONG},
};
use crate::support::{Redis, assert_served_from, metric, order, record, waybill};

/// Returns the options of a Redis with this certificate and the password `secret-right`.
fn options(certificates: &Certificates, kind: &str) -> Vec<String> {
    [
        ("--tls-cert-file", &*certificates.certificate(kind)),
        ("--tls-key-file", &certificates.key(kind)),
        ("--tls-ca-cert-file", &certificates.ca()),
        ("--tls-auth-clients", "no"),
        ("--requirepass", "secret-right"),
    ]
    .iter()
    .flat_map(|(option, value)| [(*option).to_owned(), (*value).to_owned()])
    .collect()
}

/// Runs the order service until it ends.
async fn end(env: &TestEnvironment, url: &str, more: &[&str]) -> std::process::Output {
    let flags = env.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    waybill(&[&["orders"], &flags[..], &["--redis-url", url], more].concat(), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_cached_in_redis_through_tls() {
    let env = TestEnvironment::new(shared()).await;
    let certificates = Certificates::new();
    let redis = Redis::start_tls(&env, &options(&certificates, "right")).await;
    let url = redis.tls_url("secret-right");
    let ca = certificates.ca();
    let flags = ["--redis-url", &url, "--redis-ca-file", &ca, "--cache-bytes", "100"];
    let service = env.start(&flags).await;
    let sent = order("uid", 7);

    env.send_all([record(&sent)]).await;
    env.wait_until_drained().await;

    wait_until("the order to come from Redis", async || {
        let answer = service.get("/order/uid").await;
        answer.headers()["x-cache"] == "redis"
    })
    .await;
    assert_served_from(&service, &sent, "redis").await;
    assert_eq!(metric(&service, "waybill_redis_failures_total").await, 0.0);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_redis_that_is_not_trusted_ends_the_start() {
    let env = TestEnvironment::new(shared()).await;
    let certificates = Certificates::new();
    let ca = certificates.ca();
    let trust = ["the certificate of Redis at localhost", "is not trusted", "REDIS_CA_FILE"];

    for (kind, reason) in WRONG.iter().zip(["issuer", "expired", "mismatch"]) {
        let redis = Redis::start_tls(&env, &options(&certificates, kind)).await;
        let output = end(&env, &redis.tls_url("secret-right"), &["--redis-ca-file", &ca]).await;
        assert_ended(&output, 78, &[&trust[..], &[reason]].concat());
    }

    // Without the file, only the authorities of the operating system are trusted.
    let redis = Redis::start_tls(&env, &options(&certificates, "right")).await;
    assert_ended(&end(&env, &redis.tls_url("secret-right"), &[]).await, 78, &trust);
    // Nothing is sent to a server that is not verified.
    let unverified = redis.tls_url("secret-right") + "/#insecure";
    assert_ended(&end(&env, &unverified, &[]).await, 78, &["REDIS_URL ends with #insecure"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_of_redis_ends_the_start() {
    let env = TestEnvironment::new(shared()).await;
    let certificates = Certificates::new();
    let redis = Redis::start_tls(&env, &options(&certificates, "right")).await;
    let ca = certificates.ca();

    for url in [redis.tls_url("secret-wrong"), redis.tls_url("")] {
        let output = end(&env, &url, &["--redis-ca-file", &ca]).await;
        assert_ended(&output, 78, &["refuses the user or the password in REDIS_URL"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_handshake_with_redis_delays_nothing() {
    let env = TestEnvironment::new(shared()).await;
    // It accepts connections, in its queue, and never answers.
    let unresponsive = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("rediss://{}", unresponsive.local_addr().unwrap());
    let service = env.start(&["--redis-url", &url, "--cache-bytes", "100"]).await;
    let sent = order("uid", 7);

    env.send_all([record(&sent)]).await;
    env.wait_until_drained().await;

    assert_served_from(&service, &sent, "db").await;
    wait_until("the failure to be counted", async || {
        metric(&service, "waybill_redis_failures_total").await > 0.0
    })
    .await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_answers_later_is_used_through_tls() {
    let env = TestEnvironment::new(shared()).await;
    let certificates = Certificates::new();
    let redis = Redis::start_tls(&env, &options(&certificates, "right")).await;
    let (url, ca) = (redis.tls_url("secret-right"), certificates.ca());
    redis.signal(Signal::STOP);
    let flags = ["--redis-url", &url, "--redis-ca-file", &ca, "--cache-bytes", "100"];
    let service = env.start(&flags).await;
    env.send_all([record(&order("uid", 7))]).await;
    env.wait_until_drained().await;

    assert_served_from(&service, &order("uid", 7), "db").await;
    redis.signal(Signal::CONT);

    wait_until("the order to come from Redis", async || {
        let answer = service.get("/order/uid").await;
        answer.headers()["x-cache"] == "redis"
    })
    .await;
    service.stop().await.unwrap();
}
