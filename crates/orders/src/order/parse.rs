//! What a record's value turns into: a valid order or a rejection.
//!
//! Pure: `record → message → order`, in one call. A plain order costs one typed parse; only what
//! that parse does not take is read a second time, by [`explain`](crate::order::diagnose), which either
//! names every violation or finds that only unknown fields were in the way.

use chassis::postgres::copy::Fields;
use events::OrderUid;

use crate::{
    ingest::copied_row,
    order::{
        Order,
        content_hash::ContentHash,
        diagnose::explain,
        json,
        message::{NotPlain, decode},
        violation::{Code, Rejection, Violation, Violations},
    },
};

/// The largest order, in bytes.
pub(crate) const MAX_RECORD_BYTES: usize = 1_048_576;
/// The most orders of one request.
pub(crate) const MAX_ORDERS: usize = 1_000;

/// JSON's white space.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// An order as the rest of the service takes it: checked, and in its canonical form.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ValidOrder {
    pub(crate) order_uid: OrderUid,
    /// The canonical order.
    pub(crate) json: Vec<u8>,
    /// What it has its row hold.
    pub(crate) fields: Fields,
    /// Of `json`: two records with the same hash are the same order.
    pub(crate) hash: ContentHash,
    /// What is odd without being invalid: codes of `docs/validation.md`.
    pub(crate) warnings: Vec<&'static str>,
    /// How many unknown fields were dropped.
    pub(crate) unknown_fields: u32,
}

/// Parses a record's value.
pub(crate) fn parse(value: Option<&[u8]>) -> Result<ValidOrder, Rejection> {
    let parsed = value.ok_or_else(|| Violations::whole(Code::NullRecord)).and_then(parse_bytes);
    parsed.map_err(Rejection::from)
}

/// Parses one order or an array of 1 to [`MAX_ORDERS`] of them, all or nothing. The pointers of an
/// array's violations start with the order's index.
///
/// What it accepts can be sent to Kafka as its canonical JSON: that, too, is small enough. The size
/// of the whole is the caller's to limit.
pub(crate) fn parse_many(bytes: &[u8]) -> Result<Vec<ValidOrder>, Vec<Violation>> {
    let one_or_many = decode_utf8(bytes).and_then(|text| {
        if text.trim_start_matches(BLANKS).starts_with('[') {
            parse_array(text)
        } else {
            Ok(vec![parse_to_send(bytes)?])
        }
    });
    one_or_many.map_err(Violations::into_vec)
}

fn parse_array(text: &str) -> Result<Vec<ValidOrder>, Violations> {
    let elements = json::elements(text, MAX_ORDERS + 1)?;
    if elements.is_empty() {
        return Err(Violations::whole(Code::NoOrders));
    }
    if elements.len() > MAX_ORDERS {
        return Err(Violations::whole(Code::TooManyOrders));
    }
    let mut violations = Violations::default();
    let mut orders = Vec::with_capacity(elements.len());
    for (index, element) in elements.into_iter().enumerate() {
        match parse_to_send(element.as_bytes()) {
            Ok(order) => orders.push(order),
            Err(others) => violations.append(index, others),
        }
    }
    if violations.is_empty() { Ok(orders) } else { Err(violations) }
}

/// The canonical form has all keys of the model, so it can be larger than what came.
fn parse_to_send(bytes: &[u8]) -> Result<ValidOrder, Violations> {
    let order = parse_bytes(bytes)?;
    if order.json.len() > MAX_RECORD_BYTES {
        return Err(Violations::whole(Code::TooLarge));
    }
    Ok(order)
}

fn parse_bytes(bytes: &[u8]) -> Result<ValidOrder, Violations> {
    if bytes.is_empty() {
        return Err(Violations::whole(Code::EmptyRecord));
    }
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(Violations::whole(Code::TooLarge));
    }
    let text = decode_utf8(bytes)?;
    match decode(text) {
        Ok(message) => Ok(valid(Order::try_from(message)?, bytes.len(), 0)),
        Err(NotPlain) => {
            let explained = explain(text)?;
            Ok(valid(explained.order, bytes.len(), explained.unknown_fields))
        }
    }
}

