//! A lane: fills batches from its partitions and has them written and settled, in their order and
//! one at a time each. While batch N is settled, N+1 is written and N+2 fills.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, mpsc as blocking},
    time::{Duration, Instant},
};

use anyhow::Context;
use rdkafka::consumer::{BaseConsumer, Consumer as _, base_consumer::PartitionQueue};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    Receipt,
    group::{Command, Group},
    metrics::Metrics,
};
use crate::kafka::record::Record;
use crate::kafka::{
    batch::{Batch, BatchPolicy},
    offsets::Offsets,
};

/// After so many records a lane lets others run.
const RECORDS_A_TURN: usize = 128;

/// Fills batches from its partitions and has them written and settled.
pub(super) struct Lane<T> {
    number: usize,
    consumer: Arc<BaseConsumer<Group>>,
    policy: BatchPolicy,
    metrics: Metrics,
    queues: BTreeMap<i32, PartitionQueue<Group>>,
    batch: Batch<T>,
    /// The oldest timestamp in the batch that fills.
    oldest_ms: Option<i64>,
    /// Bytes of the values in it.
    value_bytes: u64,
    /// Revocations that wait until nothing is in flight.
    waiting: Vec<blocking::Sender<()>>,
}

impl<T: Send + 'static> Lane<T> {
    pub(super) fn new(
        number: usize,
        consumer: Arc<BaseConsumer<Group>>,
        policy: BatchPolicy,
        metrics: Metrics,
    ) -> Self {
        Self {
            number,
            consumer,
            policy,
            metrics,
            queues: BTreeMap::new(),
            batch: Batch::default(),
            oldest_ms: None,
            value_bytes: 0,
            waiting: Vec::new(),
        }
    }

    pub(super) async fn run<C, R, W, S>(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        parse: impl Fn(Record<'_>) -> (T, usize),
        write: impl Fn(Vec<T>) -> W,
        settle: impl Fn(C) -> S,
        stop: CancellationToken,
    ) -> anyhow::Result<()>
    where
        C: Send + 'static,
        R: Receipt,
        W: Future<Output = C> + Send + 'static,
        S: Future<Output = anyhow::Result<R>> + Send + 'static,
    {
        let wake = Arc::new(Notify::new());
        let mut writing: Option<InFlight<C>> = None;
        let mut settling: Option<InFlight<anyhow::Result<R>>> = None;
        loop {
            let stopping = stop.is_cancelled();
            if stopping {
                self.queues.clear();
            }
            let more = self.fill(&parse)?;
            let hurry = stopping || !self.waiting.is_empty();
            if writing.is_none()
                && !self.batch.is_empty()
                && (hurry || self.batch.is_due(&self.policy, Instant::now()))
            {
                let next = Batch::as_large_as(&self.batch);
                let batch = std::mem::replace(&mut self.batch, next);
                self.metrics.records.inc_by(batch.items.len() as u64);
                self.metrics.bytes.inc_by(std::mem::take(&mut self.value_bytes));
                self.metrics.batch_records.observe(batch.items.len() as f64);
                writing = Some(InFlight {
                    offsets: batch.offsets,
                    oldest_ms: self.oldest_ms.take(),
                    started: Instant::now(),
                    task: tokio::spawn(write(batch.items)),
                });
            }
            let of_batches = [InFlight::oldest_ms(&writing), InFlight::oldest_ms(&settling)];
            let oldest_ms = of_batches.into_iter().flatten().chain(self.oldest_ms).min();
            self.metrics.lag.set(self.number, oldest_ms);
            let nothing_in_flight = writing.is_none() && settling.is_none();
            if nothing_in_flight && self.batch.is_empty() {
                self.waiting.clear();
                if stopping {
                    return Ok(());
                }
            }
            if more {
                tokio::task::yield_now().await;
            }
            let idle = if more { Duration::ZERO } else { Duration::from_millis(100) };
            let due = self.batch.due_at(&self.policy).filter(|_| writing.is_none());
            let wait =
                due.map_or(idle, |due| due.saturating_duration_since(Instant::now()).min(idle));
            tokio::select! {
                biased;
                receipt = InFlight::outcome(&mut settling), if settling.is_some() => {
                    let _receipt: R = receipt?.context("settling a batch")?;
                    if let Some(done) = settling.take() {
                        self.store(&done);
                    }
                }
                outcome = InFlight::outcome(&mut writing), if writing.is_some() && settling.is_none() => {
                    let outcome = outcome?;
                    settling = writing.take().map(|batch| batch.then(settle(outcome)));
                }
                Some(command) = commands.recv() => self.obey(command, &wake),
                () = wake.notified(), if !self.batch.is_full(&self.policy) => {}
                () = stop.cancelled(), if !stopping => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Takes what is there until the batch is full; true if it stopped with records left.
    fn fill(&mut self, parse: &impl Fn(Record<'_>) -> (T, usize)) -> anyhow::Result<bool> {
        let now = Instant::now();
        let mut taken = 0;
        let mut empty_in_a_row = 0;
        if self.queues.is_empty() {
            return Ok(false);
        }
        loop {
            for queue in self.queues.values() {
                if self.batch.is_full(&self.policy) {
                    return Ok(false);
                }
                match queue.poll(Duration::ZERO) {
                    None => empty_in_a_row += 1,
                    Some(Err(error)) => self.consumer.context().check(&error)?,
                    Some(Ok(message)) => {
                        self.consumer.context().topic_is_the_same()?;
                        empty_in_a_row = 0;
                        taken += 1;
                        let record = Record::of(&message);
                        let position = record.position;
                        self.value_bytes += record.value.map_or(0, <[u8]>::len) as u64;
                        // A record without a timestamp is as old as time, and tells nothing.
                        let since = position.timestamp_ms;
                        if since > 0 && self.oldest_ms.is_none_or(|oldest| since < oldest) {
                            self.oldest_ms = Some(since);
                        }
                        let (item, bytes) = parse(record);
                        self.batch.push(item, bytes, position.partition, position.offset, now);
                    }
                }
                if empty_in_a_row >= self.queues.len() {
                    return Ok(false);
                }
            }
            if taken >= RECORDS_A_TURN {
                return Ok(true);
            }
        }
    }

    fn obey(&mut self, command: Command, wake: &Arc<Notify>) {
        match command {
            Command::Assigned(mut queue, partition) => {
                let wake = wake.clone();
                queue.set_nonempty_callback(move || wake.notify_one());
                self.queues.insert(partition, queue);
            }
            Command::Revoked(partitions, done) => {
                let before = self.queues.len();
                for partition in partitions {
                    self.queues.remove(&partition);
                }
                // A lane that had none of them has nothing to finish: its sender drops here.
                if self.queues.len() != before {
                    self.waiting.push(done);
                }
            }
        }
    }

    fn store<R>(&self, done: &InFlight<R>) {
        self.metrics.write_seconds.observe(done.started.elapsed().as_secs_f64());
        for (partition, next) in done.offsets.iter() {
            // A partition that was taken away meanwhile keeps its old offset: its records come
            // again elsewhere, harmlessly.
            if let Err(error) = self.consumer.context().store(&self.consumer, partition, next) {
                tracing::debug!(partition, "offset not stored: {error}");
            }
        }
    }
}

/// A batch that something is done with.
struct InFlight<R> {
    offsets: Offsets,
    /// The oldest timestamp in it.
    oldest_ms: Option<i64>,
    /// When its writing began.
    started: Instant,
    task: JoinHandle<R>,
}

impl<R> InFlight<R> {
    /// The same batch, with which the next thing is done.
    fn then<N: Send + 'static>(
        self,
        next: impl Future<Output = N> + Send + 'static,
    ) -> InFlight<N> {
        let Self { offsets, oldest_ms, started, .. } = self;
        InFlight { offsets, oldest_ms, started, task: tokio::spawn(next) }
    }

    fn oldest_ms(batch: &Option<Self>) -> Option<i64> {
        batch.as_ref()?.oldest_ms
    }

    /// What came of it; never, without a batch.
    async fn outcome(batch: &mut Option<Self>) -> anyhow::Result<R> {
        match batch {
            Some(batch) => (&mut batch.task).await.context("a batch's task ended"),
            None => std::future::pending().await,
        }
    }
}
