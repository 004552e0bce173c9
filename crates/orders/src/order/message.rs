//! The message: an order as the record holds it, decoded and not yet checked.
//!
//! Pure: `record → message`. The structs mirror the model's JSON and borrow from the record. This
//! is the fast path: it accepts only plain orders. For anything else (a wrong type, a repeated or
//! unknown key, broken syntax) it returns [`NotPlain`], which gives no cause.
//! [`diagnose`](crate::order::diagnose) then finds the cause. No rule is checked here.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use crate::order::text::Text;

/// The limit on the items of an order. The decoder applies it too: it stops reading a record of
/// half a million `{}` before the empty items take a hundred megabytes of memory.
pub(crate) const MAX_ITEMS: usize = 1_000;

/// Most orders have at most this many items.
const USUAL_ITEMS: usize = 2;

/// A field of the wire form.
#[derive(Debug, Default, PartialEq)]
pub(crate) enum Field<T> {
    /// No such key, or `null`.
    #[default]
    Absent,
    /// Present, but [`diagnose`](crate::order::diagnose) has already reported it as a violation.
    Unreadable,
    Given(T),
}

/// The record is not a plain order and needs the second pass.
#[derive(Debug)]
pub(crate) struct NotPlain;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Message<'a> {
    #[serde(borrow)]
    pub(crate) order_uid: Field<Text<'a>>,
    pub(crate) track_number: Field<Text<'a>>,
    pub(crate) entry: Field<Text<'a>>,
    pub(crate) delivery: Field<Object<DeliveryMessage<'a>>>,
    pub(crate) payment: Field<Object<PaymentMessage<'a>>>,
    pub(crate) items: Field<Items<'a>>,
    pub(crate) locale: Field<Text<'a>>,
    pub(crate) internal_signature: Field<Text<'a>>,
    pub(crate) customer_id: Field<Text<'a>>,
    pub(crate) delivery_service: Field<Text<'a>>,
    pub(crate) shardkey: Field<Text<'a>>,
    pub(crate) sm_id: Field<i64>,
    pub(crate) date_created: Field<Text<'a>>,
    pub(crate) oof_shard: Field<Text<'a>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DeliveryMessage<'a> {
    #[serde(borrow)]
    pub(crate) name: Field<Text<'a>>,
    pub(crate) phone: Field<Text<'a>>,
    pub(crate) zip: Field<Text<'a>>,
    pub(crate) city: Field<Text<'a>>,
    pub(crate) address: Field<Text<'a>>,
    pub(crate) region: Field<Text<'a>>,
    pub(crate) email: Field<Text<'a>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PaymentMessage<'a> {
    #[serde(borrow)]
    pub(crate) transaction: Field<Text<'a>>,
    pub(crate) request_id: Field<Text<'a>>,
    pub(crate) currency: Field<Text<'a>>,
    pub(crate) provider: Field<Text<'a>>,
    pub(crate) amount: Field<i64>,
    pub(crate) payment_dt: Field<i64>,
    pub(crate) bank: Field<Text<'a>>,
    pub(crate) delivery_cost: Field<i64>,
    pub(crate) goods_total: Field<i64>,
    pub(crate) custom_fee: Field<i64>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ItemMessage<'a> {
    pub(crate) chrt_id: Field<i64>,
    #[serde(borrow)]
    pub(crate) track_number: Field<Text<'a>>,
    pub(crate) price: Field<i64>,
    pub(crate) rid: Field<Text<'a>>,
    pub(crate) name: Field<Text<'a>>,
    pub(crate) sale: Field<i64>,
    pub(crate) size: Field<Text<'a>>,
    pub(crate) total_price: Field<i64>,
    pub(crate) nm_id: Field<i64>,
    pub(crate) brand: Field<Text<'a>>,
    pub(crate) status: Field<i64>,
}

/// The items, at most [`MAX_ITEMS`].
#[derive(Debug, PartialEq)]
pub(crate) struct Items<'a>(pub(crate) Vec<Field<Object<ItemMessage<'a>>>>);

/// A struct that is read from a JSON object only. Serde's derive alone would also accept an array
/// of the fields' values.
#[derive(Debug, PartialEq)]
pub(crate) struct Object<T>(pub(crate) T);

/// Decodes a plain order.
pub(crate) fn decode(text: &str) -> Result<Message<'_>, NotPlain> {
    match serde_json::from_str(text) {
        Ok(Object(message)) => Ok(message),
        Err(_) => Err(NotPlain),
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Absent, Self::Given))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemsVisitor;
        impl<'de> Visitor<'de> for ItemsVisitor {
            type Value = Items<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("at most 1000 items")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Items<'de>, A::Error> {
                let mut items = Vec::with_capacity(USUAL_ITEMS);
                while let Some(item) = array.next_element()? {
                    if items.len() == MAX_ITEMS {
                        return Err(de::Error::invalid_length(MAX_ITEMS + 1, &self));
                    }
                    items.push(item);
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(ItemsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_not_read_as_a_plain_order() {
        // Serde's derive alone would accept these arrays.
        assert!(decode(r#"["b563feb7b2b84b6test"]"#).is_err());
        assert!(decode(r#"{"delivery":["Test Testov"]}"#).is_err());
        assert_eq!(decode("{}").unwrap(), Message::default());
    }
}
