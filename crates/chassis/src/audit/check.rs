//! The result of an audit check: one invariant, compared with the stored data. Pure: the caller reads
//! the data.

use serde::Serialize;

/// The most examples of one broken invariant.
pub const MAX_EXAMPLES: usize = 5;

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything that could be checked keeps the invariant.
    Kept,
    Broken,
    /// There was something to check, and none of it could be checked.
    NotChecked,
}

/// One invariant, with the number of records or rows that were checked, that break it, and that could
/// not be checked.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// The number of the invariant in ARCHITECTURE.md.
    pub number: u8,
    pub invariant: &'static str,
    pub checked: u64,
    pub broken: u64,
    /// Examples that break it: ids, positions and the names of fields, never contents.
    pub examples: Vec<String>,
    /// The number of records or rows that were not checked: the sum of the reasons.
    pub not_checked: u64,
    pub reasons: Vec<Reason>,
    /// True if the data to which the invariant may apply was read, even if it applies to none of it.
    #[serde(skip)]
    has_read: bool,
}

/// A number of records or rows that were not checked, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    pub count: u64,
    pub reason: String,
}

impl Check {
    #[must_use]
    pub fn new(number: u8, invariant: &'static str) -> Self {
        Self {
            number,
            invariant,
            checked: 0,
            broken: 0,
            examples: Vec::new(),
            not_checked: 0,
            reasons: Vec::new(),
            has_read: false,
        }
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

    /// Counts records or rows that cannot be checked.
    pub fn skip(&mut self, count: u64, reason: &str) {
        if count == 0 {
            return;
        }
        self.not_checked += count;
        match self.reasons.iter_mut().find(|known| known.reason == reason) {
            Some(known) => known.count += count,
            None => self.reasons.push(Reason { count, reason: reason.to_owned() }),
        }
    }

    /// Notes that a record or a row was read to which the invariant may apply. The check has then
    /// looked at something, even if it applies to none of them.
    pub fn note_read(&mut self) {
        self.has_read = true;
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

    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let has_looked = self.checked > 0 || self.has_read;
        match (self.broken, self.not_checked) {
            (1.., _) => Verdict::Broken,
            (0, 1..) if !has_looked => Verdict::NotChecked,
            (0, _) => Verdict::Kept,
        }
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

    #[test]
    fn a_check_that_looked_at_nothing_is_not_kept() {
        let mut check = Check::new(1, "numbers are even");
        assert_eq!(check.verdict(), Verdict::Kept);
        check.skip(0, "too large");
        check.skip(2, "too large");
        check.skip(3, "too small");
        check.skip(4, "too large");
        assert_eq!((check.not_checked, check.reasons.len()), (9, 2));
        assert_eq!(check.reasons[0].count, 6);
        assert_eq!(check.verdict(), Verdict::NotChecked);
        let mut read = check.clone();
        read.note_read();
        assert_eq!(read.verdict(), Verdict::Kept);
        check.look(true, String::new);
        assert_eq!(check.verdict(), Verdict::Kept);
        check.look(false, || "7".to_owned());
        assert_eq!(check.verdict(), Verdict::Broken);
    }
}
