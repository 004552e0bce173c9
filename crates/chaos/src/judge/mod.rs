//! The judge of a run. It knows what was sent and what Kafka has acknowledged, and reads the
//! topics, the databases, the committed offsets and, for the check of the caches, the answers of the
//! order service. It never uses the code, the API or the metrics of the services.

mod cache;
pub mod command;
mod deliveries;
mod delivery_log;
mod difference;
mod history;
mod http;
mod index;
mod kafka;
mod offsets;
mod orders;
mod progress;
mod rejections;
mod slots;
mod topics;

use std::{fmt, path::PathBuf};

use anyhow::Context as _;
use rdkafka::{Message as _, message::BorrowedMessage};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;
use tokio::task::spawn_blocking;

use self::{index::RecordIndex, offsets::Unstored, rejections::Service};
use crate::{
    finding::{CheckResult, Verdict},
    traffic::{Stream, Traffic},
};

/// A run to be judged, as it is kept in `case.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub traffic: Traffic,
    /// The folder of the two ledgers.
    pub ledger_dir: PathBuf,
    pub brokers: String,
    /// The prefix of the consumer groups.
    pub group: String,
    pub orders_topic: String,
    pub status_topic: String,
    pub deliveries_topic: String,
    /// The URL of the database of the order service, for a user who may read all tables.
    pub orders_database: String,
    pub couriers_database: String,
    /// The URLs of the replicas of the order service whose caches are checked.
    #[serde(default)]
    pub order_services: Vec<String>,
    /// True if the courier service runs, so that waiting orders must be matched.
    #[serde(default)]
    pub couriers_run: bool,
    /// The time between two sweeps of the dispatch.
    #[serde(default = "default_sweep_ms")]
    pub dispatch_sweep_ms: u64,
    /// The time after its deadline at which a delivery is released.
    #[serde(default = "default_grace_ms")]
    pub overdue_grace_ms: u64,
    /// True if the database has lost commits: events may then name versions that it no longer has.
    #[serde(default)]
    pub lost_commits: bool,
    /// The cache is checked for every order whose number is a multiple of this.
    #[serde(default = "one")]
    pub cache_step: u64,
}

fn default_sweep_ms() -> u64 {
    1_000
}

fn default_grace_ms() -> u64 {
    15 * 60 * 1_000
}

fn one() -> u64 {
    1
}

impl Case {
    /// True for the source of the order service's own events, in this version or in an earlier one.
    fn is_own(&self, source: Option<&str>) -> bool {
        source.is_some_and(|source| {
            source == "waybill/orders" || source == format!("waybill/{}/orders", self.group)
        })
    }
}

/// The position of a record on its topic. Of two records of one order, the later one has the greater
/// position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    timestamp_ms: i64,
    partition: i32,
    offset: i64,
}

/// 1970-01-01 and 9999-12-31T23:59:59.999Z: timestamps outside are stored as these.
const TIMESTAMPS: (i64, i64) = (0, 253_402_300_799_999);

impl Position {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let timestamp_ms = message.timestamp().to_millis().unwrap_or(0);
        Self {
            timestamp_ms: timestamp_ms.clamp(TIMESTAMPS.0, TIMESTAMPS.1),
            partition: message.partition(),
            offset: message.offset(),
        }
    }

    fn time(self) -> OffsetDateTime {
        let nanos = i128::from(self.timestamp_ms) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos).expect("the time is within the limits")
    }

    /// Returns a stored time in milliseconds, rounded down.
    fn milliseconds(time: OffsetDateTime) -> i64 {
        let milliseconds = time.unix_timestamp_nanos().div_euclid(1_000_000);
        i64::try_from(milliseconds).expect("the milliseconds of 10,000 years fit")
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

/// Judges a run. All records must have been processed.
pub async fn judge(case: &Case) -> anyhow::Result<Verdict> {
    let reading = case.clone();
    let (mut records, mut checks) = spawn_blocking(move || topics::read(&reading)).await??;
    let mut orders = connect(&case.orders_database).await?;
    let mut couriers = connect(&case.couriers_database).await?;
    let mut unstored = Unstored::default();

    checks.push(orders::check(case, &mut orders, &mut records, &mut unstored.orders).await?);
    let service = Service { case: case.clone(), stream: Stream::Orders, schema: "orders" };
    let (index, missing) = (&mut records.orders, &mut unstored.orders);
    checks.push(service.check_table(&mut orders, index, missing).await?);
    checks.push(check_dead_letters(service, index).await?);

    let (check, records_created) =
        history::check_events(case, &mut orders, &mut records, &mut unstored.status).await?;
    checks.push(check);
    checks.push(history::check_status(case, &mut orders, &mut records, records_created).await?);

    let service = Service { case: case.clone(), stream: Stream::Status, schema: "couriers" };
    let (index, missing) = (&mut records.status, &mut unstored.couriers);
    checks.push(service.check_table(&mut couriers, index, missing).await?);
    checks.push(check_dead_letters(service, index).await?);

    checks.push(orders::check_events(case, &records));
    let missing = &mut unstored.couriers;
    checks.push(deliveries::check_states(case, &mut couriers, &mut records, missing).await?);
    checks.extend(deliveries::check_couriers(&mut couriers).await?);
    checks.push(deliveries::check_totals(&mut couriers).await?);
    checks.push(deliveries::check_queue(case, &mut couriers).await?);
    checks.push(delivery_log::check_log(&mut couriers).await?);
    checks.extend(delivery_log::check_events(case, &mut couriers, &mut orders).await?);
    let reading = case.clone();
    checks.push(spawn_blocking(move || offsets::check(&reading, &unstored)).await??);
    checks.push(cache::check(case, &mut orders).await?);
    checks.sort_by_key(|check| check.invariant);
    Ok(Verdict { checks })
}

/// Reads a dead-letter topic on a thread that may block.
async fn check_dead_letters(
    service: Service,
    index: &mut RecordIndex,
) -> anyhow::Result<CheckResult> {
    let mut moved = std::mem::take(index);
    let (check, moved) = spawn_blocking(move || {
        let check = service.check_dead_letters(&mut moved);
        (check, moved)
    })
    .await?;
    *index = moved;
    check
}

async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    PgConnection::connect(url).await.context("connecting to PostgreSQL")
}
