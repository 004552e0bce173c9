//! Compares the `created` and `updated` events of this service on the status topic with the rows of
//! the table `orders`.

use std::collections::HashSet;

use chassis::{
    audit::{
        check::Check,
        scanned::{ScannedTopic, no_offset},
    },
    kafka::record::Record,
};
use events::{OrderStatus, OrderUid, StatusEvent, StatusWord};
use sqlx::PgConnection;

use super::{Source, tables::Orders};
use crate::{ingest::publish::FORMER_SOURCE, order::FIRST_VERSION};

/// The `created` and `updated` events of this service.
pub(super) struct Published<'a> {
    /// The header `ce_source` of this installation's events.
    source: &'a str,
    count: u64,
    /// Orders that were not in the table when it was read.
    unknown: HashSet<OrderUid>,
}

impl<'a> Published<'a> {
    pub(super) fn by(source: &'a str) -> Self {
        Self { source, count: 0, unknown: HashSet::new() }
    }

    pub(super) fn see(&mut self, record: &Record<'_>, event: &StatusEvent, orders: &mut Orders) {
        let is_created = event.word == StatusWord::Status(OrderStatus::Created);
        if !is_created && event.word != StatusWord::Updated {
            return;
        }
        let is_own = |from: &str| from == self.source || from == FORMER_SOURCE;
        if !record.header("ce_source").is_some_and(is_own) {
            return;
        }
        self.count += 1;
        match orders.by_uid.get_mut(&event.order_id) {
            Some(row) if is_created => row.is_created = true,
            Some(row) => {
                // An event of an earlier version may not have the version of the order.
                let version = event.version.unwrap_or(i32::MAX);
                row.updated_version = version.max(row.updated_version);
            }
            None => {
                self.unknown.insert(event.order_id.clone());
            }
        }
    }

    /// Queries the table again, because an order may have been stored after it was read.
    pub(super) async fn check_orders_exist(
        &self,
        connection: &mut PgConnection,
    ) -> anyhow::Result<Check> {
        let check = Check::new(2, "created and updated are published only for stored orders");
        let asked: Vec<String> = self.unknown.iter().map(|uid| uid.as_str().to_owned()).collect();
        let missing = sqlx::query_scalar!(
            "-- audit_published\n\
             SELECT asked.order_uid AS \"order_uid!\" FROM UNNEST ($1::text[]) AS asked (order_uid) \
             WHERE NOT EXISTS (SELECT FROM orders.orders WHERE order_uid = asked.order_uid)",
            &asked,
        )
        .fetch_all(connection)
        .await?;
        let broken = missing.len() as u64;
        Ok(check.counted(self.count, broken, missing))
    }
}

/// Checks that each row whose record is before the committed offset has its events.
pub(super) fn check_all_published(
    orders: &Orders,
    source: &Source<'_>,
    scanned: &ScannedTopic,
) -> [Check; 2] {
    let mut created = Check::new(2, "created is published for every stored order");
    let mut updated = Check::new(2, "updated is published for every order that was replaced");
    let oldest_ms = orders.by_uid.values().map(|row| row.ingested_ms).min();
    let since_ms = scanned.complete_since(oldest_ms.unwrap_or(i64::MAX));
    for (uid, row) in &orders.by_uid {
        let is_replaced = row.version > FIRST_VERSION;
        updated.note_read();
        let mut skip = |reason: &str| {
            created.skip(u64::from(!row.is_created), reason);
            updated.skip(u64::from(is_replaced), reason);
        };
        let Some(next) = source.committed.get(&row.position.partition) else {
            skip(&no_offset(&source.group));
            continue;
        };
        // The events of a record at or after the committed offset may not be sent yet.
        if row.position.offset >= *next {
            continue;
        }
        // The events are sent after the order is stored.
        let is_expected = since_ms.is_some_and(|since_ms| since_ms <= row.ingested_ms);
        if row.is_created || is_expected {
            created.look(row.is_created, || uid.as_str().to_owned());
        } else {
            created.skip(1, &scanned.incomplete());
        }
        let is_updated = row.updated_version >= row.version;
        match (is_replaced, is_updated || is_expected) {
            (false, _) => {}
            (true, true) => updated.look(is_updated, || uid.as_str().to_owned()),
            (true, false) => updated.skip(1, &scanned.incomplete()),
        }
    }
    [created, updated]
}
