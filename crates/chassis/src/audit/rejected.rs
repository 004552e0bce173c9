//! A recount of rejected records and their dead letters, for tools.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use crate::{
    audit::check::Check,
    kafka::{
        record::{Position, Record, milliseconds},
        topic_scan::{Ends, Scanner},
    },
};

/// Where the kept records of `topic` stood. Names without a schema are those of the service's.
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

/// Looks for a dead letter on the topic `to` of every kept record of `topic` before the `committed`
/// offsets.
pub fn dead_letters(
    mut check: Check,
    scanner: &Scanner,
    topic: &str,
    to: &str,
    committed: &Ends,
    kept: &HashSet<Position>,
) -> anyhow::Result<Check> {
    let bounds = scanner.bounds(to)?;
    // Where the topic has forgotten its beginning, what is missing may have been there.
    if bounds.values().any(|(first, _)| *first > 0) {
        return Ok(check);
    }
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
            && let Some(told) = earliest.get(&place)
        {
            begins = Some(begins.map_or(*told, |begins: i64| begins.min(*told)));
        }
        seen.insert(place);
        Ok(())
    })?;
    for Position { timestamp_ms, partition, offset } in kept {
        // What is older than all that the first letters are of was told on a topic that is no more.
        let is_told_here = begins.is_none_or(|begins| begins <= *timestamp_ms);
        if is_told_here && committed.get(partition).is_some_and(|next| offset < next) {
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
