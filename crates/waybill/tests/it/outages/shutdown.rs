//! Shutdown of the order service while it cannot finish its work.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use testkit::{OwnServers, TestEnvironment, shared, wait_until};

use crate::support::{Program, order, record};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once_and_loses_nothing() {
    let env = TestEnvironment::new(shared()).await;
    let program = Program::start(&env, None);

    program.wait_until_ready().await;
    // No transaction can write while this lock is held: the batch begins and cannot end.
    let mut lock = env.pool.begin().await.unwrap();
    let table = "LOCK TABLE orders.orders IN SHARE MODE";
    sqlx::query(table).execute(&mut *lock).await.unwrap();
    env.send_all([record(&order("blocked", 7))]).await;
    let waiting = "pg_stat_activity WHERE datname = current_database() \
        AND wait_event_type = 'Lock' AND query LIKE '-- insert_orders%'";
    wait_until("the batch to wait for the lock", async || env.count(waiting).await == 1).await;

    program.signal(Signal::TERM);
    wait_until("the service to accept no more requests", async || !program.is_ready().await).await;
    let begun = Instant::now();
    let status = program.terminate().await;
    let took = begun.elapsed();

    assert_eq!(status.code(), Some(1), "{status}");
    assert!(took < Duration::from_secs(7), "the second signal took {took:?}");
    lock.rollback().await.unwrap();

    let again = Program::start(&env, None);
    env.wait_until_drained().await;
    assert_eq!(env.count("orders.orders").await, 1);
    assert!(again.terminate().await.success());
}

/// As after `waybill up 2>&1 | tee log` and Ctrl-C, or with a log on a full disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_changes_nothing() {
    let env = TestEnvironment::new(shared()).await;
    let flags = env.flags();
    let flags: Vec<_> = flags.chunks(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
    let flags: Vec<_> =
        flags.into_iter().filter(|(flag, _)| !flag.ends_with("-http-addr")).collect();
    let program = Program::start_with_log("orders", &flags, Path::new("/dev/full"));

    program.wait_until_ready().await;
    env.send_all([record(&order("stored", 1)), (Vec::new(), b"{".to_vec())]).await;
    env.wait_until_drained().await;

    assert_eq!(env.count("orders.orders").await, 1);
    let begun = Instant::now();
    let status = program.terminate().await;
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(12), "it took {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_in_time_even_if_kafka_is_down() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let program = Program::start(&env, None);

    env.send_all((0..500).map(|number| record(&order(&format!("uid-{number}"), 1)))).await;
    wait_until("the first orders to be stored", async || env.count("orders.orders").await > 0)
        .await;
    own.local.kafka.as_mut().unwrap().kill().await.unwrap();

    let begun = Instant::now();
    let status = program.terminate().await;
    let took = begun.elapsed();

    // Either all work is finished, or it gives up after ten seconds; it never hangs.
    assert!(matches!(status.code(), Some(0 | 1)), "{status}");
    assert!(took < Duration::from_secs(12), "it took {took:?}");

    own.local.kafka.as_mut().unwrap().restart().await.unwrap();
    let again = Program::start(&env, None);
    env.wait_until_drained().await;

    assert_eq!(env.count("orders.orders").await, 500);
    assert!(again.terminate().await.success());
    own.stop().await;
}
