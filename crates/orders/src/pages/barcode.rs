//! The bar code of a track number, in Code 128.
//!
//! Pure: text → bars. Set B carries printable ASCII, set C two digits a symbol; other text has no
//! bar code here. The page decides the size and the colours.

use std::fmt::Write;

/// Widths of bar, space, bar, … of every symbol, in modules; by value.
const SYMBOLS: [&str; 107] = [
    "212222", "222122", "222221", "121223", "121322", "131222", "122213", "122312", "132212",
    "221213", "221312", "231212", "112232", "122132", "122231", "113222", "123122", "123221",
    "223211", "221132", "221231", "213212", "223112", "312131", "311222", "321122", "321221",
    "312212", "322112", "322211", "212123", "212321", "232121", "111323", "131123", "131321",
    "112313", "132113", "132311", "211313", "231113", "231311", "112133", "112331", "132131",
    "113123", "113321", "133121", "313121", "211331", "231131", "213113", "213311", "213131",
    "311123", "311321", "331121", "312113", "312311", "332111", "314111", "221411", "431111",
    "111224", "111422", "121124", "121421", "141122", "141221", "112214", "112412", "122114",
    "122411", "142112", "142211", "241211", "221114", "413111", "241112", "134111", "111242",
    "121142", "121241", "114212", "124112", "124211", "411212", "421112", "421211", "212141",
    "214121", "412121", "111143", "111341", "131141", "114113", "114311", "411113", "411311",
    "113141", "114131", "311141", "411131", "211412", "211214", "211232", "2331112",
];

const TO_C: u8 = 99;
const TO_B: u8 = 100;
const START_B: u8 = 104;
const START_C: u8 = 105;
const STOP: u8 = 106;

/// A scanner needs this much empty paper on either side, in modules.
const QUIET_ZONE: u32 = 10;

/// Longer codes do not fit a line at a width that a scanner can read.
const MAX_SYMBOLS: usize = 48;

/// A bar code, ready to be drawn as one SVG path, quiet zones included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bars {
    /// The whole width, in modules.
    pub(super) modules: u32,
    /// One rectangle a bar, [`Self::HEIGHT`] modules high.
    pub(super) path: String,
}

impl Bars {
    /// The height of the drawing, in modules.
    pub(super) const HEIGHT: u32 = 28;

    /// The bars of `text`, or nothing if Code 128 (or the width of a page) cannot hold it.
    pub(super) fn of(text: &str) -> Option<Self> {
        let symbols = encode(text)?;
        let mut bars = Self { modules: QUIET_ZONE, path: String::new() };
        for symbol in symbols {
            let widths = SYMBOLS[usize::from(symbol)].bytes().map(|width| u32::from(width - b'0'));
            for (index, width) in widths.enumerate() {
                if index % 2 == 0 {
                    let (x, height) = (bars.modules, Self::HEIGHT);
                    write!(bars.path, "M{x} 0h{width}v{height}h-{width}z")
                        .expect("writing to a String does not fail");
                }
                bars.modules += width;
            }
        }
        bars.modules += QUIET_ZONE;
        Some(bars)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    B,
    C,
}

/// The symbols of `text`: start, data with changes of set, checksum, stop.
fn encode(text: &str) -> Option<Vec<u8>> {
    let mut rest = text.as_bytes();
    if rest.is_empty() || !rest.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return None;
    }
    let digits = leading_digits(rest);
    let mut set = if digits >= 4 || (digits == 2 && rest.len() == 2) { Set::C } else { Set::B };
    let mut symbols = vec![if set == Set::C { START_C } else { START_B }];
    while let [first, after @ ..] = rest {
        let digits = leading_digits(rest);
        match set {
            Set::C if digits >= 2 => {
                symbols.push((rest[0] - b'0') * 10 + (rest[1] - b'0'));
                rest = &rest[2..];
            }
            Set::C => {
                symbols.push(TO_B);
                set = Set::B;
            }
            // A change of the set costs a symbol, which pays for six digits or more, or for four that
            // end the text.
            // An odd digit is written first, so that the pairs come out even.
            Set::B
                if digits.is_multiple_of(2)
                    && (digits >= 6 || (digits >= 4 && digits == rest.len())) =>
            {
                symbols.push(TO_C);
                set = Set::C;
            }
            Set::B => {
                symbols.push(first - b' ');
                rest = after;
            }
        }
    }
    if symbols.len() > MAX_SYMBOLS {
        return None;
    }
    symbols.push(checksum(&symbols));
    symbols.push(STOP);
    Some(symbols)
}

