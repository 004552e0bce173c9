//! Consuming a topic as one member of a group.
//!
//! ```text
//! poll thread: heartbeats, rebalances ─▶ partition queues ─▶ lane (partition modulo lanes)
//! lane: record ─parse─▶ N+2 fills │ N+1: write │ N: settle ─▶ receipt ─▶ store its offsets
//! ```
//!
//! Each partition has a queue of its own, so a lane that waits for the database holds up only its
//! own partitions and never the heartbeats. Offsets are stored once `settle` has given its
//! [`Receipt`], and committed in the background. `group` hands partitions to lanes and takes them
//! back, `lane` fills batches and has them written and settled. Only these files and their neighbours
//! `follower`, `kafka`, `producer` and `scan` know rdkafka.

mod group;
mod lane;
mod metrics;

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use rdkafka::{
    ClientConfig, Message as _,
    consumer::{BaseConsumer, Consumer as _},
};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

pub use self::metrics::Metrics;
use self::{
    group::{Group, commit_stored},
    lane::Lane,
};
use crate::{
    kafka::record::Record,
    kafka::{batch::BatchPolicy, config::KafkaConfig},
    process::exit::ExitReason,
};

/// The proof that a batch is settled, so that its offsets may be stored. Each service implements it
/// for the one type that only the last step of its flow can make.
pub trait Receipt: Send + 'static {}

/// What to consume, and how.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The topic.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// How many batches may be written at once.
    pub lanes: usize,
    /// When a batch ends.
    pub policy: BatchPolicy,
    /// How soon Kafka hands records out.
    pub pace: Pace,
}

/// How soon Kafka hands records out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At once.
    Prompt,
    /// When 64 KiB have come together, or after 20 ms: each answer costs Kafka and its reader more
    /// than a record in it.
    Gathered,
}

impl Pace {
    /// Has a consumer fetch at this pace.
    pub(crate) fn set(self, config: &mut ClientConfig) {
        // When a partition's queue is full the client looks again after a second, unless told.
        config.set("fetch.queue.backoff.ms", "10");
        match self {
            Self::Prompt => config.set("fetch.wait.max.ms", "100"),
            Self::Gathered => config.set("fetch.min.bytes", "65536").set("fetch.wait.max.ms", "20"),
        };
    }
}

/// Consumes until `shutdown`, then writes what was taken, stores its offsets and leaves the group.
///
/// `parse` turns a record into an item and its size in bytes; it may not fail, for bad data is a
/// value. `write` writes a batch, and retries until it is written. `settle` does what follows from
/// it; it retries by itself whatever can be retried, and its error ends the consumer, as does an
/// offset that Kafka no longer has. The next batch is written while one is settled; a lane's batches
/// are settled in the order in which they were written.
pub async fn consume<T, C, R, W, S>(
    kafka: &KafkaConfig,
    subscription: Subscription,
    metrics: Metrics,
    parse: impl Fn(Record<'_>) -> (T, usize) + Clone + Send + Sync + 'static,
    write: impl Fn(Vec<T>) -> W + Clone + Send + Sync + 'static,
    settle: impl Fn(C) -> S + Clone + Send + Sync + 'static,
    shutdown: CancellationToken,
) -> anyhow::Result<()>
where
    T: Send + 'static,
    C: Send + 'static,
    R: Receipt,
    W: Future<Output = C> + Send + 'static,
    S: Future<Output = anyhow::Result<R>> + Send + 'static,
{
    let mut senders = Vec::new();
    let mut receivers = Vec::new();
    for _ in 0..subscription.lanes {
        let (sender, receiver) = mpsc::unbounded_channel();
        senders.push(sender);
        receivers.push(receiver);
    }
    let mut config = kafka.client()?;
    config
        .set("group.id", &subscription.group)
        // After a kill nobody reads until the broker gives the dead member up: 45 s by default.
        .set("session.timeout.ms", "10000")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "250")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("heartbeat.interval.ms", "2000")
        .set("queued.min.messages", "5000")
        .set("queued.max.messages.kbytes", "2048")
        .set("fetch.message.max.bytes", "1048576")
        .set("fetch.error.backoff.ms", "100")
        .set("receive.message.max.bytes", "100000000");
    subscription.pace.set(&mut config);
    let topic = &subscription.topic;
    let assigned = metrics.partitions.clone();
    let consumer = Group::join(&mut config, topic, senders, assigned, shutdown.clone())
        .with_context(|| format!("subscribing to the topic {topic}"))
        .context(ExitReason::Configuration)?;

    // Lanes end first, then the poll thread: until then heartbeats go on.
    let stop_polling = CancellationToken::new();
    // The thread also ends when this future is dropped, or it would keep the runtime from ending.
    let _stopped_when_dropped = stop_polling.clone().drop_guard();
    let lanes_stop = shutdown.child_token();
    let mut poller = spawn_poller(consumer.clone(), stop_polling.clone());
    let mut lanes = JoinSet::new();
    for (number, commands) in receivers.into_iter().enumerate() {
        let lane = Lane::new(number, consumer.clone(), subscription.policy, metrics.clone());
        let (parse, write, settle) = (parse.clone(), write.clone(), settle.clone());
        lanes.spawn(lane.run(commands, parse, write, settle, lanes_stop.clone()));
    }
    let mut outcome = Ok(());
    let mut polling = true;
    loop {
        tokio::select! {
            ended = lanes.join_next() => match ended {
                None => break,
                Some(ended) => {
                    if let Err(error) = ended.unwrap_or_else(|panic| Err(anyhow!("a lane ended: {panic}"))) {
                        outcome = outcome.and(Err(error));
                    }
                    lanes_stop.cancel();
                }
            },
            ended = &mut poller, if polling => {
                polling = false;
                outcome = outcome.and(ended.unwrap_or_else(|panic| Err(anyhow!("polling Kafka ended: {panic}"))));
                lanes_stop.cancel();
            }
        }
    }
    stop_polling.cancel();
    if polling {
        outcome = outcome
            .and(poller.await.unwrap_or_else(|panic| Err(anyhow!("polling Kafka ended: {panic}"))));
    }
    outcome
}

/// Serves rebalances and errors; commits what is stored before it ends.
fn spawn_poller(
    consumer: Arc<BaseConsumer<Group>>,
    stop: CancellationToken,
) -> JoinHandle<anyhow::Result<()>> {
    tokio::task::spawn_blocking(move || {
        while !stop.is_cancelled() {
            consumer.context().topic_is_the_same()?;
            match consumer.poll(Duration::from_millis(100)) {
                None => {}
                Some(Err(error)) => consumer.context().check(&error)?,
                Some(Ok(record)) => {
                    return Err(anyhow!(
                        "a record of partition {} came outside its lane",
                        record.partition()
                    ));
                }
            }
        }
        commit_stored(&consumer);
        consumer.unsubscribe();
        Ok(())
    })
}
