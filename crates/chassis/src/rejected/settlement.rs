//! Settling rejected records: an operator marks a record that needs no more work, with a note, and can
//! undo it. Nothing else changes: a settled record stays stored and can be replayed.

use serde_json::Value;
use sqlx::{PgConnection, PgPool};

use super::{RejectedId, RejectedRow, Violation, table::find_row_on};
use crate::{
    http::{actor::Actor, problem::Problem, problems},
    postgres::{
        time_limit::{CHANGE, limit_lock_wait},
        transaction::change,
    },
};

/// The longest note, in characters.
const MAX_NOTE_CHARS: usize = 1_000;

/// A change of a record's state.
#[derive(Debug, Clone, Copy)]
pub enum Settlement<'a> {
    /// A record that is settled already is not changed: the note of the first operator stays.
    Settle {
        by: Option<&'a Actor>,
        note: &'a str,
    },
    Reopen,
}

/// Parses the body of a call that settles a record: `{"note": "…"}`, or nothing.
pub fn parse_note(body: &[u8]) -> Result<String, Problem> {
    if body.is_empty() {
        return Ok(String::new());
    }
    let refuse = |pointer: &str, code: &str, message: &str| {
        let (pointer, code, message) = (pointer.to_owned(), code.to_owned(), message.to_owned());
        problems::INVALID_BODY.with_violations(vec![Violation { pointer, code, message }])
    };
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return Err(refuse("", "invalid_json", "the body must be JSON"));
    };
    let Value::Object(mut fields) = body else {
        return Err(refuse("", "not_an_object", "the body must be an object"));
    };
    let note = match fields.remove("note") {
        None => String::new(),
        Some(Value::String(note)) => note,
        Some(_) => return Err(refuse("/note", "wrong_type", "must be a text")),
    };
    if let Some(name) = fields.keys().next() {
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        return Err(refuse(&pointer, "unknown_field", "the only field is `note`"));
    }
    if note.chars().count() > MAX_NOTE_CHARS {
        return Err(refuse("/note", "too_long", "must have at most 1000 characters"));
    }
    if note.chars().any(|char| char.is_control() && !matches!(char, '\n' | '\r' | '\t')) {
        return Err(refuse("/note", "control_character", "must not hold control characters"));
    }
    Ok(note)
}

/// Changes the state of the newest record with this id, and returns the record as it is then.
pub async fn apply(
    pool: &PgPool,
    id: &str,
    settlement: Settlement<'_>,
) -> Result<RejectedRow, Problem> {
    let id: RejectedId = id.parse().map_err(|rule: &str| problems::MALFORMED_ID.with(rule))?;
    let row = change(pool, CHANGE, async |transaction| -> Result<_, sqlx::Error> {
        // A batch that records a replay of this record may hold its lock.
        limit_lock_wait(transaction).await?;
        match settlement {
            Settlement::Settle { by, note } => settle(transaction, &id, by, note).await?,
            Settlement::Reopen => reopen(transaction, &id).await?,
        }
        find_row_on(transaction, &id).await
    });
    let row = row.await.map_err(|error| problems::of_database("settling a record", &error))?;
    row.ok_or_else(|| problems::NO_SUCH_REJECTED_RECORD.problem())
}

async fn settle(
    transaction: &mut PgConnection,
    id: &RejectedId,
    by: Option<&Actor>,
    note: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "-- settle_rejected\n\
         UPDATE rejected_records SET settled_at = now(), settled_by = $4, settled_why = $5 \
         WHERE topic = $1 AND \"partition\" = $2 AND \"offset\" = $3 AND settled_at IS NULL \
             AND record_timestamp = ( \
                 SELECT max(newest.record_timestamp) FROM rejected_records AS newest \
                 WHERE newest.topic = $1 AND newest.\"partition\" = $2 AND newest.\"offset\" = $3)",
        id.topic,
        id.partition,
        id.offset,
        by.map(AsRef::as_ref),
        note,
    )
    .execute(transaction)
    .await?;
    Ok(())
}

async fn reopen(transaction: &mut PgConnection, id: &RejectedId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "-- reopen_rejected\n\
         UPDATE rejected_records SET settled_at = NULL, settled_by = NULL, settled_why = NULL \
         WHERE topic = $1 AND \"partition\" = $2 AND \"offset\" = $3 AND settled_at IS NOT NULL \
             AND record_timestamp = ( \
                 SELECT max(newest.record_timestamp) FROM rejected_records AS newest \
                 WHERE newest.topic = $1 AND newest.\"partition\" = $2 AND newest.\"offset\" = $3)",
        id.topic,
        id.partition,
        id.offset,
    )
    .execute(transaction)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_a_text_or_nothing() {
        for (body, note) in [
            ("", ""),
            ("{}", ""),
            (r#"{"note":""}"#, ""),
            (r#"{"note":"asked the\nproducer — готово"}"#, "asked the\nproducer — готово"),
        ] {
            assert_eq!(parse_note(body.as_bytes()).unwrap(), note, "{body}");
        }
        let long = format!(r#"{{"note":"{}"}}"#, "ж".repeat(1_001));
        for (body, pointer) in [
            ("{", ""),
            ("[]", ""),
            (r#"{"note":7}"#, "/note"),
            (r#"{"note":null}"#, "/note"),
            (r#"{"note":"\u0007"}"#, "/note"),
            (&long, "/note"),
            (r#"{"no/te":""}"#, "/no~1te"),
        ] {
            let problem = parse_note(body.as_bytes()).unwrap_err();
            assert_eq!((problem.status, &*problem.errors[0].pointer), (422, pointer), "{body}");
        }
    }
}
