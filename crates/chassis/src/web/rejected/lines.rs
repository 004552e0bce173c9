//! The text of a record as numbered lines, with each violation below the line of its field.

use std::ops::Range;

use crate::web::visible;

/// A text with at most this number of lines is shown as a whole. Of a longer text, the first lines and
/// the lines near each violation are shown.
const MAX_LINES: usize = 1_000;
const FIRST_LINES: usize = 200;
/// The lines that are shown before and after a violation of a longer text.
const NEAR_LINES: usize = 3;

/// A line of the text, or a gap.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// From 1.
    pub number: usize,
    /// True if lines before this one are not shown.
    pub follows_gap: bool,
    pub parts: Vec<Part>,
    /// The violations that are at this line.
    pub notes: Vec<String>,
}

/// A part of a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    pub text: String,
    /// True for the place of a violation.
    pub is_marked: bool,
}

/// Returns the lines of `text`. A violation has its place in the text, and its note.
pub(super) fn lines(text: &str, mut violations: Vec<(Range<usize>, String)>) -> Vec<Line> {
    violations.sort_by_key(|(place, _)| place.start);
    let mut violations = violations.into_iter().peekable();
    let mut lines = Vec::new();
    let mut start = 0;
    for (index, line) in text.split('\n').enumerate() {
        let end = start + line.len();
        let (mut parts, mut notes, mut shown) = (Vec::new(), Vec::new(), start);
        while let Some((place, note)) = violations.next_if(|(place, _)| place.start <= end) {
            let marked = place.start.clamp(shown, end)..place.end.clamp(shown, end);
            if !marked.is_empty() {
                parts.push(Part { text: visible(&text[shown..marked.start]), is_marked: false });
                parts.push(Part { text: visible(&text[marked.clone()]), is_marked: true });
                shown = marked.end;
            }
            notes.push(note);
        }
        parts.push(Part { text: visible(&text[shown..end]), is_marked: false });
        parts.retain(|part| !part.text.is_empty());
        lines.push(Line { number: index + 1, follows_gap: false, parts, notes });
        start = end + 1;
    }
    if lines.len() > MAX_LINES { without_far_lines(lines) } else { lines }
}

fn without_far_lines(lines: Vec<Line>) -> Vec<Line> {
    let noted: Vec<usize> =
        lines.iter().filter(|line| !line.notes.is_empty()).map(|line| line.number).collect();
    let is_near = |line: &Line| {
        let next = noted.partition_point(|number| *number + NEAR_LINES < line.number);
        noted.get(next).is_some_and(|number| *number <= line.number + NEAR_LINES)
    };
    let mut last = 0;
    let mut shown: Vec<Line> =
        lines.into_iter().filter(|line| line.number <= FIRST_LINES || is_near(line)).collect();
    for line in &mut shown {
        line.follows_gap = line.number != last + 1;
        last = line.number;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: usize, end: usize, note: &str) -> (Range<usize>, String) {
        (start..end, note.to_owned())
    }

    /// Returns a line as text, with brackets around what is marked.
    fn shown(line: &Line) -> String {
        let part = |part: &Part| {
            if part.is_marked { format!("[{}]", part.text) } else { part.text.clone() }
        };
        line.parts.iter().map(part).collect()
    }

    #[test]
    fn a_violation_is_below_the_line_of_its_field() {
        let text = "{\n  \"a\": 1,\r\n\n  \"ж\": 2\n}";
        let violations =
            vec![at(16, 20, "last"), at(4, 7, "first"), at(0, 1, "missing"), at(4, 7, "second")];

        let lines = lines(text, violations);

        let all: Vec<_> = lines.iter().map(|line| (line.number, shown(line))).collect();
        let expected = ["[{]", "  [\"a\"]: 1,\u{240d}", "", "  [\"ж\"]: 2", "}"];
        assert_eq!(all, (1..).zip(expected.map(str::to_owned)).collect::<Vec<_>>());
        let notes: Vec<_> = lines.iter().map(|line| line.notes.join(" ")).collect();
        assert_eq!(notes, ["missing", "first second", "", "last", ""]);
    }

    #[test]
    fn a_place_at_the_end_has_a_note_without_a_mark() {
        let lines = lines("{\"a\":\n", vec![at(6, 6, "error")]);
        assert_eq!(
            (lines.len(), shown(&lines[1]), &*lines[1].notes[0]),
            (2, String::new(), "error")
        );
    }

    #[test]
    fn of_a_long_text_the_beginning_and_the_violations_are_shown() {
        let text = "x\n".repeat(5_000);
        let shown = lines(&text, vec![at(8_000, 8_001, "far"), at(9_998, 9_999, "end")]);
        let numbers: Vec<_> = shown.iter().map(|line| line.number).collect();
        let expected: Vec<_> = (1..=200).chain(3_998..=4_004).chain(4_997..=5_001).collect();
        assert_eq!(numbers, expected);
        let gaps: Vec<_> =
            shown.iter().filter(|line| line.follows_gap).map(|line| line.number).collect();
        assert_eq!(gaps, [3_998, 4_997]);
        assert!(lines(&"x\n".repeat(999), Vec::new()).iter().all(|line| !line.follows_gap));
    }
}
