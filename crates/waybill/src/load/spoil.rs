//! Makes the JSON of a valid order invalid (it still decodes) or unparsable (it does not).
//!
//! It edits the text that [`draft`](super::draft) wrote and does not parse it, so that all other bytes
//! stay the same. The caller's random numbers choose the rule.

use super::rng::Rng;

/// Breaks one rule of a valid order. The result is well-formed JSON.
pub(super) fn invalidate(json: &mut Vec<u8>, rng: &mut Rng) {
    rng.pick(RULES).break_in(json);
}

/// Replaces the value by one that no JSON decoder accepts.
pub(super) fn garble(json: &mut Vec<u8>, rng: &mut Rng) {
    let length = json.len() as u64;
    match rng.below(12) {
        0 => json.clear(),
        1 | 2 => json.truncate((1 + rng.below(length - 1)) as usize),
        // UTF-8 never contains the byte 0xff.
        3 | 4 => {
            let (start, _) = find(json, "delivery", "city");
            json.insert(start + 1, 0xff);
        }
        5 => *json = b"order received, thank you".to_vec(),
        6 => {
            json.pop();
            json.extend_from_slice(b",}");
        }
        7 => set(json, "payment", "amount", b"NaN"),
        // Half of a surrogate pair is not a character.
        8 => set(json, "delivery", "name", br#""\ud83d""#),
        9 => {
            let copy = json.clone();
            json.extend_from_slice(&copy);
        }
        // The first bytes of a compressed message.
        10 => {
            *json = vec![0x1f, 0x8b, 0x08, 0x00];
            json.extend((0..16).flat_map(|_| rng.next().to_le_bytes()));
        }
        _ => *json = vec![b'['; 2_000],
    }
}

/// A way to break a rule.
#[derive(Clone, Copy)]
struct Rule {
    /// The object with the key: `""` is the order itself, `"items"` its first item.
    section: &'static str,
    key: &'static str,
    with: With,
}

#[derive(Clone, Copy)]
enum With {
    /// Replace the value by this JSON.
    Json(&'static str),
    /// Remove the key and the value.
    Absence,
    /// Replace the value by a text of this length.
    Letters(usize),
    /// Repeat the key and the value.
    Repetition,
}

use With::{Absence, Json, Letters, Repetition};

static RULES: &[Rule] = &[
    rule("", "order_uid", Absence),
    rule("", "order_uid", Json(r#""""#)),
    rule("", "order_uid", Json(r#"" ""#)),
    rule("", "order_uid", Json("42")),
    rule("", "order_uid", Json(r#""a\u0000b""#)),
    rule("", "order_uid", Letters(101)),
    rule("", "order_uid", Repetition),
    rule("", "track_number", Absence),
    rule("", "track_number", Json(r#""""#)),
    rule("", "track_number", Letters(256)),
    rule("", "customer_id", Absence),
    rule("", "customer_id", Json("null")),
    rule("", "customer_id", Letters(256)),
    rule("", "delivery_service", Json(r#""  ""#)),
    rule("", "date_created", Absence),
    rule("", "date_created", Json(r#""yesterday""#)),
    rule("", "date_created", Json(r#""2026-02-30T12:00:00Z""#)),
    rule("", "date_created", Json("1637907727")),
    rule("", "sm_id", Json(r#""ninety-nine""#)),
    rule("", "delivery", Absence),
    rule("", "delivery", Json("null")),
    rule("", "delivery", Json(r#""by hand""#)),
    rule("delivery", "name", Json(r#""""#)),
    rule("delivery", "phone", Json(r#""call me""#)),
    rule("delivery", "city", Absence),
    rule("delivery", "city", Json(r#""Pa\u0000ris""#)),
    rule("delivery", "address", Json("[]")),
    rule("delivery", "address", Letters(10_001)),
    rule("delivery", "email", Json(r#""nobody at home""#)),
    rule("", "payment", Absence),
    rule("payment", "transaction", Json(r#""""#)),
    rule("payment", "currency", Json(r#""DOLLARS""#)),
    rule("payment", "currency", Absence),
    rule("payment", "provider", Json(r#""\t""#)),
    rule("payment", "amount", Json("-1")),
    rule("payment", "amount", Json("9223372036854775808")),
    rule("payment", "amount", Json(r#""1817""#)),
    rule("payment", "delivery_cost", Json("12.5")),
    rule("payment", "goods_total", Json("-317")),
    rule("payment", "custom_fee", Json("true")),
    rule("payment", "amount", Repetition),
    rule("", "items", Absence),
    rule("", "items", Json("[]")),
    rule("", "items", Json("{}")),
    rule("", "items", Json("[null]")),
    rule("items", "chrt_id", Absence),
    rule("items", "rid", Json(r#""""#)),
    rule("items", "name", Absence),
    rule("items", "price", Json("-453")),
    rule("items", "price", Json("4.53")),
    rule("items", "total_price", Absence),
    rule("items", "total_price", Json(r#""free""#)),
];

const fn rule(section: &'static str, key: &'static str, with: With) -> Rule {
    Rule { section, key, with }
}

impl Rule {
    fn break_in(&self, json: &mut Vec<u8>) {
        match self.with {
            Json(value) => set(json, self.section, self.key, value.as_bytes()),
            Letters(count) => {
                let value = format!("\"{}\"", "x".repeat(count));
                set(json, self.section, self.key, value.as_bytes());
            }
            Absence => {
                let (start, end) = find(json, self.section, self.key);
                let member = start - self.key.len() - r#""":"#.len();
                // Also removes one comma: the one after the member, or, for the last member, the one
                // before it.
                if json[end] == b',' {
                    json.drain(member..=end);
                } else {
                    json.drain(member - 1..end);
                }
            }
            Repetition => {
                let (start, end) = find(json, self.section, self.key);
                let member = start - self.key.len() - r#""":"#.len();
                let mut again = json[member..end].to_vec();
                again.push(b',');
                json.splice(member..member, again);
            }
        }
    }
}

fn set(json: &mut Vec<u8>, section: &str, key: &str, value: &[u8]) {
    let (start, end) = find(json, section, key);
    json.splice(start..end, value.iter().copied());
}

/// Returns the start and the end of the value of `key` in `section`.
fn find(json: &[u8], section: &str, key: &str) -> (usize, usize) {
    let behind = |from: usize, key: &str| {
        let name = format!("\"{key}\":");
        let name = name.as_bytes();
        // No value contains this text, because quotation marks inside a value are escaped.
        let at = json[from..].windows(name.len()).position(|window| window == name);
        from + at.expect("every draft has every key of the model") + name.len()
    };
    let start = behind(if section.is_empty() { 0 } else { behind(0, section) }, key);
    (start, start + value_length(&json[start..]))
}

/// Returns the length of the JSON value at the start of `json`.
fn value_length(json: &[u8]) -> usize {
    let mut depth = 0_u32;
    let mut in_text = false;
    let mut escaped = false;
    for (at, &byte) in json.iter().enumerate() {
        if in_text {
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else {
            match byte {
                b',' | b'}' | b']' if depth == 0 => return at,
                b'"' => in_text = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use time::macros::datetime;

    use super::*;
    use crate::load::{customers::Customers, draft::Origin};

    fn drafts() -> impl Iterator<Item = Vec<u8>> {
        let customers = Customers::new();
        (0..40).map(move |number| {
            let created = datetime!(2026-01-01 0:00 UTC);
            Origin { seed: 3, tag: None, number, created, revision: 0 }.json(&customers)
        })
    }

    #[test]
    fn each_rule_changes_its_own_member_and_nothing_else() {
        for draft in drafts() {
            let before: Value = serde_json::from_slice(&draft).unwrap();
            for rule in RULES {
                let place = match rule.section {
                    "" => format!("/{}", rule.key),
                    "items" => format!("/items/0/{}", rule.key),
                    section => format!("/{section}/{}", rule.key),
                };
                let mut json = draft.clone();
                rule.break_in(&mut json);
                let mut after: Value = serde_json::from_slice(&json).unwrap();
                match rule.with {
                    Absence => {
                        assert_eq!(after.pointer(&place), None, "{place}");
                        continue;
                    }
                    Repetition => {
                        let name = format!("\"{}\":", rule.key);
                        let count =
                            |json: &[u8]| std::str::from_utf8(json).unwrap().matches(&name).count();
                        assert_eq!(count(&json), count(&draft) + 1, "{place}");
                    }
                    Json(value) => {
                        let value: Value = serde_json::from_str(value).unwrap();
                        assert_eq!(after.pointer(&place), Some(&value), "{place}");
                    }
                    Letters(count) => {
                        assert_eq!(after.pointer(&place).unwrap().as_str().unwrap().len(), count);
                    }
                }
                // With the original value restored, the order is as before.
                *after.pointer_mut(&place).unwrap() = before.pointer(&place).unwrap().clone();
                assert_eq!(after, before, "{place}");
            }
        }
    }

    #[test]
    fn absence_removes_the_member_and_no_other() {
        for rule in RULES.iter().filter(|rule| matches!(rule.with, Absence)) {
            let draft = drafts().next().unwrap();
            let mut before: Value = serde_json::from_slice(&draft).unwrap();
            let parent = match rule.section {
                "" => &mut before,
                "items" => &mut before["items"][0],
                section => &mut before[section],
            };
            parent.as_object_mut().unwrap().remove(rule.key).unwrap();
            let mut json = draft.clone();
            rule.break_in(&mut json);
            assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), before);
        }
    }

    #[test]
    fn garbled_records_do_not_decode() {
        let mut rng = Rng::of(&[5]);
        let drafts: Vec<Vec<u8>> = drafts().collect();
        for draft in drafts.iter().cycle().take(2_000) {
            let mut json = draft.clone();
            garble(&mut json, &mut rng);
            assert!(
                serde_json::from_slice::<Value>(&json).is_err(),
                "{}",
                String::from_utf8_lossy(&json)
            );
        }
    }
}
