//! The one place where the generator meets Kafka: hands records to the producer and asks what came
//! of them.

use std::time::Duration;

use chassis::kafka::{
    config::KafkaConfig,
    producer::{Deliveries, OutgoingRecord, ProduceError, Producer},
};

/// A topic to send to. Clones share what they know of deliveries.
#[derive(Clone)]
pub(super) struct Sender {
    producer: Producer,
    deliveries: Deliveries,
    topic: String,
}

impl Sender {
    pub(super) fn new(kafka: &KafkaConfig, topic: &str) -> anyhow::Result<Self> {
        Ok(Self {
            producer: Producer::new(kafka)?,
            deliveries: Deliveries::new(),
            topic: topic.to_owned(),
        })
    }

    /// Hands a record over; waits while the producer's queue is full. Dropped while it waits, it
    /// has handed over nothing.
    pub(super) async fn send(&self, key: Option<&[u8]>, value: &[u8]) -> Result<(), Refusal> {
        let record = OutgoingRecord { topic: &self.topic, key, value: Some(value), headers: &[] };
        self.producer.enqueue(record, &self.deliveries).await.map_err(Refusal::from)
    }

    /// How many records Kafka has acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.deliveries.acknowledged()
    }

    /// The first failure so far.
    pub(super) fn failure(&self) -> Option<Refusal> {
        self.deliveries.failure().map(Refusal::from)
    }

    /// Waits until the fate of everything handed over is known; tells the first failure.
    pub(super) async fn settled(&self) -> Result<(), Refusal> {
        self.deliveries.settled().await.map_err(Refusal::from)
    }

    /// The same without waiting: `None` while something is on its way.
    pub(super) async fn settled_by_now(&self) -> Option<Result<(), Refusal>> {
        tokio::time::timeout(Duration::ZERO, self.settled()).await.ok()
    }
}

/// Why a record was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is larger than the topic takes: this one's own fault, the next may pass.
    TooLarge,
    /// The next one would fare no better.
    Lasting(String),
}

impl From<ProduceError> for Refusal {
    fn from(error: ProduceError) -> Self {
        match error {
            ProduceError::TooLarge => Self::TooLarge,
            ProduceError::Fatal(_) | ProduceError::Other(_) => Self::Lasting(error.to_string()),
        }
    }
}
