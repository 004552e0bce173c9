//! Kafka answers, and refuses: a permission is missing, or a topic cannot be created yet.

use testkit::{OwnServers, TestEnvironment, kafka_wire, shared, wait_until};

use crate::support::{metric, order, record};

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_to_write_dead_letters_blocks_one_lane() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let kafka = own.local.kafka.as_mut().unwrap();
    kafka.restart_with(kafka_wire::AUTHORIZER).await.unwrap();
    kafka_wire::deny_writes(&kafka.brokers(), &env.dead_letter_topic()).await;
    // With an instance id, the restart of Kafka causes no rebalance: after one, the batch would be
    // read and sent again.
    let service = env.start(&["--lanes", "2", "--kafka-instance-id", "replica-0"]).await;

    env.send(Some(0), None, Some(b"{")).await;
    let (key, value) = record(&order("same-lane", 1));
    env.send(Some(0), Some(&key), Some(&value)).await;
    let readyz = async || service.get("/readyz").await.text().await.unwrap();
    wait_until("the reason to be reported", async || {
        let blocked = readyz().await;
        blocked.contains(&env.dead_letter_topic()) && blocked.to_lowercase().contains("authoriz")
    })
    .await;
    let (key, value) = record(&order("other-lane", 1));
    env.send(Some(1), Some(&key), Some(&value)).await;
    wait_until("the other lane to go on", async || {
        env.count("orders.orders WHERE order_uid = 'other-lane'").await == 1
    })
    .await;
    assert_eq!(metric(&service, "waybill_blocked_parts").await, 1.0);
    assert!(env.lag().await > 0, "the offset of the rejected record is not stored");

    let kafka = own.local.kafka.as_mut().unwrap();
    kafka.restart_with("").await.unwrap();
    env.wait_until_drained().await;

    assert_eq!(env.read_all(&env.dead_letter_topic()).await.len(), 1);
    let events = env.read_all(&env.status_topic()).await;
    assert_eq!(events.len(), 2, "the events of the blocked batch are not sent again");
    wait_until("the report to be withdrawn", async || readyz().await == "ready\n").await;
    service.stop().await.unwrap();
    own.stop().await;
}

/// While the brokers of a cluster start, there may be fewer of them than a topic needs replicas.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_cannot_be_created_yet_is_waited_for() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    env.delete_topic(&env.status_topic()).await;
    let kafka = own.local.kafka.as_mut().unwrap();
    kafka.restart_with("\ndefault.replication.factor=2\n").await.unwrap();
    let service = env.start(&["--kafka-instance-id", "replica-0"]).await;
    let (key, value) = record(&order("waiting", 1));
    env.send(Some(0), Some(&key), Some(&value)).await;

    wait_until("the service to be ready without its topics", async || {
        service.get("/readyz").await.status() == 200
    })
    .await;
    assert_eq!(env.count("orders.orders").await, 0);

    let kafka = own.local.kafka.as_mut().unwrap();
    kafka.restart_with("").await.unwrap();
    env.wait_until_drained().await;

    assert_eq!(env.count("orders.orders").await, 1);
    assert_eq!(env.read_all(&env.status_topic()).await.len(), 1);
    service.stop().await.unwrap();
    own.stop().await;
}

/// The client library's iterator panics at such a name.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_name_that_is_not_utf8_holds_up_no_record() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let valid = order("valid", 1).to_string();

    for value in [valid.as_bytes(), b"{"] {
        let broker = &shared().kafka;
        kafka_wire::send_with_raw_header(broker, &env.orders_topic(), value, b"\xff\xfe").await;
    }
    env.wait_until_drained().await;

    assert_eq!(env.count("orders.orders WHERE order_uid = 'valid'").await, 1);
    assert_eq!(env.count("orders.rejected_records").await, 1);
    assert_eq!(env.read_all(&env.dead_letter_topic()).await.len(), 1);
    service.stop().await.unwrap();
}
