//! Texts of generated orders: plain ones, and texts that programs often handle wrongly.

use super::dice::Dice;

const HOSTILE: &[&str] = &[
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'; DROP TABLE orders; --",
    "{{7*7}} ${7*7}",
    "a\"b\\c/d",
    "line\nbreak\r\ttab",
    "a\u{2028}\u{2029}b",
    "\u{202e}txt.exe",
    "שלום",
    "Привет, мир",
    "👩‍👩‍👧‍👦 🚚",
    "e\u{301}",
    "\u{feff}bom",
    "\u{1}\u{1f}\u{7f}\u{85}",
    "\u{ffff}\u{10ffff}",
    "null",
    "%00",
    "\\u0000",
    "\\N",
    "  padded  ",
    "{\"a\":[1,2]}",
];

const WORDS: &[&str] = &[
    "alpha",
    "meest",
    "wbpay",
    "Mascaras",
    "Kiryat Mozkin",
    "Ploshad Mira 15",
    "Kraiot",
    "Tbilisi",
    "Ереван",
    "улица Абая, 7",
    "Vivienne Sabo",
    "Test Testov",
    "sber",
    "WBIL",
    "ru",
    "en",
];

/// Returns a text that is not blank and not longer than `limit` bytes.
pub(crate) fn text(dice: &mut Dice, limit: usize) -> String {
    let mut text = match dice.below(1_000) {
        0..40 => (*dice.pick(HOSTILE)).to_owned(),
        40..70 => format!("{} {}", dice.pick(HOSTILE), dice.pick(WORDS)),
        70..72 => "ы".repeat(limit / 2),
        72..500 => format!("{} {}", dice.pick(WORDS), dice.below(1_000_000)),
        _ => (*dice.pick(WORDS)).to_owned(),
    };
    text.truncate(text.floor_char_boundary(limit));
    text
}
