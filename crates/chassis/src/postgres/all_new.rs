//! Copying rows that are expected to be new, without asking of each whether it is there.
//!
//! `ON CONFLICT` has PostgreSQL look every row up in the index before it descends the same index
//! again to insert it, and rows that may be known cannot be copied by the page. So large batches are
//! copied. When a row is there after all, the transaction fails and is attempted again, and this
//! batch and the next ones are for their owner to insert with care.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::PgConnection;

use crate::postgres::{
    copy::{self, Row},
    transaction::WriteError,
};

/// Smaller batches are not worth the further round trip to PostgreSQL.
const WORTHWHILE: usize = 64;
/// After a row that was there, so many batches are inserted with care: whoever repeats one, repeats
/// more, and PostgreSQL logs each failure.
const CAREFUL_BATCHES: u32 = 100;

/// Whether the rows of a table are expected to be new. One a table, shared by its writers.
#[derive(Debug, Default)]
pub struct AllNew {
    careful: AtomicU32,
}

impl AllNew {
    /// Copies items as [`copy::copy`] does if none of them is expected to be there; false if they
    /// are left to be inserted with care. If one is there all the same, that is
    /// [`WriteError::NotNew`], and the next attempt is careful.
    pub async fn copy<T>(
        &self,
        transaction: &mut PgConnection,
        statement: &str,
        items: &[T],
        write: impl Fn(&mut Row<'_>, &T),
    ) -> Result<bool, WriteError> {
        if !self.expected(items.len()) {
            return Ok(false);
        }
        match copy::copy(transaction, statement, items, write).await {
            Err(error) if is_conflict(&error) => {
                self.careful.store(CAREFUL_BATCHES, Ordering::Relaxed);
                Err(WriteError::NotNew)
            }
            outcome => {
                outcome?;
                Ok(true)
            }
        }
    }

    /// Shall so many rows be inserted as if none of them was there?
    fn expected(&self, rows: usize) -> bool {
        let careful = |left: u32| left.checked_sub(1);
        let trusting =
            self.careful.fetch_update(Ordering::Relaxed, Ordering::Relaxed, careful).is_err();
        trusting && rows >= WORTHWHILE
    }
}

fn is_conflict(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_batches_and_those_after_a_known_row_are_inserted_with_care() {
        let rows = AllNew::default();
        assert!(!rows.expected(WORTHWHILE - 1));
        assert!(rows.expected(WORTHWHILE));
        rows.careful.store(2, Ordering::Relaxed);
        assert!(!rows.expected(500));
        assert!(!rows.expected(500));
        assert!(rows.expected(500));
    }
}