/// Returns the sum of all symbols modulo 103, each multiplied by its place; the start symbol counts
/// once.
fn checksum(symbols: &[u8]) -> u8 {
    let sum = (0..)
        .zip(symbols)
        .fold(0_u32, |sum, (place, symbol)| sum + u32::from(*symbol) * u32::max(place, 1));
    u8::try_from(sum % 103).expect("a remainder of 103 fits a byte")
}

fn leading_digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the drawing as a scanner does: widths of bars and spaces, symbols, checksum, text.
    fn decode(bars: &Bars) -> String {
        let mut edges = Vec::new();
        for rectangle in bars.path.split('M').skip(1) {
            let (x, rest) = rectangle.split_once(" 0h").unwrap();
            let (width, _) = rest.split_once('v').unwrap();
            let (x, width): (u32, u32) = (x.parse().unwrap(), width.parse().unwrap());
            edges.extend([x, x + width]);
        }
        assert_eq!(edges[0], QUIET_ZONE);
        assert_eq!(*edges.last().unwrap(), bars.modules - QUIET_ZONE);
        let widths: String = edges.windows(2).map(|pair| (pair[1] - pair[0]).to_string()).collect();
        let (body, stop) = widths.split_at(widths.len() - 7);
        assert_eq!(stop, SYMBOLS[usize::from(STOP)]);
        let mut symbols: Vec<usize> = body
            .as_bytes()
            .chunks(6)
            .map(|chunk| SYMBOLS.iter().position(|symbol| symbol.as_bytes() == chunk).unwrap())
            .collect();
        let check = symbols.pop().unwrap();
        let sum = symbols.iter().enumerate().map(|(place, symbol)| place.max(1) * symbol);
        assert_eq!(check, sum.sum::<usize>() % 103);

        let mut in_c = symbols[0] == usize::from(START_C);
        let mut text = String::new();
        for &symbol in &symbols[1..] {
            match u8::try_from(symbol).unwrap() {
                TO_C if !in_c => in_c = true,
                TO_B if in_c => in_c = false,
                pair if in_c => text.push_str(&format!("{pair:02}")),
                symbol => text.push(char::from(symbol + b' ')),
            }
        }
        text
    }

    #[test]
    fn every_symbol_is_eleven_modules_wide_and_unlike_the_others() {
        for (value, symbol) in SYMBOLS.iter().enumerate() {
            let width: u32 = symbol.bytes().map(|width| u32::from(width - b'0')).sum();
            assert_eq!(width, if value == usize::from(STOP) { 13 } else { 11 }, "symbol {value}");
            assert_eq!(
                SYMBOLS.iter().filter(|other| *other == symbol).count(),
                1,
                "symbol {value}"
            );
        }
    }

    #[test]
    fn bars_read_back_as_their_text() {
        for text in [
            "WBILMTESTTRACK",
            "0",
            "12",
            "123",
            "1234",
            "12345",
            "123456",
            "A1",
            "A12",
            "A1234",
            "A12345",
            "A123456",
            "A1234567",
            "1234A",
            "12345A",
            "A1234B",
            "A123456B",
            "A1234567B",
            "AB12345678901234CD99",
            "00",
            "00000000000000000000000000000000",
            " ",
            "~{}|",
            "a\"b<c>&'d",
            "RR123456785RU",
        ] {
            assert_eq!(decode(&Bars::of(text).unwrap()), text);
        }
        let printable: String = (b' '..=b'~').map(char::from).collect();
        for part in printable.as_bytes().chunks(40) {
            let part = str::from_utf8(part).unwrap();
            assert_eq!(decode(&Bars::of(part).unwrap()), part);
        }
    }

    #[test]
    fn the_checksum_is_the_one_of_the_standard() {
        // The example that the standard's descriptions use: "PJJ123C" in set A.
        assert_eq!(checksum(&[103, 48, 42, 42, 17, 18, 19, 35]), 54);
    }

    #[test]
    fn digits_go_two_a_symbol_where_that_is_shorter() {
        assert_eq!(encode("12345678").unwrap().len(), 1 + 4 + 2);
        assert_eq!(encode("A123456").unwrap().len(), 1 + 1 + 1 + 3 + 2);
        assert_eq!(encode("A1234B").unwrap().len(), 1 + 6 + 2);
        assert_eq!(encode("12345").unwrap()[0], START_C);
    }

    #[test]
    fn what_code_128_cannot_hold_has_no_bars() {
        for text in ["", "Накладная", "a\u{7f}", "a\tb", "\u{e9}tude", &"W".repeat(MAX_SYMBOLS)]
        {
            assert_eq!(Bars::of(text), None, "{text:?}");
        }
    }
}
