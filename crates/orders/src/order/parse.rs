//! Parsing a record's value into a valid order or a rejection.
//!
//! Pure: `record → message → order`, in one call. A plain order costs one typed parse. Only a
//! record that this parse refuses is read a second time, by [`diagnose`](crate::order::diagnose),
//! which names every violation, or returns the order if the record only has unknown fields.

use crate::order::{
    Order,
    content_hash::ContentHash,
    diagnose::diagnose,
    json,
    message::{NotPlain, decode},
    violation::{Code, Rejection, Violation, Violations},
};

/// The size limit of an order, in bytes.
pub(crate) const MAX_RECORD_BYTES: usize = 1_048_576;
/// The limit on the orders of one request.
pub(crate) const MAX_ORDERS: usize = 1_000;

const WHITE_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// A valid order with its canonical form. Its texts are borrowed from the record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ValidOrder<'a> {
    pub(crate) order: Order<'a>,
    /// The canonical order.
    pub(crate) json: Vec<u8>,
    /// The hash of `json`: two records with equal hashes count as equal content.
    pub(crate) hash: ContentHash,
    /// Codes of `docs/validation.md`.
    pub(crate) warnings: Vec<&'static str>,
    /// The number of fields that the model does not have, which were dropped.
    pub(crate) unknown_fields: u32,
}

/// Parses a record's value.
pub(crate) fn parse(value: Option<&[u8]>) -> Result<ValidOrder<'_>, Rejection> {
    let parsed = value.ok_or_else(|| Violations::whole(Code::NullRecord)).and_then(parse_bytes);
    parsed.map_err(Rejection::from)
}

/// Parses one order or an array of 1 to [`MAX_ORDERS`] of them, all or nothing. The pointers of an
/// array's violations start with the order's index.
///
/// An accepted order can be sent to Kafka as its canonical JSON, because the limit on its size
/// applies to that form, too. The caller limits the size of the whole.
pub(crate) fn parse_many(bytes: &[u8]) -> Result<Vec<ValidOrder<'_>>, Vec<Violation>> {
    let one_or_many = decode_utf8(bytes).and_then(|text| {
        if text.trim_start_matches(WHITE_SPACE).starts_with('[') {
            parse_array(text)
        } else {
            Ok(vec![parse_to_send(bytes)?])
        }
    });
    one_or_many.map_err(Violations::into_vec)
}

fn parse_array(text: &str) -> Result<Vec<ValidOrder<'_>>, Violations> {
    let elements = json::elements(text, MAX_ORDERS + 1)?;
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
    // One invalid order is enough to refuse all of them: a client can then send the whole array
    // again and does not need to find out which orders were already accepted.
    if violations.is_empty() { Ok(orders) } else { Err(violations) }
}

/// Parses an order that is then sent in its canonical form. This form has all keys of the model, so
/// it can be larger than the bytes received, and its size is checked too.
fn parse_to_send(bytes: &[u8]) -> Result<ValidOrder<'_>, Violations> {
    let order = parse_bytes(bytes)?;
    if order.json.len() > MAX_RECORD_BYTES {
        return Err(Violations::whole(Code::TooLarge));
    }
    Ok(order)
}

fn parse_bytes(bytes: &[u8]) -> Result<ValidOrder<'_>, Violations> {
    if bytes.is_empty() {
        return Err(Violations::whole(Code::EmptyRecord));
    }
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(Violations::whole(Code::TooLarge));
    }
    let text = decode_utf8(bytes)?;
    let (order, unknown_fields) = match decode(text) {
        Ok(message) => (Order::try_from(message)?, 0),
        Err(NotPlain) => {
            let extended = diagnose(text)?;
            (extended.order, extended.unknown_fields)
        }
    };
    let json = order.to_json(bytes.len());
    let hash = ContentHash::of(&json);
    let warnings = order.warnings();
    Ok(ValidOrder { order, json, hash, warnings, unknown_fields })
}

fn decode_utf8(bytes: &[u8]) -> Result<&str, Violations> {
    str::from_utf8(bytes).map_err(|error| {
        Violations::whole_because(
            Code::InvalidUtf8,
            format_args!("not valid UTF-8, starting at byte {}", error.valid_up_to()),
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use serde_json::json;
    use testkit::order_json::SAMPLE;

    use super::*;
    use crate::order::testing::{parse_str, sample_with};

    #[test]
    fn many_orders_are_accepted_together_or_not_at_all() {
        let one = parse_str(SAMPLE).unwrap();
        assert_eq!(parse_many(SAMPLE.as_bytes()), Ok(vec![one.clone()]));
        let three = format!(" \n[{SAMPLE},{SAMPLE} , {SAMPLE}]\n");
        assert_eq!(parse_many(three.as_bytes()), Ok(vec![one.clone(), one.clone(), one]));

        let invalid = format!("[{SAMPLE},{{}},7,{}]", sample_with("/payment/amount", json!(-1)));
        let found = parse_many(invalid.as_bytes()).unwrap_err();
        let found =
            found.iter().map(|it| (it.pointer.as_str(), it.code.as_str())).collect::<Vec<_>>();
        assert_eq!(found.first(), Some(&("/1/order_uid", "missing")));
        assert_eq!(found[8..], [("/2", "not_an_object"), ("/3/payment/amount", "negative")]);

        for (body, code) in [
            ("", "empty_record"),
            ("[", "invalid_json"),
            ("[]", "no_orders"),
            (&format!("[{SAMPLE}] x"), "invalid_json"),
            ("\u{feff}[]", "invalid_json"),
            ("7", "not_an_object"),
            (&"[".repeat(1_000), "too_deep"),
        ] {
            let found = parse_many(body.as_bytes()).unwrap_err();
            assert_eq!(
                (found.len(), found[0].code.as_str(), found[0].pointer.as_str()),
                (1, code, "")
            );
        }
        assert_eq!(parse_many(b"[\xff]").unwrap_err()[0].code, "invalid_utf8");
    }

    #[test]
    fn an_order_too_large_in_its_canonical_form_is_not_sent() {
        let item = r#"{"chrt_id":1,"rid":"r","name":"n","price":1,"total_price":1}"#;
        let items = vec![item; 1_000].join(",");
        let order = sample_with("/items", json!("@")).replace("\"@\"", &format!("[{items}]"));
        let long = format!("\"{}\"", "x".repeat(9_900));
        let order = order.replacen("\"name\":\"n\"", &format!("\"name\":{long}"), 98);
        assert!(order.len() < MAX_RECORD_BYTES);
        assert!(parse_str(&order).unwrap().json.len() > MAX_RECORD_BYTES);
        let found = parse_many(format!("[{order}]").as_bytes()).unwrap_err();
        assert_eq!((found[0].pointer.as_str(), found[0].code.as_str()), ("/0", "too_large"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_rejected(bytes in vec(any::<u8>(), 0..200)) {
            if let Err(rejection) = parse(Some(&bytes)) {
                prop_assert!(!rejection.violations.is_empty());
            }
            let _ = parse_many(&bytes);
        }
    }
}
