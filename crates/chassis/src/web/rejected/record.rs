//! The page of one rejected record: its violations, its text with each of them at its place, its
//! replays, and the forms that replay, edit and settle it.

use super::{
    Kind, KindTexts, RejectedWords,
    lines::{Line, lines},
    position, rejected_path,
};
use crate::{
    rejected::{
        Outcome, RejectedId, RejectedRecord, RejectedRow, Replay, Stored, Violation, json_text,
        place,
    },
    web::{
        Lang, MAX_TEXT_BYTES, TextOrHex, machine_time, time_markup,
        words::{BytesWords, counted, fill},
    },
};

pub struct RecordView<'a> {
    pub words: &'static RejectedWords,
    pub texts: &'static KindTexts,
    pub id: String,
    pub position: String,
    pub reason: &'a str,
    pub at: String,
    pub rules_title: String,
    pub rules: Vec<RuleView<'a>>,
    pub size: Option<String>,
    pub key: Option<TextOrHex>,
    pub value: Option<ValueView>,
    pub headers: Vec<HeaderView<'a>>,
    pub headers_left_out: Option<String>,
    /// The note that the record can only be replayed with a new body, if that is so.
    pub only_a_new_body: Option<&'static str>,
    /// The value, if it is text and short enough for a form; empty if only a part of it is stored.
    pub editable: Option<String>,
    pub replays: Vec<ReplayView>,
    pub settled: Option<SettledView<'a>>,
    /// The path of the record; those of its calls begin with it.
    pub path: String,
    pub live: String,
}

/// A violation as a page shows it.
pub struct RuleView<'a> {
    pub pointer: &'a str,
    pub code: &'a str,
    pub text: String,
    /// The number of the line that shows it, and the text of the link to that line.
    pub place: Option<(usize, String)>,
}

/// A value as a page shows it.
pub enum ValueView {
    Text {
        lines: Vec<Line>,
        /// True if white space was added.
        is_on_lines: bool,
        cut: Option<String>,
    },
    Hex(TextOrHex),
}

pub struct HeaderView<'a> {
    pub name: &'a str,
    pub value: Option<String>,
}

pub struct ReplayView {
    pub text: String,
    pub machine: String,
    pub exact: String,
    pub position: String,
    /// The text and the tone of its result.
    pub result: Option<(&'static str, &'static str)>,
    /// The address of the rejected record that it is.
    pub rejected_as: Option<String>,
}

/// The end of the work on a record.
pub struct SettledView<'a> {
    pub text: &'static str,
    pub at: String,
    pub by: Option<String>,
    pub note: Option<&'a str>,
}

impl<'a> RecordView<'a> {
    #[must_use]
    pub fn of(kind: &Kind<'_>, record: &'a RejectedRecord) -> Self {
        let (lang, words, bytes) = (kind.lang, kind.words(), BytesWords::of(kind.lang));
        let violations = &record.violations.0;
        let value = record.value.as_ref();
        let text = value.and_then(ShownText::of);
        let places = match &text {
            // Where a text is cut, it stops being JSON without a violation.
            Some(text) if !text.is_cut => place::of_violations(&text.text, violations),
            Some(text) => {
                let pointers: Vec<_> = violations.iter().map(|one| one.pointer.as_str()).collect();
                place::find(&text.text, &pointers).fields
            }
            None => vec![None; violations.len()],
        };
        let rules = violations.iter().zip(&places).map(|(one, place)| {
            let start = place.as_ref().map(|place| place.start);
            RuleView::of(kind, one, text.as_ref().zip(start).map(|(text, at)| text.line(at)))
        });
        let rules: Vec<_> = rules.collect();
        let notes = violations.iter().zip(places);
        let notes = notes.filter_map(|(one, place)| Some((place?, kind.violation(one).to_owned())));
        Self {
            words,
            texts: kind.texts,
            id: record.id().to_string(),
            position: position(&record.id()),
            reason: &record.reason,
            at: time_markup(lang, record.rejected_at),
            rules_title: counted(lang, &words.violations, violations.len()),
            rules,
            size: value.map(|value| counted(lang, &bytes.bytes, length(value))),
            key: record.key.as_ref().map(|key| TextOrHex::of(lang, key)),
            editable: editable(record, text.as_ref()),
            value: value.map(|value| match text {
                Some(text) => ValueView::Text {
                    lines: lines(&text.text, notes.collect()),
                    is_on_lines: text.is_on_lines,
                    cut: TextOrHex::of(lang, value).cut,
                },
                None => ValueView::Hex(TextOrHex::of(lang, value)),
            }),
            headers: header_views(lang, record),
            headers_left_out: record
                .headers_left_out
                .map(|length| counted(lang, &bytes.headers_left_out, as_usize(length))),
            only_a_new_body: record.is_cut().then_some(bytes.only_a_new_body),
            replays: record
                .replays_in_order()
                .iter()
                .map(|one| ReplayView::of(kind, one))
                .collect(),
            settled: SettledView::of(kind, &record.row),
            path: rejected_path(&record.id()),
            live: words.live_json(),
        }
    }
}

