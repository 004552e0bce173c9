//! Faults of Kafka.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::time::sleep;

use crate::{
    child::send_signal,
    system::{
        ORDERS_TOPIC, STATUS_TOPIC, System,
        kafka_admin::{add_partitions, partition_count, set_topic_option},
    },
};

/// The number of partitions that no topic exceeds.
const MAX_PARTITIONS: usize = 12;

pub(super) async fn stop(system: &System, hold: Duration) -> Result<String> {
    let mut brokers = system.kafka.lock().await;
    let kafka = brokers.only()?;
    kafka.stop().await?;
    sleep(hold).await;
    kafka.restart().await?;
    Ok(String::new())
}

pub(super) async fn kill(system: &System, hold: Duration) -> Result<String> {
    let mut brokers = system.kafka.lock().await;
    let kafka = brokers.only()?;
    kafka.kill().await?;
    sleep(hold).await;
    kafka.restart().await?;
    Ok(String::new())
}

pub(super) async fn freeze(system: &System, hold: Duration) -> Result<String> {
    let mut brokers = system.kafka.lock().await;
    let id = brokers.only()?.process_id().context("Kafka runs")?;
    send_signal(id, Signal::STOP);
    sleep(hold).await;
    send_signal(id, Signal::CONT);
    Ok(String::new())
}

/// Adds a partition to the topic of the orders or of the status events.
pub(super) async fn add_partition(system: &System, number: usize) -> Result<String> {
    let _alone = system.kafka.lock().await;
    let topic = if number.is_multiple_of(2) { ORDERS_TOPIC } else { STATUS_TOPIC };
    let count = partition_count(&system.brokers, topic).await? + 1;
    if count > MAX_PARTITIONS {
        return Ok(format!("{topic} already has {MAX_PARTITIONS} partitions"));
    }
    add_partitions(&system.brokers, topic, count).await?;
    Ok(format!("{topic} has {count} partitions"))
}

/// Makes the status topic refuse every event of the services.
///
/// The limit is above the size of the marker that ends a transaction (78 bytes): Kafka 4.1 does not
/// try again to write a marker that its own topic refuses, and that transaction stays open, and holds
/// up all readers, until the broker starts again.
pub(super) async fn refuse_messages(system: &System, hold: Duration) -> Result<String> {
    const OPTION: &str = "max.message.bytes";
    let _alone = system.kafka.lock().await;
    set_topic_option(&system.brokers, STATUS_TOPIC, OPTION, "100").await?;
    sleep(hold).await;
    set_topic_option(&system.brokers, STATUS_TOPIC, OPTION, "4194304").await?;
    Ok(String::new())
}
