//! Consuming a topic as one member of a consumer group, through a service's [`Pipeline`].
//!
//! ```text
//! poll thread: heartbeats, rebalances ─▶ partition queues ─▶ lane (partition modulo lanes)
//! lane: record ─parse─▶ N+2 fills │ N+1: commit │ N: settle ─▶ receipt ─▶ store its offsets
//! ```
//!
//! Each partition has its own queue, so a lane that waits for the database delays only its own
//! partitions and never the heartbeats. Offsets are stored once `settle` has returned its
//! [`Receipt`], and committed in the background. [`group`] gives partitions to lanes and takes them
//! back; [`lane`] fills batches, in [`turns`] of its partitions, and passes them through the pipeline;
//! [`errors`] decides which errors are waited out; [`topic_id`] detects a re-created topic.
//!
//! This is not for readers outside a group: these are [`tail`](crate::kafka::tail) and
//! [`topic_scan`](crate::kafka::topic_scan).

mod errors;
mod group;
mod lane;
mod metrics;
mod topic_id;
mod turns;

use std::{sync::Arc, time::Duration};

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

pub use self::metrics::ConsumerMetrics;
use self::{
    group::{Group, commit_stored},
    lane::{Lane, Shared},
};
use crate::{
    kafka::{batch::BatchPolicy, config::KafkaConfig, record::Record},
    process::{blocked::Blocked, exit::ExitReason},
};

/// The longest time for which the lanes of a consumer finish their batches after one of them failed.
const FAILURE_TIMEOUT: Duration = Duration::from_secs(10);

/// The proof that a batch is settled, so that its offsets may be stored. Each pipeline has its own
/// type of it, which only the last step of its flow can make.
pub trait Receipt: Send + 'static {}

/// The flow of a service, from a record to the receipt of its batch.
pub trait Pipeline: Send + Sync + 'static {
    /// A parsed record, valid or not.
    type Item: Send + 'static;
    /// A batch that is in the database.
    type Committed: Send + 'static;
    type Receipt: Receipt;

    /// Returns the item and its size in bytes. It cannot fail: bad data is a value.
    fn parse(&self, record: Record<'_>) -> (Self::Item, usize);

    /// Returns the rejection of a record for which [`parse`](Self::parse) panicked, and its size.
    fn reject_panicked(&self, record: Record<'_>) -> (Self::Item, usize);

    /// Writes a batch, and retries until it is written. The next batch is written while one is
    /// settled. Its error ends the consumer.
    fn commit(
        &self,
        batch: Vec<Self::Item>,
    ) -> impl Future<Output = anyhow::Result<Self::Committed>> + Send;

    /// Does what follows from a committed batch. It retries by itself what can be retried; its error
    /// ends the consumer. A lane settles its batches in the order in which they were committed.
    fn settle(
        &self,
        committed: Self::Committed,
    ) -> impl Future<Output = anyhow::Result<Self::Receipt>> + Send;
}

/// A topic to consume, and the settings for it.
#[derive(Debug, Clone)]
pub struct Subscription {
    pub topic: String,
    pub group: String,
    /// The number of batches that may be committed at the same time.
    pub lanes: usize,
    pub policy: BatchPolicy,
    pub pace: Pace,
}

/// The time that Kafka may take to collect records before it answers a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// None: it answers at once.
    Prompt,
    /// Until there are 64 KiB, or 20 ms: each answer costs Kafka and its reader more than a record
    /// in it.
    Gathered,
}

impl Pace {
    pub(crate) fn set(self, config: &mut ClientConfig) {
        // When a partition's queue is full, the client by default looks again only after a second.
        config.set("fetch.queue.backoff.ms", "10");
        match self {
            Self::Prompt => config.set("fetch.wait.max.ms", "100"),
            Self::Gathered => config.set("fetch.min.bytes", "65536").set("fetch.wait.max.ms", "20"),
        };
    }
}