fn decode_utf8(bytes: &[u8]) -> Result<&str, Violations> {
    str::from_utf8(bytes).map_err(|error| {
        Violations::whole_because(
            Code::InvalidUtf8,
            format_args!("not UTF-8 from byte {} on", error.valid_up_to()),
        )
    })
}

/// `room` is about how many bytes its canonical form takes.
fn valid(order: Order<'_>, room: usize, unknown_fields: u32) -> ValidOrder {
    let json = order.to_json(room);
    let hash = ContentHash::of(&json);
    let warnings = order.warnings();
    let fields = copied_row::fields(&order, &json, &warnings, hash);
    ValidOrder { order_uid: order.order_uid, json, fields, hash, warnings, unknown_fields }
}

impl ValidOrder {
    /// The order itself, read back from its canonical form.
    pub(crate) fn order(&self) -> Order<'_> {
        serde_json::from_slice(&self.json).expect("the canonical form is that of an order")
    }

    /// The items as they stand in `json`.
    pub(crate) fn items_json(&self) -> &str {
        str::from_utf8(copied_row::items_within(&self.json)).expect("JSON is UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::{
        collection::vec,
        prelude::*,
        sample::{Index, select},
    };
    use serde_json::{Value, json};
    use testkit::{
        bad_records::bad_records,
        order_json::{SAMPLE, valid_order},
    };
    use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

    use super::*;
    use crate::order::{message::Message, violation::MAX_VIOLATIONS};

    fn parse_str(text: &str) -> Result<ValidOrder, Rejection> {
        parse(Some(text.as_bytes()))
    }

    /// The order of a plain record.
    fn plain(text: &str) -> Order<'_> {
        decode(text).unwrap().try_into().unwrap()
    }

    fn sample_with(pointer: &str, value: Value) -> String {
        let mut order = serde_json::from_str::<Value>(SAMPLE).unwrap();
        *order.pointer_mut(pointer).unwrap() = value;
        order.to_string()
    }

    /// What the canonical order of a valid order must hold, written without the code under test.
    fn expected(order: &Value) -> Value {
        let mut model = serde_json::from_str::<Value>(SAMPLE).unwrap();
        let item = model["items"][0].clone();
        model["items"] = vec![item; order["items"].as_array().unwrap().len()].into();
        fill(&mut model, order);
        model
    }

    fn fill(model: &mut Value, order: &Value) {
        match model {
            Value::Object(fields) => {
                for (key, field) in fields {
                    fill(field, &order[key.as_str()]);
                }
            }
            Value::Array(items) => {
                for (item, order) in items.iter_mut().zip(order.as_array().unwrap()) {
                    fill(item, order);
                }
            }
            field if !order.is_null() => *field = order.clone(),
            Value::String(text) => text.clear(),
            number => *number = json!(0),
        }
    }

    #[test]
    fn the_sample_is_valid_and_canonical_already() {
        let order = parse_str(SAMPLE).unwrap();
        let one_line = SAMPLE.lines().map(str::trim_start).collect::<String>();
        let compact = one_line.replace("\": ", "\":");
        assert_eq!(str::from_utf8(&order.json).unwrap(), compact);
        assert_eq!(order.hash.to_string(), "33a43527313619a5dd487b7fe99e16b3");
        assert_eq!(order.order_uid.as_str(), "b563feb7b2b84b6test");
        assert!(order.warnings.is_empty());
        assert_eq!(order.unknown_fields, 0);
        assert_eq!(order.order(), plain(SAMPLE));
    }

    #[test]
    fn items_are_found_in_the_canonical_order_whatever_the_texts_say() {
        let tricks = [r#","locale":"#, r#""items":"#, r#"\","items":["#, "items", "locale\\\""];
        for trick in tricks {
            for pointer in ["/entry", "/items/0/name", "/oof_shard", "/delivery/email", "/locale"] {
                let trick = if pointer == "/delivery/email" { "a@b.c" } else { trick };
                let text = sample_with(pointer, json!(trick));
                let order = parse_str(&text).unwrap();
                let items: Value = serde_json::from_str(order.items_json()).unwrap();
                assert_eq!(items, serde_json::to_value(plain(&text).items).unwrap());
            }
        }
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
    fn every_code_is_met_in_practice() {
        let records = bad_records().into_iter();
        let mut met = records
            .flat_map(|record| record.violations.into_iter().map(|(_, code)| code.to_owned()))
            .collect::<HashSet<_>>();
        for body in ["[]".to_owned(), format!("[{}1]", "1,".repeat(MAX_ORDERS))] {
            met.extend(parse_many(body.as_bytes()).unwrap_err().into_iter().map(|it| it.code));
        }
        // The only one that is not given here, but by the store.
        met.insert(Code::RefusedByDatabase.as_str().to_owned());
        for code in Code::ALL {
            assert!(met.contains(code.as_str()), "{code:?}");
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
        fn spoil(value: &mut Value) {
            match value {
                Value::Object(fields) => {
                    fields.values_mut().for_each(spoil);
                    fields.insert("marker 73@91".to_owned(), json!(1));
                }
                Value::Array(items) => items.iter_mut().for_each(spoil),
                Value::String(text) => *text = format!("marker\0\n73@91 {}", "x".repeat(10_001)),
                number => *number = json!(-7391),
            }
        }
        spoil(&mut order);
        let spoilt = order
            .to_string()
            .replace("\"marker 73@91\":1", "\"marker 73@91\":1,\"marker 73@91\":1");
        let said = format!("{:?}", parse_str(&spoilt).unwrap_err());
        for marker in ["marker", "73", "91"] {
            assert!(!said.contains(marker), "{said}");
        }
        for code in ["duplicate_key", "too_long", "negative", "implausible_email", "invalid_date"] {
            assert!(said.contains(code), "{said}");
        }
    }

    #[test]
    fn limits_are_reached_and_not_passed() {
        for (pointer, value) in [
            ("/order_uid", json!("x".repeat(100))),
            ("/track_number", json!("x".repeat(255))),
            ("/customer_id", json!("x".repeat(255))),
            ("/delivery_service", json!("x".repeat(255))),
            ("/payment/transaction", json!("x".repeat(255))),
            ("/entry", json!("x".repeat(10_000))),
            ("/items/0/rid", json!("x".repeat(10_000))),
            ("/delivery/email", json!(format!("a@{}", "b".repeat(252)))),
            ("/payment/amount", json!(i64::MAX)),
            ("/payment/goods_total", json!(i64::MAX - 1500)),
            ("/payment/payment_dt", json!(0)),
            ("/items/0/sale", json!(i64::MIN)),
            ("/items/0/total_price", json!(i64::MAX)),
        ] {
            let order = parse_str(&sample_with(pointer, value.clone())).expect(pointer);
            let json = serde_json::from_slice::<Value>(&order.json).unwrap();
            assert_eq!(json.pointer(pointer), Some(&value));
        }
        let item = serde_json::from_str::<Value>(SAMPLE).unwrap()["items"][0].clone();
        let text = sample_with("/items", vec![item; 1_000].into());
        assert_eq!(parse_str(&text).unwrap().order(), plain(&text));
        assert_eq!(plain(&text).items.len(), 1_000);
        let padding = " ".repeat(MAX_RECORD_BYTES - SAMPLE.len());
        assert!(parse_str(&format!("{SAMPLE}{padding}")).is_ok());
    }

    #[test]
    fn optional_fields_may_be_absent_or_null() {
        let absent = parse_str(
            r#"{"order_uid":"1","track_number":"t","customer_id":"c","delivery_service":"d",
            "date_created":"2021-11-26T06:22:19Z","delivery":{"name":"n","phone":"12345","city":"c",
            "address":"a"},"payment":{"transaction":"t","currency":"EUR","provider":"p"},
            "items":[{"chrt_id":0,"rid":"r","name":"n","price":0,"total_price":0}]}"#,
        )
        .unwrap();
        assert_eq!(
            str::from_utf8(&absent.json).unwrap(),
            concat!(
                r#"{"order_uid":"1","track_number":"t","entry":"","#,
                r#""delivery":{"name":"n","phone":"12345","zip":"","city":"c","address":"a","#,
                r#""region":"","email":""},"payment":{"transaction":"t","request_id":"","#,
                r#""currency":"EUR","provider":"p","amount":0,"payment_dt":0,"bank":"","#,
                r#""delivery_cost":0,"goods_total":0,"custom_fee":0},"items":[{"chrt_id":0,"#,
                r#""track_number":"","price":0,"rid":"r","name":"n","sale":0,"size":"","#,
                r#""total_price":0,"nm_id":0,"brand":"","status":0}],"locale":"","#,
                r#""internal_signature":"","customer_id":"c","delivery_service":"d","#,
                r#""shardkey":"","sm_id":0,"date_created":"2021-11-26T06:22:19Z","#,
                r#""oof_shard":""}"#,
            )
        );
        let nulls = str::from_utf8(&absent.json).unwrap();
        let nulls = nulls.replace(":\"\"", ":null").replace("\"amount\":0", "\"amount\":null");
        assert_eq!(parse_str(&nulls).unwrap(), absent);
    }

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
    fn minus_nothing_is_nothing() {
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

    #[test]
    fn sums_that_do_not_add_up_are_warnings() {
        let order = parse_str(&sample_with("/payment/goods_total", json!(316))).unwrap();
        assert_eq!(order.warnings, ["goods_total_mismatch", "amount_mismatch"]);
        let order = parse_str(&sample_with("/payment/amount", json!(0))).unwrap();
        assert_eq!(order.warnings, ["amount_mismatch"]);
        let order = parse_str(&sample_with("/items/0/total_price", json!(0))).unwrap();
        assert_eq!(order.warnings, ["goods_total_mismatch"]);
    }

    #[test]
    fn many_orders_are_taken_together_or_not_at_all() {
        let one = parse_str(SAMPLE).unwrap();
        assert_eq!(parse_many(SAMPLE.as_bytes()), Ok(vec![one.clone()]));
        let three = format!(" \n[{SAMPLE},{SAMPLE} , {SAMPLE}]\n");
        assert_eq!(parse_many(three.as_bytes()), Ok(vec![one.clone(), one.clone(), one]));

        let spoilt = format!("[{SAMPLE},{{}},7,{}]", sample_with("/payment/amount", json!(-1)));
        let found = parse_many(spoilt.as_bytes()).unwrap_err();
        let found =
            found.iter().map(|it| (it.pointer.as_str(), it.code.as_str())).collect::<Vec<_>>();
        assert_eq!(found.first(), Some(&("/1/order_uid", "missing")));
        assert_eq!(found[8..], [("/2", "not_an_object"), ("/3/payment/amount", "negative")]);

        for (body, code) in [
            ("", "empty_record"),
            ("[", "invalid_json"),
            ("[]", "no_orders"),
            (&format!("[{SAMPLE}] x"), "invalid_json"),
            ("\u{feff}[]", "invalid_json"),
            ("7", "not_an_object"),
            (&"[".repeat(1_000), "too_deep"),
        ] {
            let found = parse_many(body.as_bytes()).unwrap_err();
            assert_eq!(
                (found.len(), found[0].code.as_str(), found[0].pointer.as_str()),
                (1, code, "")
            );
        }
        assert_eq!(parse_many(b"[\xff]").unwrap_err()[0].code, "invalid_utf8");
    }

    #[test]
    fn an_order_of_any_age_is_read_back() {
        for date in [
            "0000-01-01T00:00:00Z",
            "2016-12-31T23:59:60Z",
            "2021-11-26T06:22:19.000001Z",
            "9999-12-31T23:59:59.999999999Z",
        ] {
            let text = sample_with("/date_created", json!(date));
            assert_eq!(parse_str(&text).unwrap().order(), plain(&text));
        }
    }

    #[test]
    fn an_order_too_large_in_its_canonical_form_is_not_sent() {
        let item = r#"{"chrt_id":1,"rid":"r","name":"n","price":1,"total_price":1}"#;
        let items = vec![item; 1_000].join(",");
        let order = sample_with("/items", json!("@")).replace("\"@\"", &format!("[{items}]"));
        let long = format!("\"{}\"", "x".repeat(9_900));
        let order = order.replacen("\"name\":\"n\"", &format!("\"name\":{long}"), 98);
        assert!(order.len() < MAX_RECORD_BYTES);
        assert!(parse_str(&order).unwrap().json.len() > MAX_RECORD_BYTES);
        let found = parse_many(format!("[{order}]").as_bytes()).unwrap_err();
        assert_eq!((found[0].pointer.as_str(), found[0].code.as_str()), ("/0", "too_large"));
    }

    /// Raw JSON, and nearly JSON, to put in the place of a value or behind it.
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

    /// What damages JSON.
    const SPLINTERS: &[&str] =
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

    /// The two ways to read a record must agree, whatever it holds.
    fn assert_ways_agree(text: &str) {
        let slow = explain(text);
        match (decode(text).map(Order::try_from), slow) {
            (Ok(Ok(order)), Ok(explained)) => {
                assert_eq!((explained.order, explained.unknown_fields), (order, 0));
            }
            (Ok(Err(plain)), Err(explained)) => {
                assert_eq!(Rejection::from(plain), Rejection::from(explained));
            }
            (Err(NotPlain), Ok(explained)) => {
                assert!(explained.unknown_fields > 0 || text.contains("-0"), "{text}");
            }
            (Err(NotPlain), Err(violations)) => assert!(!violations.is_empty()),
            (fast, slow) => panic!("{fast:?}\n{slow:?}\n{text}"),
        }
    }

    proptest! {
        #[test]
        fn valid_orders_come_out_field_for_field(order in valid_order()) {
            let text = order.to_string();
            let parsed = parse_str(&text).unwrap();
            let json = serde_json::from_slice::<Value>(&parsed.json).unwrap();
            let mut expected = expected(&order);
            expected["date_created"] = json["date_created"].clone();
            prop_assert_eq!(&json, &expected);

            let given = order["date_created"].as_str().unwrap();
            let lost = OffsetDateTime::parse(given, &Rfc3339).unwrap() - plain(&text).date_created;
            prop_assert!(!lost.is_negative() && lost < Duration::MICROSECOND);
        }

        #[test]
        fn the_canonical_order_stays_what_it_is(order in valid_order()) {
            let text = order.to_string();
            let once = parse_str(&text).unwrap();
            let again = parse(Some(&once.json)).unwrap();
            prop_assert_eq!(&again, &once);
            prop_assert_eq!(once.order(), plain(&text));
        }

        #[test]
        fn both_ways_say_the_same_of_changed_orders(
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
            assert_ways_agree(&text);
        }

        #[test]
        fn both_ways_say_the_same_of_damaged_orders(
            damage in vec((any::<Index>(), 0_usize..4, select(SPLINTERS)), 1..4),
        ) {
            let mut text = SAMPLE.to_owned();
            for (at, length, raw) in damage {
                let start = text.floor_char_boundary(at.index(text.len()));
                let end = text.ceil_char_boundary((start + length).min(text.len()));
                text.replace_range(start..end, raw);
            }
            assert_ways_agree(&text);
        }

        #[test]
        fn any_bytes_are_parsed_or_rejected(bytes in vec(any::<u8>(), 0..200)) {
            if let Err(rejection) = parse(Some(&bytes)) {
                prop_assert!(!rejection.violations.is_empty());
            }
            let _ = parse_many(&bytes);
        }

        #[test]
        fn keys_left_out_are_found_by_both_ways(
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
            assert_ways_agree(&changed.to_string());
        }
    }

    #[test]
    fn nothing_that_is_not_plain_is_read_as_plain() {
        // What serde's derive alone would take.
        assert!(decode(r#"["b563feb7b2b84b6test"]"#).is_err());
        assert!(decode(r#"{"delivery":["Test Testov"]}"#).is_err());
        assert_eq!(decode("{}").unwrap(), Message::default());
    }
}
