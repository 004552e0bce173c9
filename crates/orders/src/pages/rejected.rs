//! The pages about rejected records: the list, and one with its bytes and replays.

use std::fmt::Write;

use askama::Template;
use chassis::{
    http::path_segment,
    web::{
        Lang, machine_time, time_markup,
        words::{counted, fill},
    },
};
use time::OffsetDateTime;

use super::{
    Frame, Position, rejection_href, render,
    words::{Words, violation},
};
use crate::order::violation::Violation;

/// As many of a record's violations are told in the list.
const FIRST_VIOLATIONS: usize = 3;

/// As much of a record is shown as text; the rest is in the JSON.
const TEXT_SHOWN: usize = 64 * 1024;

/// As much of a record is shown as a hexadecimal dump.
const HEX_SHOWN: usize = 4 * 1024;

/// Rejected records, newest first.
#[derive(Debug)]
pub(crate) struct RejectedPage<'a> {
    pub(crate) frame: Frame<'a>,
    /// The reason asked for.
    pub(crate) reason: Option<&'a str>,
    /// The key asked for.
    pub(crate) key: Option<&'a str>,
    /// The reasons to choose from.
    pub(crate) reasons: &'a [&'a str],
    pub(crate) rows: &'a [RejectedRow<'a>],
    /// The `after` of the next page, if there is one.
    pub(crate) next: Option<&'a str>,
}

/// A rejected record in the list.
#[derive(Debug)]
pub(crate) struct RejectedRow<'a> {
    pub(crate) id: &'a str,
    pub(crate) at: OffsetDateTime,
    pub(crate) position: Position<'a>,
    pub(crate) reason: &'a str,
    pub(crate) violations: &'a [Violation],
}

/// One rejected record.
#[derive(Debug)]
pub(crate) struct RejectionPage<'a> {
    pub(crate) frame: Frame<'a>,
    pub(crate) id: &'a str,
    pub(crate) at: OffsetDateTime,
    pub(crate) position: Position<'a>,
    pub(crate) reason: &'a str,
    pub(crate) violations: &'a [Violation],
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) replays: &'a [Replay<'a>],
}

/// That a rejected record was sent again.
#[derive(Debug)]
pub(crate) struct Replay<'a> {
    pub(crate) at: OffsetDateTime,
    /// Whether its body was another than the rejected one.
    pub(crate) corrected: bool,
    /// Where it went, if known.
    pub(crate) position: Option<Position<'a>>,
}

/// `/rejected`.
pub(crate) fn rejected(page: &RejectedPage<'_>) -> String {
    let (lang, w) = (page.frame.lang, page.frame.words());
    let rows = page.rows.iter().map(|row| {
        let hidden = row.violations.len().saturating_sub(FIRST_VIOLATIONS);
        Row {
            href: rejection_href(row.id),
            position: row.position.to_string(),
            at: row.at,
            reason: row.reason,
            first: row
                .violations
                .iter()
                .take(FIRST_VIOLATIONS)
                .map(|one| (one.pointer.as_str(), violation(lang, one).into_owned()))
                .collect(),
            more: (hidden > 0).then(|| counted(lang, &w.more_violations, hidden)),
        }
    });
    render(&RejectedTemplate {
        f: &page.frame,
        w,
        tab: "rejected",
        p: page,
        rows: rows.collect(),
        empty: if page.reason.is_some() { w.nothing_for_reason } else { w.nothing_rejected },
        older: page.next.map(|after| {
            let mut href = "/rejected?".to_owned();
            for (name, value) in [("reason", page.reason), ("key", page.key)] {
                if let Some(value) = value {
                    href += &format!("{name}={}&", path_segment(value));
                }
            }
            href + "after=" + &path_segment(after)
        }),
    })
}

/// `/rejected/{id}`.
pub(crate) fn rejection(page: &RejectionPage<'_>) -> String {
    let (lang, w) = (page.frame.lang, page.frame.words());
    let href = rejection_href(page.id);
    render(&RejectionTemplate {
        f: &page.frame,
        w,
        tab: "rejected",
        p: page,
        position: page.position.to_string(),
        at: time_markup(lang, page.at),
        rules_title: counted(lang, &w.broken_rules, page.violations.len()),
        rules: page
            .violations
            .iter()
            .map(|one| Rule {
                pointer: &one.pointer,
                code: &one.code,
                words: violation(lang, one).into_owned(),
            })
            .collect(),
        size: page.value.map(|value| counted(lang, &w.bytes, value.len())),
        key: page.key.map(|key| Shown::of(lang, key).text),
        value: page.value.map(|value| Shown::of(lang, value)),
        correctable: page
            .value
            .filter(|value| value.len() <= TEXT_SHOWN)
            .and_then(|value| str::from_utf8(value).ok()),
        replays: page
            .replays
            .iter()
            .map(|replay| SentAgain {
                words: if replay.corrected { w.replayed_changed } else { w.replayed_as_is },
                machine: machine_time(replay.at),
                exact: lang.exact_time(replay.at),
                position: replay.position.map(|position| position.to_string()),
            })
            .collect(),
        json_href: format!("{href}?format=json"),
        // What was sent comes back through Kafka; the page after it shall tell of it.
        replay_href: format!("{href}/replay?wait=2s"),
    })
}

