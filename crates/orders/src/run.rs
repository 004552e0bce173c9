//! Starts the order service: opens the handles that its parts share, then runs the parts. It
//! decides the sequence of the start and nothing else.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, SystemTime},
};

use anyhow::Context;
use chassis::{
    flow::Flow,
    http::{Guard, HttpMetrics, Lists, Site, Streams, health::Health, limits::Limits, serve},
    kafka::{
        config::KafkaConfig,
        consumer::{self, Pace, Subscription, consume},
        producer::Producer,
        topics,
    },
    postgres::pool,
    process::{blocked::Blocked, exit::ExitReason, failpoint, supervisor::Supervisor},
};
use events::topics::dead_letters;
use futures_util::FutureExt as _;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{CacheConfig, Config, TopicConfig},
    deliveries::consumer::{DeliveryConsumer, DeliveryMetrics},
    flow::CATALOGUE,
    http::{ApiState, FastPath},
    ingest::{
        self, Ingest,
        publish::{FORMER_SOURCE, Topics},
    },
    lookup::{
        Lookup,
        live_feed::{Feed, FeedTopics, read_tail},
        memory::Cache,
        redis::{RedisLevel, RedisSettings, ToWrite},
        warm_up::{WarmUpMetrics, warm_up},
    },
    pages::{CourierService, PageState},
    routes,
    status::{self, consumer::StatusConsumer},
};

/// The number of batches of status events that may be written at the same time. The other
/// connections are for batches of orders and for requests.
const STATUS_LANES: usize = 2;
/// The number of batches of delivery events that may be written at the same time: an order has few
/// of them.
const DELIVERY_LANES: usize = 1;
/// The largest difference of the clocks of Kafka and of this machine that has no effect on the cache.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// Runs the order service on `listener` until `shutdown`; then its parts finish their work in
/// progress. A part that fails ends the service.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    // Wrong topic names end the start before anything is opened.
    config.topics.check()?;
    // Nothing in this block waits for PostgreSQL, Redis or Kafka. So the service also starts, and
    // answers /livez, while they are unreachable.
    let mut registry = Registry::default();
    let address = config.database.address()?;
    let connections = config.database.postgres.postgres_connections;
    let pools = pool::open(address.options(), connections, "orders", &mut registry);
    let (redis, to_write) = open_redis(&config, &mut registry)?.unzip();
    let cache = Cache::new(config.cache.cache_bytes, config.cache.cache_max_age, &mut registry);
    let lookup = Lookup::new(cache, redis.clone(), pools.requests.clone(), &mut registry);
    let kafka = config.kafka.clone();
    let blocked = Blocked::register(&mut registry);
    let producer = Producer::new(&kafka, blocked.clone())?;
    let topics = topics(&config.topics, kafka.event_source("orders"));
    let feed = Feed::new();
    let consumed = consumer::ConsumerMetrics::register(&mut registry);
    let ingested = ingest::IngestMetrics::register(&mut registry);
    // All consumers have the same metrics; the prefix distinguishes them.
    let consumed_status =
        consumer::ConsumerMetrics::register(registry.sub_registry_with_prefix("status"));
    let recorded = status::consumer::StatusMetrics::register(&mut registry);
    let consumed_deliveries =
        consumer::ConsumerMetrics::register(registry.sub_registry_with_prefix("deliveries"));
    let delivered = DeliveryMetrics::register(&mut registry);
    let warmed = WarmUpMetrics::register(&mut registry);
    let served = HttpMetrics::register(&mut registry);
    let ready = Arc::new(AtomicBool::new(false));
    // Every metric is registered above; from here on the registry is only read.
    let registry = Arc::new(registry);
    let flow = Flow::new(CATALOGUE, registry.clone(), listener.local_addr()?);
    let api = ApiState {
        lookup: lookup.clone(),
        pool: pools.requests.clone(),
        producer: producer.clone(),
        topics: Arc::new(topics.clone()),
        feed: feed.clone(),
        flow: flow.clone(),
        streams: Streams::of_connections(config.http.connections as usize),
        shutdown: shutdown.clone(),
    };
    let courier_service = config.couriers_url.as_ref().map(CourierService::at);
    let state = PageState { api, courier_service };
    let health = Health {
        ready: ready.clone(),
        registry,
        blocked: blocked.clone(),
        shutdown: shutdown.clone(),
    };

    let mut parts = Supervisor::new(shutdown.clone());
    // HTTP comes first, so that health and metrics can be read while everything below starts.
    // `ready` is still false, so /readyz answers 503.
    let site = Site::new(config.orders_url.as_ref(), &config.http.hosts);
    let limits = Limits { connections: config.http.connections as usize, ..Limits::default() };
    let lists = Lists::of_connections(connections);
    parts.run("http", serve_http(listener, limits, state, health, (site, served, lists)));
    parts.run("flow", flow.sample(shutdown.clone()).map(Ok));
    if let Some((redis, to_write)) = redis.zip(to_write) {
        // The only writer: commits and lookups put their orders into its queue and never wait.
        parts.run("redis", redis.run(to_write, shutdown.clone()));
    }
    // An order that another replica replaces after the warm-up has read it is evicted by its event,
    // even if Kafka becomes reachable only later.
    let since = SystemTime::now() - CLOCK_TOLERANCE;
    let warm_up = warm_up(pools.clone(), address, lookup.clone(), warmed, ready, shutdown.clone());
    // `run_once`, because the warm-up ends before the shutdown. It sets `ready`.
    parts.run_once("warm-up", warm_up);
    parts.run("live rates", feed.clone().send_rates(consumed.clone(), shutdown.clone()).map(Ok));
    // The parts above work without Kafka. Those below read its topics, so they start once these are
    // known to exist; without a limit, this waits for Kafka while cached orders are served.
    if parts.run_first("topics", ensure_topics(kafka.clone(), topics.clone())).await {
        failpoint::async_point("topics-checked").await;
        let feed_topics = FeedTopics {
            status: topics.status.clone(),
            deliveries: config.topics.kafka_deliveries_topic.clone(),
            dead_letters: topics.dead_letters.clone(),
            own_sources: [topics.source.clone(), FORMER_SOURCE.to_owned()],
            since,
        };
        let live_feed =
            read_tail(kafka.clone(), feed_topics, feed, lookup.clone(), shutdown.clone());
        parts.run("live feed", live_feed);
        let (orders, statuses) = (orders_subscription(&config), status_subscription(&config));
        let deliveries = deliveries_subscription(&config);
        let (topic, source) = (topics.status.clone(), topics.source.clone());
        let status_consumer = StatusConsumer::new(pools.work.clone(), topic, source, recorded);
        let delivery_consumer = DeliveryConsumer::new(pools.work.clone(), delivered);
        let ingest = Ingest::new(pools.work, topics, producer, lookup, ingested);
        parts.run(
            "ingest",
            consume(kafka.clone(), orders, consumed, blocked.clone(), ingest, shutdown.clone()),
        );
        parts.run(
            "status consumer",
            consume(
                kafka.clone(),
                statuses,
                consumed_status,
                blocked.clone(),
                status_consumer,
                shutdown.clone(),
            ),
        );
        parts.run("delivery consumer", async move {
            let exists = topics::wait_for(&kafka, &deliveries.topic);
            let Some(exists) = shutdown.run_until_cancelled(exists).await else { return Ok(()) };
            exists?;
            consume(kafka, deliveries, consumed_deliveries, blocked, delivery_consumer, shutdown)
                .await
        });
    }
    parts.wait().await
}

