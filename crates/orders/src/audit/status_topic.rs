//! Reads the status topic once, partition by partition, for two comparisons: with the rows of
//! `orders`, and with the rows of `order_events`, which come in the same order.

use chassis::{
    audit::{check::Check, rejected::Due, scanned::ScannedTopic},
    kafka::topic_scan::Scanner,
};
use events::StatusEvent;
use sqlx::PgConnection;

use crate::status::consumer::is_own_creation;

use super::{Source, published::Published, recorded::RecordedEvents, tables::Orders};

/// The results of the scan.
pub(super) struct StatusTopic<'a> {
    pub(super) topic: ScannedTopic,
    pub(super) published: Published<'a>,
    /// The check of the rows of `order_events`.
    pub(super) recorded: Check,
}

/// Reads the topic up to its current end.
pub(super) async fn scan<'a>(
    scanner: &Scanner,
    source: &Source<'_>,
    own: &'a str,
    orders: &mut Orders,
    connection: &mut PgConnection,
) -> anyhow::Result<StatusTopic<'a>> {
    let Source { topic, cleanup, group, committed } = source;
    let mut published = Published::by(own);
    // The statement begins before the end of the topic is read. So each of its rows has its record
    // before the end.
    let mut rows = RecordedEvents::query(connection, topic).await?;
    let mut scanned = ScannedTopic::new(topic, &scanner.bounds(topic)?, *cleanup);
    let mut scan = scanner.scan(topic, &scanned.ends())?;
    while let Some(record) = scan.next_record()? {
        scanned.see(&record);
        let event = StatusEvent::read(record.value).ok();
        if let Some(event) = &event {
            published.see(&record, event, orders);
        }
        let due = match Due::of(record.position, committed) {
            // Earlier versions recorded these events.
            Due::Committed if is_own_creation(record, own) => Due::NotYet,
            due => due,
        };
        rows.look(record.position, event.as_ref(), due, &scanned).await?;
    }
    drop(scan);
    scanned.finish(&scanner.bounds(topic)?);
    let mut recorded = rows.finish(&scanned).await?;
    scanned.skip_unread(&mut recorded, committed, group);
    Ok(StatusTopic { topic: scanned, published, recorded })
}
