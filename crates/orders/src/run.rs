//! The order service, wired by hand.

use std::sync::{Arc, atomic::AtomicBool};

use anyhow::{Context, anyhow};
use chassis::{
    consumer,
    consumer::Subscription,
    crash,
    exit::Ending,
    http::{Metrics, health::Health},
    limits::Limits,
    postgres,
    producer::Producer,
    serve,
    warm_up::warm_up,
};
use events::topics::dead_letters;
use futures_util::TryStreamExt;
use prometheus_client::registry::Registry;
use sqlx::PgPool;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    cache::Cache,
    config::Config,
    feed::{Feed, follow},
    hearing,
    http::{self, State},
    ingest,
    lookup::Lookup,
    publish::Topics,
    redis_level::RedisLevel,
    views,
};

/// How many batches of status events may be written at once. They are small beside those of orders,
/// and shall leave them their connections.
const STATUS_LANES: usize = 2;

/// Runs the order service on `listener` until `shutdown`, then drains. A part that ends uninvited
/// ends the whole.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    config.topics.check()?;
    let mut registry = Registry::default();
    let pool = postgres::pool(
        config.database.options()?,
        config.database.postgres.postgres_connections,
        "waybill orders",
        "orders",
    );
    postgres::tell_connections(pool.clone(), &mut registry);
    let (redis, to_write) = match config.cache.redis_url().context(Ending::Configuration)? {
        Some(url) => {
            let (redis, to_write) =
                RedisLevel::new(&url, config.cache.cache_max_age, &mut registry)
                    .context("REDIS_URL is not a Redis address")
                    .context(Ending::Configuration)?;
            let redis = Arc::new(redis);
            (Some(redis.clone()), Some((redis, to_write)))
        }
        None => (None, None),
    };
    let cache = Cache::new(config.cache.cache_bytes, &mut registry);
    let lookup = Lookup::new(cache, redis, pool.clone(), config.cache.cache_max_age, &mut registry);
    let producer = Producer::new(&config.kafka)?;
    let topics = Topics {
        orders: config.topics.orders().to_owned(),
        status: config.topics.kafka_status_topic.clone(),
        dead_letters: dead_letters(config.topics.orders()),
    };
    let consumed = consumer::Metrics::register(&mut registry);
    let ingested = ingest::Metrics::register(&mut registry);
    let consumed_status = consumer::Metrics::register(registry.sub_registry_with_prefix("status"));
    let heard = hearing::Metrics::register(&mut registry);
    let feed = Feed::new();
    let ready = Arc::new(AtomicBool::new(false));
    let served = Metrics::register(&mut registry);
    let state = State {
        lookup: lookup.clone(),
        pool: pool.clone(),
        producer: producer.clone(),
        topics: Arc::new(topics.clone()),
        feed: feed.clone(),
        couriers: config.couriers_url.as_ref().map(http::Couriers::at),
        shutdown: shutdown.clone(),
    };
    let health =
        Health { ready: ready.clone(), registry: Arc::new(registry), shutdown: shutdown.clone() };

    let mut tasks = JoinSet::new();
    let router = http::router(state, health, served);
    let limits = Limits { connections: config.http_connections, ..Limits::default() };
    let serving = serve::serve(listener, router, limits, shutdown.clone());
    tasks.spawn(async move {
        serving.await;
        Ok(())
    });
    if let Some((redis, to_write)) = to_write {
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            redis.write(to_write, shutdown).await;
            Ok(())
        });
    }
    tasks.spawn({
        let (pool, lookup) = (pool.clone(), lookup.clone());
        warm_up(move || fill(pool.clone(), lookup.clone()), ready, shutdown.clone())
    });
    tasks.spawn({
        let (feed, consumed, shutdown) = (feed.clone(), consumed.clone(), shutdown.clone());
        async move {
            feed.tell_rates(consumed, shutdown).await;
            Ok(())
        }
    });
    tasks.spawn({
        let shutdown = shutdown.clone();
        async move {
            let names =
                [topics.orders.as_str(), topics.status.as_str(), topics.dead_letters.as_str()];
            let made = shutdown.run_until_cancelled(config.kafka.create_topics(&names)).await;
            let Some(made) = made else { return Ok(()) };
            made?;
            let subscription = Subscription {
                topic: topics.orders.clone(),
                group: config.kafka.group("orders"),
                lanes: usize::from(config.lanes),
                policy: config.batch,
            };
            let status = Subscription {
                topic: topics.status.clone(),
                group: config.kafka.group("status"),
                lanes: STATUS_LANES,
                policy: config.batch,
            };
            let follow = follow(
                &config.kafka,
                &topics.status,
                &topics.orders,
                feed,
                lookup.clone(),
                shutdown.clone(),
            );
            let ingest = ingest::run(
                &config.kafka,
                subscription,
                consumed,
                ingested,
                topics.clone(),
                pool.clone(),
                producer,
                lookup.clone(),
                shutdown.clone(),
            );
            let hearing =
                hearing::run(&config.kafka, status, consumed_status, heard, pool, shutdown.clone());
            tokio::try_join!(follow, ingest, hearing).map(|_| ())
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

/// Streams the newest orders into the cache until it is full.
async fn fill(pool: PgPool, lookup: Arc<Lookup>) -> anyhow::Result<()> {
    let mut views = std::pin::pin!(views::newest_views(&pool));
    let mut orders = 0;
    while !lookup.cache().is_full() {
        let Some(view) = views.try_next().await? else { break };
        lookup.cache().put(view);
        orders += 1;
        if orders == 10 {
            crash::point("warm-up");
        }
    }
    tracing::info!(orders, "the cache is warm: {orders} orders");
    Ok(())
}
