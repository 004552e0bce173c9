//! The places of violations in the text of a record: from a JSON pointer to the bytes of its field.
//! Pure. The text may be anything that a producer has sent: invalid JSON is read up to its first
//! error, which has a place as well.

use std::ops::Range;

use super::Violation;

/// The limit on the nesting of arrays and objects. The scanner calls itself once per level, so this
/// also limits its stack.
const MAX_DEPTH: usize = 128;

/// The places in a text.
#[derive(Debug, PartialEq, Eq)]
pub struct Places {
    /// The place of each pointer, in their order: the key of its field, or the element of an array. If
    /// there is no such field, the place of the closest field around it. `None` for the whole record,
    /// for a text that is not a pointer, and if the text has no value before its error.
    pub fields: Vec<Option<Range<usize>>>,
    /// The place at which the text stops being JSON.
    pub error: Option<Range<usize>>,
}

/// Finds the places of `pointers` in `text`. If a key is repeated, the last one counts.
#[must_use]
pub fn find(text: &str, pointers: &[&str]) -> Places {
    let paths: Vec<_> = pointers.iter().map(|pointer| Segment::parse(pointer)).collect();
    let active: Vec<usize> = (0..paths.len()).filter(|one| !paths[*one].is_empty()).collect();
    let found = vec![None; paths.len()];
    let mut scanner = Scanner { text: text.as_bytes(), at: 0, depth: 0, paths: &paths, found };
    let whole = scanner.value(None, &active, 0).and_then(|()| {
        scanner.skip_white_space();
        if scanner.at == scanner.text.len() { Ok(()) } else { Err(NotJson) }
    });
    let error = whole.is_err().then(|| {
        let start = text.floor_char_boundary(scanner.at);
        let length = text[start..].chars().next().map_or(0, char::len_utf8);
        start..start + length
    });
    let fields = scanner.found.into_iter().map(|found| Some(found?.1)).collect();
    Places { fields, error }
}

/// Returns the place of each violation. A violation of the whole record has the place at which the
/// text stops being JSON, if it does.
#[must_use]
pub fn of_violations(text: &str, violations: &[Violation]) -> Vec<Option<Range<usize>>> {
    let pointers: Vec<&str> = violations.iter().map(|one| one.pointer.as_str()).collect();
    let places = find(text, &pointers);
    let error = places.error.filter(|_| !text.is_empty());
    let place = |(pointer, place): (&str, Option<Range<usize>>)| {
        place.or_else(|| error.clone().filter(|_| pointer.is_empty()))
    };
    pointers.into_iter().zip(places.fields).map(place).collect()
}

/// Returns the line and the column of a byte, both from 1. A column is a character.
#[must_use]
pub fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(at)];
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line, before[start..].chars().count() + 1)
}

/// A segment of a pointer.
#[derive(Debug)]
struct Segment {
    key: String,
    /// The segment as an index of an array.
    index: Option<usize>,
}

impl Segment {
    /// Returns the segments of a pointer (RFC 6901); none if it is empty or not a pointer.
    fn parse(pointer: &str) -> Vec<Self> {
        let Some(segments) = pointer.strip_prefix('/') else { return Vec::new() };
        let segment = |text: &str| {
            let is_index = text == "0" || !text.starts_with(['0', '+']);
            let index = text.parse().ok().filter(|_| is_index);
            Self { key: text.replace("~1", "/").replace("~0", "~"), index }
        };
        segments.split('/').map(segment).collect()
    }
}

struct NotJson;

/// The deepest match of a pointer so far: the number of its segments, and the place.
type Found = Option<(usize, Range<usize>)>;

struct Scanner<'a> {
    text: &'a [u8],
    /// The position of the next byte.
    at: usize,
    depth: usize,
    paths: &'a [Vec<Segment>],
    found: Vec<Found>,
}

