//! One valid order: a pure function of seed, number, time and revision.
//!
//! The generator does not keep the records that it has sent: from the same input it builds the same
//! bytes again. The field names and their order are those of the sample order.

use serde::Serialize;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use super::{
    customers::{Customer, Customers},
    goods,
    own::tag_text,
    rng::Rng,
};

/// The values that determine an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) seed: u64,
    /// The beginning of the uid.
    pub(super) tag: Option<u32>,
    /// The number of the order in its run, from 0. Each number has a uid of its own.
    pub(super) number: u64,
    pub(super) created: OffsetDateTime,
    /// 0 for the first record of the order. Each further revision has other content and the same uid.
    pub(super) revision: u64,
}

const ORDER: u64 = 0;
const REVISION: u64 = 1;

impl Origin {
    /// Returns a uid in the form of the sample order: 15 hexadecimal digits and `test`, after the tag
    /// if there is one.
    pub(super) fn order_uid(&self) -> String {
        let number = scatter(Rng::of(&[self.seed]).next().wrapping_add(self.number));
        format!("{}{number:015x}test", self.tag.map(tag_text).unwrap_or_default())
    }

    /// Returns the order as compact JSON.
    ///
    /// The order in which random numbers are drawn must not change: the same seed gives the same
    /// bytes in every version.
    pub(super) fn json(&self, customers: &Customers) -> Vec<u8> {
        let order_uid = self.order_uid();
        let mut rng = Rng::of(&[self.seed, ORDER, self.number]);
        let customer = Customer::of_rank(customers.pick(&mut rng));
        let track_number = track_number(&mut rng);
        let mut items: Vec<Item<'_>> = (0..rng.pick(&[1, 1, 1, 2, 2, 3, 4, 5]))
            .map(|_| item(&mut rng, &customer, &track_number))
            .collect();
        if self.revision > 0 {
            change(&mut items, &mut Rng::of(&[self.seed, REVISION, self.number, self.revision]));
        }
        let created = self.created.to_offset(UtcOffset::UTC).truncate_to_second();
        let order = Draft {
            order_uid: &order_uid,
            track_number: &track_number,
            entry: "WBIL",
            delivery: delivery(&customer, self.revision),
            payment: payment(&mut rng, &order_uid, &customer, &items, created),
            items,
            locale: customer.country.locale,
            internal_signature: "",
            customer_id: &customer.id,
            delivery_service: rng.pick(&["meest", "parcelway", "swiftline", "wb-courier"]),
            shardkey: rng.pick(&["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]),
            sm_id: rng.between(1, 99),
            date_created: created
                .format(&Rfc3339)
                .expect("years 1970 to 9999 have an RFC 3339 form"),
            oof_shard: rng.pick(&["1", "2"]),
        };
        let mut json = Vec::with_capacity(2_048);
        serde_json::to_writer(&mut json, &order).expect("text and numbers always have a JSON form");
        json
    }
}

fn delivery(customer: &Customer, revision: u64) -> Delivery<'_> {
    Delivery {
        name: &customer.name,
        phone: &customer.phone,
        zip: &customer.zip,
        city: customer.city.name,
        address: customer.address(revision),
        region: customer.city.region,
        email: &customer.email,
    }
}

fn payment<'a>(
    rng: &mut Rng,
    order_uid: &'a str,
    customer: &Customer,
    items: &[Item<'_>],
    created: OffsetDateTime,
) -> Payment<'a> {
    let goods_total: i64 = items.iter().map(|item| item.total_price).sum();
    let delivery_cost = rng.between(0, 15) * customer.country.price_of_100 / 100;
    let custom_fee = if rng.chance(8) { goods_total / 20 } else { 0 };
    Payment {
        transaction: order_uid,
        request_id: "",
        currency: customer.country.currency,
        provider: "wbpay",
        amount: goods_total + delivery_cost + custom_fee,
        payment_dt: created.unix_timestamp() - rng.between(2, 60),
        bank: rng.pick(&["alpha", "boreal", "meridian", "cedar", "northgate"]),
        delivery_cost,
        goods_total,
        custom_fee,
    }
}

/// Changes one item for a revision. It may draw the same values as before; the address, which always
/// changes, makes each revision different.
fn change(items: &mut [Item<'_>], rng: &mut Rng) {
    let chosen = rng.below(items.len() as u64) as usize;
    let item = &mut items[chosen];
    item.status = rng.pick(&[202, 203, 204]);
    item.sale = rng.pick(SALES);
    item.total_price = reduced(item.price, item.sale);
}

fn item<'a>(rng: &mut Rng, customer: &Customer, track_number: &'a str) -> Item<'a> {
    let goods = goods::pick(rng, customer.country);
    let sale = rng.pick(SALES);
    Item {
        chrt_id: goods.chrt_id,
        track_number,
        price: goods.price,
        rid: format!("{:016x}{:x}test", rng.next(), rng.below(16)),
        name: goods.name,
        sale,
        size: goods.size,
        total_price: reduced(goods.price, sale),
        nm_id: goods.nm_id,
        brand: goods.brand,
        status: 202,
    }
}

const SALES: &[i64] = &[0, 0, 0, 5, 10, 15, 20, 25, 30, 40, 50];

/// Returns the reduced price, rounded down as in the sample order: 453 less 30 per cent is 317.
fn reduced(price: i64, sale: i64) -> i64 {
    price * (100 - sale) / 100
}

fn track_number(rng: &mut Rng) -> String {
    // No 0, 1, I and O, which are easily confused.
    const LETTERS: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
    let mut number = String::from("WBIL");
    let mut bits = rng.next();
    for _ in 0..10 {
        number.push(char::from(LETTERS[(bits & 31) as usize]));
        bits >>= 5;
    }
    number
}

/// Maps a number to 60 bits that look random. Every step is invertible, so different numbers stay
/// different.
fn scatter(number: u64) -> u64 {
    const BITS: u64 = (1 << 60) - 1;
    let mut z = number & BITS;
    z = (z ^ (z >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9) & BITS;
    z = (z ^ (z >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb) & BITS;
    z ^ (z >> 30)
}

#[derive(Serialize)]
struct Draft<'a> {
    order_uid: &'a str,
    track_number: &'a str,
    entry: &'a str,
    delivery: Delivery<'a>,
    payment: Payment<'a>,
    items: Vec<Item<'a>>,
    locale: &'a str,
    internal_signature: &'a str,
    customer_id: &'a str,
    delivery_service: &'a str,
    shardkey: &'a str,
    sm_id: i64,
    date_created: String,
    oof_shard: &'a str,
}

#[derive(Serialize)]
struct Delivery<'a> {
    name: &'a str,
    phone: &'a str,
    zip: &'a str,
    city: &'a str,
    address: String,
    region: &'a str,
    email: &'a str,
}

#[derive(Serialize)]
struct Payment<'a> {
    transaction: &'a str,
    request_id: &'a str,
    currency: &'a str,
    provider: &'a str,
    amount: i64,
    payment_dt: i64,
    bank: &'a str,
    delivery_cost: i64,
    goods_total: i64,
    custom_fee: i64,
}

#[derive(Serialize)]
struct Item<'a> {
    chrt_id: i64,
    track_number: &'a str,
    price: i64,
    rid: String,
    name: &'a str,
    sale: i64,
    size: &'a str,
    total_price: i64,
    nm_id: i64,
    brand: &'a str,
    status: i64,
}
