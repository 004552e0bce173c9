//! The reasons of a rejection: the [`Code`] of every rule, the [`Pointer`] to the broken field, and
//! [`Violations`], the bounded list that the rules write to. `docs/validation.md` lists the same
//! codes for people; a test compares the two.

use std::fmt;

pub(crate) use chassis::rejected::{Rejection, Violation};

/// The limit on the violations that are named; further ones are only counted. A hostile record can
/// break rules 100,000 times.
pub(crate) const MAX_VIOLATIONS: usize = 100;

/// Declares [`Code`] once, so that its word and its sentence cannot differ.
macro_rules! codes {
    ($($name:ident $word:literal $sentence:literal)*) => {
        /// The rule that was broken. The words are a contract: new ones may be added, none may
        /// change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code { $(#[doc = $sentence] $name,)* }

        impl Code {
            /// Every code, in the order of `docs/validation.md`.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the code as it is stored and served.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// Returns the rule in words. A caller may give a more precise message instead.
            pub(crate) fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

codes! {
    // The record as a whole cannot be read. Such a violation is the only one of its record.
    NullRecord "null_record" "the record has no value"
    EmptyRecord "empty_record" "the record's value is empty"
    TooLarge "too_large" "the order must be at most 1048576 bytes long"
    InvalidUtf8 "invalid_utf8" "the record must be UTF-8"
    InvalidJson "invalid_json" "the record must be one JSON value"
    TooDeep "too_deep" "arrays and objects must not be nested deeper than 128 levels"
    NotAnObject "not_an_object" "the order must be a JSON object"

    // The record can be read, but one of its values cannot be understood.
    DuplicateKey "duplicate_key" "a key must not be repeated within an object"
    LoneSurrogate "lone_surrogate" "text must not hold half of a surrogate pair"
    WrongType "wrong_type" "the value must have the JSON type that the model defines for this field"
    NotAnInteger "not_an_integer" "a number must be whole and written without a fraction or an exponent"
    OutOfRange "out_of_range" "a number must fit in a signed 64-bit integer"

    // The record is understood, but breaks a rule of the order.
    Missing "missing" "this field is required"
    Blank "blank" "must not be blank"
    TooLong "too_long" "text must not be longer than its limit"
    NulCharacter "nul_character" "text must not hold the character U+0000"
    ControlCharacter "control_character" "must not hold control characters"
    Dots "dots" "an order id must not be `.` or `..`, which an address cannot contain"
    Negative "negative" "must not be negative"
    UnknownCurrency "unknown_currency" "must be an ISO 4217 currency code in capital letters"
    InvalidDate "invalid_date" "must be an RFC 3339 date and time with an offset from UTC"
    ImplausibleEmail "implausible_email" "must be an e-mail address: one @ between two parts without spaces"
    ImplausiblePhone "implausible_phone" "must be a phone number: 5 to 20 digits, optionally with a + before them and an extension after them"
    NoItems "no_items" "an order must have at least one item"
    TooManyItems "too_many_items" "an order must have at most 1000 items"
    SumOverflow "sum_overflow" "the sum of the amounts must fit in a signed 64-bit integer"

    // The rule is not about a field of the order.
    NoOrders "no_orders" "at least one order must be sent"
    TooManyOrders "too_many_orders" "at most 1000 orders may be sent at once"
    RefusedByDatabase "refused_by_database" "the database refused this order's data"
    InternalError "internal_error" "Waybill failed while it processed this record; please report this as a fault of Waybill"
    More "more" "more rules are broken than this list names"
}

/// A part of the model.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    Order,
    Delivery,
    Payment,
    Item(usize),
}

/// A position in the model, displayed as a JSON pointer. The model's keys need no escaping.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pointer {
    /// The whole record.
    Record,
    /// A field of a part.
    Field(Part, &'static str),
    /// An item as a whole.
    Item(usize),
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Record => Ok(()),
            Self::Field(Part::Order, key) => write!(f, "/{key}"),
            Self::Field(Part::Delivery, key) => write!(f, "/delivery/{key}"),
            Self::Field(Part::Payment, key) => write!(f, "/payment/{key}"),
            Self::Field(Part::Item(index), key) => write!(f, "/items/{index}/{key}"),
            Self::Item(index) => write!(f, "/items/{index}"),
        }
    }
}

/// The violations of one record, in the order in which they were found; bounded.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    first: Option<Code>,
    kept: Vec<Violation>,
    more: usize,
}

impl Violations {
    /// Returns one violation, of the record as a whole.
    pub(crate) fn whole(code: Code) -> Self {
        Self::whole_because(code, code.sentence())
    }

