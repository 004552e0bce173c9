//! Characters that a reader cannot see, made visible. Ids and texts come from others: an invisible
//! character could make one order look like another, and a bidirectional control could reorder the
//! line that shows it.

use std::fmt::Display;

/// Returns the text with its invisible characters visible: control characters as their Unicode
/// pictures, others such as U+202E as `[U+202E]`. Tabs, line breaks and ordinary spaces stay.
#[must_use]
pub fn visible(text: &(impl Display + ?Sized)) -> String {
    let text = text.to_string();
    // The usual case needs no second text.
    if !text.chars().any(is_invisible) {
        return text;
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut before = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        // Persian words and emoji contain joiners.
        let is_written = |neighbour: Option<char>| neighbour.is_some_and(|c| !c.is_ascii());
        let mut is_needed = || is_written(before) && is_written(chars.peek().copied());
        let is_hidden = is_invisible(c) && !(is_joiner(c) && is_needed());
        match c {
            '\n' | '\t' => shown.push(c),
            '\0'..='\u{1f}' => shown.extend(char::from_u32(0x2400 + u32::from(c))),
            '\u{7f}' => shown.push('\u{2421}'),
            c if is_hidden => {
                shown.push_str(&format!("[U+{:04X}]", u32::from(c)));
            }
            c => shown.push(c),
        }
        before = Some(c);
    }
    shown
}

/// Returns true for ZERO WIDTH NON-JOINER and ZERO WIDTH JOINER.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Returns true for control characters, and for format characters, line separators and fillers:
/// they take no space, look like a space, or change the direction of the text.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_are_shown() {
        for (text, shown) in [
            ("a\u{202e}b", "a[U+202E]b"),
            ("\u{200b}", "[U+200B]"),
            ("a\u{feff}\u{e0041}", "a[U+FEFF][U+E0041]"),
            ("a\0\x1b\r\u{7f}\u{85}", "a\u{2400}\u{241b}\u{240d}\u{2421}[U+0085]"),
            ("a\u{200d}b", "a[U+200D]b"),
            ("7\u{200c}", "7[U+200C]"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn written_text_stays() {
        for text in
            ["b563feb7b2b84b6test", "a b\u{a0}c\td\n", "می\u{200c}خواهم", "👩\u{200d}🚀", "שלום"]
        {
            assert_eq!(visible(text), text);
        }
    }
}
