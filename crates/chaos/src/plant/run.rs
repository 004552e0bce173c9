//! A small run: databases and topics of its own, the records of the traffic, and the description
//! for the judge.

use std::{fs, ops::Range};

use anyhow::Context as _;
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use testkit::{CourierDatabase, Servers, TestEnvironment};
use url::Url;

use crate::{
    finding::Verdict,
    judge::{Case, judge},
    ledger::Ledger,
    traffic::{Shares, Stream, Traffic, refuse_statement},
};

/// The number of order records. It is small, so that a run takes seconds, and large enough that each
/// kind of record occurs.
const ORDERS: u64 = 400;
const EVENTS_PER_ORDER: u64 = 3;
/// The orders of the first of two parts.
const FIRST_PART: u64 = 240;
/// Enough that every order of the first part gets a courier, and too few for all orders at
/// the end.
const COURIERS: i32 = 80;

const SHARES: Shares = Shares {
    poison: 8.0,
    repeated: 5.0,
    changed: 15.0,
    reordered: 20.0,
    unkeyed: 15.0,
    foreign_key: 5.0,
};

/// The options of the courier service: a sweep often, so that the judge need not wait, and releases
/// soon after a deadline, which is half an hour away or more.
pub(super) const COURIER_OPTIONS: [&str; 4] =
    ["--dispatch-sweep", "200ms", "--overdue-grace", "1s"];
const SWEEP_MS: u64 = 200;
const GRACE_MS: u64 = 1_000;

pub(super) struct Run {
    pub(super) env: TestEnvironment,
    pub(super) couriers: CourierDatabase,
    pub(super) case: Case,
    producer: FutureProducer,
}

/// A part of a run's records.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    First,
    Second,
}

impl Run {
    /// Creates databases, topics and couriers.
    pub(super) async fn prepare(servers: &Servers, seed: u64) -> anyhow::Result<Self> {
        let env = TestEnvironment::new(servers).await;
        let couriers = env.courier_database().await;
        Self::execute(&mut env.administrator().await, [refuse_statement()]).await?;
        sqlx::query(
            "INSERT INTO couriers.couriers (name, phone, transport_type, status)
             SELECT 'Courier ' || number, '+7' || (1000000000 + number), 'car', 'available'
             FROM generate_series(1, $1) AS number",
        )
        .bind(COURIERS)
        .execute(&mut couriers.administrator().await)
        .await?;
        let ledger_dir = std::env::temp_dir().join(format!("chaos-{}", env.name));
        fs::create_dir_all(&ledger_dir).context("creating a folder for the ledgers")?;
        let case = Case {
            traffic: Traffic {
                seed,
                orders: ORDERS,
                events: ORDERS * EVENTS_PER_ORDER,
                shares: SHARES,
            },
            ledger_dir,
            brokers: servers.kafka.clone(),
            group: env.name.clone(),
            orders_topic: env.orders_topic(),
            status_topic: env.status_topic(),
            deliveries_topic: env.deliveries_topic(),
            orders_database: database_url(servers, &format!("{}_orders", env.name))?,
            couriers_database: database_url(servers, &format!("{}_couriers", env.name))?,
            order_services: Vec::new(),
            couriers_run: false,
            dispatch_sweep_ms: SWEEP_MS,
            overdue_grace_ms: GRACE_MS,
            lost_commits: false,
            cache_step: 1,
        };
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &servers.kafka)
            .set("message.max.bytes", "4000000")
            .create()
            .context("starting a producer")?;
        Ok(Self { env, couriers, case, producer })
    }

    /// Sends a part of both streams, and appends the acknowledged records to the ledgers.
    pub(super) async fn send(&self, part: Part) -> anyhow::Result<()> {
        for stream in Stream::ALL {
            self.send_stream(stream, part).await?;
        }
        Ok(())
    }

    /// Sends a part of one stream.
    pub(super) async fn send_stream(&self, stream: Stream, part: Part) -> anyhow::Result<()> {
        let orders = match part {
            Part::First => 0..FIRST_PART,
            Part::Second => FIRST_PART..ORDERS,
        };
        let numbers = match stream {
            Stream::Orders => orders,
            Stream::Status => orders.start * EVENTS_PER_ORDER..orders.end * EVENTS_PER_ORDER,
        };
        self.send_numbers(stream, numbers).await
    }

    async fn send_numbers(&self, stream: Stream, numbers: Range<u64>) -> anyhow::Result<()> {
        let topic = match stream {
            Stream::Orders => &self.case.orders_topic,
            Stream::Status => &self.case.status_topic,
        };
        let mut sent = Vec::new();
        for number in numbers {
            let record = self.case.traffic.record(stream, number);
            let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, header| {
                headers.insert(Header { key: &header.0, value: Some(&header.1) })
            });
            let future = FutureRecord {
                key: record.key.as_deref(),
                payload: record.value.as_deref(),
                ..FutureRecord::<[u8], [u8]>::to(topic)
            };
            let queued = self.producer.send_result(future.headers(headers));
            sent.push((number, queued.map_err(|(error, _)| error)?));
        }
        let mut ledger = Ledger::open(&Ledger::path(&self.case.ledger_dir, stream))?;
        for (number, delivery) in sent {
            let delivery = delivery.await?.map_err(|(error, _)| error)?;
            ledger.append(number, delivery.partition, delivery.offset)?;
        }
        Ok(ledger.flush()?)
    }

    /// Sends a record that no sender of the run sends.
    pub(super) async fn send_other(
        &self,
        topic: &str,
        key: &str,
        value: &str,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(*value) })
        });
        let record = FutureRecord::to(topic).key(key).payload(value).headers(headers);
        let queued = self.producer.send_result(record).map_err(|(error, _)| error)?;
        queued.await?.map_err(|(error, _)| error)?;
        Ok(())
    }

    /// Waits until both services have committed the offsets of all records.
    pub(super) async fn wait_until_processed(&self) {
        self.env.wait_until_drained().await;
        self.env.wait_until_status_drained().await;
        self.env.wait_until_couriers_drained().await;
    }

    pub(super) async fn judge(&self) -> anyhow::Result<Verdict> {
        judge(&self.case).await
    }

    /// Executes statements as an administrator of a database.
    pub(super) async fn execute(
        database: &mut PgConnection,
        statements: impl IntoIterator<Item = String>,
    ) -> anyhow::Result<()> {
        for statement in statements {
            let done = sqlx::query(AssertSqlSafe(statement.clone())).execute(&mut *database).await;
            let done = done.with_context(|| statement.clone())?;
            let changes = ["INSERT", "UPDATE", "DELETE"];
            let is_change = changes.iter().any(|change| statement.starts_with(change));
            anyhow::ensure!(!is_change || done.rows_affected() > 0, "no row for: {statement}");
        }
        Ok(())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // A folder that remains does no harm: it is in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.case.ledger_dir);
    }
}

/// Returns the URL of a database for the administrator.
pub(super) fn database_url(servers: &Servers, name: &str) -> anyhow::Result<String> {
    let mut url: Url = servers.postgres.parse().context("the address of PostgreSQL")?;
    url.set_path(name);
    Ok(url.into())
}

/// Connects to a database as an administrator.
pub(super) async fn connect(servers: &Servers, name: &str) -> anyhow::Result<PgConnection> {
    Ok(PgConnection::connect(&database_url(servers, name)?).await?)
}
