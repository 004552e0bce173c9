//! The order: a type whose values satisfy every rule.
//!
//! Pure: `record → message → order`. [`parse`] decodes a record into a
//! [`Message`](message::Message), which mirrors the model (the order's JSON format,
//! docs/validation.md). `TryFrom` checks it with the [`rules`] and makes an [`Order`] of it, and
//! nothing downstream checks it again. This folder does no I/O and does not use Kafka, PostgreSQL
//! or HTTP.

pub(crate) mod columns;
pub(crate) mod content_hash;
pub(crate) mod currency;
mod diagnose;
mod json;
mod message;
pub(crate) mod parse;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod rules;
pub(crate) mod text;
pub(crate) mod violation;

use events::OrderUid;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::order::text::Text;

/// The version of an order that has never been replaced.
pub(crate) const FIRST_VERSION: i32 = 1;

/// The warning for an order whose `goods_total` is not the sum of its items' `total_price`.
pub(crate) const GOODS_TOTAL_MISMATCH: &str = "goods_total_mismatch";
/// The warning for an order whose `amount` is not the sum of `goods_total`, `delivery_cost` and
/// `custom_fee`.
pub(crate) const AMOUNT_MISMATCH: &str = "amount_mismatch";

/// A valid order; its texts are borrowed from the JSON that it was read from. Its serialised form
/// is the *canonical order*: all keys of the model in the model's order, absent optional ones as
/// `""` or 0, instants in UTC.
///
/// `Deserialize` is for reading back the canonical order, never for records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order<'a> {
    pub(crate) order_uid: OrderUid,
    #[serde(borrow)]
    pub(crate) track_number: Text<'a>,
    pub(crate) entry: Text<'a>,
    pub(crate) delivery: Delivery<'a>,
    pub(crate) payment: Payment<'a>,
    pub(crate) items: Vec<Item<'a>>,
    pub(crate) locale: Text<'a>,
    pub(crate) internal_signature: Text<'a>,
    pub(crate) customer_id: Text<'a>,
    pub(crate) delivery_service: Text<'a>,
    pub(crate) shardkey: Text<'a>,
    pub(crate) sm_id: i64,
    /// In UTC, whole microseconds, years 0 to 9999.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) date_created: OffsetDateTime,
    pub(crate) oof_shard: Text<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delivery<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    pub(crate) phone: Text<'a>,
    pub(crate) zip: Text<'a>,
    pub(crate) city: Text<'a>,
    pub(crate) address: Text<'a>,
    pub(crate) region: Text<'a>,
    pub(crate) email: Text<'a>,
}

/// The payment. Amounts are whole numbers >= 0 in a unit that the model does not name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payment<'a> {
    #[serde(borrow)]
    pub(crate) transaction: Text<'a>,
    pub(crate) request_id: Text<'a>,
    /// ISO 4217.
    pub(crate) currency: Text<'a>,
    pub(crate) provider: Text<'a>,
    pub(crate) amount: i64,
    /// Unix time in seconds.
    pub(crate) payment_dt: i64,
    pub(crate) bank: Text<'a>,
    pub(crate) delivery_cost: i64,
    pub(crate) goods_total: i64,
    pub(crate) custom_fee: i64,
}

/// One line of the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item<'a> {
    pub(crate) chrt_id: i64,
    #[serde(borrow)]
    pub(crate) track_number: Text<'a>,
    pub(crate) price: i64,
    pub(crate) rid: Text<'a>,
    pub(crate) name: Text<'a>,
    /// The discount in per cent.
    pub(crate) sale: i64,
    pub(crate) size: Text<'a>,
    pub(crate) total_price: i64,
    pub(crate) nm_id: i64,
    pub(crate) brand: Text<'a>,
    pub(crate) status: i64,
}

