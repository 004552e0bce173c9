//! The order service, wired by hand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Instant,
};

use anyhow::{Context, anyhow};
use chassis::{
    http::{Metrics, health::Health, limits::Limits, serve},
    kafka::{
        batch::BatchPolicy,
        consumer::{self, Pace, Subscription},
        producer::Producer,
    },
    postgres::{errors::mark_refusal, pool},
    process::{crash, exit::ExitReason, warm_up::warm_up},
};
use events::topics::dead_letters;
use futures_util::{FutureExt as _, TryStreamExt as _};
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use sqlx::PgPool;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    config::Config,
    http::{self, Quick, State},
    ingest::{self, publish::Topics},
    lookup::{
        Lookup,
        live_feed::{Feed, follow},
        memory::Cache,
        queries,
        redis::RedisLevel,
    },
    status,
};

/// How many batches of status events may be written at once: they shall leave those of orders their
/// connections.
const STATUS_LANES: usize = 2;
/// So many times the records of a batch of orders are in one of status events, which are small.
const STATUS_BATCH: u32 = 4;
/// How many pages the warm-up reads at once.
const WARM_UP_READERS: usize = 3;

/// Runs the order service on `listener` until `shutdown`, then drains. A part that ends uninvited
/// ends the whole.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    config.topics.check()?;
    let mut registry = Registry::default();
    let pool = pool::pool(
        config.database.options()?,
        config.database.postgres.postgres_connections,
        "waybill orders",
        "orders",
    );
    pool::tell_connections(pool.clone(), &mut registry);
    let (redis, to_write) = match config.cache.redis_url().context(ExitReason::Configuration)? {
        Some(url) => {
            let (redis, to_write) =
                RedisLevel::new(&url, config.cache.cache_max_age, &mut registry)
                    .context("REDIS_URL is not a Redis address")
                    .context(ExitReason::Configuration)?;
            let redis = Arc::new(redis);
            (Some(redis.clone()), Some((redis, to_write)))
        }
        None => (None, None),
    };
    let cache = Cache::new(config.cache.cache_bytes, config.cache.cache_max_age, &mut registry);
    let lookup = Lookup::new(cache, redis, pool.clone(), &mut registry);
    let producer = Producer::new(&config.kafka)?;
    let topics = Topics {
        orders: config.topics.orders().to_owned(),
        status: config.topics.kafka_status_topic.clone(),
        dead_letters: dead_letters(config.topics.orders()),
    };
    let consumed = consumer::Metrics::register(&mut registry);
    let ingested = ingest::Metrics::register(&mut registry);
    let consumed_status = consumer::Metrics::register(registry.sub_registry_with_prefix("status"));
    let heard = status::consumer::Metrics::register(&mut registry);
    let feed = Feed::new();
    let ready = Arc::new(AtomicBool::new(false));
    let warm_up_seconds = Gauge::<f64, AtomicU64>::default();
    registry.register(
        "waybill_warm_up_seconds",
        "How long the cache was warmed up; 0 until that is done",
        warm_up_seconds.clone(),
    );
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
    let quick = Arc::new(Quick::new(lookup.clone(), &served));
    let router = http::router(state, health, served);
    let limits = Limits { connections: config.http_connections, ..Limits::default() };
    let quick = move |request: &_| quick.answer(request);
    let serving = serve::serve(listener, quick, router, limits, shutdown.clone());
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
        warm_up(
            move || {
                let filling = fill(pool.clone(), lookup.clone(), warm_up_seconds.clone());
                async move { filling.await.map_err(mark_refusal) }
            },
            ready,
            shutdown.clone(),
        )
    });
    tasks.spawn({
        let (feed, consumed, shutdown) = (feed.clone(), consumed.clone(), shutdown.clone());
        async move {
            feed.send_rates(consumed, shutdown).await;
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
                pace: Pace::Prompt,
            };
            let status = Subscription {
                topic: topics.status.clone(),
                group: config.kafka.group("status"),
                lanes: STATUS_LANES,
                policy: BatchPolicy {
                    rows: config.batch.rows.saturating_mul(STATUS_BATCH),
                    ..config.batch
                },
                pace: Pace::Gathered,
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
            let hearing = status::consumer::run(
                &config.kafka,
                status,
                consumed_status,
                heard,
                pool,
                shutdown.clone(),
            );
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

/// Reads pages side by side and takes them in one after the other, until the cache is full: when the
/// budget is smaller than the table, the newest orders are those that are in.
async fn fill(
    pool: PgPool,
    lookup: Arc<Lookup>,
    seconds: Gauge<f64, AtomicU64>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let pages = queries::pages(&pool).map_ok(|begin| {
        let pool = pool.clone();
        let reading = tokio::spawn(async move { queries::page(&pool, begin.as_ref()).await });
        AbortOnDropHandle::new(reading).map(|page| Ok(page??))
    });
    let mut pages = std::pin::pin!(pages.map_err(anyhow::Error::new).try_buffered(WARM_UP_READERS));
    let mut orders = 0;
    'pages: while let Some(page) = pages.try_next().await? {
        for view in &page {
            if lookup.cache().is_full() {
                break 'pages;
            }
            lookup.cache().put(view);
            orders += 1;
            if orders == 10 {
                crash::point("warm-up");
            }
        }
    }
    seconds.set(begun.elapsed().as_secs_f64());
    tracing::info!(orders, "the cache is warm: {orders} orders");
    Ok(())
}
