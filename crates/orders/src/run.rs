//! The order service, wired by hand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, anyhow};
use chassis::{consumer, consumer::Subscription, crash, postgres, producer::Producer, serve};
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
    http::{self, State},
    ingest,
    lookup::Lookup,
    publish::Topics,
    redis_level::RedisLevel,
    store,
};

/// A service that is not warm by then is ready all the same.
const WARM_UP: Duration = Duration::from_secs(10);

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
    );
    let redis = match &config.cache.redis_url {
        Some(url) => Some(
            RedisLevel::new(url, config.cache.cache_max_age)
                .context("REDIS_URL is not a Redis address")?,
        ),
        None => None,
    };
    let cache = Cache::new(config.cache.cache_bytes, &mut registry);
    let lookup = Lookup::new(cache, redis, pool.clone(), config.cache.cache_max_age);
    let producer = Producer::new(&config.kafka)?;
    let topics = Topics {
        orders: config.topics.orders().to_owned(),
        status: config.topics.kafka_status_topic.clone(),
        dead_letters: dead_letters(config.topics.orders()),
    };
    let consumed = consumer::Metrics::register(&mut registry);
    let ingested = ingest::Metrics::register(&mut registry);
    let feed = Feed::new();
    let ready = Arc::new(AtomicBool::new(false));
    let served = http::Metrics::register(&mut registry);
    let state = State {
        lookup: lookup.clone(),
        pool: pool.clone(),
        producer: producer.clone(),
        topics: Arc::new(topics.clone()),
        feed: feed.clone(),
        ready: ready.clone(),
        registry: Arc::new(registry),
        metrics: served,
        shutdown: shutdown.clone(),
    };

    let mut tasks = JoinSet::new();
    let router = http::router(state);
    let serving = serve::serve(listener, router, config.http_connections, shutdown.clone());
    tasks.spawn(async move {
        serving.await;
        Ok(())
    });
    tasks.spawn(warm_up(pool.clone(), lookup.clone(), ready.clone(), shutdown.clone()));
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
                pool,
                producer,
                lookup.clone(),
                shutdown.clone(),
            );
            tokio::try_join!(follow, ingest).map(|_| ())
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

/// Streams the newest orders into the cache until it is full, then says that the service is ready.
async fn warm_up(
    pool: PgPool,
    lookup: Arc<Lookup>,
    ready: Arc<AtomicBool>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let load = async {
        loop {
            match fill(&pool, &lookup).await {
                Ok(orders) => break tracing::info!(orders, "the cache is warm: {orders} orders"),
                Err(error) => {
                    tracing::warn!("warming the cache up: {error}; trying again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    };
    tokio::pin!(load);
    let in_time = shutdown.run_until_cancelled(tokio::time::timeout(WARM_UP, &mut load)).await;
    ready.store(true, Ordering::Release);
    if let Some(Err(_)) = in_time {
        shutdown.run_until_cancelled(load).await;
    }
    Ok(())
}

async fn fill(pool: &PgPool, lookup: &Arc<Lookup>) -> Result<usize, sqlx::Error> {
    let mut views = std::pin::pin!(store::newest_views(pool));
    let mut orders = 0;
    while !lookup.cache().is_full() {
        let Some(view) = views.try_next().await? else { break };
        lookup.cache().put(view);
        orders += 1;
        if orders == 10 {
            crash::point("warm-up");
        }
    }
    Ok(orders)
}
