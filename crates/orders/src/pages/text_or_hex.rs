//! Bytes of a record as a page shows them: text if they are UTF-8, otherwise a hexadecimal dump.

use std::fmt::Write;

use chassis::web::{
    Lang,
    words::{counted, fill},
};

use super::words::Words;

/// The page shows at most this many bytes of a text. The JSON contains all bytes.
pub(super) const MAX_TEXT_BYTES: usize = 64 * 1024;
/// The page shows at most this many bytes as a hexadecimal dump.
const MAX_DUMPED_BYTES: usize = 4 * 1024;

pub(super) struct TextOrHex {
    pub(super) text: String,
    pub(super) hex: bool,
    /// The note that only the first bytes are shown, if that is so.
    pub(super) cut: Option<String>,
}

impl TextOrHex {
    pub(super) fn of(lang: Lang, bytes: &[u8]) -> Self {
        let whole = str::from_utf8(bytes);
        let limit = if whole.is_ok() { MAX_TEXT_BYTES } else { MAX_DUMPED_BYTES };
        let end = match whole {
            Ok(text) => text.floor_char_boundary(limit),
            Err(_) => limit.min(bytes.len()),
        };
        let cut = (end < bytes.len()).then(|| {
            let words = Words::of(lang);
            fill(words.cut_to, counted(lang, &words.bytes, end))
        });
        match whole {
            Ok(text) => Self { text: visible(&text[..end]), hex: false, cut },
            Err(_) => Self { text: hex_dump(&bytes[..end]), hex: true, cut },
        }
    }
}

/// Replaces control characters by their Unicode control pictures: HTML cannot contain these
/// characters, and an operator needs to see them.
fn visible(text: &str) -> String {
    let picture = |c: char| match c {
        '\n' | '\t' => c,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(c),
        '\u{7f}' => '\u{2421}',
        // Bidirectional controls: they would change the order in which the line is displayed.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c => c,
    };
    text.chars().map(picture).collect()
}

/// Formats 16 bytes per line: offset, hexadecimal, ASCII.
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
        let shown = TextOrHex::of(Lang::En, b"{\"a\":\t\"\0\x1b\r\n\"}");
        assert_eq!(shown.text, "{\"a\":\t\"\u{2400}\u{241b}\u{240d}\n\"}");
        assert!(!shown.hex && shown.cut.is_none());
    }

    #[test]
    fn bytes_that_are_not_utf8_are_shown_in_hexadecimal() {
        let shown = TextOrHex::of(Lang::En, b"\xff\xfe<b>0123456789abcde");
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
        let text = "я".repeat(MAX_TEXT_BYTES);
        let shown = TextOrHex::of(Lang::En, &text.as_bytes()[..MAX_TEXT_BYTES + 2]);
        assert_eq!(shown.text.len(), MAX_TEXT_BYTES);
        assert_eq!(
            shown.cut.unwrap(),
            "the first 65,536 bytes are shown; the JSON contains the whole record"
        );
        let odd = format!("a{text}");
        assert_eq!(TextOrHex::of(Lang::En, odd.as_bytes()).text.len(), MAX_TEXT_BYTES - 1);
        assert!(TextOrHex::of(Lang::Ru, &[0xff; MAX_DUMPED_BYTES + 1]).cut.is_some());
    }
}
