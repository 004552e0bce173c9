//! Reads the JSON object of a status event, for [`status_event`](crate::status_event), which checks
//! the values. `Deserialize` is implemented manually, because all violations are listed and the
//! derived implementation stops at the first repeated key or wrong type.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::event_rules::{DUPLICATE_KEY, EventViolation};

/// The value of a field, reduced to the cases that the rules distinguish.
#[derive(Default)]
pub(crate) enum FieldValue<'a> {
    /// `null`, or no such field.
    #[default]
    Null,
    Text(Cow<'a, str>),
    /// A whole number of 64 bits, signed or not.
    Whole(i128),
    /// Any other value: a larger number or one with a fraction, a boolean, an array, an object.
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for FieldValue<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = FieldValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<FieldValue<'de>, E> {
        Ok(FieldValue::Null)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<FieldValue<'de>, E> {
        Ok(FieldValue::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<FieldValue<'de>, E> {
        Ok(FieldValue::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<FieldValue<'de>, E> {
        Ok(FieldValue::Whole(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<FieldValue<'de>, E> {
        Ok(FieldValue::Whole(number.into()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<FieldValue<'de>, E> {
        Ok(FieldValue::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<FieldValue<'de>, E> {
        Ok(FieldValue::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<FieldValue<'de>, A::Error> {
        IgnoredAny.visit_seq(array).map(|_| FieldValue::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<FieldValue<'de>, A::Error> {
        IgnoredAny.visit_map(object).map(|_| FieldValue::Other)
    }
}

/// The fields of the object of an event. A repeated optional field has its first value. A repeated
/// required field is a violation, because the event then names two orders or two statuses.
#[derive(Default)]
pub(crate) struct Fields<'a> {
    pub(crate) order_id: Option<FieldValue<'a>>,
    pub(crate) status: Option<FieldValue<'a>>,
    pub(crate) created_at: Option<FieldValue<'a>>,
    pub(crate) version: Option<FieldValue<'a>>,
    pub(crate) repeated: Vec<EventViolation>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            let (field, required) = match &*key.0 {
                "order_id" => (&mut fields.order_id, Some("/order_id")),
                "status" => (&mut fields.status, Some("/status")),
                "created_at" => (&mut fields.created_at, None),
                "version" => (&mut fields.version, None),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if field.is_none() {
                *field = Some(map.next_value()?);
                continue;
            }
            map.next_value::<IgnoredAny>()?;
            let repeated = required.map(|pointer| EventViolation::new(pointer, DUPLICATE_KEY));
            if let Some(repeated) = repeated.filter(|one| !fields.repeated.contains(one)) {
                fields.repeated.push(repeated);
            }
        }
        Ok(fields)
    }
}

/// A key. It is borrowed unless it contains escapes; serde's own `Cow` always copies.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
