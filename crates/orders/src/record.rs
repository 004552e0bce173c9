//! What a record's value turns into: a valid order or a rejection.
//!
//! Pure: `record → message → order`, in one call. A plain order costs one typed parse; only what
//! that parse does not take is read a second time, by [`explain`](crate::explain), which either
//! names every violation or finds that only unknown fields were in the way.

use std::{fmt, str::FromStr};

use crate::{
    explain::explain,
    json,
    message::{NotPlain, decode},
    order::Order,
    rejection::{Code, Rejection, Violation, Violations},
};

/// The largest order, in bytes.
pub(crate) const MAX_RECORD_BYTES: usize = 1_048_576;
/// The most orders of one request.
pub(crate) const MAX_ORDERS: usize = 1_000;

/// JSON's white space.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// An order as the rest of the service takes it: checked, and in its canonical form.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ValidOrder {
    pub(crate) order: Order,
    /// The canonical order.
    pub(crate) json: Vec<u8>,
    /// Of `json`: two records with the same hash are the same order.
    pub(crate) hash: ContentHash,
    /// What is odd without being invalid: codes of `docs/validation.md`.
    pub(crate) warnings: Vec<&'static str>,
    /// How many unknown fields were dropped.
    pub(crate) unknown_fields: u32,
}

/// The first 128 bits of the canonical order's BLAKE3 hash. As text: 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ContentHash([u8; 16]);

/// A text that is no [`ContentHash`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a content hash is 32 hexadecimal digits")]
pub(crate) struct InvalidContentHash;

/// Parses a record's value.
pub(crate) fn parse(value: Option<&[u8]>) -> Result<ValidOrder, Rejection> {
    let parsed = value.ok_or_else(|| Violations::whole(Code::NullRecord)).and_then(parse_bytes);
    parsed.map_err(Rejection::from)
}

/// Parses one order or an array of 1 to [`MAX_ORDERS`] of them, all or nothing. The pointers of an
/// array's violations start with the order's index.
///
/// What it accepts can be sent to Kafka as its canonical JSON: that, too, is small enough. The size
/// of the whole is the caller's to limit.
pub(crate) fn parse_many(bytes: &[u8]) -> Result<Vec<ValidOrder>, Vec<Violation>> {
    let one_or_many = decode_utf8(bytes).and_then(|text| {
        if text.trim_start_matches(BLANKS).starts_with('[') {
            parse_array(text)
        } else {
            Ok(vec![parse_to_send(bytes)?])
        }
    });
    one_or_many.map_err(Violations::into_vec)
}

fn parse_array(text: &str) -> Result<Vec<ValidOrder>, Violations> {
    let elements = json::elements(text)?;
    if elements.is_empty() {
        return Err(Violations::whole(Code::NoOrders));
    }
    if elements.len() > MAX_ORDERS {
        return Err(Violations::whole(Code::TooManyOrders));
    }
    let mut violations = Violations::default();
    let mut orders = Vec::with_capacity(elements.len());
    for (index, element) in elements.into_iter().enumerate() {
        match parse_to_send(element.as_bytes()) {
            Ok(order) => orders.push(order),
            Err(others) => violations.append(index, others),
        }
    }
    if violations.is_empty() { Ok(orders) } else { Err(violations) }
}

/// The canonical form has all keys of the model, so it can be larger than what came.
fn parse_to_send(bytes: &[u8]) -> Result<ValidOrder, Violations> {
    let order = parse_bytes(bytes)?;
    if order.json.len() > MAX_RECORD_BYTES {
        return Err(Violations::whole(Code::TooLarge));
    }
    Ok(order)
}

fn parse_bytes(bytes: &[u8]) -> Result<ValidOrder, Violations> {
    if bytes.is_empty() {
        return Err(Violations::whole(Code::EmptyRecord));
    }
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(Violations::whole(Code::TooLarge));
    }
    let text = decode_utf8(bytes)?;
    match decode(text) {
        Ok(message) => Ok(valid(Order::try_from(message)?, 0)),
        Err(NotPlain) => {
            let explained = explain(text)?;
            Ok(valid(explained.order, explained.unknown_fields))
        }
    }
}

fn decode_utf8(bytes: &[u8]) -> Result<&str, Violations> {
    str::from_utf8(bytes).map_err(|error| {
        Violations::whole_because(
            Code::InvalidUtf8,
            format_args!("not UTF-8 from byte {} on", error.valid_up_to()),
        )
    })
}

fn valid(order: Order, unknown_fields: u32) -> ValidOrder {
    let json = order.to_json();
    let hash = ContentHash::of(&json);
    let warnings = order.warnings();
    ValidOrder { order, json, hash, warnings, unknown_fields }
}

impl ContentHash {
    /// Of the canonical order's bytes.
    pub(crate) fn of(json: &[u8]) -> Self {
        let hash = blake3::hash(json);
        let (first, _) = hash.as_bytes().split_first_chunk().expect("a BLAKE3 hash has 32 bytes");
        Self(*first)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<[u8; 16]> for ContentHash {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for ContentHash {
    type Err = InvalidContentHash;

    fn from_str(text: &str) -> Result<Self, InvalidContentHash> {
        // `from_str_radix` alone would take a sign.
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidContentHash);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| InvalidContentHash)?;
        Ok(Self(number.to_be_bytes()))
    }
}
