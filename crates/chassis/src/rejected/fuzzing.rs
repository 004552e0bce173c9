//! Properties of a record's headers, for the fuzz targets: they hold for all names and values that a
//! producer may send.

use prometheus_client::registry::Registry;

use super::{
    Original, REPLAY_OF, RejectedId, Rejection, RejectionMetrics, ReplayOf, Violation,
    cut::OwnHeaders,
    dead_letter::{Form, letter},
};
use crate::{
    kafka::{
        fuzzing::with_headers,
        producer::OutgoingRecord,
        record::{Headers, MAX_TIMESTAMP_MS, Position},
    },
    process::trace::Trace,
};

type HeaderList<'a> = Vec<(&'a str, Option<&'a [u8]>)>;

const POSITION: Position =
    Position { timestamp_ms: 1_700_000_000_000, partition: 3, offset: 18_204 };

/// Reads a record from lines, and checks everything that a service does with its headers. The first
/// two lines are the key and the value, each other line is a header `name:value`. `-` is a null key
/// or value; a header without a colon has a null value.
pub(crate) fn assert_headers(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut part = || lines.next().filter(|part| *part != b"-");
    let (key, value) = (part(), part());
    let headers: HeaderList<'_> = lines.filter_map(header).collect();
    with_headers(&headers, |read| {
        assert_eq!(read.iter().collect::<Vec<_>>(), headers);
        assert_last_header_wins(&headers, read);

        let metrics = RejectionMetrics::register(&mut Registry::default());
        let original = Original::of_parts(POSITION, (key, value), read, &metrics);
        assert_eq!((original.key(), original.value()), (key, value));
        assert_replay(&original, read);
        assert_trace(original.trace);
        for form in Form::ALL {
            assert_dead_letter(&original, form);
        }
    });
}

fn header(line: &[u8]) -> Option<(&str, Option<&[u8]>)> {
    let mut parts = line.splitn(2, |byte| *byte == b':');
    let name = str::from_utf8(parts.next()?).ok().filter(|name| !name.contains('\0'))?;
    Some((name, parts.next()))
}

fn assert_last_header_wins(headers: &HeaderList<'_>, read: Headers<'_>) {
    for (name, _) in headers {
        let last = headers.iter().rfind(|(other, _)| other == name);
        let text = last.and_then(|(_, value)| str::from_utf8((*value)?).ok());
        assert_eq!(read.get(name), text, "{name:?}");
    }
}

fn assert_replay(original: &Original, read: Headers<'_>) {
    match ReplayOf::read(read) {
        Ok(Some(ReplayOf { id, timestamp_ms, .. })) => {
            assert_eq!(id.to_string().parse::<RejectedId>().as_ref(), Ok(&id));
            assert!(timestamp_ms.is_none_or(|it| (0..=MAX_TIMESTAMP_MS).contains(&it)));
            let kept = original.replay.as_ref().expect("a header that can be read is kept");
            assert_eq!(kept.id, id);
        }
        Ok(None) => assert!(read.get(REPLAY_OF).is_none() && original.replay.is_none()),
        // The record itself is processed.
        Err(_) => assert!(original.replay.is_none()),
    }
}

fn assert_trace(trace: Option<Trace>) {
    let Some(trace) = trace else { return };
    let written = trace.header();
    let text = str::from_utf8(&written).expect("the header is ASCII");
    assert_eq!(Trace::read(text), Some(trace));
    // A child has another step of the same trace.
    assert_eq!(trace.child().header()[..35], written[..35]);
}

fn assert_dead_letter(original: &Original, form: Form) {
    let violation = Violation {
        pointer: "/order_uid".to_owned(),
        code: "missing".to_owned(),
        message: "this field is required".to_owned(),
    };
    let rejection = Rejection { reason: "missing", violations: vec![violation] };
    let mut sent = 0;
    letter("orders", (original, &rejection), form, &mut |record| {
        sent += 1;
        assert_letter(original, form, &record);
    });
    assert_eq!(sent, 1);
}

fn assert_letter(original: &Original, form: Form, record: &OutgoingRecord<'_>) {
    let count = |name: &str| record.headers.iter().filter(|(other, _)| *other == name).count();
    for name in [
        "waybill.error.reason",
        "waybill.error.detail",
        "__connect.errors.topic",
        "__connect.errors.partition",
        "__connect.errors.offset",
        "__connect.errors.exception.message",
    ] {
        assert_eq!(count(name), 1, "{name} in {form:?}");
    }
    assert_eq!(count("waybill.truncated"), usize::from(form != Form::Whole));
    assert!(record.key.is_some());
    if form < Form::PositionOnly && original.key().is_some() {
        assert_eq!(record.key, original.key());
    }
    if form == Form::Whole {
        assert_eq!(record.value, original.value());
    }
    if form < Form::WithoutHeaders {
        // A dead letter that is rejected again has the same headers of its own.
        let own = with_headers(record.headers, OwnHeaders::of);
        assert_eq!(own.kept, original.headers.kept);
    }
}
