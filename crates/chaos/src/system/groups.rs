//! The committed offsets of the consumer groups and the ends of their partitions, read again and
//! again: this shows whether the services make progress.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use rdkafka::{
    ClientConfig, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

const READ_INTERVAL: Duration = Duration::from_millis(250);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// A group and the topic that it reads.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) topic: String,
}

/// The position of a group in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// The committed offset; 0 before the first commit.
    pub(crate) committed: i64,
    pub(crate) end: i64,
}

/// All groups at one moment; a key is the group's id and the partition.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// The time at which the first request was sent.
    pub(crate) at: Instant,
    pub(crate) positions: BTreeMap<(String, i32), Position>,
}

impl Snapshot {
    /// The number of records that are not committed yet.
    pub(crate) fn lag(&self) -> i64 {
        self.positions.values().map(|position| position.end - position.committed).sum()
    }

    /// Returns the partitions that have made no progress since an earlier snapshot.
    fn behind(&self, earlier: &Self) -> Vec<(String, i32)> {
        let is_behind = |(key, before): (&(String, i32), &Position)| {
            let now = self.positions.get(key);
            let goes_on = now
                .is_some_and(|now| now.committed >= before.end || now.committed > before.committed);
            (!goes_on).then(|| key.clone())
        };
        earlier.positions.iter().filter_map(is_behind).collect()
    }
}

/// Reads the groups in the background.
#[derive(Debug)]
pub(crate) struct Groups {
    latest: watch::Receiver<Option<Snapshot>>,
    _reader: AbortOnDropHandle<()>,
}

impl Groups {
    pub(crate) fn watch(brokers: &str, groups: Vec<Group>) -> Result<Self> {
        let consumers = groups
            .into_iter()
            .map(|group| {
                let consumer: BaseConsumer = ClientConfig::new()
                    .set("bootstrap.servers", brokers)
                    .set("group.id", &group.id)
                    .set("enable.auto.commit", "false")
                    .set("reconnect.backoff.max.ms", "500")
                    .create()
                    .context("starting a consumer")?;
                Ok((group, consumer))
            })
            .collect::<Result<Vec<_>>>()?;
        let (sender, latest) = watch::channel(None);
        let reader = tokio::spawn(read_forever(consumers, sender));
        Ok(Self { latest, _reader: AbortOnDropHandle::new(reader) })
    }

    /// Waits until every partition of every group has been committed further than now, or up to its
    /// present end. Returns the time that this took, or the partitions that have not advanced within
    /// `limit`.
    pub(crate) async fn wait_for_progress(
        &self,
        limit: Duration,
    ) -> Result<Duration, Vec<(String, i32)>> {
        let started = Instant::now();
        let deadline = started + limit;
        let mut latest = self.latest.clone();
        let unknown = || vec![("Kafka does not answer".to_owned(), -1)];
        let is_new =
            |snapshot: &Option<Snapshot>| snapshot.as_ref().is_some_and(|now| now.at >= started);
        let first = match timeout_at(deadline, latest.wait_for(is_new)).await {
            Ok(Ok(snapshot)) => snapshot.clone(),
            Ok(Err(_)) | Err(_) => return Err(unknown()),
        };
        let Some(first) = first else { return Err(unknown()) };
        loop {
            let behind = latest.borrow_and_update().as_ref().map(|now| now.behind(&first));
            match behind {
                Some(behind) if behind.is_empty() => return Ok(started.elapsed()),
                behind => {
                    if timeout_at(deadline, latest.changed()).await.is_err() {
                        return Err(behind.unwrap_or_default());
                    }
                }
            }
        }
    }

    /// Waits until all records are committed, for as long as the lag becomes smaller at least once
    /// within `limit`. Returns whether that happened.
    pub(crate) async fn wait_until_drained(
        &self,
        limit: Duration,
        mut show: impl FnMut(i64),
    ) -> bool {
        let started = Instant::now();
        let mut latest = self.latest.clone();
        let (mut least, mut deadline) = (i64::MAX, started + limit);
        loop {
            let lag = {
                let snapshot = latest.borrow_and_update();
                snapshot.as_ref().filter(|now| now.at >= started).map(Snapshot::lag)
            };
            match lag {
                Some(0) => return true,
                Some(lag) if lag < least => (least, deadline) = (lag, Instant::now() + limit),
                _ => {}
            }
            if let Some(lag) = lag {
                show(lag);
            }
            if !matches!(timeout_at(deadline, latest.changed()).await, Ok(Ok(()))) {
                return false;
            }
        }
    }
}

async fn read_forever(
    mut consumers: Vec<(Group, BaseConsumer)>,
    sender: watch::Sender<Option<Snapshot>>,
) {
    loop {
        let at = Instant::now();
        let reading = tokio::task::spawn_blocking(move || {
            let positions = read_all(&consumers);
            (consumers, positions)
        });
        // A panic ends the watch, and with it every wait.
        let Ok((returned, positions)) = reading.await else { return };
        consumers = returned;
        if let Ok(positions) = positions {
            sender.send_replace(Some(Snapshot { at, positions }));
        }
        sleep(READ_INTERVAL).await;
    }
}

fn read_all(consumers: &[(Group, BaseConsumer)]) -> Result<BTreeMap<(String, i32), Position>> {
    let mut positions = BTreeMap::new();
    for (group, consumer) in consumers {
        let metadata = consumer.fetch_metadata(Some(&group.topic), REQUEST_TIMEOUT)?;
        let topic = metadata.topics().first().context("the answer names the topic")?;
        let mut list = TopicPartitionList::new();
        let mut ends = BTreeMap::new();
        for partition in topic.partitions() {
            let (_, end) =
                consumer.fetch_watermarks(&group.topic, partition.id(), REQUEST_TIMEOUT)?;
            ends.insert(partition.id(), end);
            list.add_partition(&group.topic, partition.id());
        }
        // Read after the ends, so that a lag of 0 is true for the ends that were read.
        let committed = consumer.committed_offsets(list, REQUEST_TIMEOUT)?;
        for (partition, end) in ends {
            let found = committed.find_partition(&group.topic, partition);
            let committed = found.and_then(|found| found.offset().to_raw()).unwrap_or(0).max(0);
            positions.insert((group.id.clone(), partition), Position { committed, end });
        }
    }
    Ok(positions)
}
