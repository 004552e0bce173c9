//! The fields in which a stored order differs from its record, as JSON pointers. Pure. It never
//! returns a value of an order.

use serde_json::Value;

/// The most fields of one order that are named.
const MAX_FIELDS: usize = 3;

/// Names the fields in which two canonical orders differ; `None` if they are equal.
pub(super) fn name_differences(stored: &[u8], record: &[u8]) -> Option<String> {
    let stored: Value = serde_json::from_slice(stored).ok()?;
    let record: Value = serde_json::from_slice(record).ok()?;
    let mut pointers = Vec::new();
    compare(&stored, &record, String::new(), &mut pointers);
    let more = pointers.len().saturating_sub(MAX_FIELDS);
    pointers.truncate(MAX_FIELDS);
    let named = pointers.join(" ");
    match (pointers.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(named),
        (false, more) => Some(format!("{named} and {more} more")),
    }
}

fn compare(stored: &Value, record: &Value, pointer: String, pointers: &mut Vec<String>) {
    match (stored, record) {
        (Value::Object(stored), Value::Object(record)) => {
            for (key, value) in record {
                let other = stored.get(key).unwrap_or(&Value::Null);
                // The keys of the model need no escaping.
                compare(other, value, format!("{pointer}/{key}"), pointers);
            }
        }
        (Value::Array(stored), Value::Array(record)) if stored.len() == record.len() => {
            for (index, (stored, record)) in stored.iter().zip(record).enumerate() {
                compare(stored, record, format!("{pointer}/{index}"), pointers);
            }
        }
        _ if stored == record => {}
        _ => pointers.push(pointer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_that_differ_are_named_without_values() {
        let record = br#"{"a":1,"b":{"c":"x","d":2},"items":[{"e":1},{"e":2}]}"#;
        for (stored, expected) in [
            (r#"{"a":1,"b":{"c":"x","d":2},"items":[{"e":1},{"e":2}]}"#, None),
            (r#"{"a":7,"b":{"c":"x","d":2},"items":[{"e":1},{"e":2}]}"#, Some("/a")),
            (r#"{"a":1,"b":{"c":"y","d":3},"items":[{"e":1},{"e":2}]}"#, Some("/b/c /b/d")),
            (r#"{"a":1,"b":{"c":"x","d":2},"items":[{"e":1},{"e":3}]}"#, Some("/items/1/e")),
            (r#"{"a":1,"b":{"c":"x","d":2},"items":[{"e":1}]}"#, Some("/items")),
            (
                r#"{"a":2,"b":{"c":"y","d":3},"items":[{"e":0},{"e":3}]}"#,
                Some("/a /b/c /b/d and 2 more"),
            ),
        ] {
            let named = name_differences(stored.as_bytes(), record);
            assert_eq!(named.as_deref(), expected, "{stored}");
        }
    }
}
