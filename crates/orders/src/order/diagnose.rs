//! The second pass, for a record that is not a plain order: it names every violation.
//!
//! Pure: `record → message → order`, on the slow path. It reads any JSON, reports values that
//! cannot be understood (repeated keys, wrong types, numbers that are not whole), and makes a
//! message of the other values. The [`rules`](crate::order::rules) then check that message; no rule
//! about the value of a field is here. A record that only has unknown fields becomes a valid order.

use std::{
    borrow::Cow,
    collections::HashSet,
    fmt::{self, Write},
};

use crate::order::{
    Order,
    json::{self, Json},
    message::{
        DeliveryMessage, Field, ItemMessage, Items, MAX_ITEMS, Message, Object, PaymentMessage,
    },
    text::Text,
    violation::{Code, Part, Pointer, Violations},
};

/// A valid order whose record has unknown fields.
#[derive(Debug)]
pub(crate) struct ExtendedOrder<'a> {
    pub(crate) order: Order<'a>,
    pub(crate) unknown_fields: u32,
}

/// Finds every violation of the record.
pub(crate) fn diagnose(text: &str) -> Result<ExtendedOrder<'_>, Violations> {
    let json = json::read(text)?;
    let Json::Object(entries) = &json else {
        return Err(Violations::whole(Code::NotAnObject));
    };
    let mut reader = MessageReader { violations: Violations::default(), unknown_fields: 0 };
    // The keys are checked first: a rejection's reason is its first violation, and
    // `docs/validation.md` promises that repeated keys come before wrong types and broken rules.
    KeyChecker { violations: &mut reader.violations, pointer: String::new() }.check(&json, true);
    let message = reader.message(entries);
    match Order::check(message, &mut reader.violations) {
        Some(order) => Ok(ExtendedOrder { order, unknown_fields: reader.unknown_fields }),
        None => Err(reader.violations),
    }
}

type Entries<'a> = [(Option<Cow<'a, str>>, Json<'a>)];

/// Reads the fields that can be understood, and reports the others.
struct MessageReader {
    violations: Violations,
    unknown_fields: u32,
}

impl MessageReader {
    fn message<'a>(&mut self, entries: &Entries<'a>) -> Message<'a> {
        let mut fields = PartReader::of(entries, Part::Order, self);
        let message = Message {
            order_uid: fields.text("order_uid"),
            track_number: fields.text("track_number"),
            entry: fields.text("entry"),
            delivery: fields.object("delivery", Self::delivery),
            payment: fields.object("payment", Self::payment),
            items: fields.items("items"),
            locale: fields.text("locale"),
            internal_signature: fields.text("internal_signature"),
            customer_id: fields.text("customer_id"),
            delivery_service: fields.text("delivery_service"),
            shardkey: fields.text("shardkey"),
            sm_id: fields.number("sm_id"),
            date_created: fields.text("date_created"),
            oof_shard: fields.text("oof_shard"),
        };
        fields.end();
        message
    }

    fn delivery<'a>(&mut self, entries: &Entries<'a>) -> DeliveryMessage<'a> {
        let mut fields = PartReader::of(entries, Part::Delivery, self);
        let delivery = DeliveryMessage {
            name: fields.text("name"),
            phone: fields.text("phone"),
            zip: fields.text("zip"),
            city: fields.text("city"),
            address: fields.text("address"),
            region: fields.text("region"),
            email: fields.text("email"),
        };
        fields.end();
        delivery
    }

    fn payment<'a>(&mut self, entries: &Entries<'a>) -> PaymentMessage<'a> {
        let mut fields = PartReader::of(entries, Part::Payment, self);
        let payment = PaymentMessage {
            transaction: fields.text("transaction"),
            request_id: fields.text("request_id"),
            currency: fields.text("currency"),
            provider: fields.text("provider"),
            amount: fields.number("amount"),
            payment_dt: fields.number("payment_dt"),
            bank: fields.text("bank"),
            delivery_cost: fields.number("delivery_cost"),
            goods_total: fields.number("goods_total"),
            custom_fee: fields.number("custom_fee"),
        };
        fields.end();
        payment
    }

    fn item<'a>(&mut self, index: usize, entries: &Entries<'a>) -> ItemMessage<'a> {
        let mut fields = PartReader::of(entries, Part::Item(index), self);
        let item = ItemMessage {
            chrt_id: fields.number("chrt_id"),
            track_number: fields.text("track_number"),
            price: fields.number("price"),
            rid: fields.text("rid"),
            name: fields.text("name"),
            sale: fields.number("sale"),
            size: fields.text("size"),
            total_price: fields.number("total_price"),
            nm_id: fields.number("nm_id"),
            brand: fields.text("brand"),
            status: fields.number("status"),
        };
        fields.end();
        item
    }

    fn wrong_type(&mut self, pointer: impl fmt::Display, expected: &str) {
        let message = format_args!("must be {expected}");
        self.violations.push_because(Code::WrongType, pointer, message);
    }
}

