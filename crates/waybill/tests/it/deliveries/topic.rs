//! The order service works without the deliveries topic.

use std::time::{Duration, Instant};

use testkit::{OwnServers, TestEnvironment, kafka_wire, shared, wait_until};

use super::{delivery_event, send_deliveries};
use crate::support::{Program, Scratch, order, record};

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_reported_once_and_read_when_it_exists() {
    let env = TestEnvironment::new(shared()).await;
    let topic = env.deliveries_topic();
    env.delete_topic(&topic).await;
    let (folder, flags) = (Scratch::new(), env.flags());
    let flags = flags.chunks(2).filter(|flag| flag[0] != "--orders-http-addr");
    let mut flags: Vec<(&str, &str)> =
        flags.map(|flag| (flag[0].as_str(), flag[1].as_str())).collect();
    flags.push(("--kafka-create-topics", "false"));
    let log = folder.0.join("log");
    let reports = || {
        let text = std::fs::read_to_string(&log).unwrap();
        text.matches(&format!("Kafka has no topic {topic}")).count()
    };

    let service = Program::start_with_log("orders", &flags, &log);
    service.wait_until_ready().await;
    env.send_all([record(&order("without", 1))]).await;
    env.wait_until_drained().await;

    assert_eq!(service.status("/order/without").await, 200);
    wait_until("the missing topic to be reported", async || reports() == 1).await;
    let reported = Instant::now();
    let is_searched_again = async || reported.elapsed() > Duration::from_secs(12);
    wait_until("two further searches for the topic", is_searched_again).await;
    assert_eq!(reports(), 1);

    env.create_large_topic(&topic).await;
    send_deliveries(&env, [delivery_event("without", "assigned", 1)]).await;
    env.wait_until_deliveries_drained().await;

    assert_eq!(env.count("orders.order_deliveries").await, 1);
    assert_eq!(reports(), 1);
    assert!(service.terminate().await.success());
}

/// An upgrade must not stop the service of a user who may not create topics.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_not_be_created_is_read_when_it_exists() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let topic = env.deliveries_topic();
    env.delete_topic(&topic).await;
    let kafka = own.local.kafka.as_mut().unwrap();
    kafka.restart_with(kafka_wire::AUTHORIZER).await.unwrap();
    kafka_wire::deny_creation(&kafka.brokers(), &topic).await;

    let service = env.start(&[]).await;
    env.send_all([record(&order("without", 1))]).await;
    env.wait_until_drained().await;
    assert_eq!(env.count("orders.orders").await, 1);

    let kafka = own.local.kafka.as_mut().unwrap();
    kafka.restart_with("").await.unwrap();
    send_deliveries(&env, [delivery_event("without", "assigned", 1)]).await;
    env.wait_until_deliveries_drained().await;

    assert_eq!(env.count("orders.order_deliveries").await, 1);
    service.stop().await.unwrap();
    own.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_created_if_that_is_allowed() {
    let env = TestEnvironment::new(shared()).await;
    env.delete_topic(&env.deliveries_topic()).await;

    let service = env.start(&[]).await;
    // The client of the test waits until there is such a topic.
    send_deliveries(&env, [delivery_event("created", "assigned", 1)]).await;
    env.wait_until_deliveries_drained().await;

    assert_eq!(env.count("orders.order_deliveries").await, 1);
    service.stop().await.unwrap();
}
