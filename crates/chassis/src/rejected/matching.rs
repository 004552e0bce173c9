//! Finds the rejected records of a filter, newest first.
//!
//! A filter may match few of many records, and no index finds a text in a value. So the records are
//! examined in steps along an index, until a page is full or [`SEARCH_TIME`] is over. So a page may
//! have fewer records than its limit, even none, and still have a cursor: the next page continues the
//! search after the last record that was examined. The index selects by key, reason or state; all
//! other filters are checked for each record.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use sqlx::{PgConnection, PgPool, types::Json};
use time::OffsetDateTime;

use super::{Filter, MAX_COUNTED, RejectedId, RejectedRow, Replay, State, Violation};
use crate::{
    http::paging,
    postgres::{read::Reader, time_limit::LIST},
};

/// The time after which no further step is begun. One step with the largest values may take
/// seconds.
const SEARCH_TIME: Duration = Duration::from_secs(1);
/// The records that one step examines, if an index alone does not decide.
const STEP: i64 = 200;
/// The size at which a page ends, in bytes.
const MAX_BYTES: usize = 4 << 20;

/// The record after which a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) at: OffsetDateTime,
    pub(super) id: RejectedId,
}

impl Cursor {
    pub(super) fn of(row: &RejectedRow) -> Self {
        Self { at: row.rejected_at, id: row.id() }
    }

    /// Returns the `after` of the page that begins here.
    pub(super) fn text(&self) -> String {
        paging::cursor(self.at, &self.id.to_string())
    }
}

/// A page of the records that match.
#[derive(Debug)]
pub struct Matching {
    pub rows: Vec<RejectedRow>,
    /// The `after` of the next page; `None` if there is none.
    pub next: Option<String>,
}

/// The number of records that match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    pub count: u64,
    /// False if there are or may be more.
    pub is_exact: bool,
}

impl Counted {
    /// Returns the count of the records that are left, given the number that
    /// [`count`](super::count) returns.
    #[must_use]
    pub fn of_left(count: u64) -> Self {
        let limit = MAX_COUNTED.unsigned_abs();
        Self { count: count.min(limit), is_exact: count <= limit }
    }
}

/// Returns a page of at most `limit` records.
pub(super) async fn page(
    pool: &PgPool,
    filter: &Filter,
    mut after: Option<Cursor>,
    limit: i64,
) -> Result<Matching, sqlx::Error> {
    let began = Instant::now();
    let mut reader = Reader::new(pool, LIST);
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let size = if is_decided_by_index(filter) { limit + 1 } else { STEP };
    let (mut rows, mut bytes): (Vec<RejectedRow>, usize) = (Vec::new(), 0);
    loop {
        let step = Step { filter, after: after.as_ref(), size, with_rows: true };
        let left = MAX_BYTES.saturating_sub(bytes);
        let examined = reader.read(async |connection| step.examine(connection, left).await).await?;
        let is_last = examined.is_last(size);
        for (row, matches) in examined.rows {
            bytes += row.bytes();
            if rows.len() == wanted || (bytes > MAX_BYTES && !rows.is_empty()) {
                // At least this record comes after the page.
                let next = rows.last().map(|last| Cursor::of(last).text());
                return Ok(Matching { rows, next });
            }
            after = Some(Cursor::of(&row));
            if matches {
                rows.push(row);
            }
        }
        if is_last {
            return Ok(Matching { rows, next: None });
        }
        if began.elapsed() > SEARCH_TIME {
            return Ok(Matching { rows, next: after.as_ref().map(Cursor::text) });
        }
    }
}

/// Counts the records, up to [`MAX_COUNTED`] and for [`SEARCH_TIME`].
pub(super) async fn count(pool: &PgPool, filter: &Filter) -> Result<Counted, sqlx::Error> {
    let began = Instant::now();
    let mut reader = Reader::new(pool, LIST);
    let size = if is_decided_by_index(filter) { MAX_COUNTED + 1 } else { STEP };
    let (mut counted, mut after) = (0, None);
    loop {
        let step = Step { filter, after: after.as_ref(), size, with_rows: false };
        let examined =
            reader.read(async |connection| step.examine(connection, MAX_BYTES).await).await?;
        counted += examined.matching;
        let is_last = examined.is_last(size);
        if counted > MAX_COUNTED {
            return Ok(Counted { count: MAX_COUNTED.unsigned_abs(), is_exact: false });
        }
        if is_last || began.elapsed() > SEARCH_TIME {
            return Ok(Counted { count: counted.unsigned_abs(), is_exact: is_last });
        }
        after = examined.rows.last().map(|(row, _)| Cursor::of(row));
    }
}

/// Returns true if each record that a step examines matches.
fn is_decided_by_index(filter: &Filter) -> bool {
    let Filter { reason, key, field, text, state, .. } = filter;
    let is_narrowed = match (key, reason) {
        (Some(_), reason) => reason.is_none() && *state == State::Any,
        (None, Some(_)) => *state != State::Settled,
        (None, None) => true,
    };
    is_narrowed && field.is_none() && text.is_none()
}

