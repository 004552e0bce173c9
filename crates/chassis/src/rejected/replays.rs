//! Replays of many records: one call replays a page of the records that match a filter. The client
//! repeats the call with the cursor of the answer, and may stop at any time: the service keeps no
//! state about it.
//!
//! A record is sent as it was received. Sending it twice is harmless: equal content changes nothing.
//! A record that is rejected again is newer than every cursor of this run, so it is not sent once more.

use std::time::{Duration, Instant};

use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    Filter, Matching, Outcome, RejectedId, RejectedQuery, RejectedRow, Replay,
    calls::{self, MIN_POLL_INTERVAL, ReplaySender, failed},
    filter::Parsed,
    matching::{self, Cursor},
    table,
};
use crate::http::{problem::Problem, problems};

/// The most records that one call replays.
pub const MAX_REPLAYED: i64 = 100;

/// The time after which a call begins to send no further record.
const SEND_TIME: Duration = Duration::from_secs(4);
/// The longest wait until the replays of a call have been read from the topic.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The calls of this process that run at the same time. Each may search many records, so a flood of them
/// would otherwise take all connections to PostgreSQL.
static CALLS: Semaphore = Semaphore::const_new(4);
/// The longest wait for the end of another call.
const CALL_WAIT: Duration = Duration::from_secs(5);

/// The answer to a call.
#[derive(Debug)]
pub struct Replayed {
    pub results: Vec<ReplayedRecord>,
    pub filter: Filter,
    /// The `after` of the next call; `None` if no record is left.
    pub next: Option<String>,
    pub limit: i64,
}

/// A record of the call, and its result.
#[derive(Debug)]
pub struct ReplayedRecord {
    pub id: RejectedId,
    pub result: ReplayResult,
}

#[derive(Debug)]
pub enum ReplayResult {
    Accepted,
    /// The replay was rejected, and is a rejected record with this id.
    Rejected(RejectedId),
    /// Kafka has the replay, but the service has not read it yet.
    Sent,
    NotSent(Problem),
}

/// Replays a page of the records that match.
///
/// If Kafka or PostgreSQL stops answering after some records, the answer has these records, and the
/// next call begins after them.
pub async fn replay(
    pool: &PgPool,
    sender: ReplaySender<'_>,
    query: RejectedQuery,
) -> Result<Replayed, Problem> {
    let Parsed { filter, limit, after } = query.parse(MAX_REPLAYED)?;
    let Ok(place) = timeout(CALL_WAIT, CALLS.acquire()).await else {
        return Err(problems::TOO_MANY_REQUESTS.problem());
    };
    let _place = place.expect("the semaphore is never closed");
    let page = matching::page(pool, &filter, after, limit).await;
    let Matching { rows, mut next } = page.map_err(|error| failed(&error))?;
    let began = Instant::now();
    let mut done: Vec<(&RejectedRow, Option<Problem>)> = Vec::with_capacity(rows.len());
    for row in &rows {
        if began.elapsed() > SEND_TIME {
            break;
        }
        match send(pool, sender, row).await {
            Err(problem) if problem.is_transient() && done.is_empty() => return Err(problem),
            Err(problem) if problem.is_transient() => break,
            sent => done.push((row, sent.err())),
        }
    }
    if done.len() < rows.len() {
        next = done.last().map(|(row, _)| Cursor::of(row).text());
    }
    let sent: Vec<&RejectedRow> =
        done.iter().filter(|(_, problem)| problem.is_none()).map(|(row, _)| *row).collect();
    let mut read = wait_until_read(pool, sender.topic, &sent).await.into_iter();
    let result = |(row, problem): (&RejectedRow, Option<Problem>)| ReplayedRecord {
        id: row.id(),
        result: match problem {
            Some(problem) => ReplayResult::NotSent(problem),
            None => read.next().expect("each record that was sent has a result"),
        },
    };
    Ok(Replayed { results: done.into_iter().map(result).collect(), filter, next, limit })
}

async fn send(pool: &PgPool, sender: ReplaySender<'_>, row: &RejectedRow) -> Result<(), Problem> {
    // One record after the other: each may have 1 MiB, and 100 of them at once would be too much.
    let record = table::find_content(pool, row).await.map_err(|error| failed(&error))?;
    let record = record.ok_or_else(|| problems::NO_SUCH_REJECTED_RECORD.problem())?;
    calls::send(sender, &record, b"", |_| None).await
}

/// Waits at most [`READ_TIMEOUT`] until the service has read the replays of these records, and returns
/// their results. A timeout or a database that does not answer is not a failure, because Kafka has
/// acknowledged the replays.
async fn wait_until_read(pool: &PgPool, topic: &str, rows: &[&RejectedRow]) -> Vec<ReplayResult> {
    let deadline = Instant::now() + READ_TIMEOUT;
    let mut replays: Vec<Vec<Replay>> = vec![Vec::new(); rows.len()];
    let has_new = |row: &RejectedRow, replays: &[Replay]| replays.len() > row.replays.len();
    while !rows.is_empty() {
        if let Ok(stored) = table::replays_of(pool, rows).await {
            replays = stored;
        }
        // If two clients replay the same record, the replay of the other one may be taken for this
        // one: both sent the same bytes. Of a record with the most replays, no further one is stored.
        let is_known = |(row, replays): (&&RejectedRow, &Vec<Replay>)| {
            has_new(row, replays) || row.replays.len() >= table::MAX_REPLAYS as usize
        };
        if rows.iter().zip(&replays).all(is_known) || Instant::now() > deadline {
            break;
        }
        tokio::time::sleep(MIN_POLL_INTERVAL).await;
    }
    let result = |(row, replays): (&&RejectedRow, &Vec<Replay>)| {
        let latest = replays.iter().max_by_key(|replay| replay.at);
        match latest.filter(|_| has_new(row, replays)) {
            Some(Replay { outcome: Some(Outcome::Accepted), .. }) => ReplayResult::Accepted,
            Some(Replay { outcome: Some(Outcome::Rejected), partition, offset, .. }) => {
                let (partition, offset) = (*partition, *offset);
                ReplayResult::Rejected(RejectedId { topic: topic.to_owned(), partition, offset })
            }
            Some(Replay { outcome: None, .. }) | None => ReplayResult::Sent,
        }
    };
    rows.iter().zip(&replays).map(result).collect()
}

impl IntoResponse for Replayed {
    fn into_response(self) -> Response {
        let results: Vec<Value> = self.results.iter().map(ReplayedRecord::json).collect();
        axum::Json(json!({ "results": results, "next": self.next })).into_response()
    }
}

impl ReplayedRecord {
    fn json(&self) -> Value {
        let (result, rejected_as, problem) = match &self.result {
            ReplayResult::Accepted => ("accepted", None, None),
            ReplayResult::Rejected(id) => ("rejected", Some(id.to_string()), None),
            ReplayResult::Sent => ("sent", None, None),
            ReplayResult::NotSent(problem) => ("not_sent", None, Some(&problem.detail)),
        };
        json!({
            "id": self.id.to_string(),
            "result": result,
            "rejected_as": rejected_as,
            "detail": problem,
        })
    }
}