/// The fields of one part. Each known field is taken once; the fields that remain are unknown.
struct PartReader<'t, 'a, 'r> {
    entries: &'t Entries<'a>,
    part: Part,
    known: usize,
    reader: &'r mut MessageReader,
}

impl<'t, 'a, 'r> PartReader<'t, 'a, 'r> {
    fn of(entries: &'t Entries<'a>, part: Part, reader: &'r mut MessageReader) -> Self {
        Self { entries, part, known: 0, reader }
    }

    fn end(self) {
        let unknown = u32::try_from(self.entries.len() - self.known)
            .expect("a record of 1 MiB has fewer than 4 billion keys");
        self.reader.unknown_fields += unknown;
    }

    /// Takes the value of `key`; `null` counts as absent. Of a repeated key it takes the first
    /// value: the record is rejected anyway, because [`KeyChecker`] has reported the key.
    fn take(&mut self, key: &str) -> Option<&'t Json<'a>> {
        let (_, value) = self.entries.iter().find(|(name, _)| name.as_deref() == Some(key))?;
        self.known += 1;
        (*value != Json::Null).then_some(value)
    }

    fn wrong_type(&mut self, key: &'static str, expected: &str) {
        self.reader.wrong_type(Pointer::Field(self.part, key), expected);
    }

