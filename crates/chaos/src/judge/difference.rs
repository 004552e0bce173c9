//! The first difference of two JSON values, for the texts of findings.

use serde_json::Value;

/// Returns the pointer of the first difference, and both values, each cut to a readable length.
pub(super) fn difference(expected: &Value, found: &Value) -> String {
    first(expected, found, String::new()).unwrap_or_else(|| "no difference".to_owned())
}

fn first(expected: &Value, found: &Value, pointer: String) -> Option<String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            expected.keys().chain(found.keys()).find_map(|key| {
                let value = |object: &serde_json::Map<String, Value>| {
                    object.get(key).cloned().unwrap_or(Value::Null)
                };
                first(&value(expected), &value(found), format!("{pointer}/{key}"))
            })
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let mut pairs = expected.iter().zip(found).enumerate();
            pairs.find_map(|(index, (one, other))| first(one, other, format!("{pointer}/{index}")))
        }
        _ if expected == found => None,
        _ => Some(format!("{pointer} is {} instead of {}", cut(found), cut(expected))),
    }
}

fn cut(value: &Value) -> String {
    let text = value.to_string();
    let end = text.floor_char_boundary(60);
    if end < text.len() { format!("{}…", &text[..end]) } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_difference_is_named_by_its_pointer() {
        let expected = json!({"a": 1, "b": {"c": [1, 2]}});
        assert_eq!(difference(&expected, &expected), "no difference");
        let found = json!({"a": 1, "b": {"c": [1, 3]}});
        assert_eq!(difference(&expected, &found), "/b/c/1 is 3 instead of 2");
        let missing = json!({"b": {"c": [1, 2]}});
        assert_eq!(difference(&expected, &missing), "/a is null instead of 1");
    }
}
