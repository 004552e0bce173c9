//! Inserting rows that are expected to be new, without asking of each whether it is there.
//!
//! `ON CONFLICT` has PostgreSQL look every row up in the index before it descends the same index
//! again to insert it; for a row with few columns that is a third of the work. So large batches are
//! inserted without it, within a savepoint. When a row is there after all, the savepoint is rolled
//! back, the batch is inserted with care, and so are the next ones.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Postgres, Transaction, postgres::PgQueryResult};

/// Smaller batches are not worth a savepoint.
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
    /// Shall so many rows be inserted as if none of them was there?
    pub fn expected(&self, rows: usize) -> bool {
        let careful = |left: u32| left.checked_sub(1);
        let trusting =
            self.careful.fetch_update(Ordering::Relaxed, Ordering::Relaxed, careful).is_err();
        trusting && rows >= WORTHWHILE
    }

    /// Ends the savepoint in which they were. `None` if one was there, and so nothing is inserted.
    pub async fn settle(
        &self,
        savepoint: Transaction<'_, Postgres>,
        outcome: Result<PgQueryResult, sqlx::Error>,
    ) -> Result<Option<PgQueryResult>, sqlx::Error> {
        match outcome {
            Ok(inserted) => {
                savepoint.commit().await?;
                Ok(Some(inserted))
            }
            Err(error) if error.as_database_error().is_some_and(|it| it.is_unique_violation()) => {
                savepoint.rollback().await?;
                self.careful.store(CAREFUL_BATCHES, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
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
