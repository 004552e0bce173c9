//! JSON on several lines, for people: only white space differs, so numbers, escapes and repeated keys
//! stay as they were written. Pure.

use super::place;

/// The text may become longer by this factor; a text with deeper nesting is shown as it is.
const MAX_GROWTH: usize = 4;
const INDENT: &str = "  ";

/// Returns the JSON of a text that has only one line, on several lines. `None` if the text has several
/// lines already, is not JSON, or would become much longer.
#[must_use]
pub fn on_lines(text: &str) -> Option<String> {
    let text = text.trim_matches(is_white_space);
    if text.contains('\n') || place::find(text, &[]).error.is_some() {
        return None;
    }
    let mut lines = String::with_capacity(2 * text.len());
    let (mut depth, mut is_string, mut is_escaped) = (0, false, false);
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if lines.len() > MAX_GROWTH * text.len().max(1_024) {
            return None;
        }
        if is_string {
            lines.push(char);
            is_string = is_escaped || char != '"';
            is_escaped = !is_escaped && char == '\\';
            continue;
        }
        if is_white_space(char) {
            continue;
        }
        if matches!(char, '}' | ']') {
            depth -= 1;
            break_line(&mut lines, depth);
        }
        lines.push(char);
        match char {
            '"' => is_string = true,
            ':' => lines.push(' '),
            ',' => break_line(&mut lines, depth),
            '{' | '[' => {
                while chars.next_if(|next| is_white_space(*next)).is_some() {}
                match chars.next_if(|next| matches!(next, '}' | ']')) {
                    Some(close) => lines.push(close),
                    None => {
                        depth += 1;
                        break_line(&mut lines, depth);
                    }
                }
            }
            _ => {}
        }
    }
    Some(lines)
}

fn is_white_space(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\r' | '\n')
}

fn break_line(lines: &mut String, depth: usize) {
    lines.push('\n');
    lines.extend(std::iter::repeat_n(INDENT, depth));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn only_white_space_differs() {
        let text = "{ \"a\":1.50,\t\"a\" :[],\"b\": [ 1e9 ,{ }, \"x\\\" {,:\\\\\"] }\r";
        let lines = "{\n  \"a\": 1.50,\n  \"a\": [],\n  \"b\": [\n    1e9,\n    {},\n    \
                     \"x\\\" {,:\\\\\"\n  ]\n}";
        assert_eq!(on_lines(text).as_deref(), Some(lines));
    }

    #[test]
    fn a_text_with_lines_or_errors_stays_as_it_is() {
        for text in ["{\n}", "{\"a\":1", "", "no order", "\u{feff}{}"] {
            assert_eq!(on_lines(text), None, "{text:?}");
        }
        let deep = format!("{}{}{}", "[".repeat(120), "1,".repeat(20_000) + "1", "]".repeat(120));
        assert_eq!(on_lines(&deep), None);
    }

    proptest! {
        #[test]
        fn the_value_stays_the_same(texts in prop::collection::vec(".{0,8}", 0..8)) {
            let value = serde_json::json!({ "texts": texts, "none": [[], {}], "one": { "a": 1 } });
            let lines = on_lines(&value.to_string()).unwrap();
            prop_assert_eq!(&lines, &format!("{value:#}"));
            prop_assert_eq!(serde_json::from_str::<Value>(&lines).unwrap(), value);
        }
    }
}
