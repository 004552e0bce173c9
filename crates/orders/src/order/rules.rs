//! The rules that a message must satisfy to become an order.
//!
//! Pure: `message → order`. All rules of `docs/validation.md` about fields are here, once, for the
//! fast path and for the second pass. They find every violation, not only the first.

use events::{InvalidOrderUid, MAX_UID_BYTES, OrderUid, parse_instant};
use time::OffsetDateTime;

use crate::order::{
    Delivery, Item, Order, Payment,
    currency::is_currency,
    message::{
        DeliveryMessage, Field, ItemMessage, Items, MAX_ITEMS, Message, Object, PaymentMessage,
    },
    text::Text,
    violation::{Code, Part, Pointer, Violations},
};

/// The limit on text that PostgreSQL indexes. An entry of its indexes has at most about 2,700
/// bytes.
const MAX_INDEXED_BYTES: usize = 255;
const MAX_TEXT_BYTES: usize = 10_000;
/// RFC 5321.
const MAX_EMAIL_BYTES: usize = 254;

impl<'a> TryFrom<Message<'a>> for Order<'a> {
    type Error = Violations;

    fn try_from(message: Message<'a>) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        Self::check(message, &mut violations).ok_or(violations)
    }
}

impl<'a> Order<'a> {
    /// Checks every rule. Returns an order if, and only if, `violations` is empty afterwards.
    pub(crate) fn check(message: Message<'a>, violations: &mut Violations) -> Option<Self> {
        let mut rules = Rules { part: Part::Order, violations: &mut *violations };
        let order_uid = rules.order_uid(message.order_uid);
        let track_number = rules.required("track_number", message.track_number, MAX_INDEXED_BYTES);
        let entry = rules.optional("entry", message.entry, MAX_TEXT_BYTES);
        let delivery = rules.delivery(message.delivery);
        let payment = rules.payment(message.payment);
        let items = rules.items(message.items);
        let locale = rules.optional("locale", message.locale, MAX_TEXT_BYTES);
        let internal_signature =
            rules.optional("internal_signature", message.internal_signature, MAX_TEXT_BYTES);
        let customer_id = rules.required("customer_id", message.customer_id, MAX_INDEXED_BYTES);
        let delivery_service =
            rules.required("delivery_service", message.delivery_service, MAX_INDEXED_BYTES);
        let shardkey = rules.optional("shardkey", message.shardkey, MAX_TEXT_BYTES);
        let sm_id = rules.number(message.sm_id);
        let date_created = rules.instant("date_created", message.date_created);
        let oof_shard = rules.optional("oof_shard", message.oof_shard, MAX_TEXT_BYTES);
        if !violations.is_empty() {
            return None;
        }
        Some(Self {
            order_uid: order_uid?,
            track_number,
            entry,
            delivery: delivery?,
            payment: payment?,
            items,
            locale,
            internal_signature,
            customer_id,
            delivery_service,
            shardkey,
            sm_id,
            date_created: date_created?,
            oof_shard,
        })
    }
}

/// The rules for the fields of one part. Each takes a field of the message and returns the value
/// for the order. After a violation it returns a placeholder, so that the checks continue and find
/// the rest.
struct Rules<'v> {
    part: Part,
    violations: &'v mut Violations,
}

