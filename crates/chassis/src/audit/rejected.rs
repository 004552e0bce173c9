//! The audit check that each rejected record has a dead letter. It reads the table and the
//! dead-letter topic; whether a record should have been rejected is checked by the services.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use crate::{
    audit::check::Check,
    kafka::{
        record::{Position, Record, milliseconds},
        topic_scan::{Ends, Scanner},
    },
};

/// Returns the positions of the rejected records of `topic`. The search path of the connection
/// decides the schema of the table.
pub async fn kept(
    connection: &mut PgConnection,
    topic: &str,
) -> Result<HashSet<Position>, sqlx::Error> {
    let rows = sqlx::query!(
        "-- kept\n\
         SELECT \"partition\", \"offset\", record_timestamp FROM rejected_records WHERE topic = $1",
        topic
    )
    .fetch_all(connection)
    .await?;
    let positions = rows.into_iter().map(|row| Position {
        timestamp_ms: milliseconds(row.record_timestamp),
        partition: row.partition,
        offset: row.offset,
    });
    Ok(positions.collect())
}

/// Checks that each rejected record of `topic` before the `committed` offsets has a dead letter on
/// the topic `to`.
pub fn dead_letters(
    mut check: Check,
    scanner: &Scanner,
    topic: &str,
    to: &str,
    committed: &Ends,
    kept: &HashSet<Position>,
) -> anyhow::Result<Check> {
    let bounds = scanner.bounds(to)?;
    // If Kafka has deleted the oldest records of the topic, a missing dead letter may have been
    // among them: then nothing can be checked.
    if bounds.values().any(|(first, _)| *first > 0) {
        return Ok(check);
    }
    // A dead letter names the partition and the offset of its record, but not its timestamp. After
    // the source topic was re-created, two records may have the same offset; the earliest is
    // assumed.
    let mut earliest: HashMap<(i32, i64), i64> = HashMap::new();
    for Position { timestamp_ms, partition, offset } in kept {
        let known = earliest.entry((*partition, *offset)).or_insert(*timestamp_ms);
        *known = (*known).min(*timestamp_ms);
    }
    let ends = bounds.iter().map(|(partition, (_, end))| (*partition, *end)).collect();
    let (mut begun, mut begins) = (HashSet::new(), None);
    let mut seen = HashSet::new();
    scanner.read(to, &ends, |letter| {
        let Some(place) = original(&letter) else { return Ok(()) };
        if begun.insert(letter.position.partition)
            && let Some(rejected_ms) = earliest.get(&place)
        {
            begins = Some(begins.map_or(*rejected_ms, |begins: i64| begins.min(*rejected_ms)));
        }
        seen.insert(place);
        Ok(())
    })?;
    for Position { timestamp_ms, partition, offset } in kept {
        // A record that is older than the record of each partition's first dead letter: its own
        // dead letter was sent to an earlier topic of this name, so it is not checked.
        let is_on_this_topic = begins.is_none_or(|begins| begins <= *timestamp_ms);
        // A record at or after the committed offset may not have been published yet.
        if is_on_this_topic && committed.get(partition).is_some_and(|next| offset < next) {
            let is_seen = seen.contains(&(*partition, *offset));
            check.look(is_seen, || format!("{topic}:{partition}:{offset}"));
        }
    }
    Ok(check)
}

fn original(letter: &Record<'_>) -> Option<(i32, i64)> {
    let partition = letter.header("__connect.errors.partition")?.parse().ok()?;
    Some((partition, letter.header("__connect.errors.offset")?.parse().ok()?))
}