/// Prepares the Redis level, if `REDIS_URL` is given.
fn open_redis(
    config: &Config,
    registry: &mut Registry,
) -> anyhow::Result<Option<(Arc<RedisLevel>, ToWrite)>> {
    let cache = &config.cache;
    let Some(client) = cache.redis_client().context(ExitReason::Configuration)? else {
        return Ok(None);
    };
    CacheConfig::warn_of_unverified_redis(&client);
    let settings = RedisSettings {
        client,
        group: config.kafka.group_prefix().to_owned(),
        value_key: cache.redis_value_key().context(ExitReason::Configuration)?,
        max_age: cache.cache_max_age,
    };
    let (redis, to_write) = RedisLevel::new(settings, registry);
    Ok(Some((Arc::new(redis), to_write)))
}

fn topics(config: &TopicConfig, source: String) -> Topics {
    Topics {
        orders: config.orders().to_owned(),
        status: config.kafka_status_topic.clone(),
        dead_letters: dead_letters(config.orders()),
        source,
    }
}

fn orders_subscription(config: &Config) -> Subscription {
    Subscription {
        topic: config.topics.orders().to_owned(),
        group: config.kafka.group("orders"),
        lanes: usize::from(config.lanes),
        policy: config.batch,
        pace: Pace::Prompt,
    }
}

fn status_subscription(config: &Config) -> Subscription {
    Subscription {
        topic: config.topics.kafka_status_topic.clone(),
        group: config.kafka.group("status"),
        lanes: STATUS_LANES,
        policy: config.batch.of_events(),
        pace: Pace::Gathered,
    }
}

fn deliveries_subscription(config: &Config) -> Subscription {
    Subscription {
        topic: config.topics.kafka_deliveries_topic.clone(),
        group: config.kafka.group("deliveries"),
        lanes: DELIVERY_LANES,
        policy: config.batch.of_events(),
        pace: Pace::Gathered,
    }
}

async fn serve_http(
    listener: TcpListener,
    limits: Limits,
    state: PageState,
    health: Health,
    (site, metrics, lists): (Site, HttpMetrics, Lists),
) -> anyhow::Result<()> {
    let shutdown = state.api.shutdown.clone();
    let fast_path = Arc::new(FastPath::new(state.api.lookup.clone(), &metrics));
    let fast_path = move |request: &_| fast_path.answer(request);
    let guard = Guard::new(site, metrics);
    let router = routes::router(state, health, guard.clone(), lists);
    serve::serve(listener, guard, fast_path, router, limits, shutdown).await;
    Ok(())
}

async fn ensure_topics(kafka: KafkaConfig, topics: Topics) -> anyhow::Result<()> {
    topics::ensure(&kafka, &[&topics.orders, &topics.status, &topics.dead_letters]).await?;
    topics::warn_of_producers_timestamps(&kafka, &topics.orders).await;
    Ok(())
}