/// The examination of the next records.
#[derive(Clone, Copy)]
struct Step<'a> {
    filter: &'a Filter,
    after: Option<&'a Cursor>,
    size: i64,
    /// True if the records that match are read; otherwise they are only counted.
    with_rows: bool,
}

/// The result of a step.
struct Examined {
    /// The records that match, and the last one that was examined, each with true if it matches.
    rows: Vec<(RejectedRow, bool)>,
    matching: i64,
    examined: i64,
    /// False if the records were too large to read all of them.
    is_whole: bool,
}

impl Examined {
    /// Returns true if a step of this size has examined the last record.
    fn is_last(&self, size: i64) -> bool {
        self.is_whole && self.examined < size
    }
}

/// A row of the statement.
struct ExaminedRow {
    topic: String,
    partition: i32,
    offset: i64,
    record_timestamp: OffsetDateTime,
    reason: String,
    violations: Json<Vec<Violation>>,
    replays: Json<Vec<Replay>>,
    rejected_at: OffsetDateTime,
    settled_at: Option<OffsetDateTime>,
    settled_by: Option<String>,
    settled_why: Option<String>,
    matches: bool,
    matching: i64,
    examined: i64,
}

impl Step<'_> {
    /// Reads the records of the step, and no further ones after `max_bytes`.
    async fn examine(
        self,
        connection: &mut PgConnection,
        max_bytes: usize,
    ) -> Result<Examined, sqlx::Error> {
        let filter = self.filter;
        let (at, id) = self.start().unzip();
        let id = id.flatten();
        let topic = id.as_ref().map(|id| id.topic.as_str());
        let partition = id.as_ref().map(|id| id.partition);
        let offset = id.as_ref().map(|id| id.offset);
        let (reason, field) = (filter.reason.as_deref(), filter.field.as_deref());
        let key = filter.key.as_deref().map(str::as_bytes);
        let text = filter.text.as_deref();
        let text_bytes = text.map(str::as_bytes);
        let settled = match filter.state {
            State::Left => Some(false),
            State::Settled => Some(true),
            State::Any => None,
        };
        // Each case is a statement of its own, so that it uses its own index. The first page begins
        // after the time `infinity`. The innermost query reads the records of the step, the next one
        // checks them; OFFSET 0 keeps the check from being repeated for each use of its result.
        macro_rules! examine {
            ($source:literal) => {
                sqlx::query_as!(
                    ExaminedRow,
                    "-- list_rejected\n\
                     SELECT topic AS \"topic!\", \"partition\" AS \"partition!\", \
                         \"offset\" AS \"offset!\", record_timestamp AS \"record_timestamp!\", \
                         reason AS \"reason!\", \
                         violations AS \"violations!: Json<Vec<Violation>>\", \
                         replays AS \"replays!: Json<Vec<Replay>>\", \
                         rejected_at AS \"rejected_at!\", settled_at AS \"settled_at?\", \
                         settled_by AS \"settled_by?\", settled_why AS \"settled_why?\", \
                         matches AS \"matches!\", matching AS \"matching!\", \
                         examined AS \"examined!\" \
                     FROM ( \
                         SELECT checked.*, count(*) OVER () AS examined, \
                             count(*) FILTER (WHERE matches) OVER () AS matching, \
                             row_number() OVER (ORDER BY rejected_at DESC, topic DESC, \
                                 \"partition\" DESC, \"offset\" DESC) AS number \
                         FROM ( \
                             SELECT step.*, \
                                 ($8::text IS NULL OR reason = $8) \
                                 AND ($9::bytea IS NULL OR key = $9) \
                                 AND ($10::boolean IS NULL OR (settled_at IS NOT NULL) = $10) \
                                 AND ($11::text IS NULL OR EXISTS ( \
                                     SELECT FROM jsonb_array_elements(violations) AS one \
                                     WHERE starts_with(one ->> 'pointer', $11))) \
                                 AND ($12::text IS NULL OR strpos(reason, $12) > 0 \
                                     OR strpos(topic || ':' || \"partition\" || ':' || \"offset\", \
                                         $12) > 0 \
                                     OR coalesce(position($13::bytea IN key), 0) > 0 \
                                     OR EXISTS ( \
                                         SELECT FROM jsonb_array_elements(violations) AS one \
                                         WHERE strpos(one ->> 'pointer', $12) > 0 \
                                             OR strpos(one ->> 'code', $12) > 0 \
                                             OR strpos(one ->> 'message', $12) > 0) \
                                     OR coalesce(position($13 IN value), 0) > 0) AS matches \
                             FROM ( \
                                 SELECT topic, \"partition\", \"offset\", record_timestamp, key, \
                                     value, reason, violations, replays, rejected_at, settled_at, \
                                     settled_by, settled_why \
                                 FROM rejected_records \
                                 WHERE " + $source
                        + "(rejected_at, topic, \"partition\", \"offset\") \
                                   < (coalesce($1, 'infinity'::timestamptz), coalesce($2, ''), \
                                      coalesce($3, 0), coalesce($4, 0::bigint)) \
                                   AND rejected_at >= coalesce($6, '-infinity'::timestamptz) \
                                 ORDER BY rejected_at DESC, topic DESC, \"partition\" DESC, \
                                     \"offset\" DESC \
                                 LIMIT $5 \
                             ) AS step OFFSET 0 \
                         ) AS checked \
                     ) AS numbered \
                     WHERE number = examined OR (matches AND $7) \
                     ORDER BY number",
                    at,
                    topic,
                    partition,
                    offset,
                    self.size,
                    filter.from,
                    self.with_rows,
                    reason,
                    key,
                    settled,
                    field,
                    text,
                    text_bytes,
                )
                .fetch(connection)
            };
        }
        let mut rows = match (key, reason, filter.state) {
            (Some(_), _, _) => examine!("key = $9 AND "),
            (None, Some(_), State::Left) => examine!("reason = $8 AND settled_at IS NULL AND "),
            (None, Some(_), _) => examine!("reason = $8 AND "),
            (None, None, State::Left) => examine!("settled_at IS NULL AND "),
            (None, None, State::Settled) => examine!("settled_at IS NOT NULL AND "),
            (None, None, State::Any) => examine!(""),
        };
        let mut result = Examined { rows: Vec::new(), matching: 0, examined: 0, is_whole: true };
        let mut bytes = 0;
        while let Some(row) = rows.try_next().await? {
            (result.matching, result.examined) = (row.matching, row.examined);
            let matches = row.matches;
            let row = row.into_row();
            bytes += row.bytes();
            result.rows.push((row, matches));
            // The caller ends the page with this row or before it, so the others are not needed.
            if bytes > max_bytes {
                result.is_whole = false;
                break;
            }
        }
        Ok(result)
    }

    /// Returns the place after which the step begins: the cursor, or the end of the filter's time if
    /// that is earlier. Without an id, it is after all records of this time.
    fn start(self) -> Option<(OffsetDateTime, Option<RejectedId>)> {
        match (self.after, self.filter.to) {
            (Some(after), Some(to)) if to <= after.at => Some((to, None)),
            (Some(after), _) => Some((after.at, Some(after.id.clone()))),
            (None, Some(to)) => Some((to, None)),
            (None, None) => None,
        }
    }
}

