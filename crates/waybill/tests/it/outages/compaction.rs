//! A compacted topic: older records of a key are gone, and tombstones are among the rest.

use testkit::{OwnServers, TestEnvironment, wait_until};

use crate::support::{order, record};

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_is_read_past_its_gaps() {
    let mut own = OwnServers::start().await;
    let kafka = own.local.kafka.as_mut().unwrap();
    kafka.restart_with("log.cleaner.backoff.ms=100\n").await.unwrap();
    let env = TestEnvironment::new(&own.servers()).await;
    let topic = env.orders_topic();
    let options = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "200"),
        ("min.cleanable.dirty.ratio", "0.0"),
        ("max.message.bytes", "4194304"),
    ];
    env.alter_topic(&topic, &options).await;
    let send = async |uid: &str, amount: i64| {
        let (key, value) = record(&order(uid, amount));
        env.send(Some(0), Some(&key), Some(&value)).await;
    };
    for amount in 1..=5 {
        for uid in ["kept", "deleted"] {
            send(uid, amount).await;
        }
    }
    env.send(Some(0), Some(b"deleted"), None).await;
    // Compaction leaves out the newest segment, so records of a third key end the older ones.
    let mut amount = 0;
    wait_until("compaction to remove the older records", async || {
        amount += 1;
        send("last", amount).await;
        let remaining = env.read_all(&topic).await;
        let is_kept = |key: &[u8]| {
            remaining.iter().filter(|record| record.key.as_deref() == Some(key)).count() == 1
        };
        is_kept(b"kept") && is_kept(b"deleted")
    })
    .await;

    let service = env.start(&[]).await;
    env.wait_until_drained().await;

    assert_eq!(service.json("/order/kept").await, order("kept", 5));
    assert_eq!(service.json("/order/last").await, order("last", amount));
    assert_eq!(service.get("/order/deleted").await.status(), 404);
    assert_eq!(env.count("orders.rejected_records WHERE reason = 'null_record'").await, 1);
    service.stop().await.unwrap();
    own.stop().await;
}
