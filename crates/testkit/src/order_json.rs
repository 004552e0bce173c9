//! Orders as JSON: the model's sample order, and random valid orders for property tests.
//!
//! Texts contain quotes, markup, emoji, right-to-left marks, line separators and escapes; optional
//! fields have a value, are `null` or are missing; instants have any offset.

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

/// The id of the sample order.
pub const SAMPLE_UID: &str = "b563feb7b2b84b6test";

/// The model's sample order, byte for byte.
pub const SAMPLE: &str = r#"{
  "order_uid": "b563feb7b2b84b6test",
  "track_number": "WBILMTESTTRACK",
  "entry": "WBIL",
  "delivery": {
    "name": "Test Testov",
    "phone": "+9720000000",
    "zip": "2639809",
    "city": "Kiryat Mozkin",
    "address": "Ploshad Mira 15",
    "region": "Kraiot",
    "email": "test@gmail.com"
  },
  "payment": {
    "transaction": "b563feb7b2b84b6test",
    "request_id": "",
    "currency": "USD",
    "provider": "wbpay",
    "amount": 1817,
    "payment_dt": 1637907727,
    "bank": "alpha",
    "delivery_cost": 1500,
    "goods_total": 317,
    "custom_fee": 0
  },
  "items": [
    {
      "chrt_id": 9934930,
      "track_number": "WBILMTESTTRACK",
      "price": 453,
      "rid": "ab4219087a764ae0btest",
      "name": "Mascaras",
      "sale": 30,
      "size": "0",
      "total_price": 317,
      "nm_id": 2389212,
      "brand": "Vivienne Sabo",
      "status": 202
    }
  ],
  "locale": "en",
  "internal_signature": "",
  "customer_id": "test",
  "delivery_service": "meest",
  "shardkey": "9",
  "sm_id": 99,
  "date_created": "2021-11-26T06:22:19Z",
  "oof_shard": "1"
}"#;

/// Texts that programs often handle wrongly.
const HOSTILE: &[&str] = &[
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'; DROP TABLE orders; --",
    "{{7*7}}",
    "a\"b\\c/d",
    "line\nbreak\r\ttab",
    "\u{2028}\u{2029}",
    "\u{202e}txt.exe",
    "שלום עולם",
    "Привет, мир",
    "👩‍👩‍👧‍👦 🚚",
    "e\u{301}",
    "\u{feff}bom",
    "\u{1}\u{1f}\u{7f}\u{85}",
    "\u{ffff}\u{10ffff}",
    "null",
    "%00",
    "\\u0000",
];

/// Returns a strategy for valid orders.
pub fn valid_order() -> impl Strategy<Value = Value> {
    let head = (uid(), required(255), optional(text(10_000)), delivery(), payment());
    let items = vec(item(), 1..6);
    let ids = (required(255), required(255), instant());
    let rest = vec(optional(text(300)), 4);
    (head, items, ids, rest, optional(number())).prop_map(
        |((uid, track, entry, delivery, payment), items, ids, mut rest, sm_id)| {
            let (customer_id, delivery_service, date_created) = ids;
            object([
                ("order_uid", Some(uid)),
                ("track_number", Some(track)),
                ("entry", entry),
                ("delivery", Some(delivery)),
                ("payment", Some(payment)),
                ("items", Some(Value::Array(items))),
                ("locale", rest.pop().flatten()),
                ("internal_signature", rest.pop().flatten()),
                ("customer_id", Some(customer_id)),
                ("delivery_service", Some(delivery_service)),
                ("shardkey", rest.pop().flatten()),
                ("sm_id", sm_id),
                ("date_created", Some(date_created)),
                ("oof_shard", rest.pop().flatten()),
            ])
        },
    )
}

fn delivery() -> impl Strategy<Value = Value> {
    let needed = (required(300), phone(), required(300), required(10_000));
    (needed, vec(optional(text(300)), 2), optional(email())).prop_map(
        |((name, phone, city, address), mut rest, email)| {
            object([
                ("name", Some(name)),
                ("phone", Some(phone)),
                ("zip", rest.pop().flatten()),
                ("city", Some(city)),
                ("address", Some(address)),
                ("region", rest.pop().flatten()),
                ("email", email),
            ])
        },
    )
}