impl<'a> RuleView<'a> {
    pub(super) fn of(kind: &Kind<'_>, violation: &'a Violation, line: Option<usize>) -> Self {
        Self {
            pointer: &violation.pointer,
            code: &violation.code,
            text: kind.violation(violation).to_owned(),
            place: line.map(|line| (line, fill(kind.words().line, line.to_string()))),
        }
    }
}

/// The text of a value as the page shows it.
struct ShownText {
    text: String,
    is_on_lines: bool,
    /// True if the end of the value is not shown.
    is_cut: bool,
}

impl ShownText {
    /// Returns the beginning of a value that is text. JSON on one line is shown on several ones.
    fn of(value: &Stored) -> Option<Self> {
        let text = value.text()?;
        let end = text.floor_char_boundary(MAX_TEXT_BYTES);
        let is_cut = value.is_cut() || end < text.len();
        match json_text::on_lines(text).filter(|_| !is_cut) {
            Some(text) => Some(Self { text, is_on_lines: true, is_cut }),
            None => Some(Self { text: text[..end].to_owned(), is_on_lines: false, is_cut }),
        }
    }

    fn line(&self, at: usize) -> usize {
        place::line_and_column(&self.text, at).0
    }
}

fn editable(record: &RejectedRecord, text: Option<&ShownText>) -> Option<String> {
    match (&record.value, text) {
        (Some(value), _) if value.is_cut() => Some(String::new()),
        (Some(_), Some(text)) if !text.is_cut => Some(text.text.clone()),
        (Some(_), _) => None,
        (None, _) => Some(String::new()),
    }
}

/// Returns the length of a key or a value as it was received.
fn length(stored: &Stored) -> usize {
    stored.whole.as_ref().map_or(stored.bytes.len(), |whole| as_usize(whole.length))
}

fn as_usize(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

fn header_views(lang: Lang, record: &RejectedRecord) -> Vec<HeaderView<'_>> {
    let headers = record.headers.iter().flatten();
    headers
        .map(|header| {
            let value = header.value.clone();
            let shown = value.map(|bytes| TextOrHex::of(lang, &Stored { bytes, whole: None }).text);
            HeaderView { name: &header.name, value: shown }
        })
        .collect()
}

impl ReplayView {
    fn of(kind: &Kind<'_>, replay: &Replay) -> Self {
        let words = kind.words();
        let (partition, offset) = (replay.partition, replay.offset);
        let id = RejectedId { topic: kind.topic.to_owned(), partition, offset };
        let mut text =
            if replay.edited { words.replayed_edited } else { words.replayed_as_is }.to_owned();
        if let Some(by) = &replay.by {
            text = format!("{text} {}", fill(words.by, by));
        }
        Self {
            text,
            machine: machine_time(replay.at),
            exact: kind.lang.exact_time(replay.at),
            position: position(&id),
            result: replay.outcome.map(|outcome| match outcome {
                Outcome::Accepted => (words.was_accepted, "good"),
                Outcome::Rejected => (words.was_rejected, "warn"),
            }),
            rejected_as: (replay.outcome == Some(Outcome::Rejected)).then(|| rejected_path(&id)),
        }
    }
}

