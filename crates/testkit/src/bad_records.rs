//! Bad records, each with the violations that must be reported. Unit tests give them to the parser,
//! and integration tests send them through the whole service.
//!
//! Most are the sample order with one or a few changes; the others are not orders at all.

use serde_json::{Value, json};

use crate::order_json::SAMPLE;

/// A record that must be rejected.
#[derive(Debug, Clone)]
pub struct BadRecord {
    /// A short, unique description of the fault.
    pub name: &'static str,
    pub bytes: Option<Vec<u8>>,
    /// The rejection's reason: the first violation's code.
    pub reason: &'static str,
    /// Every violation's pointer and code, in order.
    pub violations: Vec<(String, &'static str)>,
}

/// Returns every bad record.
#[must_use]
pub fn bad_records() -> Vec<BadRecord> {
    let mut records = vec![BadRecord {
        name: "no value",
        bytes: None,
        reason: "null_record",
        violations: vec![(String::new(), "null_record")],
    }];
    records.extend(unreadable());
    records.extend(wrong_types_and_keys());
    records.extend(broken_rules());
    records.extend(many_faults());
    records
}

/// Returns records that cannot be decoded. Each has one violation, which points to the whole
/// record.
fn unreadable() -> Vec<BadRecord> {
    let whole = |name, bytes: &[u8], code| bad(name, bytes, &[("", code)]);
    let nested = |open: &str, close: &str, depth| open.repeat(depth) + &close.repeat(depth);
    vec![
        whole("empty", b"", "empty_record"),
        whole("white space only", b" \n", "invalid_json"),
        whole("1 byte over 1 MiB", &padded(1_048_577), "too_large"),
        whole("a number of 2 MB", &[b'1'; 2_000_000], "too_large"),
        whole("no UTF-8", b"\xff\xfe{}", "invalid_utf8"),
        whole("Latin-1 text", &latin_1(), "invalid_utf8"),
        whole("an encoded surrogate half", b"{\"entry\":\"\xed\xa0\x80\"}", "invalid_utf8"),
        whole("UTF-16", &utf_16(), "invalid_utf8"),
        whole("a byte order mark", format!("\u{feff}{SAMPLE}").as_bytes(), "invalid_json"),
        whole("not JSON", b"order_uid=b563feb7b2b84b6test", "invalid_json"),
        whole("cut off", &SAMPLE.as_bytes()[..SAMPLE.len() / 2], "invalid_json"),
        whole("without its last brace", &SAMPLE.as_bytes()[..SAMPLE.len() - 1], "invalid_json"),
        whole("two orders", SAMPLE.repeat(2).as_bytes(), "invalid_json"),
        whole("text after the order", format!("{SAMPLE};").as_bytes(), "invalid_json"),
        whole("a NUL after the order", format!("{SAMPLE}\0").as_bytes(), "invalid_json"),
        whole("a trailing comma", b"{\"entry\":\"WBIL\",}", "invalid_json"),
        whole("single quotes", b"{'entry':'WBIL'}", "invalid_json"),
        whole("a comment", b"{/* order */}", "invalid_json"),
        whole("a bare key", b"{entry:1}", "invalid_json"),
        whole("not a number", &with("/payment/amount", "NaN"), "invalid_json"),
        whole("infinity", &with("/payment/amount", "Infinity"), "invalid_json"),
        whole("a leading zero", &with("/payment/amount", "01"), "invalid_json"),
        whole("a leading plus", &with("/payment/amount", "+1"), "invalid_json"),
        whole("a hexadecimal number", &with("/payment/amount", "0x10"), "invalid_json"),
        whole("a raw line break in text", &with("/entry", "\"a\nb\""), "invalid_json"),
        whole("a raw NUL in text", &with("/entry", "\"a\0b\""), "invalid_json"),
        whole("an unknown escape", &with("/entry", r#""\x41""#), "invalid_json"),
        whole("half an escape", &with("/entry", r#""\u00""#), "invalid_json"),
        whole("a bomb of arrays", &[b'['; 1_000_000], "too_deep"),
        whole("a bomb of objects", "{\"a\":".repeat(200_000).as_bytes(), "too_deep"),
        whole("129 levels", nested("[", "]", 129).as_bytes(), "too_deep"),
        whole(
            "a deep unknown field",
            &with("/entry", &format!("\"\",\"extra\":{}", nested("[", "]", 128))),
            "too_deep",
        ),
        whole("null", b"null", "not_an_object"),
        whole("true", b"true", "not_an_object"),
        whole("a number", b"1817", "not_an_object"),
        whole("text", b"\"order\"", "not_an_object"),
        whole("an array of an order", format!("[{SAMPLE}]").as_bytes(), "not_an_object"),
        whole("the values without their keys", &values_only(""), "not_an_object"),
        whole("a number of 1 MiB", &[b'1'; 1_048_576], "not_an_object"),
    ]
}

/// Returns records that are JSON, but do not have the keys and types of the model.
fn wrong_types_and_keys() -> Vec<BadRecord> {
    let one = |name, pointer, raw, code| bad(name, with(pointer, raw), &[(pointer, code)]);
    vec![
        one("text is a number", "/track_number", "17", "wrong_type"),
        one("text is true", "/delivery/name", "true", "wrong_type"),
        one("text is an array", "/locale", "[]", "wrong_type"),
        one("text is an object", "/payment/currency", "{}", "wrong_type"),
        one("an amount is text", "/payment/amount", "\"1817\"", "wrong_type"),
        one("an amount is true", "/items/0/price", "true", "wrong_type"),
        one("the delivery is text", "/delivery", "\"here\"", "wrong_type"),
        bad("the delivery is an array", values_only("/delivery"), &[("/delivery", "wrong_type")]),
        one("the payment is a number", "/payment", "0", "wrong_type"),
        one("the items are an object", "/items", "{}", "wrong_type"),
        one("the items are text", "/items", "\"[]\"", "wrong_type"),
        one("an item is a number", "/items/0", "1", "wrong_type"),
        bad("an item is an array", values_only("/items/0"), &[("/items/0", "wrong_type")]),
        one("a fraction", "/payment/amount", "1.5", "not_an_integer"),
        one("a fraction of zero", "/payment/amount", "1817.0", "not_an_integer"),
        one("an exponent", "/items/0/total_price", "1e3", "not_an_integer"),
        one("a tiny number", "/items/0/sale", "1E-999", "not_an_integer"),
        one("over the largest double", "/payment/amount", "1e999", "out_of_range"),
        one("under the smallest double", "/items/0/nm_id", "-1.5E+999", "out_of_range"),
        one("one over 64 bits", "/items/0/chrt_id", "9223372036854775808", "out_of_range"),
        one("one under 64 bits", "/sm_id", "-9223372036854775809", "out_of_range"),
        one("20 digits", "/payment/payment_dt", "18446744073709551616", "out_of_range"),
        one("an amount of 1 MB", "/payment/amount", &"9".repeat(1_000_000), "out_of_range"),
        one("a high surrogate alone", "/delivery/city", r#""\ud83d""#, "lone_surrogate"),
        one("a low surrogate alone", "/order_uid", r#""a\udc00b""#, "lone_surrogate"),
        one("a surrogate pair in the wrong order", "/entry", r#""\udc00\ud800""#, "lone_surrogate"),
        one("two high surrogates", "/entry", r#""\ud83d\ud83d""#, "lone_surrogate"),
        bad(
            "a key with a lone surrogate",
            with("/delivery/zip", r#""1","\ud800":1"#),
            &[("/delivery", "lone_surrogate")],
        ),
        bad(
            "a key repeated",
            with("/entry", r#""WBIL","entry":"WBIL""#),
            &[("/entry", "duplicate_key")],
        ),
        bad(
            "the first of all keys repeated as the last",
            with("/oof_shard", r#""1","order_uid":"other""#),
            &[("/order_uid", "duplicate_key")],
        ),
        bad(
            "a key repeated by escapes",
            with("/entry", r#""WBIL","\u0065ntr\u0079":"WBIL""#),
            &[("/entry", "duplicate_key")],
        ),
        bad(
            "a key three times",
            with("/payment/bank", r#""a","bank":"b","bank":"c""#),
            &[("/payment/bank", "duplicate_key"), ("/payment/bank", "duplicate_key")],
        ),
        bad(
            "an item's key repeated",
            with("/items/0/price", r#"453,"price":453"#),
            &[("/items/0/price", "duplicate_key")],
        ),
        bad(
            "an object repeated",
            with("/entry", r#""","delivery":{}"#),
            &[("/delivery", "duplicate_key")],
        ),
        bad(
            "an unknown key repeated",
            with("/entry", r#""","extra":1,"extra":1"#),
            &[("/extra", "duplicate_key")],
        ),
        bad(
            "a key repeated deep within an unknown field",
            with("/entry", r#""","extra":[{"a":{"b":1,"c":2,"b":3}}]"#),
            &[("/extra/0/a/b", "duplicate_key")],
        ),
        bad(
            "a repeated key with personal data",
            with("/delivery/zip", r#""","x@example.org":1,"x@example.org":2"#),
            &[("/delivery", "duplicate_key")],
        ),
        bad(
            "a repeated key with a NUL",
            with("/entry", r#""","a\u0000":1,"a\u0000":2"#),
            &[("", "duplicate_key")],
        ),
        bad("the empty key repeated", with("/entry", r#""","":1,"":2"#), &[("/", "duplicate_key")]),
        bad(
            "a key repeated 80,000 times",
            format!("{{{}\"a\":1}}", "\"a\":1,".repeat(80_000)),
            &capped(vec![("/a", "duplicate_key"); 100]),
        ),
    ]
}

/// Returns records with the keys and types of the model that break one validation rule.
fn broken_rules() -> Vec<BadRecord> {
    let one = |name, pointer, raw: &str, code| bad(name, with(pointer, raw), &[(pointer, code)]);
    let no = |name, pointer| bad(name, without(pointer), &[(pointer, "missing")]);
    let long = |name, pointer, length| one(name, pointer, &quoted(&"x".repeat(length)), "too_long");
    vec![
        no("no order_uid", "/order_uid"),
        no("no track_number", "/track_number"),
        no("no customer_id", "/customer_id"),
        no("no delivery_service", "/delivery_service"),
        no("no date_created", "/date_created"),
        no("no delivery", "/delivery"),
        no("no delivery name", "/delivery/name"),
        no("no phone", "/delivery/phone"),
        no("no city", "/delivery/city"),
        no("no address", "/delivery/address"),
        no("no payment", "/payment"),
        no("no transaction", "/payment/transaction"),
        no("no currency", "/payment/currency"),
        no("no provider", "/payment/provider"),
        no("no items at all", "/items"),
        no("no chrt_id", "/items/0/chrt_id"),
        no("no price", "/items/0/price"),
        no("no rid", "/items/0/rid"),
        no("no item name", "/items/0/name"),
        no("no total_price", "/items/0/total_price"),
        one("a null uid", "/order_uid", "null", "missing"),
        one("a null delivery", "/delivery", "null", "missing"),
        one("null items", "/items", "null", "missing"),
        one("a null item", "/items/0", "null", "missing"),
        one("a null price", "/items/0/price", "null", "missing"),
        one("an empty uid", "/order_uid", "\"\"", "blank"),
        one("a blank uid", "/order_uid", "\"   \"", "blank"),
        one("a blank track_number", "/track_number", "\"  \"", "blank"),
        one("a customer of no-break spaces", "/customer_id", "\"\u{a0}\u{2003}\"", "blank"),
        one("a blank delivery name", "/delivery/name", "\"\"", "blank"),
        one("a blank phone", "/delivery/phone", "\" \"", "blank"),
        one("a blank currency", "/payment/currency", "\"\"", "blank"),
        one("a blank date", "/date_created", "\"\"", "blank"),
        one("a blank rid", "/items/0/rid", "\"\"", "blank"),
        one("a blank item name", "/items/0/name", r#""\n""#, "blank"),
        long("a uid of 101 bytes", "/order_uid", 101),
        one("a uid of 51 letters of 2 bytes", "/order_uid", &quoted(&"ы".repeat(51)), "too_long"),
        long("a track_number of 256 bytes", "/track_number", 256),
        long("a customer_id of 256 bytes", "/customer_id", 256),
        long("a delivery_service of 256 bytes", "/delivery_service", 256),
        long("a transaction of 256 bytes", "/payment/transaction", 256),
        long("an entry of 10,001 bytes", "/entry", 10_001),
        long("an address of 10,001 bytes", "/delivery/address", 10_001),
        long("an address of 1,040,000 bytes", "/delivery/address", 1_040_000),
        long("an item name of 10,001 bytes", "/items/0/name", 10_001),
        one("an e-mail of 255 bytes", "/delivery/email", &quoted(&email(255)), "too_long"),
        one("a NUL in the uid", "/order_uid", r#""a\u0000b""#, "nul_character"),
        one("a NUL in the region", "/delivery/region", r#""\u0000""#, "nul_character"),
        one("a NUL in the brand", "/items/0/brand", r#""Vivienne\u0000""#, "nul_character"),
        one("a line break in the uid", "/order_uid", r#""a\nb""#, "control_character"),
        one("a C1 control in the uid", "/order_uid", "\"a\u{85}b\"", "control_character"),
        one("one dot as the uid", "/order_uid", r#"".""#, "dots"),
        one("two dots as the uid", "/order_uid", r#""..""#, "dots"),
        one("a negative amount", "/payment/amount", "-1", "negative"),
        one("a negative payment_dt", "/payment/payment_dt", "-1637907727", "negative"),
        one("a negative delivery_cost", "/payment/delivery_cost", "-1500", "negative"),
        one("a negative goods_total", "/payment/goods_total", "-317", "negative"),
        one("the most negative fee", "/payment/custom_fee", "-9223372036854775808", "negative"),
        one("a negative price", "/items/0/price", "-453", "negative"),
        one("a negative total_price", "/items/0/total_price", "-317", "negative"),
        one("an unknown currency", "/payment/currency", "\"XYZ\"", "unknown_currency"),
        one("a currency in small letters", "/payment/currency", "\"usd\"", "unknown_currency"),
        one("a currency sign", "/payment/currency", "\"$\"", "unknown_currency"),
        one("a currency with a space", "/payment/currency", "\"USD \"", "unknown_currency"),
        one("a date without time", "/date_created", "\"2021-11-26\"", "invalid_date"),
        one("a date without offset", "/date_created", "\"2021-11-26T06:22:19\"", "invalid_date"),
        one("30 February", "/date_created", "\"2021-02-30T06:22:19Z\"", "invalid_date"),
        one("29 February 2021", "/date_created", "\"2021-02-29T06:22:19Z\"", "invalid_date"),
        one("24 o'clock", "/date_created", "\"2021-11-26T24:00:00Z\"", "invalid_date"),
        one("a 61st second at noon", "/date_created", "\"2021-11-26T12:00:60Z\"", "invalid_date"),
        one(
            "an offset without colon",
            "/date_created",
            "\"2021-11-26T06:22:19+0300\"",
            "invalid_date",
        ),
        one("the year 10000", "/date_created", "\"10000-01-01T00:00:00Z\"", "invalid_date"),
        one(
            "the year 10000 in UTC",
            "/date_created",
            "\"9999-12-31T23:59:59-00:01\"",
            "invalid_date",
        ),
        one(
            "a year before 0 in UTC",
            "/date_created",
            "\"0000-01-01T00:00:00+00:01\"",
            "invalid_date",
        ),
        one(
            "a date in words",
            "/date_created",
            "\"Fri, 26 Nov 2021 06:22:19 GMT\"",
            "invalid_date",
        ),
        one(
            "a date with a NUL",
            "/date_created",
            r#""2021-11-26T06:22:19Z\u0000""#,
            "invalid_date",
        ),
        one("an e-mail without @", "/delivery/email", "\"test.gmail.com\"", "implausible_email"),
        one("an e-mail with two @", "/delivery/email", "\"a@b@c\"", "implausible_email"),
        one("an e-mail without name", "/delivery/email", "\"@gmail.com\"", "implausible_email"),
        one("an e-mail without host", "/delivery/email", "\"test@\"", "implausible_email"),
        one(
            "an e-mail with a space",
            "/delivery/email",
            "\"te st@gmail.com\"",
            "implausible_email",
        ),
        one("a blank e-mail", "/delivery/email", "\" \"", "implausible_email"),
        one("a phone of letters", "/delivery/phone", "\"call me\"", "implausible_phone"),
        one("a phone of 4 digits", "/delivery/phone", "\"1234\"", "implausible_phone"),
        one(
            "a phone of 21 digits",
            "/delivery/phone",
            &quoted(&"1".repeat(21)),
            "implausible_phone",
        ),
        one(
            "a phone with a plus in the middle",
            "/delivery/phone",
            "\"123+45678\"",
            "implausible_phone",
        ),
        one("an empty list of items", "/items", "[]", "no_items"),
        bad("1,001 items", with("/items", &items(1_001)), &[("/items", "too_many_items")]),
        bad(
            "items whose prices overflow",
            with("/items", &overflowing_items()),
            &[("/items", "sum_overflow")],
        ),
        bad(
            "a payment that overflows",
            with("/payment/delivery_cost", &i64::MAX.to_string()),
            &[("/payment", "sum_overflow")],
        ),
    ]
}

/// Returns records with several faults, all of which must be reported.
fn many_faults() -> Vec<BadRecord> {
    let missing = |pointers: &[&'static str]| {
        pointers.iter().map(|&pointer| (pointer, "missing")).collect::<Vec<_>>()
    };
    let top = ["/order_uid", "/track_number", "/delivery", "/payment", "/items", "/customer_id"];
    let rest = ["/delivery_service", "/date_created"];
    vec![
        bad("an empty object", "{}", &missing(&[&top[..], &rest].concat())),
        bad("only unknown fields", r#"{"orderUid":"1"}"#, &missing(&[&top[..], &rest].concat())),
        bad(
            "an empty delivery",
            with("/delivery", "{}"),
            &missing(&["/delivery/name", "/delivery/phone", "/delivery/city", "/delivery/address"]),
        ),
        bad(
            "an empty payment",
            with("/payment", "{}"),
            &missing(&["/payment/transaction", "/payment/currency", "/payment/provider"]),
        ),
        bad(
            "an empty item after a valid one",
            with("/items", &format!("[{},{{}}]", item())),
            &missing(&[
                "/items/1/chrt_id",
                "/items/1/price",
                "/items/1/rid",
                "/items/1/name",
                "/items/1/total_price",
            ]),
        ),
        bad(
            "a uid that is a tab",
            with("/order_uid", r#""\t""#),
            &[("/order_uid", "blank"), ("/order_uid", "control_character")],
        ),
        bad(
            "a uid with every fault",
            with("/order_uid", &quoted(&format!("\\n\\u0000{}", "x".repeat(100)))),
            &[
                ("/order_uid", "too_long"),
                ("/order_uid", "nul_character"),
                ("/order_uid", "control_character"),
            ],
        ),
        bad(
            "two amounts of the lowest possible value",
            edited(&[
                ("/payment/goods_total", "-9223372036854775808"),
                ("/payment/custom_fee", "-9223372036854775808"),
            ]),
            &[("/payment/goods_total", "negative"), ("/payment/custom_fee", "negative")],
        ),
        bad(
            "faults in every part",
            edited(&[
                ("/order_uid", "\" \""),
                ("/delivery/phone", "\"none\""),
                ("/payment/currency", "\"USDT\""),
                ("/items/0/price", "-1"),
                ("/date_created", "\"today\""),
            ]),
            &[
                ("/order_uid", "blank"),
                ("/delivery/phone", "implausible_phone"),
                ("/payment/currency", "unknown_currency"),
                ("/items/0/price", "negative"),
                ("/date_created", "invalid_date"),
            ],
        ),
        bad(
            "wrong types are reported before broken rules",
            edited(&[
                ("/track_number", "\"\""),
                ("/delivery/email", "\"nobody\""),
                ("/payment/amount", "1.5"),
                ("/items/0/rid", "7"),
                ("/sm_id", "1e999"),
                ("/locale", r#""\udfff","locale":"en""#),
            ]),
            &[
                ("/locale", "duplicate_key"),
                ("/payment/amount", "not_an_integer"),
                ("/items/0/rid", "wrong_type"),
                ("/locale", "lone_surrogate"),
                ("/sm_id", "out_of_range"),
                ("/track_number", "blank"),
                ("/delivery/email", "implausible_email"),
            ],
        ),
        bad(
            "300,000 arrays in the items",
            with("/items", &format!("[{}[]]", "[],".repeat(299_999))),
            &capped((0..100).map(|index| (format!("/items/{index}"), "wrong_type"))),
        ),
        bad(
            "200,000 nulls in the items",
            with("/items", &format!("[{}null]", "null,".repeat(200_000))),
            &capped(
                [("/items".to_owned(), "too_many_items")]
                    .into_iter()
                    .chain((0..99).map(|index| (format!("/items/{index}"), "missing"))),
            ),
        ),
        bad(
            "1,000 empty items",
            with("/items", &format!("[{}{{}}]", "{},".repeat(999))),
            &capped((0..20).flat_map(|index| {
                ["chrt_id", "price", "rid", "name", "total_price"]
                    .map(|key| (format!("/items/{index}/{key}"), "missing"))
            })),
        ),
    ]
}

fn bad<P: ToString>(
    name: &'static str,
    bytes: impl AsRef<[u8]>,
    violations: &[(P, &'static str)],
) -> BadRecord {
    BadRecord {
        name,
        bytes: Some(bytes.as_ref().to_vec()),
        reason: violations[0].1,
        violations: violations.iter().map(|(place, code)| (place.to_string(), *code)).collect(),
    }
}

/// Returns these violations and the entry for the violations above the limit of 100.
fn capped<P: ToString>(
    named: impl IntoIterator<Item = (P, &'static str)>,
) -> Vec<(String, &'static str)> {
    let named = named.into_iter().map(|(place, code)| (place.to_string(), code));
    named.chain([(String::new(), "more")]).collect()
}

/// Returns the sample with a raw text in place of one value.
fn with(pointer: &str, raw: &str) -> Vec<u8> {
    edited(&[(pointer, raw)])
}

/// Returns the sample with raw texts in place of some values. A raw text may add keys after its
/// value.
fn edited(edits: &[(&str, &str)]) -> Vec<u8> {
    let mut order = sample();
    for (number, (pointer, _)) in edits.iter().enumerate() {
        let value = order.pointer_mut(pointer).expect("the sample has every field of the model");
        *value = json!(format!("edit {number}"));
    }
    let text = edits.iter().enumerate().fold(order.to_string(), |text, (number, (_, raw))| {
        text.replace(&format!("\"edit {number}\""), raw)
    });
    text.into_bytes()
}

fn without(pointer: &str) -> Vec<u8> {
    let mut order = sample();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer of a field starts with /");
    let parent = order.pointer_mut(parent).and_then(Value::as_object_mut);
    parent.expect("the sample has every part of the model").remove(key);
    order.to_string().into_bytes()
}

/// Returns the sample with one object replaced by an array of the object's values.
fn values_only(pointer: &str) -> Vec<u8> {
    let mut order = sample();
    let part = order.pointer_mut(pointer).expect("the sample has every part of the model");
    let values = part.as_object().expect("a part is an object").values().cloned().collect();
    *part = Value::Array(values);
    order.to_string().into_bytes()
}

fn padded(length: usize) -> Vec<u8> {
    let mut bytes = SAMPLE.as_bytes().to_vec();
    bytes.resize(length, b' ');
    bytes
}

fn latin_1() -> Vec<u8> {
    let mut bytes = with("/delivery/city", "\"Z?rich\"");
    for byte in &mut bytes {
        if *byte == b'?' {
            *byte = 0xfc;
        }
    }
    bytes
}

fn utf_16() -> Vec<u8> {
    let units = std::iter::once(0xfeff).chain(SAMPLE.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

fn item() -> Value {
    sample()["items"][0].clone()
}

fn items(count: usize) -> String {
    Value::Array(vec![item(); count]).to_string()
}

fn overflowing_items() -> String {
    let mut large = item();
    large["total_price"] = json!(i64::MAX);
    json!([large, item()]).to_string()
}

fn email(length: usize) -> String {
    format!("a@{}", "b".repeat(length - 2))
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn sample() -> Value {
    serde_json::from_str(SAMPLE).expect("the sample is JSON")
}