fn payment() -> impl Strategy<Value = Value> {
    let needed = (required(255), currency(), required(300));
    let amounts = vec(optional(amount()), 5);
    (needed, vec(optional(text(300)), 2), amounts).prop_map(
        |((transaction, currency, provider), mut rest, mut amounts)| {
            object([
                ("transaction", Some(transaction)),
                ("request_id", rest.pop().flatten()),
                ("currency", Some(currency)),
                ("provider", Some(provider)),
                ("amount", amounts.pop().flatten()),
                ("payment_dt", amounts.pop().flatten()),
                ("bank", rest.pop().flatten()),
                ("delivery_cost", amounts.pop().flatten()),
                ("goods_total", amounts.pop().flatten()),
                ("custom_fee", amounts.pop().flatten()),
            ])
        },
    )
}

fn item() -> impl Strategy<Value = Value> {
    let needed = (number(), amount(), required(300), required(300), amount());
    let numbers = vec(optional(number()), 3);
    (needed, vec(optional(text(300)), 3), numbers).prop_map(
        |((chrt_id, price, rid, name, total_price), mut rest, mut numbers)| {
            object([
                ("chrt_id", Some(chrt_id)),
                ("track_number", rest.pop().flatten()),
                ("price", Some(price)),
                ("rid", Some(rid)),
                ("name", Some(name)),
                ("sale", numbers.pop().flatten()),
                ("size", rest.pop().flatten()),
                ("total_price", Some(total_price)),
                ("nm_id", numbers.pop().flatten()),
                ("brand", rest.pop().flatten()),
                ("status", numbers.pop().flatten()),
            ])
        },
    )
}

/// Returns an object of the fields that are present.
fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let given = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(given.collect::<Map<_, _>>())
}

/// Returns a strategy for an optional field: a value, `null`, or no field.
fn optional(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Option<Value>> {
    option::of(prop_oneof![9 => value, 1 => Just(Value::Null)])
}

fn string(limit: usize) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z0-9 ._-]{0,24}",
        2 => select(HOSTILE).prop_map(str::to_owned),
        1 => any::<String>().prop_map(|text| text.replace('\0', "")),
        1 => (1..=limit).prop_map(|length| "x".repeat(length)),
    ];
    (piece.clone(), piece).prop_map(move |(mut text, more)| {
        text += &more;
        text.truncate(text.floor_char_boundary(limit));
        text
    })
}

fn text(limit: usize) -> impl Strategy<Value = Value> {
    string(limit).prop_map(Value::from)
}

/// Returns a strategy for text that is not blank.
fn required(limit: usize) -> impl Strategy<Value = Value> {
    string(limit)
        .prop_map(|text| if text.trim().is_empty() { "x".to_owned() } else { text })
        .prop_map(Value::from)
}

fn uid() -> impl Strategy<Value = Value> {
    string(100).prop_map(|text| {
        let text = text.replace(char::is_control, "");
        let is_invalid = text.trim().is_empty() || [".", ".."].contains(&text.as_str());
        Value::from(if is_invalid { "x".to_owned() } else { text })
    })
}

fn phone() -> impl Strategy<Value = Value> {
    select(&[
        "+9720000000",
        "8 (495) 123-45-67",
        "00000",
        "+1.650/253 0000",
        "01234567890123456789",
    ])
    .prop_map(Value::from)
}

fn email() -> impl Strategy<Value = Value> {
    select(&["", "test@gmail.com", "a@b", "имя@пример.рф", "x+<b>'\"@localhost"])
        .prop_map(Value::from)
}

fn currency() -> impl Strategy<Value = Value> {
    select(&["USD", "EUR", "RUB", "ILS", "JPY", "KZT"]).prop_map(Value::from)
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![0_i64..1_000_000, any::<i64>(), Just(i64::MIN), Just(i64::MAX)]
        .prop_map(Value::from)
}

/// Returns a strategy for amounts. The sum of six of them does not overflow.
fn amount() -> impl Strategy<Value = Value> {
    prop_oneof![4 => 0_i64..1_000_000, 1 => 0..=i64::MAX / 6].prop_map(Value::from)
}

/// Returns a strategy for RFC 3339 instants in the years 1 to 9998 in every time zone.
fn instant() -> impl Strategy<Value = Value> {
    let date = (1..=9998, 1..=12, 1..=28);
    let time = (0..=23, 0..=59, 0..=59);
    let fraction = option::of("[0-9]{1,12}");
    let offset = option::of((select(&["+", "-"]), 0..=23, 0..=59));
    (date, time, fraction, offset).prop_map(|((year, month, day), (h, m, s), fraction, offset)| {
        let fraction = fraction.map_or_else(String::new, |digits| format!(".{digits}"));
        let offset = offset.map_or_else(
            || "Z".to_owned(),
            |(sign, hours, minutes)| format!("{sign}{hours:02}:{minutes:02}"),
        );
        json!(format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}{fraction}{offset}"))
    })
}
