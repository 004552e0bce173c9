//! Dispatch: the courier service runs in this process and processes a backlog of status events,
//! half of them `created` and half `completed`. The baseline processes the first events of the same
//! backlog with one transaction per event on the same tables. Their rates are compared.

mod baseline;
mod courier_fixture;
mod latency;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sqlx::{Connection as _, PgConnection};
use testkit::{CourierDatabase, Servers, Service, TestEnvironment, wait_until};

use self::courier_fixture::CourierFixture;
pub(crate) use self::latency::measure as measure_latency;
use crate::{
    Cli, database,
    figure::{Figure, Round, Target, thousands},
    progress,
};

/// The number of events in a backlog.
const EVENTS: u64 = 100_000;
/// The number of couriers in a small fixture, and in a large one.
const SMALL: u64 = 10_000;
const LARGE: u64 = 1_000_000;
/// Bounds the time without a settled event.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Measures dispatch, compared with one transaction per event.
pub(crate) async fn measure(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let events = cli.events.unwrap_or(EVENTS);
    let compared = cli.baseline_orders.min(events);
    let mut rounds = Vec::new();
    for number in 1..=cli.rounds {
        let mut setup = Setup::new(servers, CourierFixture { couriers: SMALL }, events).await?;
        // The baseline comes first in every other round, so that neither always has a warm machine.
        let round = if number % 2 == 1 {
            let baseline = setup.take_one_by_one(compared).await?;
            Round { baseline, waybill: setup.take(OtherSession::Idle).await? }
        } else {
            let waybill = setup.take(OtherSession::Idle).await?;
            Round { baseline: setup.take_one_by_one(compared).await?, waybill }
        };
        setup.remove().await?;
        rounds.push(report("dispatch", number, cli, round));
    }
    Ok(Figure::of_ratios(
        "dispatch",
        format!(
            "{events} status events, half created, half completed, {SMALL} couriers; baseline: \
             {compared} of them, one transaction per event"
        ),
        "events/s",
        Target::AtLeast { must: 20.0, aim: 30.0 },
        &rounds,
    ))
}

/// Measures with a large fixture, compared with a small one.
pub(crate) async fn measure_large(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let what = format!("the same with {LARGE} couriers; baseline: with {SMALL}");
    let rounds = compare(cli, servers, "dispatch-large", LARGE, OtherSession::Idle).await?;
    let target = Target::AtLeast { must: 0.75, aim: 0.85 };
    Ok(Figure::of_ratios("dispatch-large", what, "events/s", target, &rounds))
}

/// Measures while another session keeps a snapshot open, so that no dead row can be removed.
pub(crate) async fn measure_held(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let what = format!(
        "the same with {SMALL} couriers and a snapshot open in another session; baseline: without"
    );
    let rounds = compare(cli, servers, "dispatch-held", SMALL, OtherSession::OpenSnapshot).await?;
    let target = Target::AtLeast { must: 0.5, aim: 0.8 };
    Ok(Figure::of_ratios("dispatch-held", what, "events/s", target, &rounds))
}

/// Measures, and compares with a small fixture and no open snapshot.
async fn compare(
    cli: &Cli,
    servers: &Servers,
    name: &str,
    couriers: u64,
    other: OtherSession,
) -> anyhow::Result<Vec<Round>> {
    let events = cli.events.unwrap_or(EVENTS);
    let mut rounds = Vec::new();
    for number in 1..=cli.rounds {
        let baseline = take_in(servers, SMALL, events, OtherSession::Idle).await?;
        let waybill = take_in(servers, couriers, events, other).await?;
        rounds.push(report(name, number, cli, Round { waybill, baseline }));
    }
    Ok(rounds)
}

fn report(name: &str, number: u32, cli: &Cli, round: Round) -> Round {
    let (waybill, baseline) = (thousands(round.waybill), thousands(round.baseline));
    let rounds = cli.rounds;
    progress(&format!(
        "{name}, round {number} of {rounds}: Waybill {waybill}/s, baseline {baseline}/s"
    ));
    round
}

async fn take_in(
    servers: &Servers,
    couriers: u64,
    events: u64,
    other: OtherSession,
) -> anyhow::Result<f64> {
    let mut setup = Setup::new(servers, CourierFixture { couriers }, events).await?;
    let rate = setup.take(other).await?;
    setup.remove().await?;
    Ok(rate)
}

