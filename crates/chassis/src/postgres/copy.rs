//! Rows as PostgreSQL's `COPY … FROM STDIN (FORMAT binary)` takes them.
//!
//! `COPY` puts rows into their table and its log by the page; `INSERT` does so row by row, after it
//! has taken arrays apart. It knows no `ON CONFLICT`: see [`all_new`](crate::postgres::all_new).

use sqlx::{
    Encode, PgConnection, Postgres, encode::IsNull, error::BoxDynError, postgres::PgArgumentBuffer,
};

/// What stands before the first row: the signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What stands behind the last row.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// The length of a field that is NULL.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();
/// So many bytes are sent at once: few enough to stay near the processor, and PostgreSQL takes them
/// while the next ones are written.
const PIECE: usize = 64 << 10;

/// Copies rows into a table, all or none; tells how many they were. `statement` is a `COPY` in the
/// binary format, from `STDIN`; `write` makes a row of an item.
pub async fn copy<T>(
    connection: &mut PgConnection,
    statement: &str,
    items: &[T],
    write: impl Fn(&mut Row<'_>, &T),
) -> Result<u64, sqlx::Error> {
    let mut copy = connection.copy_in_raw(statement).await?;
    let mut buffer = PgArgumentBuffer::default();
    buffer.reserve(PIECE + PIECE / 4);
    buffer.extend_from_slice(HEADER);
    for item in items {
        if let Err(error) = row(&mut buffer, |row| write(row, item)) {
            copy.abort("a row cannot be written").await?;
            return Err(sqlx::Error::Encode(error));
        }
        if buffer.len() >= PIECE {
            copy.send(buffer.as_slice()).await?;
            buffer.clear();
        }
    }
    buffer.extend_from_slice(&TRAILER);
    copy.send(buffer.as_slice()).await?;
    copy.finish().await
}

/// Adds a row: the number of its fields, then each with its length before it.
fn row(buffer: &mut PgArgumentBuffer, write: impl FnOnce(&mut Row<'_>)) -> Result<(), BoxDynError> {
    let count = buffer.len();
    buffer.extend_from_slice(&[0; 2]);
    let fields = fields(buffer, write)?;
    buffer[count..count + 2].copy_from_slice(&fields.to_be_bytes());
    Ok(())
}

/// Adds fields, each with its length before it; tells how many.
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

/// Some fields of a row, written before the row is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    bytes: Vec<u8>,
    count: i16,
}

impl Fields {
    /// Writes fields; `room` is about how many bytes they take. An error names what PostgreSQL could
    /// not be told.
    pub fn write(room: usize, write: impl FnOnce(&mut Row<'_>)) -> Result<Self, BoxDynError> {
        let mut buffer = PgArgumentBuffer::default();
        buffer.reserve(room);
        let count = fields(&mut buffer, write)?;
        Ok(Self { bytes: std::mem::take(&mut *buffer), count })
    }
}

impl Row<'_> {
    /// Adds fields that were written before.
    pub fn fields(&mut self, fields: &Fields) -> &mut Self {
        self.buffer.extend_from_slice(&fields.bytes);
        self.fields += fields.count;
        self
    }

    /// Adds the value of the next of the statement's columns, which must be of just that type: what
    /// PostgreSQL takes is not converted.
    pub fn field<'q>(&mut self, value: impl Encode<'q, Postgres>) -> &mut Self {
        if let Err(error) = self.write(value) {
            self.outcome = Err(error);
        }
        self.fields += 1;
        self
    }

    fn write<'q>(&mut self, value: impl Encode<'q, Postgres>) -> Result<(), BoxDynError> {
        let place = self.buffer.len();
        self.buffer.extend_from_slice(&NULL);
        if let IsNull::No = value.encode_by_ref(self.buffer)? {
            let length = i32::try_from(self.buffer.len() - place - NULL.len())?;
            self.buffer[place..place + NULL.len()].copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sqlx::types::Json;

    use super::*;

    #[test]
    fn rows_stand_as_the_manual_of_postgresql_says() {
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
