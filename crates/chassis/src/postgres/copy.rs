//! Inserts rows with `COPY … FROM STDIN (FORMAT binary)`.
//!
//! `COPY` writes whole pages of the table and of the write-ahead log. `INSERT` unpacks arrays and
//! then writes row by row. But `COPY` has no `ON CONFLICT`: it fails if a row is already stored. So
//! a [`CopyTarget`] chooses a [`Method`] for each batch. If a copied row is already stored, the
//! transaction fails, and its next attempt and the next batches are inserted. The `INSERT` is not
//! here: the caller has it.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{
    Encode, PgConnection, Postgres, encode::IsNull, error::BoxDynError, postgres::PgArgumentBuffer,
};

use crate::postgres::transaction::WriteError;

/// The fewest rows for which `COPY` is faster in spite of its second round trip.
const MIN_COPIED_ROWS: usize = 64;
/// The number of batches that are inserted after a copied row was already stored. A producer that
/// repeats one record usually repeats more, and PostgreSQL logs each failed `COPY`.
const BATCHES_INSERTED_AFTER_KNOWN_ROW: u32 = 100;

/// The bytes before the first row: the signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The bytes after the last row.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// The length of a field that is NULL.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();
/// The number of bytes that are sent at once. They fit in the processor's cache, and PostgreSQL
/// reads them while the next ones are encoded.
const CHUNK_BYTES: usize = 64 << 10;

/// A way to insert rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// With [`CopyTarget::copy`].
    Copy,
    /// With `INSERT … ON CONFLICT`, by the caller.
    Insert(Reason),
}

/// The reason why rows are not copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    FewRows,
    /// A row of this batch or of a recent one was already stored.
    KnownRow,
}

/// A table into which rows are copied. All writers of the table share one value.
#[derive(Debug)]
pub struct CopyTarget {
    statement: &'static str,
    /// The number of next batches that are inserted because of a known row.
    batches_to_insert: AtomicU32,
}

impl CopyTarget {
    /// Creates a target for `statement`, a `COPY` from `STDIN` in the binary format.
    #[must_use]
    pub fn new(statement: &'static str) -> Self {
        Self { statement, batches_to_insert: AtomicU32::new(0) }
    }

    /// Chooses how the next batch, of `rows` rows, is inserted.
    pub fn next_method(&self, rows: usize) -> Method {
        let count_down = |batches: u32| batches.checked_sub(1);
        // All lanes decrease one count. It is only a hint, so it needs no ordering: a wrong choice
        // costs one failed `COPY`, never a row.
        let known_row = self
            .batches_to_insert
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, count_down)
            .is_ok();
        if known_row {
            Method::Insert(Reason::KnownRow)
        } else if rows < MIN_COPIED_ROWS {
            Method::Insert(Reason::FewRows)
        } else {
            Method::Copy
        }
    }

    /// Copies items into the table, all or none; `write` encodes an item as a row. If a row is
    /// already stored, returns [`WriteError::KnownRow`], and the next batches are inserted.
    pub async fn copy<T>(
        &self,
        transaction: &mut PgConnection,
        items: &[T],
        write: impl Fn(&mut Row<'_>, &T),
    ) -> Result<(), WriteError> {
        let copied = copy(transaction, self.statement, items, write).await;
        copied.map_err(|error| {
            // Set before the error is returned, so that the next attempt of this batch inserts.
            if error.as_database_error().is_some_and(|error| error.is_unique_violation()) {
                self.batches_to_insert.store(BATCHES_INSERTED_AFTER_KNOWN_ROW, Ordering::Relaxed);
                return WriteError::KnownRow;
            }
            error.into()
        })
    }
}

