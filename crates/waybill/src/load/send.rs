//! Sends records to Kafka and counts their acknowledgements.

use std::time::Duration;

use chassis::{
    kafka::{
        config::KafkaConfig,
        producer::{Deliveries, OutgoingRecord, ProduceError, Producer},
    },
    process::blocked::Blocked,
};

/// A producer for one topic. Clones share the counts.
#[derive(Clone)]
pub(super) struct Sender {
    producer: Producer,
    deliveries: Deliveries,
    topic: String,
}

impl Sender {
    pub(super) fn new(kafka: &KafkaConfig, topic: &str) -> anyhow::Result<Self> {
        Ok(Self {
            producer: Producer::new(kafka, Blocked::default())?,
            deliveries: Deliveries::new(),
            topic: topic.to_owned(),
        })
    }

    /// Enqueues a record; waits while the queue of the producer is full. If the future is dropped while
    /// it waits, the record was not enqueued.
    pub(super) async fn send(&self, key: Option<&[u8]>, value: &[u8]) -> Result<(), ProduceError> {
        let record = OutgoingRecord { key, value: Some(value), headers: &[] };
        self.producer.enqueue(&self.topic, record, &self.deliveries).await
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.deliveries.acknowledged()
    }

    pub(super) fn failure(&self) -> Option<ProduceError> {
        self.deliveries.failure()
    }

    /// Waits until every record is acknowledged or has failed; returns the first failure.
    pub(super) async fn settled(&self) -> Result<(), ProduceError> {
        self.deliveries.settled().await
    }

    /// Returns the same without waiting, or `None` while a record has no outcome yet.
    pub(super) async fn settled_by_now(&self) -> Option<Result<(), ProduceError>> {
        tokio::time::timeout(Duration::ZERO, self.settled()).await.ok()
    }
}