/// Consumes until `shutdown`; then commits and settles what was taken, stores its offsets and leaves
/// the group. An error of `settle` ends it, and so does an error of Kafka that is not transient.
pub async fn consume<P: Pipeline>(
    kafka: KafkaConfig,
    subscription: Subscription,
    metrics: ConsumerMetrics,
    blocked: Blocked,
    pipeline: P,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..subscription.lanes).map(|_| mpsc::unbounded_channel()).unzip();
    let Subscription { topic, policy, .. } = &subscription;
    let mut config = client_config(&kafka, &subscription)?;
    let consumer = Group::join(&mut config, topic, senders, &metrics, blocked, shutdown.clone())
        .with_context(|| format!("subscribing to the topic {topic}"))
        .context(ExitReason::Configuration)?;

    let stop_polling = CancellationToken::new();
    // The thread also ends when this future is dropped; otherwise the runtime could not end.
    let _stop_when_dropped = stop_polling.clone().drop_guard();
    let poller = spawn_poller(consumer.clone(), stop_polling.clone());
    let stop = shutdown.child_token();
    let shared = Arc::new(Shared { pipeline, consumer, policy: *policy, metrics, stop });
    let mut lanes = JoinSet::new();
    for (number, commands) in receivers.into_iter().enumerate() {
        lanes.spawn(Lane::new(number, commands, shared.clone()).run());
    }
    // Lanes end first, then the poll thread: until then heartbeats go on, and the partitions of a
    // lane that finishes its batches stay with this member. If the thread ends first, it failed.
    let lanes = async {
        let ended = join_lanes(lanes, &shared.stop).await;
        stop_polling.cancel();
        ended
    };
    let failed = CancellationToken::new();
    let poller = async {
        let ended =
            poller.await.unwrap_or_else(|panic| Err(anyhow!("polling Kafka ended: {panic}")));
        shared.stop.cancel();
        if let Err(error) = &ended {
            tracing::error!("the consumer failed; stopping its lanes: {error:#}");
            failed.cancel();
        }
        ended
    };
    // The poller fails also while the lanes wait without a limit, so the wait for them is bounded.
    let lanes = async {
        tokio::select! {
            ended = lanes => ended,
            () = async { failed.cancelled().await; tokio::time::sleep(FAILURE_TIMEOUT).await } => Ok(()),
        }
    };
    let (lanes, poller) = tokio::join!(lanes, poller);
    lanes.and(poller)
}

fn client_config(kafka: &KafkaConfig, subscription: &Subscription) -> anyhow::Result<ClientConfig> {
    let mut config = kafka.client()?;
    config
        .set("group.id", &subscription.group)
        // After a kill, nobody reads until the broker gives up the dead member: 45 s by default.
        .set("session.timeout.ms", "10000")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "250")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        // The end may lie after the last record: the markers of transactions have offsets, too.
        .set("enable.partition.eof", "true")
        // Added partitions are read within seconds, not after the default of five minutes.
        .set("topic.metadata.refresh.interval.ms", "5000")
        .set("heartbeat.interval.ms", "2000")
        .set("queued.min.messages", "5000")
        .set("queued.max.messages.kbytes", "2048")
        .set("fetch.message.max.bytes", "1048576")
        .set("fetch.error.backoff.ms", "100")
        .set("receive.message.max.bytes", "100000000");
    subscription.pace.set(&mut config);
    Ok(config)
}

/// Waits until all lanes have ended. When one ends with an error, it is logged at once; the others
/// finish their batches and end too, within [`FAILURE_TIMEOUT`]. The first error is returned.
async fn join_lanes(
    mut lanes: JoinSet<anyhow::Result<()>>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    let mut give_up_at = None;
    loop {
        // A lane may wait without a limit for PostgreSQL or for Kafka's acknowledgements. After an
        // error its unfinished batch is dropped: the next start reads the records again.
        let next = async {
            match give_up_at {
                None => Ok(lanes.join_next().await),
                Some(at) => tokio::time::timeout_at(at, lanes.join_next()).await,
            }
        };
        let Ok(Some(ended)) = next.await else { return outcome };
        stop.cancel();
        let ended = ended.unwrap_or_else(|panic| Err(anyhow!("a lane ended: {panic}")));
        let Err(error) = ended else { continue };
        if outcome.is_ok() {
            tracing::error!("a lane failed; stopping the others: {error:#}");
            give_up_at = Some(tokio::time::Instant::now() + FAILURE_TIMEOUT);
            outcome = Err(error);
        }
    }
}

/// Serves rebalances and errors until `stop`; then commits the stored offsets and leaves the group.
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
