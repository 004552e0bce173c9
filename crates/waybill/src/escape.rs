//! Texts from outside, such as the value of a rejected record, in the output for a person. A control
//! character could move the cursor, change the colours or the title of a terminal, or type an
//! answer; an invisible character or one that changes the direction of the text could hide a part
//! of it. They are shown as their code points.

use std::fmt::Write as _;

use chassis::web::is_invisible;

/// Returns `text` with the escape `\u{…}` in the place of each character that a terminal would not
/// show as itself. Line ends and tabs are kept.
pub(crate) fn lines(text: &str) -> String {
    escape(text, is_layout, write_code_point)
}

/// Returns the same for a text of one line: line ends and tabs are escaped too.
pub(crate) fn line(text: &str) -> String {
    escape(text, |_| false, write_code_point)
}

/// Returns JSON with the escape `\uXXXX` of JSON in the place of these characters, so that its
/// meaning does not change.
pub(crate) fn json(text: &str) -> String {
    // Outside its strings, JSON has only ASCII characters, and of the control characters only line
    // ends and tabs.
    escape(text, is_layout, |out, char| {
        for unit in char.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    })
}

fn is_layout(char: char) -> bool {
    char == '\n' || char == '\t'
}

fn write_code_point(out: &mut String, char: char) {
    let _ = write!(out, "\\u{{{:x}}}", u32::from(char));
}

fn escape(
    text: &str,
    is_kept: impl Fn(char) -> bool,
    write_escape: impl Fn(&mut String, char),
) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if is_invisible(char) && !is_kept(char) {
            write_escape(&mut out, char);
        } else {
            out.push(char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clear screen, a C1 control, a rubout, a right-to-left override, a zero-width space, a tag.
    const HOSTILE: &str = "a\x1b[2J\u{9b}1m\x7f\u{202e}\u{200b}\u{e0041}\r\nb\tc";

    #[test]
    fn hidden_characters_are_shown_as_code_points() {
        let escaped = r"a\u{1b}[2J\u{9b}1m\u{7f}\u{202e}\u{200b}\u{e0041}\u{d}";
        assert_eq!(lines(HOSTILE), format!("{escaped}\nb\tc"));
        assert_eq!(line(HOSTILE), format!(r"{escaped}\u{{a}}b\u{{9}}c"));
    }

    #[test]
    fn escaped_json_has_the_same_meaning() {
        let value = serde_json::json!({ HOSTILE: [HOSTILE, "Ж 日 \\ \" 🙂"] });
        let escaped = json(&value.to_string());
        assert!(!escaped.chars().any(is_invisible), "{escaped}");
        assert!(escaped.contains(r"\udb40\udc41"), "{escaped}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
    }

    #[test]
    fn ordinary_text_is_unchanged() {
        for text in ["", "Ж 日 é \\u{1b} \"x\" 🙂", "שלום"] {
            assert_eq!(
                (lines(text), line(text), json(text)),
                (text.into(), text.into(), text.into())
            );
        }
    }
}
