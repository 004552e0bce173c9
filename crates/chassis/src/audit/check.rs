//! What a recount found: for tools that check promises against what is stored.

use serde::Serialize;

/// The most examples that are kept of one broken promise.
const EXAMPLES: usize = 5;

/// One promise, and how it was kept.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Which invariant of ARCHITECTURE.md it belongs to.
    pub invariant: u8,
    /// The promise.
    pub promise: &'static str,
    /// How many things were looked at.
    pub checked: u64,
    /// Of these, how many break it.
    pub broken: u64,
    /// Some of these: ids and positions, never contents.
    pub examples: Vec<String>,
}

impl Check {
    /// Nothing looked at yet.
    #[must_use]
    pub fn new(invariant: u8, promise: &'static str) -> Self {
        Self { invariant, promise, checked: 0, broken: 0, examples: Vec::new() }
    }

    /// Looks at one thing; `example` names it if it breaks the promise.
    pub fn look(&mut self, holds: bool, example: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.broken += 1;
            if self.examples.len() < EXAMPLES {
                self.examples.push(example());
            }
        }
    }

    /// Notes what somebody else has counted, the broken ones by example.
    #[must_use]
    pub fn counted(mut self, checked: u64, broken: u64, examples: Vec<String>) -> Self {
        self.checked += checked;
        self.broken += broken;
        self.examples.extend(examples);
        self.examples.truncate(EXAMPLES);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_promises_are_counted_all_and_shown_some() {
        let mut check = Check::new(1, "numbers are even");
        (0..20).for_each(|number| check.look(number % 2 == 0, || number.to_string()));
        assert_eq!((check.checked, check.broken), (20, 10));
        assert_eq!(check.examples, ["1", "3", "5", "7", "9"]);
        let check = check.counted(5, 1, vec!["21".to_owned()]);
        assert_eq!((check.checked, check.broken, check.examples.len()), (25, 11, 5));
    }
}
