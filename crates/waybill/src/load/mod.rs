//! `waybill load`: sends orders that look real, with as much mischief among them as is wanted; or
//! the user's own records. It stands before the order service and knows nothing of it but the topic.
//!
//! ```text
//! seed, shares ─▶ generator (customers, goods, draft, spoil) ─┐
//!                                                             ├─▶ run ─▶ send ─▶ Kafka ─▶ summary
//! file, standard input ─▶ lines ──────────────────────────────┘   pace, watch, progress
//!
//! status topic ─▶ play ─▶ world: what happens next to an order ─▶ play ─▶ status topic
//! ```
//!
//! What makes records is pure; what sends them is here. It validates nothing: bad records are sent
//! on purpose.

mod args;
mod customers;
mod draft;
mod generator;
mod goods;
mod lines;
mod pace;
#[rustfmt::skip] // Tables, a row each.
mod places;
mod progress;
mod register;
mod rng;
mod scenario;
mod send;
mod shares;
mod simulation;
mod spoil;
mod summary;
mod watch;

use std::time::{Duration, SystemTime};

use chassis::kafka::config::KafkaConfig;
use orders::TopicConfig;
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::{
    args::{CALM_STEP, LoadArgs, Start, Walked, WhenSilent},
    generator::{ByKind, Generator, Kind, Made},
    register::enlist,
    scenario::ByStatus,
    shares::{Share, Shares},
    simulation::Walk,
    summary::{Ended, Summary},
};
use self::{
    lines::{Line, Lines},
    pace::Pace,
    progress::Progress,
    scenario::{Stage, play},
    send::{Refusal, Sender},
    watch::Watch,
};

/// How long a stopped run waits for the records that are on their way.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// Sends what `args` ask for to the orders topic until it is done or `shutdown` is cancelled. Whatever comes
/// after the first record is told in the summary; usage errors come as [`clap::Error`].
pub async fn run(
    args: &LoadArgs,
    kafka: &KafkaConfig,
    topics: &TopicConfig,
    shutdown: CancellationToken,
) -> anyhow::Result<Summary> {
    let seed = args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let mut source = Source::open(args, seed)?;
    let sender = Sender::new(kafka, topics.orders())?;
    let progress = Progress::new(args.quiet, args.limit());
    let sending_ends = shutdown.child_token();
    let mut watch = Watch::new(sender.clone(), sending_ends.clone(), args.when_silent, progress);
    let mut tally = Tally::default();
    let stage = Stage {
        kafka,
        status_topic: &topics.kafka_status_topic,
        since: match args.walked {
            Walked::FromNowOn => SystemTime::now(),
            Walked::All => SystemTime::UNIX_EPOCH,
        },
    };
    let teller = Sender::new(kafka, &topics.kafka_status_topic)?;
    let mut statuses = ByStatus::new();
    let enlisting = enlist(&args.couriers_url, args.couriers, args.when_silent);
    let couriers = shutdown.run_until_cancelled(enlisting).await.unwrap_or(Ok(0))?;
    let begun = Instant::now();

    let all_sent = CancellationToken::new();
    let world_ends = shutdown.child_token();
    let sending = async {
        let outcome = send_all(args, &mut source, &sender, &mut watch, &mut tally).await;
        match &outcome {
            Err(_) => world_ends.cancel(),
            Ok(()) if args.walk.is_some() => {
                watch.progress.say("all is sent; the orders now go their way to the end");
            }
            Ok(()) => {}
        }
        all_sent.cancel();
        outcome
    };
    let playing = async {
        let Some(walk) = args.walk() else { return Ok(()) };
        let (all_sent, world_ends) = (all_sent.clone(), world_ends.clone());
        let outcome = play(stage, seed, walk, &teller, &mut statuses, all_sent, world_ends).await;
        // Orders to which nothing more happens are not what was asked for.
        outcome.inspect_err(|_| sending_ends.cancel())
    };
    let (outcome, played) = tokio::join!(sending, playing);
    let mut ended = outcome.err().unwrap_or(Ended::Done);
    if ended == Ended::Stopped
        && let Ok(Err(Refusal::Lasting(why))) =
            tokio::time::timeout(SHUTDOWN_TIMEOUT, sender.settled()).await
    {
        ended = Ended::Refused(why);
    }
    if let Err(error) = played {
        ended = Ended::WorldEnded(format!("{error:#}"));
    }

    let elapsed = begun.elapsed();
    watch.progress.end();
    let (acknowledged, told_for_sure) = (sender.acknowledged(), teller.acknowledged());
    Ok(Summary {
        sent: watch.sent,
        acknowledged,
        failed: watch.sent.saturating_sub(acknowledged),
        by_kind: tally.by_kind,
        skipped: tally.skipped,
        couriers,
        statuses_acknowledged: told_for_sure,
        statuses_failed: statuses.values().sum::<u64>().saturating_sub(told_for_sure),
        statuses,
        bytes: tally.bytes,
        elapsed,
        rate: acknowledged as f64 / elapsed.as_secs_f64().max(f64::EPSILON),
        seed: args.file.is_none().then_some(seed),
        ended,
    })
}

