//! Bytes of a record as a page shows them: text if they are UTF-8, otherwise a hexadecimal dump.

use std::fmt::Write;

use super::{
    Lang, visible,
    words::{BytesWords, counted, fill},
};
use crate::rejected::Stored;

/// The page shows at most this many bytes of a text. The JSON contains all bytes.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;
/// The page shows at most this many bytes as a hexadecimal dump.
const MAX_DUMPED_BYTES: usize = 4 * 1024;

pub struct TextOrHex {
    pub text: String,
    pub hex: bool,
    /// The note that only the first bytes are shown, if that is so.
    pub cut: Option<String>,
}

impl TextOrHex {
    /// Renders a key or a value of a rejected record as it is stored.
    #[must_use]
    pub fn of(lang: Lang, stored: &Stored) -> Self {
        let words = BytesWords::of(lang);
        let mut shown = match stored.text() {
            Some(text) => Self::of_bytes(lang, text.as_bytes()),
            None => Self::of_bytes(lang, &stored.bytes),
        };
        if let Some(whole) = &stored.whole {
            let stored = counted(lang, &words.bytes, stored.bytes.len());
            let text = fill(words.stored_in_part, stored);
            shown.cut = Some(fill(&fill(&text, lang.number(whole.length)), whole.hex()));
        }
        shown
    }

    fn of_bytes(lang: Lang, bytes: &[u8]) -> Self {
        let whole = str::from_utf8(bytes);
        let limit = if whole.is_ok() { MAX_TEXT_BYTES } else { MAX_DUMPED_BYTES };
        let end = match whole {
            Ok(text) => text.floor_char_boundary(limit),
            Err(_) => limit.min(bytes.len()),
        };
        let cut = (end < bytes.len()).then(|| {
            let words = BytesWords::of(lang);
            fill(words.cut_to, counted(lang, &words.bytes, end))
        });
        match whole {
            Ok(text) => Self { text: visible(&text[..end]), hex: false, cut },
            Err(_) => Self { text: hex_dump(&bytes[..end]), hex: true, cut },
        }
    }
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
    use crate::rejected::Whole;

    #[test]
    fn text_is_shown_with_its_control_characters_visible() {
        let shown = TextOrHex::of_bytes(Lang::En, b"{\"a\":\t\"\0\x1b\r\n\"}");
        assert_eq!(shown.text, "{\"a\":\t\"\u{2400}\u{241b}\u{240d}\n\"}");
        assert!(!shown.hex && shown.cut.is_none());
    }

    #[test]
    fn bytes_that_are_not_utf8_are_shown_in_hexadecimal() {
        let shown = TextOrHex::of_bytes(Lang::En, b"\xff\xfe<b>0123456789abcde");
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
        let shown = TextOrHex::of_bytes(Lang::En, &text.as_bytes()[..MAX_TEXT_BYTES + 2]);
        assert_eq!(shown.text.len(), MAX_TEXT_BYTES);
        assert_eq!(
            shown.cut.unwrap(),
            "the first 65,536 bytes are shown; the JSON contains the whole record"
        );
        let odd = format!("a{text}");
        assert_eq!(TextOrHex::of_bytes(Lang::En, odd.as_bytes()).text.len(), MAX_TEXT_BYTES - 1);
        assert!(TextOrHex::of_bytes(Lang::Ru, &[0xff; MAX_DUMPED_BYTES + 1]).cut.is_some());
    }

    #[test]
    fn a_value_that_is_stored_in_part_is_shown_with_its_length_and_hash() {
        let whole = Some(Whole { length: 5_000_000, sha256: vec![0xab, 0x01] });
        // The cut has split the second letter.
        let stored = Stored { bytes: "яя".as_bytes()[..3].to_vec(), whole };

        let shown = TextOrHex::of(Lang::En, &stored);

        assert_eq!((&*shown.text, shown.hex), ("я", false));
        assert_eq!(
            shown.cut.unwrap(),
            "only the first 3 bytes of 5,000,000 are stored; SHA-256 of the whole: ab01"
        );
    }
}