impl Rules<'_> {
    fn within(&mut self, part: Part) -> Rules<'_> {
        Rules { part, violations: self.violations }
    }

    fn push(&mut self, code: Code, key: &'static str) {
        self.violations.push(code, Pointer::Field(self.part, key));
    }

    /// Returns the value of a required field.
    fn given<T>(&mut self, key: &'static str, field: Field<T>) -> Option<T> {
        match field {
            Field::Given(value) => Some(value),
            // The second pass has already reported it.
            Field::Unreadable => None,
            Field::Absent => {
                self.push(Code::Missing, key);
                None
            }
        }
    }

    fn order_uid(&mut self, field: Field<Text<'_>>) -> Option<OrderUid> {
        let text = self.given("order_uid", field)?.0;
        match text.parse() {
            Ok(uid) => return Some(uid),
            // The id's own type reports only the first of its rules, so the others are checked
            // below.
            Err(InvalidOrderUid::Blank) => self.push(Code::Blank, "order_uid"),
            Err(InvalidOrderUid::Dots) => self.push(Code::Dots, "order_uid"),
            Err(InvalidOrderUid::TooLong(_) | InvalidOrderUid::ControlCharacter) => {}
        }
        self.check_text("order_uid", &text, MAX_UID_BYTES);
        if text.chars().any(|char| char.is_control() && char != '\0') {
            self.push(Code::ControlCharacter, "order_uid");
        }
        None
    }

    fn required<'a>(
        &mut self,
        key: &'static str,
        field: Field<Text<'a>>,
        limit: usize,
    ) -> Text<'a> {
        let Some(text) = self.given(key, field) else { return Text::default() };
        if text.trim().is_empty() {
            self.push(Code::Blank, key);
        }
        self.check_text(key, &text, limit);
        text
    }

    fn optional<'a>(
        &mut self,
        key: &'static str,
        field: Field<Text<'a>>,
        limit: usize,
    ) -> Text<'a> {
        let Field::Given(text) = field else { return Text::default() };
        self.check_text(key, &text, limit);
        text
    }

    fn check_text(&mut self, key: &'static str, text: &str, limit: usize) {
        if text.len() > limit {
            self.violations.push_because(
                Code::TooLong,
                Pointer::Field(self.part, key),
                format_args!("must be at most {limit} bytes long"),
            );
        }
        if text.contains('\0') {
            self.push(Code::NulCharacter, key);
        }
    }

    fn phone<'a>(&mut self, field: Field<Text<'a>>) -> Text<'a> {
        let phone = self.required("phone", field, MAX_TEXT_BYTES);
        if !phone.trim().is_empty() && !is_plausible_phone(&phone) {
            self.push(Code::ImplausiblePhone, "phone");
        }
        phone
    }

    fn email<'a>(&mut self, field: Field<Text<'a>>) -> Text<'a> {
        let email = self.optional("email", field, MAX_EMAIL_BYTES);
        if !email.is_empty() && !is_plausible_email(&email) {
            self.push(Code::ImplausibleEmail, "email");
        }
        email
    }

    fn currency<'a>(&mut self, field: Field<Text<'a>>) -> Text<'a> {
        let currency = self.required("currency", field, MAX_TEXT_BYTES);
        if !currency.trim().is_empty() && !is_currency(&currency) {
            self.push(Code::UnknownCurrency, "currency");
        }
        currency
    }

    fn instant(&mut self, key: &'static str, field: Field<Text<'_>>) -> Option<OffsetDateTime> {
        let text = self.given(key, field)?.0;
        let instant = parse_instant(&text);
        if instant.is_none() {
            self.push(if text.trim().is_empty() { Code::Blank } else { Code::InvalidDate }, key);
        }
        instant
    }

    /// Returns a number that no rule limits.
    fn number(&mut self, field: Field<i64>) -> i64 {
        match field {
            Field::Given(number) => number,
            Field::Absent | Field::Unreadable => 0,
        }
    }

    fn required_number(&mut self, key: &'static str, field: Field<i64>) -> i64 {
        self.given(key, field).unwrap_or(0)
    }

    /// Returns a number that must not be negative.
    fn amount(&mut self, key: &'static str, field: Field<i64>) -> i64 {
        let amount = self.number(field);
        if amount < 0 {
            self.push(Code::Negative, key);
        }
        amount
    }

    fn required_amount(&mut self, key: &'static str, field: Field<i64>) -> i64 {
        let amount = self.required_number(key, field);
        self.amount(key, Field::Given(amount))
    }

    fn delivery<'a>(&mut self, field: Field<Object<DeliveryMessage<'a>>>) -> Option<Delivery<'a>> {
        let Object(delivery) = self.given("delivery", field)?;
        let mut rules = self.within(Part::Delivery);
        Some(Delivery {
            name: rules.required("name", delivery.name, MAX_TEXT_BYTES),
            phone: rules.phone(delivery.phone),
            zip: rules.optional("zip", delivery.zip, MAX_TEXT_BYTES),
            city: rules.required("city", delivery.city, MAX_TEXT_BYTES),
            address: rules.required("address", delivery.address, MAX_TEXT_BYTES),
            region: rules.optional("region", delivery.region, MAX_TEXT_BYTES),
            email: rules.email(delivery.email),
        })
    }

    fn payment<'a>(&mut self, field: Field<Object<PaymentMessage<'a>>>) -> Option<Payment<'a>> {
        let Object(payment) = self.given("payment", field)?;
        let mut rules = self.within(Part::Payment);
        let payment = Payment {
            transaction: rules.required("transaction", payment.transaction, MAX_INDEXED_BYTES),
            request_id: rules.optional("request_id", payment.request_id, MAX_TEXT_BYTES),
            currency: rules.currency(payment.currency),
            provider: rules.required("provider", payment.provider, MAX_TEXT_BYTES),
            amount: rules.amount("amount", payment.amount),
            payment_dt: rules.amount("payment_dt", payment.payment_dt),
            bank: rules.optional("bank", payment.bank, MAX_TEXT_BYTES),
            delivery_cost: rules.amount("delivery_cost", payment.delivery_cost),
            goods_total: rules.amount("goods_total", payment.goods_total),
            custom_fee: rules.amount("custom_fee", payment.custom_fee),
        };
        let parts = [payment.goods_total, payment.delivery_cost, payment.custom_fee];
        if overflows(parts.into_iter()) {
            self.push(Code::SumOverflow, "payment");
        }
        Some(payment)
    }

    fn items<'a>(&mut self, field: Field<Items<'a>>) -> Vec<Item<'a>> {
        let Some(Items(fields)) = self.given("items", field) else { return Vec::new() };
        if fields.is_empty() {
            self.push(Code::NoItems, "items");
        }
        if fields.len() > MAX_ITEMS {
            self.push(Code::TooManyItems, "items");
        }
        let mut items = Vec::with_capacity(fields.len());
        for (index, field) in fields.into_iter().take(MAX_ITEMS).enumerate() {
            match field {
                Field::Given(Object(item)) => items.push(self.within(Part::Item(index)).item(item)),
                Field::Absent => self.violations.push(Code::Missing, Pointer::Item(index)),
                Field::Unreadable => {}
            }
        }
        if overflows(items.iter().map(|item| item.total_price)) {
            self.push(Code::SumOverflow, "items");
        }
        items
    }

    fn item<'a>(&mut self, item: ItemMessage<'a>) -> Item<'a> {
        Item {
            chrt_id: self.required_number("chrt_id", item.chrt_id),
            track_number: self.optional("track_number", item.track_number, MAX_TEXT_BYTES),
            price: self.required_amount("price", item.price),
            rid: self.required("rid", item.rid, MAX_TEXT_BYTES),
            name: self.required("name", item.name, MAX_TEXT_BYTES),
            sale: self.number(item.sale),
            size: self.optional("size", item.size, MAX_TEXT_BYTES),
            total_price: self.required_amount("total_price", item.total_price),
            nm_id: self.number(item.nm_id),
            brand: self.optional("brand", item.brand, MAX_TEXT_BYTES),
            status: self.number(item.status),
        }
    }
}

