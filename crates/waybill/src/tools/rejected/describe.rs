//! Rejected records as text for a person. A control character of a record is shown as its code point.

use serde_json::Value;

use crate::escape;

/// Describes a record in one line.
pub(super) fn line(item: &Value) -> String {
    let text = |name: &str| item[name].as_str().unwrap_or("?").to_owned();
    let violations = item["violations"].as_array().map_or(0, Vec::len);
    let first = &item["violations"][0];
    let more =
        if violations > 1 { format!(" (and {} more)", violations - 1) } else { String::new() };
    let settled = if item["settled"].is_object() { "  (settled)" } else { "" };
    escape::line(&format!(
        "{}  {:24}  {:20}  {} {}{more}{settled}",
        text("rejected_at"),
        text("id"),
        text("reason"),
        first["pointer"].as_str().unwrap_or(""),
        first["message"].as_str().unwrap_or(""),
    ))
}

pub(super) fn describe(record: &Value) -> String {
    let text = |name: &str| record[name].as_str().unwrap_or("").to_owned();
    let mut lines =
        vec![format!("{}  rejected {} as {}", text("id"), text("rejected_at"), text("reason"))];
    for violation in record["violations"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  {} {}: {}",
            violation["pointer"].as_str().unwrap_or(""),
            violation["code"].as_str().unwrap_or(""),
            violation["message"].as_str().unwrap_or("")
        ));
    }
    for replay in record["replays"].as_array().into_iter().flatten() {
        let edited = if replay["edited"] == true { ", edited" } else { "" };
        let by = by(replay);
        let outcome = match replay["outcome"].as_str() {
            Some("accepted") => ", accepted",
            Some("rejected") => ", rejected again",
            _ => "",
        };
        let at = replay["at"].as_str().unwrap_or("");
        lines.push(format!("  replayed {at}{by}{outcome}{edited}"));
    }
    if let Some(at) = record["settled"]["at"].as_str() {
        let settled = &record["settled"];
        let how = if settled["replayed"] == true { " by a replay" } else { "" };
        let note = settled["note"].as_str().map(|note| format!(": {note}"));
        lines.push(format!("  settled{how} {at}{}{}", by(settled), note.unwrap_or_default()));
    }
    for header in record["headers"].as_array().into_iter().flatten() {
        let text = |name: &str| header[name].as_str().unwrap_or("");
        lines.push(format!("header {} ({}): {}", text("name"), text("encoding"), text("value")));
    }
    if let Some(length) = record["headers_left_out"]["length"].as_u64() {
        lines.push(format!("headers: {length} bytes, too large, not stored"));
    }
    let form = |name: &str| format!("{}{}", text(&format!("{name}_encoding")), cut(record, name));
    lines.push(format!("key ({}): {}", form("key"), text("key")));
    lines.push(format!("value ({}):", form("value")));
    // A line end in a text of the record does not begin a line, except in the value, which is last.
    let mut lines: Vec<_> = lines.iter().map(|line| escape::line(line)).collect();
    lines.push(escape::lines(&text("value")));
    lines.join("\n")
}

/// Returns the note that only the first bytes of a key or a value are stored, if that is so.
fn cut(record: &Value, name: &str) -> String {
    let cut = &record[format!("{name}_cut")];
    match (cut["length"].as_u64(), cut["sha256"].as_str()) {
        (Some(length), Some(sha256)) => {
            format!(", only the first bytes of {length} are stored, SHA-256 {sha256}")
        }
        _ => String::new(),
    }
}

/// Returns the name that the client of a call gave itself, if it gave one.
fn by(change: &Value) -> String {
    change["by"].as_str().map_or_else(String::new, |by| format!(" by {by} (not verified)"))
}