    fn text(&mut self, key: &'static str) -> Field<Text<'a>> {
        match self.take(key) {
            None => return Field::Absent,
            Some(Json::Text(text)) => return Field::Given(Text(text.clone())),
            Some(Json::LoneSurrogate) => {
                let pointer = Pointer::Field(self.part, key);
                self.reader.violations.push(Code::LoneSurrogate, pointer);
            }
            Some(_) => self.wrong_type(key, "text"),
        }
        Field::Unreadable
    }

    fn number(&mut self, key: &'static str) -> Field<i64> {
        match self.take(key) {
            None => return Field::Absent,
            Some(Json::Number(digits)) => match parse_number(digits) {
                Ok(number) => return Field::Given(number),
                Err(code) => {
                    self.reader.violations.push(code, Pointer::Field(self.part, key));
                }
            },
            Some(_) => self.wrong_type(key, "a whole number"),
        }
        Field::Unreadable
    }

    fn object<T>(
        &mut self,
        key: &'static str,
        read: fn(&mut MessageReader, &Entries<'a>) -> T,
    ) -> Field<Object<T>> {
        match self.take(key) {
            None => Field::Absent,
            Some(Json::Object(entries)) => Field::Given(Object(read(self.reader, entries))),
            Some(_) => {
                self.wrong_type(key, "an object");
                Field::Unreadable
            }
        }
    }

    /// Takes the items, at most one more than an order may have: that one is enough for the rule
    /// that limits them.
    fn items(&mut self, key: &'static str) -> Field<Items<'a>> {
        let values = match self.take(key) {
            None => return Field::Absent,
            Some(Json::Array(values)) => values,
            Some(_) => {
                self.wrong_type(key, "an array");
                return Field::Unreadable;
            }
        };
        let items =
            values.iter().take(MAX_ITEMS + 1).enumerate().map(|(index, value)| match value {
                Json::Null => Field::Absent,
                Json::Object(entries) => Field::Given(Object(self.reader.item(index, entries))),
                _ => {
                    self.reader.wrong_type(Pointer::Item(index), "an object");
                    Field::Unreadable
                }
            });
        Field::Given(Items(items.collect()))
    }
}

fn parse_number(digits: &str) -> Result<i64, Code> {
    if let Ok(number) = digits.parse() {
        return Ok(number);
    }
    let whole = !digits.contains(['.', 'e', 'E']);
    let huge = digits.parse::<f64>().is_ok_and(f64::is_infinite);
    Err(if whole || huge { Code::OutOfRange } else { Code::NotAnInteger })
}

/// The limit on a key that a pointer shows.
const MAX_KEY_BYTES: usize = 64;
/// A pointer that is longer than this is not extended.
const MAX_POINTER_BYTES: usize = 256;

/// Reports repeated and unreadable keys at any depth, in unknown fields too.
///
/// Unknown keys may contain anything, such as personal data or NUL. A pointer therefore shows a key
/// only if [`can_be_shown`] allows it, and otherwise ends at the object or array that contains it.
struct KeyChecker<'v> {
    violations: &'v mut Violations,
    pointer: String,
}

impl KeyChecker<'_> {
    /// Checks `value`; `shown` is false if the pointer ends at an object or array above it.
    fn check(&mut self, value: &Json<'_>, shown: bool) {
        match value {
            Json::Array(values) => {
                for (index, value) in values.iter().enumerate() {
                    if matches!(value, Json::Array(_) | Json::Object(_)) {
                        self.step(shown, index, |keys, shown| keys.check(value, shown));
                    }
                }
            }
            Json::Object(entries) => {
                let mut seen = HashSet::with_capacity(entries.len());
                for (key, value) in entries {
                    let Some(key) = key else {
                        self.violations.push(Code::LoneSurrogate, &self.pointer);
                        continue;
                    };
                    let repeated = !seen.insert(key);
                    self.step(shown && can_be_shown(key), key, |keys, shown| {
                        if repeated {
                            keys.violations.push(Code::DuplicateKey, &keys.pointer);
                        }
                        keys.check(value, shown);
                    });
                }
            }
            _ => {}
        }
    }

    /// Goes one level down and returns; extends the pointer only if the level is `shown`.
    fn step(&mut self, shown: bool, name: impl fmt::Display, go: impl FnOnce(&mut Self, bool)) {
        let before = self.pointer.len();
        let shown = shown && before < MAX_POINTER_BYTES;
        if shown {
            write!(self.pointer, "/{name}").expect("writing to a String does not fail");
        }
        go(self, shown);
        self.pointer.truncate(before);
    }
}

/// True if a key looks like an identifier. Such a key needs no escaping in a JSON pointer.
fn can_be_shown(key: &str) -> bool {
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    key.len() <= MAX_KEY_BYTES && key.bytes().all(name)
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::*,
        sample::{Index, select},
    };
    use serde_json::{Value, json};
    use testkit::order_json::{SAMPLE, valid_order};

    use crate::order::{
        parse::ValidOrder, properties::assert_both_paths_agree, testing::parse_str,
    };

    #[test]
    fn unknown_fields_are_counted_and_dropped() {
        let plain = parse_str(SAMPLE).unwrap();
        let extra = r#""":{"a":{"b":[1e999,"\u0000\ud800",null]}},"Order_uid":"2","price":1,"#;
        let text = SAMPLE.replacen('{', &format!("{{{extra}"), 1);
        let text = text.replacen("\"zip\"", "\"a/b~c\":1,\"zip\"", 1);
        let text = text.replacen("\"chrt_id\"", "\"id\":1,\"chrt_id\"", 1);
        let order = parse_str(&text).unwrap();
        assert_eq!(order, ValidOrder { unknown_fields: 5, ..plain });
    }

