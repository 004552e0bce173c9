//! The result of an audit check: one invariant, compared with the stored data. Pure: the caller reads
//! the data.

use serde::Serialize;

/// The most examples of one broken invariant.
const MAX_EXAMPLES: usize = 5;

/// One invariant, with the number of records or rows that were checked and that break it.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// The number of the invariant in ARCHITECTURE.md.
    pub number: u8,
    pub invariant: &'static str,
    pub checked: u64,
    pub broken: u64,
    /// Examples that break it: ids and positions, never contents.
    pub examples: Vec<String>,
}

impl Check {
    #[must_use]
    pub fn new(number: u8, invariant: &'static str) -> Self {
        Self { number, invariant, checked: 0, broken: 0, examples: Vec::new() }
    }

    /// Counts one record or row; `example` names it if it breaks the invariant.
    pub fn look(&mut self, holds: bool, example: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.broken += 1;
            if self.examples.len() < MAX_EXAMPLES {
                self.examples.push(example());
            }
        }
    }

    /// Adds numbers and examples that the caller has counted, for example in SQL.
    #[must_use]
    pub fn counted(mut self, checked: u64, broken: u64, examples: Vec<String>) -> Self {
        self.checked += checked;
        self.broken += broken;
        self.examples.extend(examples);
        self.examples.truncate(MAX_EXAMPLES);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_breaks_are_counted_and_some_are_shown() {
        let mut check = Check::new(1, "numbers are even");
        (0..20).for_each(|number| check.look(number % 2 == 0, || number.to_string()));
        assert_eq!((check.checked, check.broken), (20, 10));
        assert_eq!(check.examples, ["1", "3", "5", "7", "9"]);
        let check = check.counted(5, 1, vec!["21".to_owned()]);
        assert_eq!((check.checked, check.broken, check.examples.len()), (25, 11, 5));
    }
}
