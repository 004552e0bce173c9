//! The rules of a status event, and the violation of one. The rules are checked in
//! [`status_event`](crate::status_event) and [`event_fields`](crate::event_fields).

/// A rule that an event breaks. It never contains a value of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventViolation {
    /// The position as a JSON pointer; `""` is the whole event.
    pub pointer: &'static str,
    /// The stable code of the rule; `docs/validation.md` lists all codes.
    pub code: &'static str,
    /// The rule as a sentence.
    pub message: &'static str,
}

/// A code and its sentence.
pub(crate) type Rule = (&'static str, &'static str);

impl EventViolation {
    pub(crate) fn new(pointer: &'static str, (code, message): Rule) -> Self {
        Self { pointer, code, message }
    }
}

macro_rules! rules {
    ($($name:ident $code:literal $message:literal)*) => {
        $(pub(crate) const $name: Rule = ($code, $message);)*

        /// All rules of an event: code and sentence, in the order of `docs/validation.md`.
        pub const EVENT_RULES: &[Rule] = &[$(($code, $message),)*];
    };
}

rules! {
    NULL_RECORD "null_record" "the record has no value"
    EMPTY_RECORD "empty_record" "the record's value is empty"
    INVALID_UTF8 "invalid_utf8" "the record must be UTF-8"
    INVALID_JSON "invalid_json" "the record must be one JSON value"
    NOT_AN_OBJECT "not_an_object" "the event must be a JSON object"
    DUPLICATE_KEY "duplicate_key" "an order id or a status must not be repeated"
    WRONG_TYPE "wrong_type" "a status must be text; an order id must be text or a whole number of 64 bits"
    MISSING "missing" "this field is required"
    BLANK "blank" "must not be blank"
    ID_TOO_LONG "too_long" "an order id must be at most 100 bytes long"
    WORD_TOO_LONG "too_long" "a status must be at most 255 bytes long"
    CONTROL_CHARACTER "control_character" "must not hold control characters"
    DOTS "dots" "an order id must not be `.` or `..`, which an address cannot contain"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_exactly_the_rules_with_their_sentences() {
        const DOCUMENT: &str = include_str!("../../../docs/validation.md");
        let section = DOCUMENT.split("\n## ").find(|section| section.starts_with("Status events"));
        let table = section.unwrap().split("| code | rule |").nth(1).unwrap();
        let rows = table.lines().filter(|line| line.starts_with("| `"));
        let rows = rows.map(|row| row.trim_matches(['|', ' ']).split_once(" | ").unwrap());
        let rules = EVENT_RULES.iter().map(|(code, rule)| (format!("`{code}`"), *rule));
        assert_eq!(
            rows.map(|(code, rule)| (code.to_owned(), rule)).collect::<Vec<_>>(),
            rules.collect::<Vec<_>>()
        );
    }
}
