//! The orders of the traffic: the content that a number and a revision have, in canonical form, and
//! the JSON in which it is sent. The JSON leaves out some optional keys, and has some `null`s,
//! unknown keys, escapes and white space, none of which changes the content.

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use super::{
    dice::{Dice, Purpose},
    id,
    json::Json,
    text::text,
};

/// The longest text of an order, in bytes.
const MAX_TEXT: usize = 10_000;
const MAX_INDEXED_TEXT: usize = 255;

const CURRENCIES: &[&str] = &["USD", "RUB", "EUR", "KZT", "ILS", "JPY", "GEL"];
const PHONES: &[&str] =
    &["+9720000000", "8 (495) 123-45-67", "00000", "+1.650/253 0000", "+7 495 1234567 доб. 12"];
const EMAILS: &[&str] = &["test@gmail.com", "a@b", "имя@пример.рф", "x+<b>'\"@localhost"];

/// An order as it must be stored and served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub order_uid: String,
    pub track_number: String,
    pub entry: String,
    pub delivery: Delivery,
    pub payment: Payment,
    pub items: Vec<Item>,
    pub locale: String,
    pub internal_signature: String,
    pub customer_id: String,
    pub delivery_service: String,
    pub shardkey: String,
    pub sm_id: i64,
    /// In UTC and whole microseconds.
    pub date_created: OffsetDateTime,
    pub oof_shard: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub name: String,
    pub phone: String,
    pub zip: String,
    pub city: String,
    pub address: String,
    pub region: String,
    pub email: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    pub transaction: String,
    pub request_id: String,
    pub currency: String,
    pub provider: String,
    pub amount: i64,
    pub payment_dt: i64,
    pub bank: String,
    pub delivery_cost: i64,
    pub goods_total: i64,
    pub custom_fee: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub chrt_id: i64,
    pub track_number: String,
    pub price: i64,
    pub rid: String,
    pub name: String,
    pub sale: i64,
    pub size: String,
    pub total_price: i64,
    pub nm_id: i64,
    pub brand: String,
    pub status: i64,
}

/// Returns the content of an order. Each revision is another content of the same id.
pub(crate) fn order(seed: u64, owner: u64, revision: u64) -> Order {
    let mut dice = Dice::new(seed, Purpose::Order, revision);
    let dice = &mut dice;
    let count = match dice.below(1_000) {
        0 => 30 + dice.below(100),
        _ => 1 + dice.below(5),
    };
    let items: Vec<Item> = (0..count).map(|_| item(dice)).collect();
    let goods: i64 = items.iter().map(|item| item.total_price).sum();
    Order {
        order_uid: id::id(seed, owner),
        track_number: text(dice, MAX_INDEXED_TEXT),
        entry: optional(dice),
        delivery: Delivery {
            name: text(dice, MAX_TEXT),
            phone: (*dice.pick(PHONES)).to_owned(),
            zip: optional(dice),
            city: text(dice, MAX_TEXT),
            // The revision is a part of the content, so no two revisions are equal.
            address: format!("{} №{revision}", text(dice, MAX_TEXT - 30)),
            region: optional(dice),
            email: if dice.chance(50.0) { (*dice.pick(EMAILS)).to_owned() } else { String::new() },
        },
        payment: payment(dice, goods),
        items,
        locale: optional(dice),
        internal_signature: optional(dice),
        customer_id: text(dice, MAX_INDEXED_TEXT),
        delivery_service: text(dice, MAX_INDEXED_TEXT),
        shardkey: optional(dice),
        sm_id: number(dice),
        date_created: instant(dice),
        oof_shard: optional(dice),
    }
}

fn payment(dice: &mut Dice, goods: i64) -> Payment {
    // Some producers send wrong sums, which are valid.
    let goods_total = if dice.chance(95.0) { goods } else { amount(dice) };
    let (delivery_cost, custom_fee) = (amount(dice), amount(dice));
    let total = goods_total + delivery_cost + custom_fee;
    Payment {
        transaction: text(dice, MAX_INDEXED_TEXT),
        request_id: optional(dice),
        currency: (*dice.pick(CURRENCIES)).to_owned(),
        provider: text(dice, MAX_TEXT),
        amount: if dice.chance(95.0) { total } else { amount(dice) },
        payment_dt: 1_600_000_000 + amount(dice) % 400_000_000,
        bank: optional(dice),
        delivery_cost,
        goods_total,
        custom_fee,
    }
}

fn item(dice: &mut Dice) -> Item {
    Item {
        chrt_id: number(dice),
        track_number: optional(dice),
        price: amount(dice),
        rid: text(dice, MAX_INDEXED_TEXT),
        name: text(dice, MAX_INDEXED_TEXT),
        sale: number(dice),
        size: optional(dice),
        total_price: amount(dice),
        nm_id: number(dice),
        brand: optional(dice),
        status: number(dice),
    }
}

fn optional(dice: &mut Dice) -> String {
    if dice.chance(70.0) { text(dice, MAX_INDEXED_TEXT) } else { String::new() }
}

fn number(dice: &mut Dice) -> i64 {
    match dice.below(100) {
        0 => i64::MIN,
        1 => i64::MAX,
        2 => -1,
        3..10 => 0,
        _ => small(dice, 10_000_000),
    }
}

