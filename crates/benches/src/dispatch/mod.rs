//! Dispatch: the courier service in this process takes a backlog of status events, half of them
//! `created` and half `completed`; the baseline takes the head of the same backlog, one transaction
//! an event, into the same tables as they were before. Rates are compared.

mod baseline;
mod courier_fixture;
mod latency;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sqlx::{Connection as _, PgConnection};
use testkit::{CourierDatabase, Servers, Service, TestEnvironment, wait_until};

use self::courier_fixture::CourierFixture;
pub use self::latency::measure as measure_latency;
use crate::{
    Cli,
    figure::{Figure, Round, Target, thousands},
    say,
};

/// Events of a backlog.
const EVENTS: u64 = 100_000;
/// Couriers of a small fixture, and of a large one.
const SMALL: u64 = 10_000;
const LARGE: u64 = 1_000_000;

/// Against one transaction an event.
pub async fn measure(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let events = cli.events.unwrap_or(EVENTS);
    let compared = cli.baseline_orders.min(events);
    let mut rounds = Vec::new();
    for number in 1..=cli.rounds {
        let mut place = Place::new(servers, CourierFixture { couriers: SMALL }, events).await?;
        // Neither is always the first on a warm machine.
        let round = if number % 2 == 1 {
            let baseline = place.take_one_by_one(compared).await?;
            Round { baseline, waybill: place.take(Elsewhere::Nothing).await? }
        } else {
            let waybill = place.take(Elsewhere::Nothing).await?;
            Round { baseline: place.take_one_by_one(compared).await?, waybill }
        };
        place.leave().await?;
        rounds.push(said("dispatch", number, cli, round));
    }
    Ok(Figure::of_ratios(
        "dispatch",
        format!(
            "{events} status events, half created, half completed, {SMALL} couriers; baseline: \
             {compared} of them, one transaction an event"
        ),
        "events/s",
        Target::AtLeast { must: 12.0, aim: 25.0 },
        &rounds,
    ))
}

/// A large fixture against a small one.
pub async fn measure_large(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let events = cli.events.unwrap_or(EVENTS);
    let mut rounds = Vec::new();
    for number in 1..=cli.rounds {
        let small = take_in(servers, SMALL, events, Elsewhere::Nothing).await?;
        let large = take_in(servers, LARGE, events, Elsewhere::Nothing).await?;
        let round = Round { waybill: large, baseline: small };
        rounds.push(said("dispatch-large", number, cli, round));
    }
    Ok(Figure::of_ratios(
        "dispatch-large",
        format!("the same with {LARGE} couriers; baseline: with {SMALL}"),
        "events/s",
        Target::AtLeast { must: 0.5, aim: 0.8 },
        &rounds,
    ))
}

/// While somebody keeps a snapshot open, so that no dead row can go, against nobody.
pub async fn measure_held(cli: &Cli, servers: &Servers) -> anyhow::Result<Figure> {
    let events = cli.events.unwrap_or(EVENTS);
    let mut rounds = Vec::new();
    for number in 1..=cli.rounds {
        let free = take_in(servers, SMALL, events, Elsewhere::Nothing).await?;
        let held = take_in(servers, SMALL, events, Elsewhere::OpenSnapshot).await?;
        let round = Round { waybill: held, baseline: free };
        rounds.push(said("dispatch-held", number, cli, round));
    }
    Ok(Figure::of_ratios(
        "dispatch-held",
        format!("the same with {SMALL} couriers and a snapshot open elsewhere; baseline: none is"),
        "events/s",
        Target::AtLeast { must: 0.5, aim: 0.8 },
        &rounds,
    ))
}

fn said(name: &str, number: u32, cli: &Cli, round: Round) -> Round {
    let (waybill, baseline) = (thousands(round.waybill), thousands(round.baseline));
    let rounds = cli.rounds;
    say(&format!("{name}, round {number} of {rounds}: Waybill {waybill}/s, baseline {baseline}/s"));
    round
}

async fn take_in(
    servers: &Servers,
    couriers: u64,
    events: u64,
    elsewhere: Elsewhere,
) -> anyhow::Result<f64> {
    let mut place = Place::new(servers, CourierFixture { couriers }, events).await?;
    let rate = place.take(elsewhere).await?;
    place.leave().await?;
    Ok(rate)
}

/// What another session does meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Elsewhere {
    Nothing,
    OpenSnapshot,
}

/// A backlog on Kafka, and the database that it is for.
struct Place {
    env: TestEnvironment,
    database: CourierDatabase,
    administrator: PgConnection,
    fixture: CourierFixture,
    events: u64,
}

impl Place {
    async fn new(servers: &Servers, fixture: CourierFixture, events: u64) -> anyhow::Result<Self> {
        ensure!(events.is_multiple_of(2), "half of the events are created, half are completed");
        let env = TestEnvironment::new(servers).await;
        fixture.fill(&env, events).await;
        let database = env.courier_database().await;
        let administrator = database.administrator().await;
        Ok(Self { env, database, administrator, fixture, events })
    }

    /// Events of delivered orders a second by the service, from its start until all are settled, their
    /// offsets committed and no match is left.
    async fn take(&mut self, elsewhere: Elsewhere) -> anyhow::Result<f64> {
        self.fixture.settle(&mut self.administrator).await?;
        let mut other = self.database.administrator().await;
        if elsewhere == Elsewhere::OpenSnapshot {
            sqlx::raw_sql(
                "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM couriers.couriers LIMIT 1",
            )
            .execute(&mut other)
            .await?;
        }
        let begun = Instant::now();
        let service = self.env.start_couriers(&self.database, &[]).await;
        self.all_taken(&service).await?;
        let taken = begun.elapsed();
        self.env.wait_until_couriers_drained().await;
        wait_until("no match to be left", async || self.nothing_waits().await).await;
        let settled = begun.elapsed();
        service.stop().await?;
        other.close().await?;
        let delivered = self.fixture.count_delivered(&mut self.administrator, self.events).await?;
        say(&format!(
            "  taken after {taken:.2?}, settled after {settled:.2?}, {delivered} orders delivered"
        ));
        // An order that got no courier is work not done.
        Ok(2.0 * delivered as f64 / settled.as_secs_f64())
    }

    /// Events a second by the baseline.
    async fn take_one_by_one(&mut self, events: u64) -> anyhow::Result<f64> {
        self.fixture.settle(&mut self.administrator).await?;
        baseline::take(&self.env, &self.database, events).await
    }

    /// Waits until the service has settled every event; asks it and not the database, which has
    /// enough to do. Fails if nothing moves for a minute.
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
            let patience = Duration::from_secs(60);
            ensure!(moved.elapsed() < patience, "intake stands still at {taken} events");
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

    /// Frees the disk, and rids the next round of this one's vacuum.
    async fn leave(mut self) -> anyhow::Result<()> {
        self.database.pool.close().await;
        self.env.pool.close().await;
        let name: String = sqlx::query_scalar("SELECT current_database()::text")
            .fetch_one(&mut self.administrator)
            .await?;
        self.administrator.close().await?;
        let mut server = PgConnection::connect(&self.env.servers.postgres).await?;
        for database in [name, format!("{}_orders", self.env.name)] {
            let statement = format!("DROP DATABASE {database} WITH (FORCE)");
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut server).await?;
        }
        server.close().await?;
        Ok(())
    }
}

/// One number of `/metrics`.
fn metric(text: &str, name: &str) -> anyhow::Result<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .with_context(|| format!("no {name} among the metrics"))?
        .parse()
        .with_context(|| format!("{name} is no number"))
}
