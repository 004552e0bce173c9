//! A lane: fills batches from its partitions and has them written, one at a time. While batch N is
//! written, batch N+1 fills.

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
    Receipt, Record,
    group::{Command, Group},
    metrics::Metrics,
};
use crate::{
    batch::{Batch, BatchPolicy},
    offsets::Offsets,
};

/// After so many records a lane lets others run.
const RECORDS_A_TURN: usize = 128;

/// Fills batches from its partitions and has them written, one at a time.
pub(super) struct Lane<T> {
    number: usize,
    consumer: Arc<BaseConsumer<Group>>,
    policy: BatchPolicy,
    metrics: Metrics,
    queues: BTreeMap<i32, PartitionQueue<Group>>,
    batch: Batch<T>,
    /// The oldest timestamp in the batch that fills, and in the one that is written.
    filling_ms: Option<i64>,
    written_ms: Option<i64>,
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
            filling_ms: None,
            written_ms: None,
            waiting: Vec::new(),
        }
    }

    pub(super) async fn run<R, P, W, F>(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        parse: P,
        write: W,
        stop: CancellationToken,
    ) -> anyhow::Result<()>
    where
        R: Receipt,
        P: Fn(Record<'_>) -> (T, usize),
        W: Fn(Vec<T>) -> F,
        F: Future<Output = anyhow::Result<R>> + Send + 'static,
    {
        let wake = Arc::new(Notify::new());
        let mut in_flight: Option<InFlight<R>> = None;
        loop {
            let stopping = stop.is_cancelled();
            if stopping {
                self.queues.clear();
            }
            let more = self.fill(&parse)?;
            let hurry = stopping || !self.waiting.is_empty();
            if in_flight.is_none()
                && !self.batch.is_empty()
                && (hurry || self.batch.is_due(&self.policy, Instant::now()))
            {
                let batch = std::mem::take(&mut self.batch);
                self.metrics.batch_records.observe(batch.items.len() as f64);
                self.written_ms = self.filling_ms.take();
                in_flight = Some(InFlight {
                    offsets: batch.offsets,
                    started: Instant::now(),
                    task: tokio::spawn(write(batch.items)),
                });
            }
            self.tell_lag();
            if in_flight.is_none() && self.batch.is_empty() {
                self.waiting.clear();
                if stopping {
                    return Ok(());
                }
            }
            if more {
                tokio::task::yield_now().await;
            }
            let idle = if more { Duration::ZERO } else { Duration::from_millis(100) };
            let due = self.batch.due_at(&self.policy).filter(|_| in_flight.is_none());
            let wait =
                due.map_or(idle, |due| due.saturating_duration_since(Instant::now()).min(idle));
            tokio::select! {
                biased;
                settled = settled(&mut in_flight), if in_flight.is_some() => {
                    let _receipt: R = settled?;
                    if let Some(done) = in_flight.take() {
                        self.store(&done);
                    }
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
                        self.metrics.records.inc();
                        self.metrics.bytes.inc_by(record.value.map_or(0, <[u8]>::len) as u64);
                        // A record without a timestamp is as old as time, and tells nothing.
                        let since = position.timestamp_ms;
                        if since > 0 && self.filling_ms.is_none_or(|oldest| since < oldest) {
                            self.filling_ms = Some(since);
                        }
                        let (item, bytes) = parse(record);
                        self.batch.push(
                            item,
                            bytes,
                            position.partition,
                            position.offset,
                            Instant::now(),
                        );
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

    fn store(&mut self, done: &InFlight<impl Receipt>) {
        self.metrics.write_seconds.observe(done.started.elapsed().as_secs_f64());
        self.written_ms = None;
        for (partition, next) in done.offsets.iter() {
            // A partition that was taken away meanwhile keeps its old offset: its records come
            // again elsewhere, harmlessly.
            if let Err(error) = self.consumer.context().store(&self.consumer, partition, next) {
                tracing::debug!(partition, "offset not stored: {error}");
            }
        }
    }

    fn tell_lag(&self) {
        let oldest_ms = self.filling_ms.into_iter().chain(self.written_ms).min();
        self.metrics.lag.set(self.number, oldest_ms);
    }
}

struct InFlight<R> {
    offsets: Offsets,
    started: Instant,
    task: JoinHandle<anyhow::Result<R>>,
}

/// Waits for the batch in flight.
async fn settled<R>(in_flight: &mut Option<InFlight<R>>) -> anyhow::Result<R> {
    match in_flight {
        Some(batch) => (&mut batch.task).await.context("writing a batch ended")?,
        None => std::future::pending().await,
    }
}