/// Returns an amount; the sum of 200 of them does not overflow.
fn amount(dice: &mut Dice) -> i64 {
    match dice.below(100) {
        0 => i64::MAX / 512,
        1..10 => 0,
        _ => small(dice, 1_000_000),
    }
}

fn small(dice: &mut Dice, limit: u64) -> i64 {
    i64::try_from(dice.below(limit)).expect("the limit is small")
}

/// Returns an instant in whole microseconds, mostly of this century.
fn instant(dice: &mut Dice) -> OffsetDateTime {
    let seconds = match dice.below(100) {
        // The years 1, 1582 and 9998.
        0 => -62_130_000_000,
        1 => -12_219_300_000,
        2 => 253_340_000_000,
        _ => 946_684_800 + small(dice, 3_000_000_000),
    };
    let micros = if dice.chance(50.0) { 0 } else { small(dice, 1_000_000) };
    let nanos = (i128::from(seconds) * 1_000_000 + i128::from(micros)) * 1_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).expect("the year is from 1 to 9998")
}

impl Order {
    /// Returns the codes of the warnings for sums that do not add up.
    #[must_use]
    pub fn warnings(&self) -> Vec<&'static str> {
        let payment = &self.payment;
        let goods: i64 = self.items.iter().map(|item| item.total_price).sum();
        let total = payment.goods_total + payment.delivery_cost + payment.custom_fee;
        let goods = (payment.goods_total != goods).then_some("goods_total_mismatch");
        let amount = (payment.amount != total).then_some("amount_mismatch");
        goods.into_iter().chain(amount).collect()
    }

    /// Returns the canonical JSON: all keys of the model in its order, instants in UTC.
    #[must_use]
    pub fn canonical(&self) -> String {
        let date = self.date_created.format(&Rfc3339).expect("the year has four digits");
        self.write(Json::canonical(), &date)
    }

    /// Returns the JSON in which the number `number` is sent.
    pub(crate) fn sent_json(&self, seed: u64, number: u64) -> String {
        let mut dice = Dice::new(seed, Purpose::OrderForm, number);
        let date = sent_instant(&mut dice, self.date_created);
        self.write(Json::varied(dice), &date)
    }

    fn write(&self, mut json: Json, date_created: &str) -> String {
        json.open();
        json.text("order_uid", &self.order_uid);
        json.text("track_number", &self.track_number);
        json.optional_text("entry", &self.entry);
        json.object("delivery");
        self.delivery.write(&mut json);
        json.object("payment");
        self.payment.write(&mut json);
        json.array("items");
        for item in &self.items {
            item.write(&mut json);
        }
        json.end_array();
        json.optional_text("locale", &self.locale);
        json.optional_text("internal_signature", &self.internal_signature);
        json.text("customer_id", &self.customer_id);
        json.text("delivery_service", &self.delivery_service);
        json.optional_text("shardkey", &self.shardkey);
        json.optional_number("sm_id", self.sm_id);
        json.text("date_created", date_created);
        json.optional_text("oof_shard", &self.oof_shard);
        json.close();
        json.finish()
    }
}

impl Delivery {
    fn write(&self, json: &mut Json) {
        json.text("name", &self.name);
        json.text("phone", &self.phone);
        json.optional_text("zip", &self.zip);
        json.text("city", &self.city);
        json.text("address", &self.address);
        json.optional_text("region", &self.region);
        json.optional_text("email", &self.email);
        json.close();
    }
}

impl Payment {
    fn write(&self, json: &mut Json) {
        json.text("transaction", &self.transaction);
        json.optional_text("request_id", &self.request_id);
        json.text("currency", &self.currency);
        json.text("provider", &self.provider);
        json.optional_number("amount", self.amount);
        json.optional_number("payment_dt", self.payment_dt);
        json.optional_text("bank", &self.bank);
        json.optional_number("delivery_cost", self.delivery_cost);
        json.optional_number("goods_total", self.goods_total);
        json.optional_number("custom_fee", self.custom_fee);
        json.close();
    }
}

impl Item {
    fn write(&self, json: &mut Json) {
        json.element();
        json.number("chrt_id", self.chrt_id);
        json.optional_text("track_number", &self.track_number);
        json.number("price", self.price);
        json.text("rid", &self.rid);
        json.text("name", &self.name);
        json.optional_number("sale", self.sale);
        json.optional_text("size", &self.size);
        json.number("total_price", self.total_price);
        json.optional_number("nm_id", self.nm_id);
        json.optional_text("brand", &self.brand);
        json.optional_number("status", self.status);
        json.close();
    }
}

/// Returns an instant as a producer may write it: with any offset, and with more digits than are
/// stored.
fn sent_instant(dice: &mut Dice, instant: OffsetDateTime) -> String {
    let offset = match dice.below(4) {
        0 => {
            let minutes = i32::try_from(dice.below(28 * 60)).expect("it is below a day") - 14 * 60;
            UtcOffset::from_whole_seconds(minutes * 60).expect("it is below a day")
        }
        _ => UtcOffset::UTC,
    };
    let local = instant.checked_to_offset(offset).unwrap_or(instant);
    let text = local.format(&Rfc3339).expect("the year has four digits");
    match dice.below(20) {
        0 => text.replace('T', " "),
        1 => text.to_lowercase(),
        // Digits below a microsecond are dropped.
        2 if instant.nanosecond() == 0 => text.replacen("Z", ".000000999Z", 1),
        _ => text,
    }
}
