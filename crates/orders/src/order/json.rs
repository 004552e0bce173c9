//! A JSON reader (RFC 8259) for records that the fast path does not accept.
//!
//! `serde_json` stops at the first value that it cannot represent, but a rejection names every
//! violation. This reader therefore keeps numbers as they are written (`1e999`), repeated keys, and
//! text with half of a surrogate pair, and it reports the position of a syntax error. Pure. It
//! needs a small multiple of the text's size in memory. It checks no rule of an order.

use std::borrow::Cow;

use crate::order::violation::{Code, Violations};

/// The limit on the nesting of arrays and objects. The reader calls itself once per level, so this
/// also limits its stack.
const MAX_DEPTH: usize = 128;

/// A JSON value as it is written.
#[derive(Debug, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool,
    /// The digits.
    Number(&'a str),
    Text(Cow<'a, str>),
    /// Text that a `str` cannot represent.
    LoneSurrogate,
    Array(Vec<Json<'a>>),
    /// The entries in the order of the text, repeated keys included; a key is `None` if it contains
    /// a lone surrogate.
    Object(Vec<(Option<Cow<'a, str>>, Json<'a>)>),
}

#[derive(Debug, PartialEq)]
pub(crate) enum JsonError {
    Syntax { line: usize, column: usize },
    TooDeep,
}

/// Reads a text that is one JSON value.
pub(crate) fn read(text: &str) -> Result<Json<'_>, JsonError> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    let value = reader.value()?;
    reader.end()?;
    Ok(value)
}

/// Splits a text that is one JSON array into its elements, each as it is written; returns at most
/// `limit` of them.
pub(crate) fn elements(text: &str, limit: usize) -> Result<Vec<&str>, JsonError> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    let mut elements = Vec::new();
    reader.skip_white_space();
    reader.sequence(b'[', b']', |reader| {
        reader.skip_white_space();
        let start = reader.at;
        reader.value()?;
        if elements.len() < limit {
            elements.push(&text[start..reader.at]);
        }
        Ok(())
    })?;
    reader.end()?;
    Ok(elements)
}