/// The state of another session during the measurement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OtherSession {
    Idle,
    OpenSnapshot,
}

/// A backlog on Kafka, and the database of the courier service.
struct Setup {
    env: TestEnvironment,
    database: CourierDatabase,
    administrator: PgConnection,
    fixture: CourierFixture,
    events: u64,
}

impl Setup {
    async fn new(servers: &Servers, fixture: CourierFixture, events: u64) -> anyhow::Result<Self> {
        ensure!(
            events.is_multiple_of(2),
            "the number of events must be even: half are created, half are completed"
        );
        let env = TestEnvironment::new(servers).await;
        fixture.fill(&env, events).await;
        let database = env.courier_database().await;
        let administrator = database.administrator().await;
        Ok(Self { env, database, administrator, fixture, events })
    }

    /// Returns the events per second of delivered orders, from the start of the service until all
    /// events are settled, their offsets are committed and no order waits.
    async fn take(&mut self, other: OtherSession) -> anyhow::Result<f64> {
        self.fixture.settle(&mut self.administrator).await?;
        let mut session = self.database.administrator().await;
        if other == OtherSession::OpenSnapshot {
            sqlx::raw_sql(
                "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM couriers.couriers LIMIT 1",
            )
            .execute(&mut session)
            .await?;
        }
        let begun = Instant::now();
        let service = self.env.start_couriers(&self.database, &[]).await;
        self.all_taken(&service).await?;
        let taken = begun.elapsed();
        self.env.wait_until_couriers_drained().await;
        wait_until("no order to be waiting", async || self.nothing_waits().await).await;
        let settled = begun.elapsed();
        service.stop().await?;
        session.close().await?;
        let delivered = self.fixture.count_delivered(&mut self.administrator, self.events).await?;
        progress(&format!(
            "  taken after {taken:.2?}, settled after {settled:.2?}, {delivered} orders delivered"
        ));
        // An order without a courier is not counted.
        Ok(2.0 * delivered as f64 / settled.as_secs_f64())
    }

    /// Returns the events per second of the baseline.
    async fn take_one_by_one(&mut self, events: u64) -> anyhow::Result<f64> {
        self.fixture.settle(&mut self.administrator).await?;
        baseline::take(&self.env, &self.database, events).await
    }

    /// Waits until the metrics show that all events are settled; fails if nothing changes for
    /// [`STALL_TIMEOUT`].
    async fn all_taken(&self, service: &Service) -> anyhow::Result<()> {
        let (mut last, mut moved) = (0.0, Instant::now());
        loop {
            let text = service.get("/metrics").await.text().await?;
            let taken = metric(&text, "messaging_client_consumed_messages_total")?;
            if taken >= self.events as f64 && metric(&text, "waybill_consumer_lag_seconds")? == 0.0
            {
                return Ok(());
            }
            if taken > last {
                (last, moved) = (taken, Instant::now());
            }
            ensure!(moved.elapsed() < STALL_TIMEOUT, "intake makes no progress at {taken} events");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn nothing_waits(&self) -> bool {
        sqlx::query_scalar(
            "SELECT NOT EXISTS (SELECT FROM couriers.order_states \
             WHERE waiting_since IS NOT NULL AND held_at IS NULL)",
        )
        .fetch_one(&self.database.pool)
        .await
        .expect("the database answers")
    }

    async fn all_sent(&self) -> bool {
        sqlx::query_scalar("SELECT NOT EXISTS (SELECT FROM couriers.delivery_outbox)")
            .fetch_one(&self.database.pool)
            .await
            .expect("the database answers")
    }

    async fn remove(mut self) -> anyhow::Result<()> {
        self.database.pool.close().await;
        let name = sqlx::query_scalar("SELECT current_database()::text")
            .fetch_one(&mut self.administrator)
            .await?;
        self.administrator.close().await?;
        database::drop_all(&self.env, &[name]).await
    }
}

/// Returns a metric without labels.
fn metric(text: &str, name: &str) -> anyhow::Result<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .with_context(|| format!("the metrics do not contain {name}"))?
        .parse()
        .with_context(|| format!("the metric {name} is not a number"))
}