impl Scanner<'_> {
    /// Reads a value. `key` is the place of its key, if it has one; `active` are the pointers whose
    /// first `level` segments lead here.
    fn value(
        &mut self,
        key: Option<Range<usize>>,
        active: &[usize],
        level: usize,
    ) -> Result<(), NotJson> {
        self.skip_white_space();
        let start = self.at;
        let is_container = matches!(self.peek(), Some(b'{' | b'['));
        if is_container || key.is_some() {
            // Before the value is read: an error inside of it must not hide its place.
            self.note(key.clone().unwrap_or(start..start + 1), active, level);
        }
        match self.peek() {
            Some(b'{') => self.object(active, level),
            Some(b'[') => self.array(active, level),
            Some(b'"') => self.string(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => self.number(),
        }?;
        if !is_container && key.is_none() {
            self.note(start..self.at, active, level);
        }
        Ok(())
    }

    /// Notes a place for the pointers that have no deeper one yet. The last of several places counts.
    fn note(&mut self, place: Range<usize>, active: &[usize], level: usize) {
        for one in active {
            if self.found[*one].as_ref().is_none_or(|(depth, _)| *depth <= level) {
                self.found[*one] = Some((level, place.clone()));
            }
        }
    }

    fn object(&mut self, active: &[usize], level: usize) -> Result<(), NotJson> {
        self.sequence(b'{', b'}', |scanner| {
            scanner.skip_white_space();
            let start = scanner.at;
            scanner.string()?;
            let key = start..scanner.at;
            let inner = scanner.below_key(&key, active, level);
            scanner.skip_white_space();
            scanner.expect(b':')?;
            scanner.value(Some(key), &inner, level + 1)
        })
    }

    /// Returns the pointers that lead below this key.
    fn below_key(&self, key: &Range<usize>, active: &[usize], level: usize) -> Vec<usize> {
        if active.is_empty() {
            return Vec::new();
        }
        // A key with half of a surrogate pair is not in any pointer.
        let Ok(key) = serde_json::from_slice::<String>(&self.text[key.clone()]) else {
            return Vec::new();
        };
        let leads = |one: &&usize| self.paths[**one].get(level).is_some_and(|next| next.key == key);
        active.iter().filter(leads).copied().collect()
    }

    fn array(&mut self, active: &[usize], level: usize) -> Result<(), NotJson> {
        let mut index = 0;
        self.sequence(b'[', b']', |scanner| {
            let leads = |one: &&usize| {
                scanner.paths[**one].get(level).is_some_and(|next| next.index == Some(index))
            };
            let inner: Vec<usize> = active.iter().filter(leads).copied().collect();
            index += 1;
            scanner.value(None, &inner, level + 1)
        })
    }

    /// Reads brackets with elements and commas between them.
    fn sequence(
        &mut self,
        open: u8,
        close: u8,
        mut element: impl FnMut(&mut Self) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        if self.depth == MAX_DEPTH {
            return Err(NotJson);
        }
        self.expect(open)?;
        self.depth += 1;
        self.skip_white_space();
        if self.peek() != Some(close) {
            element(self)?;
            self.skip_white_space();
            while self.peek() == Some(b',') {
                self.at += 1;
                element(self)?;
                self.skip_white_space();
            }
        }
        self.depth -= 1;
        self.expect(close)
    }

    fn string(&mut self) -> Result<(), NotJson> {
        self.expect(b'"')?;
        loop {
            match self.peek() {
                Some(b'"') => break self.expect(b'"'),
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                            self.at += 1;
                        }
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                self.one_of(|byte| byte.is_ascii_hexdigit())?;
                            }
                        }
                        _ => break Err(NotJson),
                    }
                }
                Some(b' '..) => self.at += 1,
                // A control character, or the end.
                _ => break Err(NotJson),
            }
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), NotJson> {
        word.iter().try_for_each(|byte| self.expect(*byte))
    }

    fn number(&mut self) -> Result<(), NotJson> {
        let _sign = self.expect(b'-');
        if self.expect(b'0').is_err() {
            self.digits()?;
        }
        if self.expect(b'.').is_ok() {
            self.digits()?;
        }
        if self.one_of(|byte| b"eE".contains(&byte)).is_ok() {
            let _sign = self.one_of(|byte| b"+-".contains(&byte));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), NotJson> {
        self.one_of(|byte| byte.is_ascii_digit())?;
        while self.one_of(|byte| byte.is_ascii_digit()).is_ok() {}
        Ok(())
    }

    fn skip_white_space(&mut self) {
        while self.one_of(|byte| b" \t\r\n".contains(&byte)).is_ok() {}
    }

    fn expect(&mut self, expected: u8) -> Result<(), NotJson> {
        self.one_of(|byte| byte == expected)
    }

    /// Reads the next byte if it is one of these.
    fn one_of(&mut self, is_one: impl Fn(u8) -> bool) -> Result<(), NotJson> {
        if self.peek().is_some_and(is_one) {
            self.at += 1;
            return Ok(());
        }
        Err(NotJson)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Returns the text at the place of a pointer.
    fn at<'a>(text: &'a str, pointer: &str) -> Option<&'a str> {
        find(text, &[pointer]).fields[0].clone().map(|place| &text[place])
    }

    #[test]
    fn a_field_is_found_by_its_key_and_an_element_by_its_value() {
        let text = r#" {"a": [1, {"b/c": true, "m~n": "x"}, [ "y" ]], "ж": {"": -0.5e+1}} "#;
        for (pointer, expected) in [
            ("/a", "\"a\""),
            ("/a/0", "1"),
            ("/a/1", "{"),
            ("/a/1/b~1c", "\"b/c\""),
            ("/a/1/m~0n", "\"m~n\""),
            ("/a/2/0", "\"y\""),
            ("/ж", "\"ж\""),
            ("/ж/", "\"\""),
        ] {
            assert_eq!(at(text, pointer), Some(expected), "{pointer}");
        }
        assert_eq!(at(r#"{"\u0061":1}"#, "/a"), Some(r#""\u0061""#));
    }

    #[test]
    fn a_missing_field_has_the_place_of_its_parent() {
        let text = r#"{"a": [{"b": 1}], "c": 2}"#;
        for (pointer, expected) in [
            ("/x", "{"),
            ("/a/7", "\"a\""),
            ("/a/01", "\"a\""),
            ("/a/+0", "\"a\""),
            ("/a/b", "\"a\""),
            ("/a/0/x/y", "{"),
            ("/c/x", "\"c\""),
        ] {
            assert_eq!(at(text, pointer), Some(expected), "{pointer}");
        }
        assert_eq!(find(text, &["/a/0/x"]).fields[0], Some(7..8));
        for nowhere in ["", "a", "~"] {
            assert_eq!(at(text, nowhere), None, "{nowhere}");
        }
        assert_eq!(at("7", "/a"), Some("7"));
    }

    #[test]
    fn the_last_of_repeated_keys_counts() {
        let text = r#"{"a": 1, "b": {"c": 1, "c": 2}, "a": 2}"#;
        assert_eq!(find(text, &["/a", "/b/c"]).fields, [Some(32..35), Some(23..26)]);
        // The place of the pointer itself comes before the place of its parent.
        let text = r#"{"a": {"b": 1}, "a": {}}"#;
        assert_eq!(find(text, &["/a/b"]).fields, [Some(7..10)]);
    }

    #[test]
    fn invalid_json_has_the_place_of_its_error() {
        for (text, error) in [
            ("", 0..0),
            (" ", 1..1),
            ("{", 1..1),
            ("{}x", 2..3),
            ("{\"a\":tru}", 8..9),
            ("{\"a\":1,}", 7..8),
            ("[1 2]", 3..4),
            ("\u{feff}[]", 0..3),
            ("[ж]", 1..3),
            ("\"a\nb\"", 2..3),
            ("\"\\x\"", 2..3),
            ("\"\\u00g0\"", 5..6),
            ("01", 1..2),
            ("-", 1..1),
            ("1.e1", 2..3),
        ] {
            assert_eq!(find(text, &[]).error, Some(error), "{text:?}");
        }
        let cut = find(r#"{"a": {"b": "#, &["/a/b", "/c"]);
        assert_eq!(cut, Places { fields: vec![Some(7..10), Some(0..1)], error: Some(12..12) });
        let deep = "[".repeat(10_000);
        assert_eq!(find(&deep, &["/0/0"]).error, Some(128..129));
    }

    #[test]
    fn only_a_violation_of_the_whole_record_is_placed_at_the_error() {
        let violation = |pointer: &str| Violation {
            pointer: pointer.to_owned(),
            code: "invalid_json".to_owned(),
            message: "the record must be one JSON value".to_owned(),
        };
        let of = |text| of_violations(text, &[violation(""), violation("/a"), violation("more")]);
        assert_eq!(of("{\"a\":1]"), [Some(6..7), Some(1..4), None]);
        assert_eq!(of("{\"a\":1}"), [None, Some(1..4), None]);
        assert_eq!(of(""), [None, None, None]);
    }

    #[test]
    fn lines_and_columns_count_from_one() {
        let text = "{\n \"ж\": 1\n}";
        for (at, expected) in [(0, (1, 1)), (2, (2, 1)), (7, (2, 5)), (11, (3, 1)), (99, (3, 2))] {
            assert_eq!(line_and_column(text, at), expected, "{at}");
        }
    }

    /// Any JSON value of a few levels, with keys that need escapes.
    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a~/\"0-2ж\\\\]{0,3}", inner, 0..5)
                    .prop_map(|all| Value::from(serde_json::Map::from_iter(all))),
            ]
        })
    }

    /// Returns all pointers into a value, each with the text that must be at its place.
    fn pointers(value: &Value, here: &str, all: &mut Vec<(String, String)>) {
        match value {
            Value::Object(entries) => {
                for (key, inner) in entries {
                    let pointer = format!("{here}/{}", key.replace('~', "~0").replace('/', "~1"));
                    all.push((pointer.clone(), Value::from(key.as_str()).to_string()));
                    pointers(inner, &pointer, all);
                }
            }
            Value::Array(elements) => {
                for (index, inner) in elements.iter().enumerate() {
                    let pointer = format!("{here}/{index}");
                    let text = match inner {
                        Value::Object(_) => "{".to_owned(),
                        Value::Array(_) => "[".to_owned(),
                        scalar => scalar.to_string(),
                    };
                    all.push((pointer.clone(), text));
                    pointers(inner, &pointer, all);
                }
            }
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn every_pointer_into_valid_json_is_found(value in json(), is_pretty: bool) {
            let text = if is_pretty { format!("{value:#}") } else { value.to_string() };
            let mut all = Vec::new();
            pointers(&value, "", &mut all);
            let named: Vec<&str> = all.iter().map(|(pointer, _)| pointer.as_str()).collect();

            let places = find(&text, &named);

            prop_assert_eq!(places.error, None);
            for ((pointer, expected), place) in all.iter().zip(places.fields) {
                prop_assert_eq!(&text[place.unwrap()], expected, "{} in {}", pointer, text);
            }
        }

        #[test]
        fn the_error_agrees_with_serde_json(text in "[\\[\\]{}\":,0-1a\\\\ \\-.eutrnlfs]{0,12}") {
            let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(find(&text, &["/a", "/0"]).error.is_none(), is_json, "{}", text);
        }

        #[test]
        fn any_text_has_places_inside_of_it(text in any::<String>(), pointer in "(/[a0~1]{0,2}){0,3}") {
            let places = find(&text, &[&pointer]);
            for place in places.fields.into_iter().flatten().chain(places.error) {
                prop_assert!(text.get(place.clone()).is_some());
                let (line, column) = line_and_column(&text, place.start);
                prop_assert!(line >= 1 && column >= 1);
            }
        }
    }
}
