//! Ids of orders: a number to an id and back, so that the judge needs no map from ids to numbers.
//!
//! An id contains its number in scrambled form; the text around it depends on the number, and is
//! often hostile to addresses, markup or SQL.

use super::dice::{Dice, Purpose};

/// Numbers are below 2^48.
const MASK: u64 = (1 << 48) - 1;
const FIRST: u64 = 0x9e37_79b9_7f4b;
const SECOND: u64 = 0xbf58_476d_1ce5;
/// Added to a number that is written in digits, so that it has 16 of them.
const DIGITS: u64 = 1_000_000_000_000_000;

/// The texts before and after the number.
const FORMS: [(&str, &str); 10] = [
    ("", ""),
    ("заказ-", ""),
    ("a b ", " c"),
    ("a/b/", "?c=d#e"),
    ("%2F", "%00"),
    ("..", ".."),
    ("<b>", "</b>"),
    ("'; ", "\"--"),
    ("👩‍👩‍👧‍👦", "\u{202e}"),
    // 100 bytes, the longest id.
    (
        "",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ),
];

/// Returns the id of an order.
pub(crate) fn id(seed: u64, number: u64) -> String {
    let scrambled = scramble(seed, number);
    match form(seed, number) {
        Form::Plain => format!("{scrambled:012x}test"),
        Form::Digits => (DIGITS + scrambled).to_string(),
        Form::Within((before, after)) => format!("{before}{scrambled:012x}{after}"),
    }
}

/// True if the id consists of digits, so that an event may name it as a JSON number.
pub(crate) fn is_digits(seed: u64, number: u64) -> bool {
    matches!(form(seed, number), Form::Digits)
}

/// Returns the number of an id; `None` if it is not an id of this traffic.
pub(crate) fn number(seed: u64, text: &str) -> Option<u64> {
    numbers(seed, text).find(|number| id(seed, *number) == text)
}

/// Returns the numbers that an id may have by its form.
fn numbers(seed: u64, text: &str) -> impl Iterator<Item = u64> {
    let hex = |digits: &str| (digits.len() == 12).then(|| u64::from_str_radix(digits, 16).ok())?;
    let plain = text.strip_suffix("test").and_then(hex);
    let digits = text.parse::<u64>().ok().and_then(|value| value.checked_sub(DIGITS));
    let within = FORMS.iter().filter_map(move |(before, after)| {
        text.strip_prefix(before)?.strip_suffix(after).and_then(hex)
    });
    let all = plain.into_iter().chain(digits).chain(within);
    all.filter(|scrambled| *scrambled <= MASK).map(move |scrambled| unscramble(seed, scrambled))
}

enum Form {
    Plain,
    Digits,
    Within((&'static str, &'static str)),
}

fn form(seed: u64, number: u64) -> Form {
    let mut dice = Dice::new(seed, Purpose::Id, number);
    match dice.below(100) {
        0..85 => Form::Plain,
        85..90 => Form::Digits,
        _ => Form::Within(*dice.pick(&FORMS)),
    }
}

fn scramble(seed: u64, number: u64) -> u64 {
    let value = number.wrapping_mul(FIRST) & MASK;
    let value = value ^ (value >> 25);
    (value.wrapping_mul(SECOND) & MASK) ^ (seed & MASK)
}

fn unscramble(seed: u64, scrambled: u64) -> u64 {
    let value = (scrambled ^ (seed & MASK)).wrapping_mul(inverse(SECOND)) & MASK;
    // The shift is more than half of the bits, so it is its own inverse.
    let value = value ^ (value >> 25);
    value.wrapping_mul(inverse(FIRST)) & MASK
}

/// Returns the inverse of an odd number modulo 2^64. Each step doubles the number of correct bits.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut step = 0;
    while step < 6 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_leads_back_to_its_number() {
        for seed in [0, 1, u64::MAX] {
            for one in (0..5_000).chain([MASK - 1, MASK]) {
                let text = id(seed, one);
                assert_eq!(number(seed, &text), Some(one), "{text}");
                assert!((1..=100).contains(&text.len()), "{text}");
            }
        }
        for text in
            ["", "b563feb7b2b84b6test", "test", "1", "000000000000", "заказ-", "9999999999999999"]
        {
            assert_eq!(number(7, text), None, "{text}");
        }
    }
}