    #[test]
    fn minus_zero_is_zero() {
        let text = SAMPLE.replace("\"custom_fee\": 0", "\"custom_fee\": -0");
        assert_eq!(parse_str(&text), parse_str(SAMPLE));
    }

    #[test]
    fn keys_may_be_escaped_and_in_any_order() {
        let text = SAMPLE.replace("\"entry\"", r#""\u0065ntry""#);
        assert_eq!(parse_str(&text), parse_str(SAMPLE));
        let sorted = serde_json::from_str::<Value>(SAMPLE).unwrap().to_string();
        assert_eq!(parse_str(&sorted), parse_str(SAMPLE));
    }

    /// Valid and invalid JSON that replaces a value or follows it.
    const RAW: &[&str] = &[
        "null",
        "0",
        "-0",
        "-1",
        "1.5",
        "1.0",
        "1e3",
        "1e999",
        "9223372036854775808",
        "01",
        "true",
        "\"\"",
        "\" \"",
        "\"x\"",
        "\"usd\"",
        r#""\u0000""#,
        r#""\ud800""#,
        r#""\n""#,
        "[]",
        "[null]",
        "[{}]",
        "{}",
        r#"{"name":"x"}"#,
        r#"{"a":{"b":1,"b":1}}"#,
        "\"2021-11-26T06:22:60Z\"",
        "nul",
        r#"1,"extra":{"a":[1]}"#,
        r#""x","entry":"y""#,
        r#""x","\u0065ntry":"y""#,
        r#""x","":1,"":2"#,
    ];

    /// Texts that can make valid JSON invalid where they are inserted.
    const SYNTAX_FRAGMENTS: &[&str] =
        &["", "\"", "{", "}", "[", "]", ",", ":", "\\", "0", "-", "e", "null", "ы"];

    /// Every value's pointer, parts before their fields.
    fn pointers(value: &Value, pointer: &str, all: &mut Vec<String>) {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(fields) => fields.iter().map(|(key, it)| (key.clone(), it)).collect(),
            Value::Array(items) => {
                items.iter().enumerate().map(|(at, it)| (at.to_string(), it)).collect()
            }
            _ => Vec::new(),
        };
        for (key, child) in children {
            let pointer = format!("{pointer}/{key}");
            all.push(pointer.clone());
            pointers(child, &pointer, all);
        }
    }

    proptest! {
        #[test]
        fn both_paths_agree_on_changed_orders(
            order in valid_order(),
            edits in vec((any::<Index>(), select(RAW)), 0..4),
        ) {
            let mut all = Vec::new();
            pointers(&order, "", &mut all);
            let mut changed = order;
            for (number, (pointer, _)) in edits.iter().enumerate() {
                if let Some(value) = changed.pointer_mut(pointer.get::<String>(&all)) {
                    *value = json!(format!("edit {number}"));
                }
            }
            let mut text = changed.to_string();
            for (number, (_, raw)) in edits.iter().enumerate() {
                text = text.replace(&format!("\"edit {number}\""), raw);
            }
            assert_both_paths_agree(&text);
        }

        #[test]
        fn both_paths_agree_on_damaged_orders(
            damage in vec((any::<Index>(), 0_usize..4, select(SYNTAX_FRAGMENTS)), 1..4),
        ) {
            let mut text = SAMPLE.to_owned();
            for (at, length, raw) in damage {
                let start = text.floor_char_boundary(at.index(text.len()));
                let end = text.ceil_char_boundary((start + length).min(text.len()));
                text.replace_range(start..end, raw);
            }
            assert_both_paths_agree(&text);
        }

        #[test]
        fn both_paths_find_missing_keys(
            order in valid_order(),
            gone in vec(any::<Index>(), 1..4),
        ) {
            let mut all = Vec::new();
            pointers(&order, "", &mut all);
            let mut changed = order;
            for gone in gone {
                let (parent, key) = gone.get(&all).rsplit_once('/').unwrap();
                if let Some(parent) = changed.pointer_mut(parent).and_then(Value::as_object_mut) {
                    parent.remove(key);
                }
            }
            assert_both_paths_agree(&changed.to_string());
        }
    }
}
