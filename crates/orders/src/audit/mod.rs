//! Checks the invariants of the order service, while it may be processing records.
//!
//! ```text
//! committed offsets ─▶ tables ─▶ orders topic, dead letters ─▶ status topic ─▶ tables again
//!                                                                          ─▶ deliveries topic
//! ```
//!
//! The committed offsets are read first, then the tables, then the topics. A source that is read
//! later can only be ahead of one that was read earlier. So every record before a committed offset
//! must be in the tables, its events must be on the status topic, and every row must come from a
//! record. The audit changes nothing, and needs about 200 bytes of memory per order.
//!
//! - [`tables`]: the rows of `orders`, each with a hash of its columns
//! - [`records`]: compares the orders topic with the rows
//! - [`difference`]: names the fields in which a row differs from its record
//! - [`status_topic`]: reads the status topic once, for the two that follow
//! - [`published`]: compares the events of this service with the rows of `orders`
//! - [`recorded`]: compares all events with the rows of `order_events`
//! - [`deliveries`]: compares the deliveries topic with the rows of `order_deliveries`

mod deliveries;
mod difference;
mod published;
mod recorded;
mod records;
mod status_topic;
mod tables;

use anyhow::Context;
use chassis::{
    audit::{
        check::Check,
        rejected::{DeadLetters, RejectedRows},
    },
    kafka::{
        config::KafkaConfig,
        topic_scan::{Ends, Scanner},
        topics::{Cleanup, cleanup},
    },
    postgres::session::check_not_pooled,
};
use events::topics::dead_letters;
use sqlx::{Connection, PgConnection};

use crate::config::{DatabaseConfig, TopicConfig};

/// A topic, and the group that reads it, as they were when the audit began.
struct Source<'a> {
    topic: &'a str,
    cleanup: Cleanup,
    group: String,
    committed: Ends,
}

/// Checks invariants 1 and 2 of `ARCHITECTURE.md`. It reads Kafka with blocking calls, so it needs
/// a thread that may block.
pub async fn audit(
    kafka: &KafkaConfig,
    topics: &TopicConfig,
    database: &DatabaseConfig,
) -> anyhow::Result<Vec<Check>> {
    let (orders_topic, status_topic) = (topics.orders(), topics.kafka_status_topic.as_str());
    // The committed offsets first of all: a record that is committed later than this is not expected
    // below.
    let (scanner, records) = source(kafka, orders_topic, kafka.group("orders")).await?;
    let (_, statuses) = source(kafka, status_topic, kafka.group("status")).await?;
    let deliveries_topic = topics.kafka_deliveries_topic.as_str();
    let (delivery_scanner, delivered) =
        source(kafka, deliveries_topic, kafka.group("deliveries")).await?;
    let database = database.address()?.options().options([("search_path", "orders")]);
    let mut connection = PgConnection::connect_with(&database)
        .await
        .context("connecting to the order service's database")?;
    check_not_pooled(&mut connection, "orders").await?;
    let mut orders = tables::read(&mut connection).await?;
    let mut rejected = RejectedRows::read(&mut connection, orders_topic).await?;
    let deliveries = deliveries::read(&mut connection).await?;

    let mut checks =
        records::check(&scanner, &records, &mut orders, &mut rejected, &mut connection).await?;
    let letters = dead_letters(orders_topic);
    let letters = DeadLetters {
        topic: &letters,
        cleanup: cleanup(kafka, &letters).await,
        group: &records.group,
    };
    let mut check = Check::new(1, "every rejected record is on the dead-letter topic");
    rejected.look_for_letters(&mut check, &scanner, &letters, &records.committed)?;
    checks.push(check);

    let own = kafka.event_source("orders");
    let scanned =
        status_topic::scan(&scanner, &statuses, &own, &mut orders, &mut connection).await?;
    checks.push(scanned.recorded);
    checks.push(recorded::check_statuses(&mut connection).await?);
    checks.push(scanned.published.check_orders_exist(&mut connection).await?);
    checks.extend(published::check_all_published(&orders, &records, &scanned.topic));
    checks.push(deliveries::check(&delivery_scanner, &delivered, deliveries)?);
    connection.close().await.context("closing the connection to the order service's database")?;
    Ok(checks)
}

async fn source<'a>(
    kafka: &KafkaConfig,
    topic: &'a str,
    group: String,
) -> anyhow::Result<(Scanner, Source<'a>)> {
    let scanner = Scanner::new(kafka, &group)?;
    let committed = scanner.committed(topic)?;
    let cleanup = cleanup(kafka, topic).await;
    Ok((scanner, Source { topic, cleanup, group, committed }))
}
