//! Starts the courier service: opens the connections that its parts share, then runs the parts.
//!
//! This module only connects the parts. The work of each part is in its own module.

use std::sync::{Arc, atomic::AtomicBool};

use chassis::{
    flow::Flow,
    http::{
        Guard, HttpMetrics, Lists, Site, Streams, health::Health, limits::Limits, readable_from,
        serve,
    },
    kafka::{
        backlog::Backlog,
        config::KafkaConfig,
        consumer::{self, Pace, Subscription, consume},
        producer::Producer,
        topics,
    },
    postgres::{
        address::Address,
        errors::mark_refusal,
        pool::{self, Pools},
        server,
    },
    process::{blocked::Blocked, failpoint, supervisor::Supervisor, warm_up::warm_up},
};
use events::topics::dead_letters;
use futures_util::FutureExt as _;
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Options, TopicConfig},
    dispatch::{self, DispatchMetrics, Policy, Wake},
    flow::CATALOGUE,
    http::{ApiState, live_board::LiveBoard},
    intake::{self, Intake, Topics},
    outbox::{OutboxMetrics, Sender},
    pages::PageState,
    routes, store,
};

/// Runs the courier service on `listener` until `shutdown`; then its parts finish the work that
/// they have begun. A part that fails ends the service.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    // Wrong topic names end the start before anything is opened.
    config.topics.check()?;
    let mut registry = Registry::default();
    let address = config.own.database.address(&config.postgres)?;
    let connections = config.postgres.postgres_connections;
    let pools = pool::open(address.options(), connections, "couriers", &mut registry);
    let blocked = Blocked::register(&mut registry);
    let producer = Producer::new(&config.kafka, blocked.clone())?;
    let topics = topics(&config.topics);
    let (wake, board) = (Wake::default(), LiveBoard::new());
    let to_send = Arc::new(Notify::new());
    let consumed = consumer::ConsumerMetrics::register(&mut registry);
    let intake = Intake {
        topics: topics.clone(),
        pool: pools.work.clone(),
        producer: producer.clone(),
        wake: wake.clone(),
        metrics: intake::IntakeMetrics::register(&mut registry),
    };
    let dispatched = DispatchMetrics::register(&mut registry);
    let served = HttpMetrics::register(&mut registry);
    let ready = Arc::new(AtomicBool::new(false));
    let sender = Sender {
        pool: pools.work.clone(),
        producer: producer.clone(),
        topic: config.topics.kafka_deliveries_topic.clone(),
        source: config.kafka.event_source("couriers"),
        to_send: to_send.clone(),
        metrics: OutboxMetrics::register(&mut registry),
    };
    // Every metric is registered above; from here on the registry is only read.
    let registry = Arc::new(registry);
    let flow = Flow::new(CATALOGUE, registry.clone(), listener.local_addr()?);
    let api = ApiState {
        pool: pools.requests.clone(),
        producer,
        status_topic: topics.status.as_str().into(),
        times: config.own.delivery_times(),
        wake: wake.clone(),
        board: board.clone(),
        flow: flow.clone(),
        streams: Streams::of_connections(config.http.connections as usize),
        shutdown: shutdown.clone(),
    };
    let orders_url = config.orders_url.as_str().trim_end_matches('/').into();
    let state = PageState { api, orders_url };
    let health = Health {
        ready: ready.clone(),
        registry,
        blocked: blocked.clone(),
        shutdown: shutdown.clone(),
    };

    let mut parts = Supervisor::new(shutdown.clone());
    let guard = Guard::new(Site::new(config.couriers_url.as_ref(), &config.http.hosts), served);
    let router = routes::router(state, health, guard.clone(), Lists::of_connections(connections));
    let router = readable_from(router, &config.orders_url);
    let limits = Limits { connections: config.http.connections as usize, ..Limits::default() };
    // HTTP starts first, so that `/livez` and `/readyz` answer while PostgreSQL or Kafka is still
    // unreachable. `ready` is set when the warm-up has ended, or after 10 seconds.
    let serving = serve::serve(listener, guard, |_| None, router, limits, shutdown.clone());
    parts.run("http", serving.map(Ok));
    parts.run("flow", flow.sample(shutdown.clone()).map(Ok));
    parts.run("live board", board.clone().keep(pools.requests.clone(), shutdown.clone()).map(Ok));
    let subscription = subscription(&config);
    let dispatch = Dispatch {
        pools,
        address,
        policy: policy(&config.own),
        backlog: Backlog::new(&config.kafka, &subscription.group, &subscription.topic)?,
        wake,
        board,
        to_send,
        metrics: dispatched,
    };
    parts.run("dispatch", dispatch.run_when_warm(ready, shutdown.clone()));
    // The parts above work without Kafka, so they are started before the topics are checked. Intake
    // and the sender need the topics. If they cannot be created, `wait` below returns the error.
    let checked = ensure_topics(config.kafka.clone(), topics, sender.topic.clone());
    if parts.run_first("topics", checked).await {
        failpoint::async_point("topics-checked").await;
        parts.run("outbox", sender.run(shutdown.clone()));
        parts.run(
            "intake",
            consume(config.kafka, subscription, consumed, blocked, intake, shutdown),
        );
    }
    parts.wait().await
}

fn topics(config: &TopicConfig) -> Topics {
    Topics { status: config.status().to_owned(), dead_letters: dead_letters(config.status()) }
}

fn policy(config: &Options) -> Policy {
    Policy {
        times: config.delivery_times(),
        grace: config.overdue_grace,
        released: config.released_orders,
        sweep: config.dispatch_sweep,
    }
}

fn subscription(config: &Config) -> Subscription {
    Subscription {
        topic: config.topics.status().to_owned(),
        group: config.kafka.group("couriers"),
        lanes: usize::from(config.lanes),
        policy: config.batch.of_events(),
        pace: Pace::Prompt,
    }
}

/// Dispatch, with the connections and handles that it uses.
struct Dispatch {
    pools: Pools,
    address: Address,
    policy: Policy,
    backlog: Backlog,
    wake: Wake,
    board: LiveBoard,
    /// Notifies the sender of delivery events.
    to_send: Arc<Notify>,
    metrics: DispatchMetrics,
}

impl Dispatch {
    /// Waits until the service can read its tables, then dispatches.
    async fn run_when_warm(
        self,
        ready: Arc<AtomicBool>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let Self { pools, address, policy, backlog, wake, board, to_send, metrics } = self;
        let pool = &pools.work;
        // Dispatch retries every error without limit. Therefore the warm-up comes first: it ends
        // the service if PostgreSQL refuses the service's password or permissions.
        let reach = || async {
            server::check(&pools, &address, "couriers").await?;
            store::reach(pool).await.map_err(|error| mark_refusal(error.into()))
        };
        warm_up(reach, ready, shutdown.clone()).await?;
        let stop = shutdown.clone();
        let on_change = || {
            board.changed();
            to_send.notify_one();
        };
        // The releases wait for Kafka and for intake; the matches never wait for the releases.
        tokio::join!(
            dispatch::run(pool, policy, &wake, &metrics, on_change, shutdown),
            dispatch::run_releases(pool, policy, &backlog, &wake, &metrics, stop),
        );
        Ok(())
    }
}

async fn ensure_topics(
    kafka: KafkaConfig,
    topics: Topics,
    deliveries: String,
) -> anyhow::Result<()> {
    topics::ensure(&kafka, &[&topics.status, &topics.dead_letters, &deliveries]).await?;
    topics::warn_of_producers_timestamps(&kafka, &topics.status).await;
    Ok(())
}
