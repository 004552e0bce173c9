//! Pages of lists. A page ends at a number of rows or at a number of bytes, so the memory that a
//! request takes does not depend on the size of the rows.

use futures_util::{Stream, TryStreamExt as _};

/// The size at which a page ends, in bytes. A page of 500 usual orders is much smaller.
const MAX_BYTES: usize = 4 << 20;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub rows: Vec<T>,
    /// True if there are more rows after these.
    pub has_next: bool,
}

impl<T> Page<T> {
    /// Returns the cursor of the next page, if there is one.
    pub fn next(&self, cursor: impl FnOnce(&T) -> String) -> Option<String> {
        self.rows.last().filter(|_| self.has_next).map(cursor)
    }
}

/// Reads a page: `limit` rows, or fewer if they have more than 4 MiB, but at least one. `bytes`
/// returns the size of a row. The query must have a limit of `limit` + 1: the additional row only
/// shows that there is a next page.
pub async fn read_page<T>(
    mut rows: impl Stream<Item = Result<T, sqlx::Error>> + Unpin,
    limit: i64,
    bytes: impl Fn(&T) -> usize,
) -> Result<Page<T>, sqlx::Error> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut page = Page { rows: Vec::new(), has_next: false };
    let mut size = 0;
    // After an early end, the connection still has to receive the other rows. They are dropped one
    // by one when it is returned to the pool; if that takes too long, it is closed.
    while let Some(row) = rows.try_next().await? {
        size += bytes(&row);
        let is_full = size > MAX_BYTES && !page.rows.is_empty();
        if page.rows.len() == limit || is_full {
            page.has_next = true;
            break;
        }
        page.rows.push(row);
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, stream};

    use super::*;

    /// Reads a page from rows of these sizes.
    fn page(sizes: &[usize], limit: i64) -> (usize, bool) {
        let rows = stream::iter(sizes.iter().map(|&size| Ok(size)));
        let page = read_page(rows, limit, |&size| size).now_or_never().unwrap().unwrap();
        (page.rows.len(), page.has_next)
    }

    #[test]
    fn a_page_ends_at_its_rows_or_at_its_bytes() {
        assert_eq!(page(&[1, 1, 1], 3), (3, false));
        assert_eq!(page(&[1, 1, 1], 2), (2, true));
        assert_eq!(page(&[MAX_BYTES / 2; 3], 3), (2, true));
        assert_eq!(page(&[MAX_BYTES / 2; 2], 3), (2, false));
        assert_eq!(page(&[2 * MAX_BYTES, 1], 3), (1, true), "at least one row");
    }

    #[test]
    fn only_a_page_with_a_next_one_has_a_cursor() {
        let page = |has_next| Page { rows: vec![1, 2], has_next };
        assert_eq!(page(true).next(i32::to_string).as_deref(), Some("2"));
        assert_eq!(page(false).next(i32::to_string), None);
    }
}