/// True if the sum of the amounts does not fit in `i64`. A negative amount counts as 0 here,
/// because it is already a violation.
fn overflows(mut amounts: impl Iterator<Item = i64>) -> bool {
    amounts.try_fold(0_i64, |sum, amount| sum.checked_add(amount.max(0))).is_none()
}

/// Words before an extension.
const EXTENSION_WORDS: &[&str] = &["ext", "extension", "x", "доб", "добавочный", "вн"];

/// Accepts 5 to 20 digits with the usual separators and at most one `+` before them, and perhaps an
/// extension after them.
fn is_plausible_phone(phone: &str) -> bool {
    match phone.find(|char: char| char.is_alphabetic() || char == '#') {
        None => is_phone_number(phone),
        Some(at) => {
            let (number, extension) = phone.split_at(at);
            is_phone_number(number.trim_end_matches([',', ';', ' ', '(']))
                && is_extension(extension)
        }
    }
}

fn is_phone_number(number: &str) -> bool {
    let number = number.trim().trim_start_matches('(');
    let mut digits = 0;
    for char in number.strip_prefix('+').unwrap_or(number).chars() {
        match char {
            '0'..='9' => digits += 1,
            '-' | '\u{2010}'..='\u{2015}' | '.' | '/' | '(' | ')' => {}
            ' ' | '\u{a0}' | '\u{2009}' | '\u{202f}' => {}
            _ => return false,
        }
    }
    (5..=20).contains(&digits)
}

