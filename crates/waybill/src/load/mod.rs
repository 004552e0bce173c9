//! `waybill load`: sends generated orders, with any share of irregular records, or the user's own
//! records. It is a Kafka producer like any other, and knows only the topics of the order service.
//!
//! ```text
//! seed, shares ─▶ generator (customers, goods, draft, spoil) ─┐
//!                                                             ├─▶ source ─▶ run ─▶ send ─▶ Kafka
//! file, standard input ─▶ lines ──────────────────────────────┘     pace, watch, progress, summary
//!
//! status topic ─▶ scenario ─▶ simulation: the next status of an order ─▶ scenario ─▶ status topic
//! ```
//!
//! `own` recognises the orders of this generator: it changes the status of no other order.
//! Pure functions generate the records; only this file and `send` send them. Nothing is validated,
//! because invalid records are sent on purpose.

mod args;
mod command;
mod customers;
mod draft;
mod generator;
mod goods;
mod lines;
mod own;
mod pace;
#[rustfmt::skip] // Tables with one row in a line.
mod places;
mod progress;
mod register;
mod rng;
mod scenario;
mod send;
mod shares;
mod simulation;
mod source;
mod spoil;
mod summary;
mod watch;

use std::time::{Duration, SystemTime};

use chassis::kafka::{config::KafkaConfig, producer::ProduceError};
use orders::TopicConfig;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    args::{LoadArgs, MAX_COURIERS, OnTimeout},
    command::{LoadCommand, run as run_command},
    register::register_couriers,
    summary::EndReason,
};
use self::{
    generator::{ByKind, Kind, Record},
    own::OwnOrders,
    pace::Pace,
    progress::Progress,
    scenario::{ByStatus, Scenario},
    send::Sender,
    source::{Next, Source},
    summary::Summary,
    watch::Watch,
};

/// Bounds the wait for acknowledgements after a run was stopped.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Sends the records that `args` describe, until all are sent or `shutdown` is cancelled. A failure
/// after the first record is in the summary. A usage error is a [`clap::Error`].
pub(crate) async fn run(
    args: &LoadArgs,
    kafka: &KafkaConfig,
    topics: &TopicConfig,
    shutdown: CancellationToken,
) -> anyhow::Result<Summary> {
    let seed = args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let own = OwnOrders::new(args.resume.then_some(args.role), kafka);
    let source = Source::open(args, seed, own.tag())?;
    let sender = Sender::new(kafka, topics.orders())?;
    let (stop_sending, stop_scenario) = (shutdown.child_token(), shutdown.child_token());
    let progress = Progress::new(args.quiet, args.limit());
    let watch = Watch::new(sender.clone(), stop_sending.clone(), args.on_timeout, progress);
    let walked = args.walk.is_some().then(|| own.clone());
    let mut orders =
        Orders { source, walked, sender, watch, by_kind: ByKind::new(), bytes: 0, skipped: 0 };
    let status_topic = &topics.kafka_status_topic;
    let since = SystemTime::now() - own.max_age();
    let (status_sender, statuses) = (Sender::new(kafka, status_topic)?, ByStatus::new());
    let mut scenario =
        Scenario { kafka, status_topic, own, since, seed, sender: status_sender, statuses };
    // Couriers are registered before the first order is sent, so that it can be assigned.
    let registering =
        register_couriers(&args.couriers_url, &args.http, args.couriers, args.on_timeout);
    let couriers = shutdown.run_until_cancelled(registering).await.unwrap_or(Ok(0))?;
    let begun = Instant::now();

    let ended = run_both(args, &mut orders, &mut scenario, &stop_sending, &stop_scenario).await;
    let elapsed = begun.elapsed();
    orders.watch.progress.end();
    let acknowledged = orders.sender.acknowledged();
    let statuses_acknowledged = scenario.sender.acknowledged();
    let statuses_sent: u64 = scenario.statuses.values().sum();
    Ok(Summary {
        sent: orders.watch.sent,
        acknowledged,
        failed: orders.watch.sent.saturating_sub(acknowledged),
        by_kind: orders.by_kind,
        skipped: orders.skipped,
        couriers,
        statuses: scenario.statuses,
        statuses_acknowledged,
        statuses_failed: statuses_sent.saturating_sub(statuses_acknowledged),
        bytes: orders.bytes,
        elapsed,
        rate: acknowledged as f64 / elapsed.as_secs_f64().max(f64::EPSILON),
        seed: args.file.is_none().then_some(seed),
        ended,
    })
}

// Two tasks run at the same time, each with its own token, a child of `shutdown`:
//
//   sending   sends the records, and then waits for their acknowledgements
//   walking   sends the statuses of its own created orders (only with --walk)
//
// They end like this:
//
//   all records are sent   `all_sent` is cancelled; walking continues until every order has ended
//   sending fails          stops walking, so that the run ends at once
//   walking fails          stops sending: the user asked for orders whose statuses change
//   shutdown               stops both; `end_reason` then waits for the acknowledgements
//
// Both are joined in every case, so that the counts of the summary are final.

