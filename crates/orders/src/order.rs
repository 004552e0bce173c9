//! The order: a value that cannot be wrong.
//!
//! Pure: `message → order`. What arrives is a [`Message`](crate::message::Message); an [`Order`] is
//! made from it by `TryFrom`, which stands in [`rules`](crate::rules). Nothing downstream checks
//! again.

use compact_str::CompactString;
use events::OrderUid;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// The warning for an order whose `goods_total` is not the sum of its items' `total_price`.
pub(crate) const GOODS_TOTAL_MISMATCH: &str = "goods_total_mismatch";
/// The warning for an order whose `amount` is not goods, delivery and fee together.
pub(crate) const AMOUNT_MISMATCH: &str = "amount_mismatch";

/// So many bytes have room for the JSON of most orders.
const JSON_ROOM: usize = 1_536;

/// A valid order. Serialised, it is the *canonical order*: all keys of the model in the model's
/// order, absent optional ones as `""` or 0, instants in UTC.
///
/// `Deserialize` is for reading back what Waybill itself has written, never for what arrives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub(crate) order_uid: OrderUid,
    pub(crate) track_number: CompactString,
    pub(crate) entry: CompactString,
    pub(crate) delivery: Delivery,
    pub(crate) payment: Payment,
    pub(crate) items: Vec<Item>,
    pub(crate) locale: CompactString,
    pub(crate) internal_signature: CompactString,
    pub(crate) customer_id: CompactString,
    pub(crate) delivery_service: CompactString,
    pub(crate) shardkey: CompactString,
    pub(crate) sm_id: i64,
    /// In UTC, whole microseconds, years 0 to 9999.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) date_created: OffsetDateTime,
    pub(crate) oof_shard: CompactString,
}

/// To whom and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub(crate) name: CompactString,
    pub(crate) phone: CompactString,
    pub(crate) zip: CompactString,
    pub(crate) city: CompactString,
    pub(crate) address: CompactString,
    pub(crate) region: CompactString,
    pub(crate) email: CompactString,
}

/// What was paid, and how. Amounts are whole numbers >= 0 in a unit that the model does not name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    pub(crate) transaction: CompactString,
    pub(crate) request_id: CompactString,
    /// ISO 4217.
    pub(crate) currency: CompactString,
    pub(crate) provider: CompactString,
    pub(crate) amount: i64,
    /// Unix time in seconds.
    pub(crate) payment_dt: i64,
    pub(crate) bank: CompactString,
    pub(crate) delivery_cost: i64,
    pub(crate) goods_total: i64,
    pub(crate) custom_fee: i64,
}

/// One line of the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub(crate) chrt_id: i64,
    pub(crate) track_number: CompactString,
    pub(crate) price: i64,
    pub(crate) rid: CompactString,
    pub(crate) name: CompactString,
    /// Per cent.
    pub(crate) sale: i64,
    pub(crate) size: CompactString,
    pub(crate) total_price: i64,
    pub(crate) nm_id: i64,
    pub(crate) brand: CompactString,
    pub(crate) status: i64,
}

impl Order {
    /// The canonical order: what is hashed, stored, served and compared.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(JSON_ROOM);
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