/// Accepts a word for an extension, or `#`, before 1 to 8 digits.
fn is_extension(text: &str) -> bool {
    let number = text.trim_start_matches(|char: char| !char.is_ascii_digit());
    let word = text[..text.len() - number.len()].trim_end_matches(['.', ':', ' ', '\u{a0}']);
    let number = number.trim_end_matches([')', ' ']);
    (word == "#" || EXTENSION_WORDS.contains(&word.to_lowercase().as_str()))
        && (1..=8).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Accepts one `@` between two parts without spaces.
fn is_plausible_email(email: &str) -> bool {
    match email.split_once('@') {
        Some((name, host)) => {
            let forbidden = |char: char| char == '@' || char.is_whitespace() || char.is_control();
            !name.is_empty()
                && !host.is_empty()
                && !name.contains(forbidden)
                && !host.contains(forbidden)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use testkit::order_json::SAMPLE;

    use super::*;
    use crate::order::{
        parse::MAX_RECORD_BYTES,
        testing::{parse_str, plain, read_back, sample_with},
    };

    #[test]
    fn phones_are_plausible_as_people_write_them() {
        for phone in [
            "+9720000000",
            "8 (800) 555-35-35",
            "12345",
            " 06131/12 34.5 ",
            "+1\u{a0}650‑253‑0000",
            "+358 (0)9 123 456",
            "(+7) 495 123-45-67",
            "+7 495 123-45-67 доб. 12",
            "8 (495) 123-45-67, доб.12",
            "+1 650 253 0000 ext. 4",
            "650-253-0000 Ext 1234",
            "650-253-0000x12",
            "650-253-0000 #12",
            "8 800 555-35-35 (доб. 12)",
        ] {
            assert!(is_plausible_phone(phone), "{phone}");
        }
        for phone in [
            "",
            "+",
            "1234",
            "+1234",
            "++12345",
            "12345+",
            "12345x",
            "12345 ext. call",
            "ext. 12345",
            "12345 room 12",
            "12345 ext. 123456789",
            "１２３４５６",
            "1\t2345",
            &"1".repeat(21),
        ] {
            assert!(!is_plausible_phone(phone), "{phone}");
        }
    }

    #[test]
    fn emails_have_a_name_and_a_host() {
        for email in ["test@gmail.com", "a@b", "имя@пример.рф", "a+b.c'd@[127.0.0.1]"] {
            assert!(is_plausible_email(email), "{email}");
        }
        for email in ["", "@", "a@", "@b", "a b@c", "a@b c", "a@b@c", "a@@b", "a@b\n", "\u{a0}a@b"]
        {
            assert!(!is_plausible_email(email), "{email}");
        }
    }

    #[test]
    fn a_value_at_its_limit_is_accepted() {
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
            let text = sample_with(pointer, value.clone());
            let order = parse_str(&text).expect(pointer);
            let json = serde_json::from_slice::<Value>(&order.json).unwrap();
            assert_eq!(json.pointer(pointer), Some(&value));
        }
        let item = serde_json::from_str::<Value>(SAMPLE).unwrap()["items"][0].clone();
        let text = sample_with("/items", vec![item; 1_000].into());
        assert_eq!(read_back(&parse_str(&text).unwrap()), plain(&text));
        assert_eq!(plain(&text).items.len(), 1_000);
        let padding = " ".repeat(MAX_RECORD_BYTES - SAMPLE.len());
        assert!(parse_str(&format!("{SAMPLE}{padding}")).is_ok());
    }
}