impl ExaminedRow {
    fn into_row(self) -> RejectedRow {
        RejectedRow {
            topic: self.topic,
            partition: self.partition,
            offset: self.offset,
            record_timestamp: self.record_timestamp,
            reason: self.reason,
            violations: self.violations,
            replays: self.replays,
            rejected_at: self.rejected_at,
            settled_at: self.settled_at,
            settled_by: self.settled_by,
            settled_why: self.settled_why,
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_search_begins_at_the_earlier_of_cursor_and_end() {
        let (early, late) = (datetime!(2026-03-01 12:00 UTC), datetime!(2026-03-02 12:00 UTC));
        let id: RejectedId = "orders:1:2".parse().unwrap();
        let start = |after: Option<OffsetDateTime>, to| {
            let filter = Filter { to, ..Filter::default() };
            let after = after.map(|at| Cursor { at, id: id.clone() });
            let step = Step { filter: &filter, after: after.as_ref(), size: 1, with_rows: true };
            step.start().map(|(at, id)| (at, id.is_some()))
        };
        assert_eq!(start(None, None), None);
        assert_eq!(start(None, Some(late)), Some((late, false)));
        assert_eq!(start(Some(early), Some(late)), Some((early, true)));
        assert_eq!(start(Some(late), Some(early)), Some((early, false)));
        // The records at this very time are not part of the filter.
        assert_eq!(start(Some(late), Some(late)), Some((late, false)));
    }

    #[test]
    fn an_index_decides_only_by_key_reason_and_state() {
        let text = || Some("x".to_owned());
        let filter = Filter::default;
        for (filter, is_decided) in [
            (filter(), true),
            (Filter { state: State::Settled, ..filter() }, true),
            (Filter { reason: text(), ..filter() }, true),
            (Filter { reason: text(), state: State::Any, ..filter() }, true),
            (Filter { reason: text(), state: State::Settled, ..filter() }, false),
            (Filter { key: text(), state: State::Any, ..filter() }, true),
            (Filter { key: text(), ..filter() }, false),
            (Filter { key: text(), reason: text(), state: State::Any, ..filter() }, false),
            (Filter { field: text(), ..filter() }, false),
            (Filter { text: text(), ..filter() }, false),
        ] {
            assert_eq!(is_decided_by_index(&filter), is_decided, "{filter:?}");
        }
    }
}
