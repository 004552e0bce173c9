//! Reads the JSON object of a status event, for [`status_event`](crate::status_event), which checks
//! the values. `Deserialize` is implemented manually, because all violations are listed and the
//! derived implementation stops at the first repeated key or wrong type.

use std::{borrow::Cow, collections::HashSet, fmt};

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
    /// A whole number. A number above the greatest `i64` becomes the greatest `i64`: no rule allows
    /// either.
    Whole(i64),
    /// A number with a fraction or an exponent.
    Fraction,
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
        Ok(FieldValue::Whole(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<FieldValue<'de>, E> {
        Ok(FieldValue::Whole(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E>(self, _: f64) -> Result<FieldValue<'de>, E> {
        Ok(FieldValue::Fraction)
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

/// The fields of the object of an event. A repeated key has its first value.
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
        let mut unknown = HashSet::new();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            let (field, pointer) = match &*key.0 {
                "order_id" => (Some(&mut fields.order_id), "/order_id"),
                "status" => (Some(&mut fields.status), "/status"),
                "created_at" => (Some(&mut fields.created_at), "/created_at"),
                "version" => (Some(&mut fields.version), "/version"),
                _ => (None, ""),
            };
            let first = match &field {
                Some(field) => field.is_none(),
                None => unknown.insert(key.0),
            };
            match field {
                Some(field) if first => *field = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
            let repeated = EventViolation::new(pointer, DUPLICATE_KEY);
            // All repeated unknown keys are one violation, so that the list stays short.
            if !first && !fields.repeated.contains(&repeated) {
                fields.repeated.push(repeated);
            }
        }
        Ok(fields)
    }
}

/// A key. It is borrowed unless it contains escapes; serde's own `Cow` always copies.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
