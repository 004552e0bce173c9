//! The courier service, wired by hand.

use std::sync::{Arc, atomic::AtomicBool};

use anyhow::anyhow;
use chassis::{
    http::{Metrics, health::Health, limits::Limits, readable_from, serve},
    kafka::{
        consumer::{self, Pace, Subscription},
        producer::Producer,
    },
    postgres::{errors::mark_refusal, pool},
    process::warm_up::warm_up,
};
use events::topics::dead_letters;
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    dispatch::{self, DispatchMetrics, Policy, Wake},
    http::{self, State, live_board::LiveBoard},
    intake::{self, Intake, Topics},
    store,
};

/// Runs the courier service on `listener` until `shutdown`, then drains. A part that ends uninvited
/// ends the whole.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut registry = Registry::default();
    let pool = pool::pool(
        config.own.database.options(&config.postgres)?,
        config.postgres.postgres_connections,
        "waybill couriers",
        "couriers",
    );
    pool::tell_connections(pool.clone(), &mut registry);
    let topics = Topics {
        status: config.topics.status().to_owned(),
        dead_letters: dead_letters(config.topics.status()),
    };
    let wake = Wake::default();
    let consumed = consumer::Metrics::register(&mut registry);
    let producer = Producer::new(&config.kafka)?;
    let board = LiveBoard::new();
    let state = State {
        pool: pool.clone(),
        producer: producer.clone(),
        status_topic: topics.status.as_str().into(),
        times: config.own.delivery_times(),
        wake: wake.clone(),
        board: board.clone(),
        orders_url: config.orders_url.as_str().trim_end_matches('/').into(),
        shutdown: shutdown.clone(),
    };
    let intake = Intake {
        topics: topics.clone(),
        pool: pool.clone(),
        producer,
        wake: wake.clone(),
        metrics: intake::Metrics::register(&mut registry),
    };
    let dispatched = DispatchMetrics::register(&mut registry);
    let served = Metrics::register(&mut registry);
    let ready = Arc::new(AtomicBool::new(false));
    let health =
        Health { ready: ready.clone(), registry: Arc::new(registry), shutdown: shutdown.clone() };

    let mut tasks = JoinSet::new();
    let router = http::router(state, health, served);
    let router = readable_from(router, &config.orders_url);
    let limits = Limits { connections: config.http_connections, ..Limits::default() };
    let serving = serve::serve(listener, |_| None, router, limits, shutdown.clone());
    tasks.spawn(async move {
        serving.await;
        Ok(())
    });
    tasks.spawn({
        let (board, pool, shutdown) = (board.clone(), pool.clone(), shutdown.clone());
        async move {
            board.keep(&pool, shutdown).await;
            Ok(())
        }
    });
    tasks.spawn({
        let shutdown = shutdown.clone();
        let policy = Policy {
            times: config.own.delivery_times(),
            grace: config.own.overdue_grace,
            sweep: config.own.dispatch_sweep,
        };
        async move {
            let let_in = warm_up(
                async || store::reach(&pool).await.map_err(|error| mark_refusal(error.into())),
                ready,
                shutdown.clone(),
            );
            let_in.await?;
            dispatch::run(&pool, policy, &wake, &dispatched, || board.changed(), shutdown).await;
            Ok(())
        }
    });
    tasks.spawn({
        let shutdown = shutdown.clone();
        async move {
            let names = [topics.status.as_str(), topics.dead_letters.as_str()];
            let made = shutdown.run_until_cancelled(config.kafka.create_topics(&names)).await;
            let Some(made) = made else { return Ok(()) };
            made?;
            let subscription = Subscription {
                topic: topics.status,
                group: config.kafka.group("couriers"),
                lanes: usize::from(config.lanes),
                policy: config.batch,
                pace: Pace::Prompt,
            };
            intake.run(&config.kafka, subscription, consumed, shutdown).await
        }
    });

    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let ended =
            ended.unwrap_or_else(|panic| Err(anyhow!("a part of the service ended: {panic}")));
        if ended.is_err() {
            shutdown.cancel();
        }
        outcome = outcome.and(ended);
    }
    outcome
}