impl From<JsonError> for Violations {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Syntax { line, column } => Self::whole_because(
                Code::InvalidJson,
                format_args!("not valid JSON at line {line}, column {column}"),
            ),
            JsonError::TooDeep => Self::whole(Code::TooDeep),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    /// The position of the next byte. It is on a character boundary wherever a value or an error
    /// can begin, so slicing the text there does not panic.
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Json<'a>, JsonError> {
        self.skip_white_space();
        match self.peek() {
            Some(b'n') => self.word("null", Json::Null),
            Some(b't') => self.word("true", Json::Bool),
            Some(b'f') => self.word("false", Json::Bool),
            Some(b'"') => Ok(self.text()?.map_or(Json::LoneSurrogate, Json::Text)),
            Some(b'[') => {
                let mut values = Vec::new();
                self.sequence(b'[', b']', |reader| {
                    values.push(reader.value()?);
                    Ok(())
                })?;
                Ok(Json::Array(values))
            }
            Some(b'{') => {
                let mut entries = Vec::new();
                self.sequence(b'{', b'}', |reader| {
                    reader.skip_white_space();
                    let key = reader.text()?;
                    reader.skip_white_space();
                    reader.expect(b':')?;
                    entries.push((key, reader.value()?));
                    Ok(())
                })?;
                Ok(Json::Object(entries))
            }
            _ => self.number(),
        }
    }

    /// Reads brackets with elements and commas between them.
    fn sequence(
        &mut self,
        open: u8,
        close: u8,
        mut element: impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.expect(open)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
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

    fn word(&mut self, word: &str, value: Json<'a>) -> Result<Json<'a>, JsonError> {
        for byte in word.bytes() {
            self.expect(byte)?;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<Json<'a>, JsonError> {
        let start = self.at;
        self.skip(b'-');
        if !self.skip(b'0') {
            self.digits()?;
        }
        if self.skip(b'.') {
            self.digits()?;
        }
        if self.skip(b'e') || self.skip(b'E') {
            let _sign = self.skip(b'+') || self.skip(b'-');
            self.digits()?;
        }
        Ok(Json::Number(&self.text[start..self.at]))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.syntax_error()) } else { Ok(()) }
    }

    /// Reads a text in quotes; `None` if it contains half of a surrogate pair.
    fn text(&mut self) -> Result<Option<Cow<'a, str>>, JsonError> {
        self.expect(b'"')?;
        let mut start = self.at;
        let mut unescaped: Option<String> = None;
        let mut whole = true;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let rest = &self.text[start..self.at];
                    self.at += 1;
                    let text = match unescaped {
                        None => Cow::Borrowed(rest),
                        Some(text) => Cow::Owned(text + rest),
                    };
                    return Ok(whole.then_some(text));
                }
                Some(b'\\') => {
                    let text = unescaped.get_or_insert_default();
                    text.push_str(&self.text[start..self.at]);
                    self.at += 1;
                    match self.escape()? {
                        Some(char) => text.push(char),
                        None => whole = false,
                    }
                    start = self.at;
                }
                Some(0x20..) => self.at += 1,
                Some(_) | None => return Err(self.syntax_error()),
            }
        }
    }

    /// Reads the rest of an escape after its backslash; `None` for half of a surrogate pair.
    fn escape(&mut self) -> Result<Option<char>, JsonError> {
        let char = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.code_point();
            }
            _ => return Err(self.syntax_error()),
        };
        self.at += 1;
        Ok(Some(char))
    }

    fn code_point(&mut self) -> Result<Option<char>, JsonError> {
        let high = self.code_unit()?;
        let pair = (0xd800..0xdc00).contains(&high);
        if !pair || !self.text[self.at..].starts_with("\\u") {
            return Ok(char::from_u32(high));
        }
        self.at += 2;
        let low = self.code_unit()?;
        if !(0xdc00..0xe000).contains(&low) {
            return Ok(None);
        }
        Ok(char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)))
    }

    fn code_unit(&mut self) -> Result<u32, JsonError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            unit = unit * 16 + digit.ok_or_else(|| self.syntax_error())?;
            self.at += 1;
        }
        Ok(unit)
    }

    fn end(&mut self) -> Result<(), JsonError> {
        self.skip_white_space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.syntax_error()) }
    }

    fn skip_white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.skip(byte) { Ok(()) } else { Err(self.syntax_error()) }
    }

    /// Reports the current position. Columns count characters, as an editor does.
    fn syntax_error(&self) -> JsonError {
        let read = &self.text[..self.at];
        let line_start = read.rfind('\n').map_or(0, |newline| newline + 1);
        JsonError::Syntax {
            line: 1 + read.matches('\n').count(),
            column: 1 + read[line_start..].chars().count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::order::properties::assert_reads_like_serde_json;

    /// Pieces of JSON and of almost-JSON.
    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u",
        "\\ud83d",
        "\\ude00",
        "\\u0041",
        "\\n",
        "\\x",
        "0",
        "1",
        "-",
        "+",
        ".",
        "e",
        "E",
        "1e5",
        "-0",
        "01",
        "1.5",
        "true",
        "false",
        "null",
        "nul",
        " ",
        "\t",
        "\n",
        "\r",
        "\u{a0}",
        "\u{0}",
        "\u{1f}",
        "a",
        "ы",
        "\"a\"",
        "\"a\":",
        "{\"a\":1}",
        "[1,2]",
        "/",
        "'",
        "\u{feff}",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn reads_what_serde_json_reads(pieces in vec(select(PIECES), 0..12)) {
            assert_reads_like_serde_json(&pieces.concat());
        }

        #[test]
        fn reads_texts_that_serde_json_reads(pieces in vec(select(PIECES), 0..8)) {
            assert_reads_like_serde_json(&format!("\"{}\"", pieces.concat()));
        }

        #[test]
        fn elements_are_the_parts_of_an_array(
            values in vec(select(&["1", "\"]\"", "[1, 2]", "{\"a\": [] }"]), 0..6),
        ) {
            let text = format!(" [ {} ] ", values.join(" ,\n"));
            prop_assert_eq!(elements(&text, usize::MAX).unwrap(), values);
        }
    }

    #[test]
    fn says_where_the_syntax_breaks() {
        for (text, line, column) in [
            ("", 1, 1),
            ("{]", 1, 2),
            ("{\n  \"ключ\": x\n}", 2, 11),
            ("[1,\n2,\n\n3 4]", 4, 3),
            ("\"a\tb\"", 1, 3),
            ("1 2", 1, 3),
        ] {
            assert_eq!(read(text), Err(JsonError::Syntax { line, column }), "{text:?}");
        }
    }

    #[test]
    fn keeps_what_serde_json_refuses() {
        assert_eq!(read("1e999"), Ok(Json::Number("1e999")));
        assert_eq!(read(r#""\ud800""#), Ok(Json::LoneSurrogate));
        assert_eq!(read(r#""\ud800\ud83d\ude00""#), Ok(Json::LoneSurrogate));
        assert_eq!(read(r#""\ud83d\ude00""#), Ok(Json::Text("😀".into())));
    }

    #[test]
    fn stops_at_its_depth() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(read(&nested(MAX_DEPTH + 1)), Err(JsonError::TooDeep));
        // Depth is nesting, not number.
        assert!(read(&format!("[{}[]]", "[],".repeat(1_000))).is_ok());
    }
}
