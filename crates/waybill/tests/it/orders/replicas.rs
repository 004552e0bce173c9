//! Replicas of one group that start and stop under load.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use testkit::{Service, TestEnvironment, shared, wait_until};

use crate::support::{Program, Sent, metric, order, record};

/// Waits until these replicas, and no others, share all 8 partitions.
async fn wait_until_shared(replicas: &[&Service]) {
    wait_until("the replicas to share the partitions", async || {
        let mut all = 0.0;
        for replica in replicas {
            let own = metric(replica, "waybill_consumer_partitions").await;
            if own == 0.0 {
                return false;
            }
            all += own;
        }
        all == 8.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_and_stop_lose_and_repeat_nothing() {
    let env = TestEnvironment::new(shared()).await;
    let stop = AtomicBool::new(false);
    let flow = async {
        let mut sent = Sent::default();
        let mut number = 0;
        while number < 3_000 || !stop.load(Ordering::Acquire) {
            env.send_all(sent.mixed(number, 100)).await;
            number += 100;
            // The replicas always have records to read, and the lag is bounded.
            wait_until("the lag to decrease", async || env.lag().await < 2_000).await;
        }
        sent
    };
    let replicas = async {
        let first = env.start(&["--batch-rows", "20"]).await;
        wait_until_shared(&[&first]).await;
        let second = env.start(&["--batch-rows", "20"]).await;
        wait_until_shared(&[&first, &second]).await;
        let third = env.start(&["--batch-rows", "20"]).await;
        wait_until_shared(&[&first, &second, &third]).await;
        for replica in [&first, &second, &third] {
            wait_until("each replica to read records", async || {
                metric(replica, "messaging_client_consumed_messages_total").await > 0.0
            })
            .await;
        }
        first.stop().await.unwrap();
        third.stop().await.unwrap();
        wait_until_shared(&[&second]).await;
        stop.store(true, Ordering::Release);
        second
    };
    let (sent, second) = tokio::join!(flow, replicas);

    env.wait_until_drained().await;
    sent.assert_settled_at(&env, &second).await;
    second.stop().await.unwrap();
}

/// Without an instance id, the partitions of a killed replica are read again after 8 to 10 seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_with_an_instance_id_continues_at_once() {
    const LIMIT: Duration = Duration::from_secs(7);
    let env = TestEnvironment::new(shared()).await;
    let start = || Program::start_with(&env, &["--kafka-instance-id", "replica-0"]);
    let mut replica = start();
    let mut fastest = Duration::MAX;
    // A busy machine may need seconds only to start the program, so there are several attempts.
    for number in 0..3 {
        replica.wait_until_ready().await;
        let (key, value) = record(&order(&format!("before-{number}"), 1));
        env.send(Some(0), Some(&key), Some(&value)).await;
        env.wait_until_drained().await;

        let killed = Instant::now();
        replica.kill().await;
        replica = start();
        let (key, value) = record(&order(&format!("after-{number}"), 1));
        env.send(Some(0), Some(&key), Some(&value)).await;
        env.wait_until_drained().await;

        fastest = fastest.min(killed.elapsed());
        if fastest < LIMIT {
            break;
        }
    }
    assert!(fastest < LIMIT, "{fastest:?}");
    assert!(replica.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_with_an_instance_id_ends_the_first() {
    const SAME: [&str; 2] = ["--kafka-instance-id", "replica-0"];
    let env = TestEnvironment::new(shared()).await;
    let first = env.start(&SAME).await;
    wait_until_shared(&[&first]).await;
    let second = env.start(&SAME).await;

    let error = first.outcome().await.unwrap_err().to_string();

    assert!(error.contains("the same KAFKA_INSTANCE_ID"), "{error}");
    wait_until_shared(&[&second]).await;
    second.stop().await.unwrap();
}

/// A replica gives partitions up for another one in two steps. If it ends between them and starts
/// again with its instance id, Kafka returns its partitions without a further step, and nobody has
/// the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_ends_during_a_rebalance_leaves_no_partition_without_a_reader() {
    let env = TestEnvironment::new(shared()).await;
    let mut sent = Sent::default();
    let flags = ["--kafka-instance-id", "replica-0"];
    let first = Program::start_with_failpoints(&env, &flags, "revoke=kill");
    first.wait_until_ready().await;
    wait_until("the replica to have partitions", async || {
        first.metric("waybill_consumer_partitions").await == 8.0
    })
    .await;

    let second = Program::start(&env, None);
    first.assert_killed().await;
    let again = Program::start_with(&env, &flags);
    again.wait_until_ready().await;

    env.send_all(sent.mixed(0, 300)).await;
    env.wait_until_drained().await;
    env.wait_until_status_drained().await;
    assert!(second.terminate().await.success());
    assert!(again.terminate().await.success());
    sent.assert_settled(&env).await;
}