impl<'a> SettledView<'a> {
    fn of(kind: &Kind<'_>, row: &'a RejectedRow) -> Option<Self> {
        let words = kind.words();
        let at = row.settled_at?;
        let is_replay = row.settled_why.is_none();
        Some(Self {
            text: if is_replay { words.settled_by_replay } else { words.settled_by_note },
            at: time_markup(kind.lang, at),
            by: row.settled_by.as_ref().map(|by| fill(words.by, by)),
            note: row.settled_why.as_deref().filter(|note| !note.is_empty()),
        })
    }
}

#[cfg(test)]
mod tests {
    use sqlx::types::Json;
    use time::macros::datetime;

    use super::*;

    fn record(value: &[u8], violations: &[(&str, &str)]) -> RejectedRecord {
        let violation = |(pointer, code): &(&str, &str)| Violation {
            pointer: (*pointer).to_owned(),
            code: (*code).to_owned(),
            message: format!("{code} is violated"),
        };
        let at = datetime!(2021-11-26 06:22 UTC);
        RejectedRecord {
            row: RejectedRow {
                topic: "orders".to_owned(),
                partition: 3,
                offset: 18_204,
                record_timestamp: at,
                reason: "missing".to_owned(),
                violations: Json(violations.iter().map(violation).collect()),
                replays: Json(Vec::new()),
                rejected_at: at,
                settled_at: None,
                settled_by: None,
                settled_why: None,
            },
            key: None,
            value: Some(Stored { bytes: value.to_vec(), whole: None }),
            headers: None,
            headers_left_out: None,
        }
    }

    fn view(record: &RejectedRecord) -> RecordView<'_> {
        const TEXTS: &KindTexts =
            &KindTexts { list_title: "", list_text: "", record_title: "", edited: "" };
        let kind =
            Kind { lang: Lang::En, texts: TEXTS, reasons: &[], russian: |_| None, topic: "orders" };
        RecordView::of(&kind, record)
    }

    fn line(rule: &RuleView<'_>) -> Option<usize> {
        rule.place.as_ref().map(|(line, _)| *line)
    }

    /// Returns the line of each violation, and the number of notes in each line.
    fn places(record: &RejectedRecord) -> (Vec<Option<usize>>, Vec<usize>) {
        let view = view(record);
        let Some(ValueView::Text { lines, .. }) = view.value else { panic!("it is text") };
        let rules = view.rules.iter().map(line).collect();
        (rules, lines.iter().map(|line| line.notes.len()).collect())
    }

    #[test]
    fn each_violation_is_at_the_line_of_its_field() {
        let violations = [("/b/0", "negative"), ("", "refused"), ("/x", "missing")];
        let (rules, notes) = places(&record(b"{\"a\": 1, \"b\": [2]}", &violations));
        assert_eq!(rules, [Some(4), None, Some(1)]);
        assert_eq!(notes, [1, 0, 0, 1, 0, 0]);

        let (rules, _) = places(&record(b"{\n\"a\": tru}", &[("", "invalid_json")]));
        assert_eq!(rules, [Some(2)]);
    }

    #[test]
    fn of_a_record_that_is_cut_only_fields_have_places() {
        let mut cut = record(b"{\"a\": \"xx", &[("", "too_large"), ("/a", "too_long")]);
        let whole = crate::rejected::Whole { length: 5_000_000, sha256: vec![0xab] };
        cut.value.as_mut().unwrap().whole = Some(whole);
        assert_eq!(places(&cut).0, [None, Some(1)]);
        let view = view(&cut);
        assert!(view.only_a_new_body.is_some());
        assert_eq!(view.editable.as_deref(), Some(""), "a part is not a beginning to edit");
    }

    #[test]
    fn bytes_that_are_not_text_have_no_lines() {
        let record = record(b"\xff\xfe", &[("", "invalid_utf8")]);
        let view = view(&record);
        assert!(matches!(view.value, Some(ValueView::Hex(_))));
        assert_eq!((line(&view.rules[0]), view.editable), (None, None));
    }
}