impl<'a> Order<'a> {
    /// Reads the canonical order.
    pub(crate) fn from_canonical(json: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    /// Writes the canonical order: the form that is hashed, stored, served and compared.
    /// `capacity` is a guess of its length.
    pub(crate) fn to_json(&self, capacity: usize) -> Vec<u8> {
        let mut json = Vec::with_capacity(capacity);
        serde_json::to_writer(&mut json, self).expect(
            "an order holds only text, whole numbers and an instant of the years 0 to 9999",
        );
        json
    }

    /// Returns the codes of the sums that do not add up. They do not make the order invalid,
    /// because real producers send such sums.
    pub(crate) fn warnings(&self) -> Vec<&'static str> {
        let payment = &self.payment;
        // These sums cannot overflow: the rules reject an order whose sums do not fit in `i64`.
        let goods = self.items.iter().map(|item| item.total_price).sum::<i64>();
        let total = payment.goods_total + payment.delivery_cost + payment.custom_fee;
        let mut warnings = Vec::new();
        if payment.goods_total != goods {
            warnings.push(GOODS_TOTAL_MISMATCH);
        }
        if payment.amount != total {
            warnings.push(AMOUNT_MISMATCH);
        }
        warnings
    }
}

#[cfg(test)]
mod testing {
    //! Shared by the tests of this folder.

    use serde_json::Value;
    use testkit::order_json::SAMPLE;

    use super::{
        Order,
        message::decode,
        parse::{ValidOrder, parse},
        violation::Rejection,
    };

    pub(super) fn parse_str(text: &str) -> Result<ValidOrder<'_>, Rejection> {
        parse(Some(text.as_bytes()))
    }

    /// Decodes and validates a record that `decode` accepts.
    pub(super) fn plain(text: &str) -> Order<'_> {
        decode(text).unwrap().try_into().unwrap()
    }

    pub(super) fn read_back<'a>(order: &'a ValidOrder<'_>) -> Order<'a> {
        Order::from_canonical(&order.json).unwrap()
    }

    pub(super) fn sample_with(pointer: &str, value: Value) -> String {
        let mut order = serde_json::from_str::<Value>(SAMPLE).unwrap();
        *order.pointer_mut(pointer).unwrap() = value;
        order.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use testkit::order_json::{SAMPLE, valid_order};
    use time::{Duration, format_description::well_known::Rfc3339};

    use super::{
        parse::parse,
        testing::{parse_str, plain, read_back, sample_with},
        *,
    };

    #[test]
    fn the_sample_is_valid_and_canonical_already() {
        let order = parse_str(SAMPLE).unwrap();
        let one_line = SAMPLE.lines().map(str::trim_start).collect::<String>();
        let compact = one_line.replace("\": ", "\":");
        assert_eq!(str::from_utf8(&order.json).unwrap(), compact);
        assert_eq!(order.hash.to_string(), "33a43527313619a5dd487b7fe99e16b3");
        assert_eq!(order.order.order_uid.as_str(), "b563feb7b2b84b6test");
        assert!(order.warnings.is_empty());
        assert_eq!(order.unknown_fields, 0);
        assert_eq!(read_back(&order), plain(SAMPLE));
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
    fn an_order_of_any_age_is_read_back() {
        for date in [
            "0000-01-01T00:00:00Z",
            "2016-12-31T23:59:60Z",
            "2021-11-26T06:22:19.000001Z",
            "9999-12-31T23:59:59.999999999Z",
        ] {
            let text = sample_with("/date_created", json!(date));
            assert_eq!(read_back(&parse_str(&text).unwrap()), plain(&text));
        }
    }

    #[test]
    fn sums_that_do_not_add_up_are_warnings() {
        for (pointer, value, warnings) in [
            ("/payment/goods_total", 316, &["goods_total_mismatch", "amount_mismatch"][..]),
            ("/payment/amount", 0, &["amount_mismatch"]),
            ("/items/0/total_price", 0, &["goods_total_mismatch"]),
        ] {
            let text = sample_with(pointer, json!(value));
            assert_eq!(parse_str(&text).unwrap().warnings, warnings);
        }
    }

    /// Returns the expected canonical order of a valid order, without the code under test.
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
        fn parsing_the_canonical_order_changes_nothing(order in valid_order()) {
            let text = order.to_string();
            let once = parse_str(&text).unwrap();
            let again = parse(Some(&once.json)).unwrap();
            prop_assert_eq!(&again, &once);
            prop_assert_eq!(read_back(&once), plain(&text));
        }
    }
}
