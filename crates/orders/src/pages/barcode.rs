//! The bar code of a track number, in Code 128.
//!
//! Pure: text → bars. Only printable ASCII has a bar code here, because scanners differ in the other
//! characters. The page decides the size and the colours.

use std::fmt::Write;

use code128::Code128;

/// The widest code that fits a line at a width that a scanner can read, in modules.
const MAX_MODULES: u32 = 572;

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

    /// Returns the bars of `text`; `None` if it is not printable ASCII or its code is too wide.
    pub(super) fn of(text: &str) -> Option<Self> {
        let is_printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if text.is_empty() || !is_printable {
            return None;
        }
        let code = Code128::encode(text.as_bytes());
        let modules = u32::try_from(code.len()).ok().filter(|modules| *modules <= MAX_MODULES)?;
        let mut path = String::new();
        for bar in code.bar_coordinates() {
            let (x, width, height) = (bar.x, bar.width, Self::HEIGHT);
            write!(path, "M{x} 0h{width}v{height}h-{width}z")
                .expect("writing to a String does not fail");
        }
        Some(Self { modules, path })
    }
}

#[cfg(test)]
mod tests {
    use code128::Bar;

    use super::*;

    /// Reads the drawing as a scanner does, from the widths of bars and spaces.
    fn decode(bars: &Bars) -> String {
        let rectangles: Vec<(u32, u32)> = bars
            .path
            .split_terminator('M')
            .skip(1)
            .map(|rectangle| {
                let (x, rest) = rectangle.split_once(" 0h").unwrap();
                (x.parse().unwrap(), rest.split_once('v').unwrap().0.parse().unwrap())
            })
            .collect();
        let (first, last) = (rectangles[0], rectangles[rectangles.len() - 1]);
        assert_eq!((first.0, last.0 + last.1), (10, bars.modules - 10), "quiet zones");
        let ends = rectangles[1..].iter().map(|(x, _)| *x).chain([last.0 + last.1]);
        let read = rectangles.iter().zip(ends).map(|((x, width), end)| Bar {
            width: u8::try_from(*width).unwrap(),
            space: u8::try_from(end - x - width).unwrap(),
        });
        code128::decode_str(&read.collect::<Vec<_>>()).unwrap()
    }

    /// The widths are those of ISO/IEC 15417: start B, `A`, `1`, the check symbol 68, stop.
    #[test]
    fn bars_are_those_of_the_standard() {
        let mut edges = vec![10];
        for symbol in ["211214", "111323", "123221", "141221", "2331112"] {
            for width in symbol.bytes() {
                edges.push(edges[edges.len() - 1] + u32::from(width - b'0'));
            }
        }
        let rectangles = edges.chunks_exact(2).map(|edge| {
            let (x, width) = (edge[0], edge[1] - edge[0]);
            format!("M{x} 0h{width}v28h-{width}z")
        });

        assert_eq!(Bars::of("A1").unwrap().path, rectangles.collect::<String>());
    }

    #[test]
    fn bars_read_back_as_their_text() {
        for text in [
            "WBILMTESTTRACK",
            "0",
            "12",
            "12345",
            "A12345",
            "A123456",
            "1234A",
            "A123456B",
            "AB12345678901234CD99",
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
    fn what_has_no_bar_code_has_no_bars() {
        assert_eq!(Bars::of(&"W".repeat(47)).unwrap().modules, MAX_MODULES);
        for text in ["", "Накладная", "a\u{7f}", "a\tb", "\u{e9}tude", &"W".repeat(48)] {
            assert_eq!(Bars::of(text), None, "{text:?}");
        }
    }
}