#[derive(Template)]
#[template(path = "rejected.html")]
struct RejectedTemplate<'a> {
    f: &'a Frame<'a>,
    w: &'static Words,
    tab: &'static str,
    p: &'a RejectedPage<'a>,
    rows: Vec<Row<'a>>,
    empty: &'static str,
    older: Option<String>,
}

struct Row<'a> {
    href: String,
    position: String,
    at: OffsetDateTime,
    reason: &'a str,
    /// Place and rule.
    first: Vec<(&'a str, String)>,
    more: Option<String>,
}

#[derive(Template)]
#[template(path = "rejection.html")]
struct RejectionTemplate<'a> {
    f: &'a Frame<'a>,
    w: &'static Words,
    tab: &'static str,
    p: &'a RejectionPage<'a>,
    position: String,
    at: String,
    rules_title: String,
    rules: Vec<Rule<'a>>,
    size: Option<String>,
    key: Option<String>,
    value: Option<Shown>,
    /// The value as it may be edited, if it is text and not too long for that.
    correctable: Option<&'a str>,
    replays: Vec<SentAgain>,
    json_href: String,
    replay_href: String,
}

struct Rule<'a> {
    pointer: &'a str,
    code: &'a str,
    words: String,
}

struct SentAgain {
    words: &'static str,
    machine: String,
    exact: String,
    position: Option<String>,
}

/// Bytes of unknown worth, made fit for the eye.
struct Shown {
    text: String,
    hex: bool,
    /// That it is only the beginning.
    cut: Option<String>,
}

impl Shown {
    fn of(lang: Lang, bytes: &[u8]) -> Self {
        let whole = str::from_utf8(bytes);
        let limit = if whole.is_ok() { TEXT_SHOWN } else { HEX_SHOWN };
        let end = match whole {
            Ok(text) => text.floor_char_boundary(limit),
            Err(_) => limit.min(bytes.len()),
        };
        let cut = (end < bytes.len()).then(|| {
            let w = Words::of(lang);
            fill(w.cut_to, counted(lang, &w.bytes, end))
        });
        match whole {
            Ok(text) => Self { text: visible(&text[..end]), hex: false, cut },
            Err(_) => Self { text: hex_dump(&bytes[..end]), hex: true, cut },
        }
    }
}

/// Control characters as their pictures: HTML cannot hold them, and an operator wants to see them.
fn visible(text: &str) -> String {
    let picture = |c: char| match c {
        '\n' | '\t' => c,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(c),
        '\u{7f}' => '\u{2421}',
        // These turn the direction of what follows, and so what a line seems to say.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c => c,
    };
    text.chars().map(picture).collect()
}

/// Sixteen bytes a line: offset, hexadecimal, ASCII.
fn hex_dump(bytes: &[u8]) -> String {
    let mut dump = String::with_capacity(bytes.len() * 5);
    for (index, line) in bytes.chunks(16).enumerate() {
        let hex: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let ascii = line.iter().map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        });
        let (hex, ascii) = (hex.join(" "), ascii.collect::<String>());
        writeln!(dump, "{:06x}  {hex:<47}  {ascii}", index * 16)
            .expect("writing to a String does not fail");
    }
    dump
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_with_its_control_characters_visible() {
        let shown = Shown::of(Lang::En, b"{\"a\":\t\"\0\x1b\r\n\"}");
        assert_eq!(shown.text, "{\"a\":\t\"\u{2400}\u{241b}\u{240d}\n\"}");
        assert!(!shown.hex && shown.cut.is_none());
    }

    #[test]
    fn what_is_not_utf8_is_dumped() {
        let shown = Shown::of(Lang::En, b"\xff\xfe<b>0123456789abcde");
        assert!(shown.hex);
        let lines: Vec<_> = shown.text.lines().collect();
        assert_eq!(
            lines[0],
            "000000  ff fe 3c 62 3e 30 31 32 33 34 35 36 37 38 39 61  ..<b>0123456789a"
        );
        assert!(lines[1].starts_with("000010  62 63 64 65  "));
        assert!(lines[1].ends_with("  bcde"));
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let text = "я".repeat(TEXT_SHOWN);
        let shown = Shown::of(Lang::En, &text.as_bytes()[..TEXT_SHOWN + 2]);
        assert_eq!(shown.text.len(), TEXT_SHOWN);
        assert_eq!(shown.cut.unwrap(), "the first 65,536 bytes are shown");
        let odd = format!("a{text}");
        assert_eq!(Shown::of(Lang::En, odd.as_bytes()).text.len(), TEXT_SHOWN - 1);
        assert!(Shown::of(Lang::Ru, &[0xff; HEX_SHOWN + 1]).cut.is_some());
    }
}
