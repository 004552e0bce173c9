//! Dead letters: rejected records on a topic of their own, with key and value as they were
//! received. They follow the commit, so each one is also in the table; this module reads no topic
//! and no table.

use super::{Original, Rejection};
use crate::{
    kafka::producer::{Attempt, OutgoingRecord, ProduceError, Producer},
    process::failpoint,
};

/// The most violations of a record that the header of its dead letter lists.
const MAX_LISTED_VIOLATIONS: usize = 10;

/// The forms of a dead letter, each smaller than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Form {
    Whole,
    WithoutValue,
    /// Also without the record's own headers.
    WithoutHeaders,
    /// Also with the record's id as its key.
    PositionOnly,
}

impl Form {
    pub(super) const ALL: [Self; 4] =
        [Self::Whole, Self::WithoutValue, Self::WithoutHeaders, Self::PositionOnly];

    /// Returns the largest form of a record's dead letter. A dead letter never contains a part of a
    /// key or of a value, because a reader could take it for all of it.
    fn largest(original: &Original) -> Self {
        if original.whole_key().is_some() {
            Self::PositionOnly
        } else if original.headers.left_out.is_some() {
            Self::WithoutHeaders
        } else if original.whole_value().is_some() {
            Self::WithoutValue
        } else {
            Self::Whole
        }
    }
}

/// Sends the rejected records of topic `from` to topic `to`, and waits until Kafka has acknowledged
/// all of them. A record that is cut or is too large for the topic is sent in a smaller [`Form`];
/// the table has what is kept of it.
pub async fn send(
    producer: &Producer,
    from: &str,
    to: &str,
    rejected: &[(&Original, &Rejection)],
) -> Result<(), ProduceError> {
    let letters = |attempt: Attempt, send: &mut dyn FnMut(OutgoingRecord<'_>)| {
        let rejected = rejected[attempt.number];
        let form = Form::ALL[usize::from(attempt.form)].max(Form::largest(rejected.0));
        letter(from, rejected, form, send);
    };
    let count = if failpoint::is_skipped("guard.dead-letter-sent") { 0 } else { rejected.len() };
    producer.send_all(to, count, Form::PositionOnly as u8, letters).await
}

/// Passes the dead letter of a record of the topic `from` to `send`.
pub(super) fn letter(
    from: &str,
    (original, rejection): (&Original, &Rejection),
    form: Form,
    send: &mut dyn FnMut(OutgoingRecord<'_>),
) {
    let listed = rejection.violations.iter().take(MAX_LISTED_VIOLATIONS);
    let detail: Vec<String> =
        listed.map(|one| format!("{} {}: {}", one.pointer, one.code, one.message)).collect();
    let detail = detail.join("\n");
    let partition = original.position.partition.to_string();
    let offset = original.position.offset.to_string();
    let id = format!("{from}:{partition}:{offset}");
    let mut headers = vec![
        ("waybill.error.reason", Some(rejection.reason.as_bytes())),
        ("waybill.error.detail", Some(detail.as_bytes())),
        ("__connect.errors.topic", Some(from.as_bytes())),
        ("__connect.errors.partition", Some(partition.as_bytes())),
        ("__connect.errors.offset", Some(offset.as_bytes())),
        ("__connect.errors.exception.message", Some(rejection.reason.as_bytes())),
    ];
    if form < Form::WithoutHeaders {
        headers.extend(original.headers());
    }
    if form != Form::Whole {
        headers.push(("waybill.truncated", Some(b"true")));
    }
    // A compacted topic refuses records without a key.
    let key = original.key().filter(|_| form < Form::PositionOnly).unwrap_or(id.as_bytes());
    let value = if form == Form::Whole { original.value() } else { Some(b"".as_slice()) };
    send(OutgoingRecord { key: Some(key), value, headers: &headers });
}