async fn send_all(
    args: &LoadArgs,
    source: &mut Source,
    sender: &Sender,
    watch: &mut Watch,
    tally: &mut Tally,
) -> Result<(), Ended> {
    let mut pace = Pace::new(args.pace(), Instant::now());
    while args.limit().is_none_or(|limit| watch.sent < limit) {
        let due = pace.due();
        if due > Instant::now() {
            watch.attend(tokio::time::sleep_until(due)).await?;
        }
        // At full speed nothing else here ever waits, and progress would starve.
        tokio::task::coop::consume_budget().await;
        let record = match watch.attend(source.next()).await? {
            Ok(Some(Next::Record(record))) => record,
            Ok(Some(Next::TooLong(line))) => {
                watch.progress.say(&format!("line {line} is longer than 2 MiB and was not sent"));
                tally.skipped += 1;
                continue;
            }
            Ok(None) => break,
            Err(error) => return Err(Ended::Unreadable(error.to_string())),
        };
        let key = record.key.as_deref().map(str::as_bytes);
        match watch.attend(sender.send(key, &record.value)).await? {
            Ok(()) => {}
            Err(Refusal::TooLarge) => watch.progress.say(&too_large(&record)),
            Err(Refusal::Lasting(why)) => return Err(Ended::Refused(why)),
        }
        watch.sent += 1;
        pace.sent(Instant::now());
        *tally.by_kind.entry(record.kind).or_default() += 1;
        tally.bytes += (key.map_or(0, <[u8]>::len) + record.value.len()) as u64;
    }
    match watch.attend(sender.settled()).await? {
        Ok(()) => Ok(()),
        // Told by the broker, which says not of which record; the summary counts them.
        Err(Refusal::TooLarge) => {
            watch.progress.say("at least one record was larger than the topic takes");
            Ok(())
        }
        Err(Refusal::Lasting(why)) => Err(Ended::Refused(why)),
    }
}

fn too_large(record: &Record) -> String {
    let order = record
        .key
        .as_deref()
        .map_or_else(|| "a record without key".to_owned(), |uid| format!("order {uid:?}"));
    format!("{order}: {} bytes are more than the topic takes", record.value.len())
}

/// What is counted beside the watch's own counts.
#[derive(Default)]
struct Tally {
    by_kind: ByKind,
    bytes: u64,
    skipped: u64,
}

/// Where records come from.
enum Source {
    Invented { generator: Box<Generator>, start: Start },
    Given(Lines),
}

/// A record on its way.
struct Record {
    kind: Kind,
    key: Option<String>,
    value: Vec<u8>,
}

/// What a source has next.
enum Next {
    Record(Record),
    /// A line too long to be sent, by its number.
    TooLong(u64),
}

impl Source {
    fn open(args: &LoadArgs, seed: u64) -> anyhow::Result<Self> {
        let shares = args.shares()?;
        if let Some(path) = &args.file {
            return Ok(Self::Given(Lines::open(path)?));
        }
        let first = match args.start {
            Start::At(instant) => instant,
            Start::Now => OffsetDateTime::now_utc(),
        };
        Ok(Self::Invented {
            generator: Box::new(Generator::new(seed, shares, first)),
            start: args.start,
        })
    }

    async fn next(&mut self) -> std::io::Result<Option<Next>> {
        let record = match self {
            Self::Invented { generator, start } => {
                let made = match start {
                    Start::At(_) => generator.next(),
                    Start::Now => Some(generator.make(OffsetDateTime::now_utc())),
                };
                made.map(|Made { kind, order_uid, value }| Record {
                    kind,
                    key: Some(order_uid),
                    value,
                })
            }
            Self::Given(lines) => match lines.next().await? {
                Some(Line::TooLong(number)) => return Ok(Some(Next::TooLong(number))),
                Some(Line::Record(value)) => {
                    Some(Record { kind: Kind::Given, key: lines::order_uid(&value), value })
                }
                None => None,
            },
        };
        Ok(record.map(Next::Record))
    }
}