    /// Does the same as [`whole`](Self::whole), with another message.
    pub(crate) fn whole_because(code: Code, message: impl fmt::Display) -> Self {
        let mut violations = Self::default();
        violations.push_because(code, Pointer::Record, message);
        violations
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn push(&mut self, code: Code, pointer: impl fmt::Display) {
        self.push_because(code, pointer, code.sentence());
    }

    /// Does the same as [`push`](Self::push), with another message.
    pub(crate) fn push_because(
        &mut self,
        code: Code,
        pointer: impl fmt::Display,
        message: impl fmt::Display,
    ) {
        self.first.get_or_insert(code);
        if self.kept.len() == MAX_VIOLATIONS {
            self.more += 1;
            return;
        }
        self.kept.push(Violation {
            pointer: pointer.to_string(),
            code: code.as_str().to_owned(),
            message: message.to_string(),
        });
    }

    /// Adds the violations of the element `index` of an array of orders.
    pub(crate) fn append(&mut self, index: usize, others: Self) {
        self.first = self.first.or(others.first);
        self.more += others.more;
        for violation in others.kept {
            if self.kept.len() == MAX_VIOLATIONS {
                self.more += 1;
            } else {
                let pointer = format!("/{index}{}", violation.pointer);
                self.kept.push(Violation { pointer, ..violation });
            }
        }
    }

    /// Returns the list that users see: the named violations, then the number of the others.
    pub(crate) fn into_vec(mut self) -> Vec<Violation> {
        if self.more > 0 {
            self.kept.push(Violation {
                pointer: String::new(),
                code: Code::More.as_str().to_owned(),
                message: format!("{} more rules are broken", self.more),
            });
        }
        self.kept
    }
}

/// Returns the rejection of a valid order that PostgreSQL refused with this SQLSTATE.
pub(crate) fn refused_by_database(sqlstate: &str) -> Rejection {
    let sentence = Code::RefusedByDatabase.sentence();
    Rejection::from(Violations::whole_because(
        Code::RefusedByDatabase,
        format_args!("{sentence} (SQLSTATE {sqlstate})"),
    ))
}

/// The rejection of a record for which Waybill's own code panicked.
pub(crate) fn internal_error() -> Rejection {
    Rejection::from(Violations::whole(Code::InternalError))
}

impl From<Violations> for Rejection {
    /// There is at least one violation: a record without violations is not rejected.
    fn from(violations: Violations) -> Self {
        let reason = violations.first.unwrap_or(Code::More).as_str();
        Self { reason, violations: violations.into_vec() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::{Value, json};
    use testkit::{bad_records::bad_records, order_json::SAMPLE};

    use super::*;
    use crate::order::{
        AMOUNT_MISMATCH, GOODS_TOTAL_MISMATCH,
        parse::{MAX_ORDERS, parse, parse_many},
        testing::parse_str,
    };

    const DOCUMENT: &str = include_str!("../../../../docs/validation.md");

    /// The rows of the table under a heading, as cells.
    fn table(heading: &str) -> Vec<Vec<&'static str>> {
        let section = DOCUMENT.split("\n## ").find(|section| section.starts_with(heading));
        let rows = section.unwrap().lines().filter(|line| line.starts_with("| `"));
        rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
    }

    #[test]
    fn document_lists_every_code_with_its_sentence_and_no_other() {
        let code = |code: &Code| vec![format!("`{}`", code.as_str()), code.sentence().to_owned()];
        assert_eq!(table("Codes"), Code::ALL.iter().map(code).collect::<Vec<_>>());
    }

    #[test]
    fn document_lists_every_warning_and_no_other() {
        let named = table("Warnings").into_iter().map(|row| row[0]).collect::<Vec<_>>();
        assert_eq!(named, [GOODS_TOTAL_MISMATCH, AMOUNT_MISMATCH].map(|code| format!("`{code}`")));
    }

    #[test]
    fn document_lists_every_field_of_the_model_and_no_other() {
        let sample = serde_json::from_str::<serde_json::Value>(testkit::order_json::SAMPLE);
        let mut fields = Vec::new();
        for (key, value) in sample.unwrap().as_object().unwrap() {
            fields.push(format!("`/{key}`"));
            let part = value.as_object().map(|part| (String::new(), part));
            let item = value.get(0).and_then(|item| item.as_object());
            if let Some((index, part)) = part.or(item.map(|item| ("/0".to_owned(), item))) {
                fields.extend(part.keys().map(|name| format!("`/{key}{index}/{name}`")));
            }
        }
        let mut named = table("Fields").into_iter().map(|row| row[0]).collect::<Vec<_>>();
        fields.sort_unstable();
        named.sort_unstable();
        assert_eq!(named, fields);
    }

    #[test]
    fn no_two_codes_have_the_same_word() {
        let words = Code::ALL.iter().map(|code| code.as_str());
        assert_eq!(words.collect::<std::collections::HashSet<_>>().len(), Code::ALL.len());
    }

    #[test]
    fn violations_beyond_the_bound_are_counted() {
        let mut violations = Violations::default();
        for index in 0..MAX_VIOLATIONS + 7 {
            violations.push(Code::Missing, Pointer::Item(index));
        }
        let mut all = Violations::whole(Code::Blank);
        all.append(3, violations);
        let rejection = Rejection::from(all);
        assert_eq!(rejection.reason, "blank");
        assert_eq!(rejection.violations.len(), MAX_VIOLATIONS + 1);
        assert_eq!(rejection.violations[1].pointer, "/3/items/0");
        let last = rejection.violations.last().unwrap();
        assert_eq!(
            (last.code.as_str(), last.message.as_str()),
            ("more", "8 more rules are broken")
        );
    }

    #[test]
    fn every_bad_record_is_rejected_with_exactly_its_violations() {
        let records = bad_records();
        for record in &records {
            let rejection = parse(record.bytes.as_deref()).expect_err(record.name);
            let found = rejection.violations.iter().map(|violation| {
                assert!(!violation.message.is_empty());
                (violation.pointer.clone(), violation.code.as_str())
            });
            assert_eq!(found.collect::<Vec<_>>(), record.violations, "{}", record.name);
            assert_eq!(rejection.reason, record.reason, "{}", record.name);
        }
        let names = records.iter().map(|record| record.name).collect::<HashSet<_>>();
        assert_eq!(names.len(), records.len());
        assert!(records.len() >= 80, "{}", records.len());
    }

    #[test]
    fn every_code_occurs_in_a_bad_record_or_request() {
        let records = bad_records().into_iter();
        let mut occurring = records
            .flat_map(|record| record.violations.into_iter().map(|(_, code)| code.to_owned()))
            .collect::<HashSet<_>>();
        for body in ["[]".to_owned(), format!("[{}1]", "1,".repeat(MAX_ORDERS))] {
            occurring
                .extend(parse_many(body.as_bytes()).unwrap_err().into_iter().map(|it| it.code));
        }
        // A bad record cannot cause these two: the store gives the first one, and a panic of the
        // code the second one.
        let others = [Code::RefusedByDatabase, Code::InternalError];
        occurring.extend(others.map(|it| it.as_str().to_owned()));
        for code in Code::ALL {
            assert!(occurring.contains(code.as_str()), "{code:?}");
        }
    }

    #[test]
    fn a_rejection_of_the_worst_record_is_small() {
        for record in bad_records() {
            let rejection = parse(record.bytes.as_deref()).unwrap_err();
            let bytes = serde_json::to_vec(&rejection.violations).unwrap().len();
            assert!(bytes < 64 * 1024, "{}: {bytes}", record.name);
        }
        let keys = "k".repeat(60);
        let deep = format!("{{\"{keys}\":").repeat(100) + "1" + &"}".repeat(100);
        let twice = format!("\"{keys}\":{deep},").repeat(150);
        let rejection = parse_str(&format!("{{{twice}\"a\":1}}")).unwrap_err();
        assert!(rejection.violations.len() <= MAX_VIOLATIONS + 1);
        assert!(rejection.violations.iter().all(|violation| violation.pointer.len() < 400));
    }

    #[test]
    fn violations_never_repeat_what_was_sent() {
        let mut order = serde_json::from_str::<Value>(SAMPLE).unwrap();
        fn corrupt(value: &mut Value) {
            match value {
                Value::Object(fields) => {
                    fields.values_mut().for_each(corrupt);
                    fields.insert("marker 73@91".to_owned(), json!(1));
                }
                Value::Array(items) => items.iter_mut().for_each(corrupt),
                Value::String(text) => *text = format!("marker\0\n73@91 {}", "x".repeat(10_001)),
                number => *number = json!(-7391),
            }
        }
        corrupt(&mut order);
        let corrupted = order
            .to_string()
            .replace("\"marker 73@91\":1", "\"marker 73@91\":1,\"marker 73@91\":1");
        let said = format!("{:?}", parse_str(&corrupted).unwrap_err());
        for marker in ["marker", "73", "91"] {
            assert!(!said.contains(marker), "{said}");
        }
        for code in ["duplicate_key", "too_long", "negative", "implausible_email", "invalid_date"] {
            assert!(said.contains(code), "{said}");
        }
    }
}