async fn copy<T>(
    connection: &mut PgConnection,
    statement: &str,
    items: &[T],
    write: impl Fn(&mut Row<'_>, &T),
) -> Result<(), sqlx::Error> {
    let mut copy = connection.copy_in_raw(statement).await?;
    let mut buffer = PgArgumentBuffer::default();
    buffer.reserve(CHUNK_BYTES + CHUNK_BYTES / 4);
    buffer.extend_from_slice(HEADER);
    for item in items {
        if let Err(error) = row(&mut buffer, |row| write(row, item)) {
            // Ended properly, because the connection accepts no other command during a `COPY`.
            copy.abort("a row cannot be encoded").await?;
            return Err(sqlx::Error::Encode(error));
        }
        if buffer.len() >= CHUNK_BYTES {
            copy.send(buffer.as_slice()).await?;
            buffer.clear();
        }
    }
    buffer.extend_from_slice(&TRAILER);
    copy.send(buffer.as_slice()).await?;
    copy.finish().await?;
    Ok(())
}

/// Adds a row: the number of its fields, then each field after its length.
fn row(buffer: &mut PgArgumentBuffer, write: impl FnOnce(&mut Row<'_>)) -> Result<(), BoxDynError> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 2]);
    let fields = fields(buffer, write)?;
    buffer[start..start + 2].copy_from_slice(&fields.to_be_bytes());
    Ok(())
}

/// Adds fields, each after its length, and returns their number.
fn fields(
    buffer: &mut PgArgumentBuffer,
    write: impl FnOnce(&mut Row<'_>),
) -> Result<i16, BoxDynError> {
    let mut row = Row { buffer, fields: 0, outcome: Ok(()) };
    write(&mut row);
    row.outcome.map(|()| row.fields)
}

/// The row that is being written.
pub struct Row<'a> {
    buffer: &'a mut PgArgumentBuffer,
    fields: i16,
    outcome: Result<(), BoxDynError>,
}

/// Fields of a row that are encoded before the row is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    bytes: Vec<u8>,
    count: i16,
}

impl Fields {
    /// Encodes fields that need about `capacity` bytes. Fails if PostgreSQL cannot represent a
    /// value.
    pub fn write(capacity: usize, write: impl FnOnce(&mut Row<'_>)) -> Result<Self, BoxDynError> {
        let mut buffer = PgArgumentBuffer::default();
        buffer.reserve(capacity);
        let count = fields(&mut buffer, write)?;
        Ok(Self { bytes: std::mem::take(&mut *buffer), count })
    }
}

impl Row<'_> {
    /// Adds fields that are already encoded.
    pub fn fields(&mut self, fields: &Fields) -> &mut Self {
        self.buffer.extend_from_slice(&fields.bytes);
        self.fields += fields.count;
        self
    }

    /// Adds the value of the next column of the statement. It must have exactly the type of the
    /// column: PostgreSQL converts no values in a binary `COPY`.
    pub fn field<'q>(&mut self, value: impl Encode<'q, Postgres>) -> &mut Self {
        if let Err(error) = self.write(value) {
            self.outcome = Err(error);
        }
        self.fields += 1;
        self
    }

    fn write<'q>(&mut self, value: impl Encode<'q, Postgres>) -> Result<(), BoxDynError> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&NULL);
        if let IsNull::No = value.encode_by_ref(self.buffer)? {
            let length = i32::try_from(self.buffer.len() - start - NULL.len())?;
            self.buffer[start..start + NULL.len()].copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sqlx::types::Json;

    use super::*;

    #[test]
    fn small_batches_and_batches_after_a_known_row_are_inserted() {
        let target = CopyTarget::new("");
        assert_eq!(target.next_method(MIN_COPIED_ROWS - 1), Method::Insert(Reason::FewRows));
        assert_eq!(target.next_method(MIN_COPIED_ROWS), Method::Copy);
        target.batches_to_insert.store(2, Ordering::Relaxed);
        assert_eq!(target.next_method(500), Method::Insert(Reason::KnownRow));
        assert_eq!(target.next_method(500), Method::Insert(Reason::KnownRow));
        assert_eq!(target.next_method(500), Method::Copy);
    }

    #[test]
    fn rows_are_encoded_as_the_postgresql_manual_says() {
        let mut buffer = PgArgumentBuffer::default();
        row(&mut buffer, |row| {
            row.field("ab").field(7_i32).field(None::<i64>).field(Json([0; 0]));
        })
        .unwrap();
        let before = Fields::write(8, |row| {
            row.field("").field(1_i16);
        });
        row(&mut buffer, |row| {
            row.fields(&before.unwrap()).field(false);
        })
        .unwrap();
        let mut expected: Vec<u8> = Vec::new();
        expected.extend(b"\0\x04\0\0\0\x02ab\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff\0\0\0\x03\x01[]");
        expected.extend(b"\0\x03\0\0\0\0\0\0\0\x02\0\x01\0\0\0\x01\0");
        assert_eq!(buffer.as_slice(), expected);
    }
}