/// Sends the orders and simulates their statuses, until both have ended.
async fn run_both(
    args: &LoadArgs,
    orders: &mut Orders,
    scenario: &mut Scenario<'_>,
    stop_sending: &CancellationToken,
    stop_scenario: &CancellationToken,
) -> EndReason {
    let all_sent = CancellationToken::new();
    let sending = async {
        let outcome = orders.send_all(args).await;
        match &outcome {
            Err(_) => stop_scenario.cancel(),
            Ok(()) if args.walk.is_some() => {
                orders
                    .watch
                    .progress
                    .info("all records are sent; waiting until every order has ended");
            }
            Ok(()) => {}
        }
        all_sent.cancel();
        outcome
    };
    let walking = async {
        let Some(walk) = args.walk() else { return Ok(()) };
        let outcome = scenario.run(walk, &all_sent, stop_scenario).await;
        outcome.inspect_err(|_| stop_sending.cancel())
    };
    let (sent, walked) = tokio::join!(sending, walking);
    let ended = orders.end_reason(sent).await;
    walked.map_or_else(|error| EndReason::SimulationFailed(format!("{error:#}")), |()| ended)
}

/// The orders of a run: their source, their producer, and the counts for the summary.
struct Orders {
    source: Source,
    /// The sent orders, if their statuses are simulated.
    walked: Option<OwnOrders>,
    sender: Sender,
    watch: Watch,
    by_kind: ByKind,
    bytes: u64,
    skipped: u64,
}

impl Orders {
    async fn send_all(&mut self, args: &LoadArgs) -> Result<(), EndReason> {
        let mut pace = Pace::new(args.pace(), Instant::now());
        while args.limit().is_none_or(|limit| self.watch.sent < limit) {
            let due = pace.due();
            if due > Instant::now() {
                self.watch.wait_for(tokio::time::sleep_until(due)).await?;
            }
            // At full speed nothing below ever waits. This call yields to the runtime now and then, so
            // that the progress is shown and Ctrl-C is handled.
            tokio::task::coop::consume_budget().await;
            match self.watch.wait_for(self.source.next()).await? {
                Ok(Some(Next::Record(record))) => self.send(record).await?,
                Ok(Some(Next::TooLong(line))) => {
                    let message = format!("line {line} is longer than 2 MiB and was not sent");
                    self.watch.progress.warn(&message);
                    self.skipped += 1;
                    continue;
                }
                Ok(None) => break,
                Err(error) => return Err(EndReason::Unreadable(error.to_string())),
            }
            pace.sent(Instant::now());
        }
        match self.watch.wait_for(self.sender.settled()).await? {
            Ok(()) => Ok(()),
            // The broker's error does not name the record. The summary counts it as failed, and the
            // run is not a failure of Kafka.
            Err(ProduceError::TooLarge) => {
                let message =
                    "at least one record is larger than the topic accepts; see max.message.bytes";
                self.watch.progress.warn(message);
                Ok(())
            }
            Err(error) => Err(EndReason::Refused(error.to_string())),
        }
    }

    async fn send(&mut self, record: Record) -> Result<(), EndReason> {
        // Other kinds repeat an order or are never stored.
        if let (Some(walked), Some(key)) = (&self.walked, &record.key)
            && matches!(record.kind, Kind::New | Kind::Given)
        {
            walked.add(key);
        }
        let key = record.key.as_deref().map(str::as_bytes);
        match self.watch.wait_for(self.sender.send(key, &record.value)).await? {
            Ok(()) => {}
            Err(ProduceError::TooLarge) => self.watch.progress.warn(&too_large(&record)),
            Err(error) => return Err(EndReason::Refused(error.to_string())),
        }
        // A record that is too large counts as sent and never as acknowledged, so it is in `failed`.
        // If the wait above was stopped, nothing was enqueued and nothing is counted.
        self.watch.sent += 1;
        *self.by_kind.entry(record.kind).or_default() += 1;
        self.bytes += (key.map_or(0, <[u8]>::len) + record.value.len()) as u64;
        Ok(())
    }

    /// Returns the reason of the end. After a stop, first waits for acknowledgements, up to
    /// [`FLUSH_TIMEOUT`]: they are counted, and Kafka may refuse a record. A record without an
    /// answer by then has an unknown outcome and counts as failed.
    async fn end_reason(&self, sent: Result<(), EndReason>) -> EndReason {
        let ended = sent.err().unwrap_or(EndReason::Done);
        if ended != EndReason::Stopped {
            return ended;
        }
        match tokio::time::timeout(FLUSH_TIMEOUT, self.sender.settled()).await {
            Ok(Err(error)) if !matches!(error, ProduceError::TooLarge) => {
                EndReason::Refused(error.to_string())
            }
            _ => ended,
        }
    }
}

fn too_large(record: &Record) -> String {
    let order = record
        .key
        .as_deref()
        .map_or_else(|| "a record without a key".to_owned(), |uid| format!("order {uid:?}"));
    format!(
        "{order} was not sent: its {} bytes are more than the topic accepts",
        record.value.len()
    )
}
