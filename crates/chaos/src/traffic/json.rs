//! A writer of JSON that varies what does not change the content: absent optional keys, `null`s,
//! unknown keys, escapes, white space.

use std::fmt::Write as _;

use super::dice::Dice;

pub(crate) struct Json {
    text: String,
    is_first: bool,
    variation: Option<Variation>,
}

struct Variation {
    dice: Dice,
    space: &'static str,
    escapes: bool,
    unknown_keys: bool,
}

impl Json {
    pub(crate) fn canonical() -> Self {
        Self { text: String::with_capacity(1_024), is_first: true, variation: None }
    }

    pub(crate) fn varied(mut dice: Dice) -> Self {
        let space = match dice.below(20) {
            0 => " ",
            1 => "\r\n\t",
            _ => "",
        };
        let (escapes, unknown_keys) = (dice.chance(3.0), dice.chance(2.0));
        let variation = Variation { dice, space, escapes, unknown_keys };
        Self { variation: Some(variation), ..Self::canonical() }
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }

    pub(crate) fn open(&mut self) {
        self.text.push('{');
        self.is_first = true;
    }

    pub(crate) fn object(&mut self, key: &str) {
        self.key(key);
        self.open();
    }

    pub(crate) fn element(&mut self) {
        self.separate();
        self.open();
    }

    pub(crate) fn close(&mut self) {
        if self.variation.as_ref().is_some_and(|variation| variation.unknown_keys) {
            self.key("x-unknown");
            self.text.push_str("[null,{\"a\":1e3}]");
        }
        self.text.push('}');
        self.is_first = false;
    }

    pub(crate) fn array(&mut self, key: &str) {
        self.key(key);
        self.text.push('[');
        self.is_first = true;
    }

    pub(crate) fn end_array(&mut self) {
        self.text.push(']');
        self.is_first = false;
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        if self.variation.as_ref().is_some_and(|variation| variation.escapes) {
            self.escaped(value);
        } else {
            self.text.push_str(&serde_json::to_string(value).expect("a text becomes JSON"));
        }
    }

    pub(crate) fn number(&mut self, key: &str, value: i64) {
        self.key(key);
        let _ = write!(self.text, "{value}");
    }

    pub(crate) fn optional_text(&mut self, key: &str, value: &str) {
        if !value.is_empty() || !self.leaves_out(key) {
            self.text(key, value);
        }
    }

    pub(crate) fn optional_number(&mut self, key: &str, value: i64) {
        if value != 0 || !self.leaves_out(key) {
            self.number(key, value);
        }
    }

    /// Decides about an optional key whose value is empty or 0. Returns true if the key is left
    /// out or was written with `null`.
    fn leaves_out(&mut self, key: &str) -> bool {
        let Some(variation) = &mut self.variation else { return false };
        match variation.dice.below(3) {
            0 => true,
            1 => {
                self.key(key);
                self.text.push_str("null");
                true
            }
            _ => false,
        }
    }

    fn key(&mut self, key: &str) {
        self.separate();
        let _ = write!(self.text, "\"{key}\":");
        self.space();
    }

    fn separate(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.text.push(',');
        }
        self.space();
    }

    fn space(&mut self) {
        if let Some(variation) = &self.variation {
            self.text.push_str(variation.space);
        }
    }

    /// Writes each character as an escape; one beyond the basic plane is a surrogate pair.
    fn escaped(&mut self, value: &str) {
        self.text.push('"');
        for unit in value.encode_utf16() {
            let _ = write!(self.text, "\\u{unit:04x}");
        }
        self.text.push('"');
    }
}
