//! The explaining pass: what is the matter with a record that is no plain order.
//!
//! Pure: `record → message`, the slow way. It reads any JSON at all, names what cannot be
//! understood (repeated keys, wrong types, numbers that are not whole), and makes a message of the
//! rest, so that the order's rules, which stand in [`rules`](crate::order::rules) only, find everything
//! else. A record that merely has unknown fields comes out of it as a valid order.

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
    violation::{Code, Part, Place, Violations},
};

/// An order that was no plain one, and yet is valid.
#[derive(Debug)]
pub(crate) struct Explained<'a> {
    pub(crate) order: Order<'a>,
    pub(crate) unknown_fields: u32,
}

/// Names every violation of the record, or finds none.
pub(crate) fn explain(text: &str) -> Result<Explained<'_>, Violations> {
    let json = json::read(text)?;
    let Json::Object(entries) = &json else {
        return Err(Violations::whole(Code::NotAnObject));
    };
    let mut explainer = Explainer { violations: Violations::default(), unknown_fields: 0 };
    Keys { violations: &mut explainer.violations, pointer: String::new() }.check(&json, true);
    let message = explainer.message(entries);
    match Order::check(message, &mut explainer.violations) {
        Some(order) => Ok(Explained { order, unknown_fields: explainer.unknown_fields }),
        None => Err(explainer.violations),
    }
}

type Entries<'a> = [(Option<Cow<'a, str>>, Json<'a>)];

/// Makes a message of what can be understood, and names what cannot.
struct Explainer {
    violations: Violations,
    unknown_fields: u32,
}

impl Explainer {
    fn message<'a>(&mut self, entries: &Entries<'a>) -> Message<'a> {
        let mut fields = Fields::of(entries, Part::Order, self);
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
        let mut fields = Fields::of(entries, Part::Delivery, self);
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
        let mut fields = Fields::of(entries, Part::Payment, self);
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
        let mut fields = Fields::of(entries, Part::Item(index), self);
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

    fn wrong_type(&mut self, place: impl fmt::Display, expected: &str) {
        let message = format_args!("must be {expected}");
        self.violations.push_because(Code::WrongType, place, message);
    }
}

/// The fields of one part, taken one by one; those never asked for are the unknown ones.
struct Fields<'t, 'a, 'e> {
    entries: &'t Entries<'a>,
    part: Part,
    known: usize,
    explainer: &'e mut Explainer,
}

impl<'t, 'a, 'e> Fields<'t, 'a, 'e> {
    fn of(entries: &'t Entries<'a>, part: Part, explainer: &'e mut Explainer) -> Self {
        Self { entries, part, known: 0, explainer }
    }

    fn end(self) {
        let unknown = u32::try_from(self.entries.len() - self.known)
            .expect("a record of 1 MiB has fewer than 4 billion keys");
        self.explainer.unknown_fields += unknown;
    }

    /// The value of `key`, the first if it is repeated; `null` is as good as none.
    fn take(&mut self, key: &str) -> Option<&'t Json<'a>> {
        let (_, value) = self.entries.iter().find(|(name, _)| name.as_deref() == Some(key))?;
        self.known += 1;
        (*value != Json::Null).then_some(value)
    }

    fn wrong_type(&mut self, key: &'static str, expected: &str) {
        self.explainer.wrong_type(Place::Field(self.part, key), expected);
    }

    fn text(&mut self, key: &'static str) -> Field<Text<'a>> {
        match self.take(key) {
            None => return Field::Absent,
            Some(Json::Text(text)) => return Field::Given(Text(text.clone())),
            Some(Json::LoneSurrogate) => {
                let place = Place::Field(self.part, key);
                self.explainer.violations.push(Code::LoneSurrogate, place);
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
                    self.explainer.violations.push(code, Place::Field(self.part, key));
                }
            },
            Some(_) => self.wrong_type(key, "a whole number"),
        }
        Field::Unreadable
    }

    fn object<T>(
        &mut self,
        key: &'static str,
        read: fn(&mut Explainer, &Entries<'a>) -> T,
    ) -> Field<Object<T>> {
        match self.take(key) {
            None => Field::Absent,
            Some(Json::Object(entries)) => Field::Given(Object(read(self.explainer, entries))),
            Some(_) => {
                self.wrong_type(key, "an object");
                Field::Unreadable
            }
        }
    }

    /// The items. Of too many it takes one more than are allowed, which is enough for the rule.
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
                Json::Object(entries) => Field::Given(Object(self.explainer.item(index, entries))),
                _ => {
                    self.explainer.wrong_type(Place::Item(index), "an object");
                    Field::Unreadable
                }
            });
        Field::Given(Items(items.collect()))
    }
}

/// A number of the model, from its digits.
fn parse_number(digits: &str) -> Result<i64, Code> {
    if let Ok(number) = digits.parse() {
        return Ok(number);
    }
    let whole = !digits.contains(['.', 'e', 'E']);
    let huge = digits.parse::<f64>().is_ok_and(f64::is_infinite);
    Err(if whole || huge { Code::OutOfRange } else { Code::NotAnInteger })
}

/// The longest key that a pointer shows, and the longest pointer.
const MAX_KEY: usize = 64;
const MAX_POINTER: usize = 256;

/// Looks for repeated and unreadable keys at any depth, in unknown fields too.
///
/// Keys that are not the model's may hold anything, personal data and NUL included. A pointer shows
/// only harmless ones and otherwise ends at the object or array before.
struct Keys<'v> {
    violations: &'v mut Violations,
    pointer: String,
}

impl Keys<'_> {
    /// Checks `value`; `shown` tells whether the pointer has come all the way to it.
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
                    self.step(shown && is_harmless(key), key, |keys, shown| {
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

    /// Goes one step down and comes back; lengthens the pointer only if that is to be `shown`.
    fn step(&mut self, shown: bool, name: impl fmt::Display, go: impl FnOnce(&mut Self, bool)) {
        let before = self.pointer.len();
        let shown = shown && before < MAX_POINTER;
        if shown {
            write!(self.pointer, "/{name}").expect("writing to a String does not fail");
        }
        go(self, shown);
        self.pointer.truncate(before);
    }
}

/// Whether a key looks like a name that a programmer gave. Such a one needs no escaping either.
fn is_harmless(key: &str) -> bool {
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    key.len() <= MAX_KEY && key.bytes().all(name)
}
