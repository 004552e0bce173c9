//! The order: a value that cannot be wrong.
//!
//! Pure: `message → order`. What arrives is a [`Message`](crate::order::message::Message); an [`Order`] is
//! made from it by `TryFrom`, which stands in [`rules`](crate::order::rules). Nothing downstream checks
//! again.

pub(crate) mod content_hash;
mod currency;
pub(crate) mod diagnose;
pub(crate) mod json;
pub(crate) mod message;
pub(crate) mod parse;
pub(crate) mod rules;
pub(crate) mod text;
pub(crate) mod violation;

use events::OrderUid;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::order::text::Text;

/// The warning for an order whose `goods_total` is not the sum of its items' `total_price`.
pub(crate) const GOODS_TOTAL_MISMATCH: &str = "goods_total_mismatch";
/// The warning for an order whose `amount` is not goods, delivery and fee together.
pub(crate) const AMOUNT_MISMATCH: &str = "amount_mismatch";

/// A valid order; its texts are borrowed from where it came from. Serialised, it is the *canonical
/// order*: all keys of the model in the model's order, absent optional ones as `""` or 0, instants
/// in UTC.
///
/// `Deserialize` is for reading back what Waybill itself has written, never for what arrives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order<'a> {
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

/// To whom and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    pub(crate) phone: Text<'a>,
    pub(crate) zip: Text<'a>,
    pub(crate) city: Text<'a>,
    pub(crate) address: Text<'a>,
    pub(crate) region: Text<'a>,
    pub(crate) email: Text<'a>,
}

/// What was paid, and how. Amounts are whole numbers >= 0 in a unit that the model does not name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment<'a> {
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
pub struct Item<'a> {
    pub(crate) chrt_id: i64,
    #[serde(borrow)]
    pub(crate) track_number: Text<'a>,
    pub(crate) price: i64,
    pub(crate) rid: Text<'a>,
    pub(crate) name: Text<'a>,
    /// Per cent.
    pub(crate) sale: i64,
    pub(crate) size: Text<'a>,
    pub(crate) total_price: i64,
    pub(crate) nm_id: i64,
    pub(crate) brand: Text<'a>,
    pub(crate) status: i64,
}

impl Order<'_> {
    /// The canonical order: what is hashed, stored, served and compared. `room` is about how many
    /// bytes it takes.
    pub(crate) fn to_json(&self, room: usize) -> Vec<u8> {
        let mut json = Vec::with_capacity(room);
        serde_json::to_writer(&mut json, self).expect(
            "an order holds only text, whole numbers and an instant of the years 0 to 9999",
        );
        json
    }

    /// What is odd about the order without making it invalid: real producers send such sums.
    pub(crate) fn warnings(&self) -> Vec<&'static str> {
        let payment = &self.payment;
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
