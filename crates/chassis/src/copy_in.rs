//! Rows as PostgreSQL's `COPY … FROM STDIN (FORMAT binary)` takes them.
//!
//! `COPY` puts rows into their table and its log by the page; `INSERT` does so row by row, after it
//! has taken arrays apart. It knows no `ON CONFLICT`: see [`all_new`](crate::all_new).

use sqlx::{
    Encode, PgConnection, Postgres, encode::IsNull, error::BoxDynError, postgres::PgArgumentBuffer,
};

/// What stands before the first row: the signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What stands behind the last row.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// The length of a field that is NULL.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();
/// The version of `jsonb` on the wire.
const JSONB: u8 = 1;

/// Rows for one table.
pub struct Rows {
    statement: &'static str,
    buffer: PgArgumentBuffer,
    failure: Option<BoxDynError>,
}

/// The row that is being written.
pub struct Row<'a> {
    rows: &'a mut Rows,
    fields: i16,
}

/// JSON that is text already, for a column of type `jsonb`.
#[derive(Debug, Clone, Copy)]
pub struct JsonText<'a>(pub &'a [u8]);

impl Encode<'_, Postgres> for JsonText<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.push(JSONB);
        buffer.extend_from_slice(self.0);
        Ok(IsNull::No)
    }
}

impl Rows {
    /// No row yet, and room for about so many bytes. `statement` is a `COPY` in the binary format,
    /// from `STDIN`.
    #[must_use]
    pub fn new(statement: &'static str, bytes: usize) -> Self {
        let mut buffer = PgArgumentBuffer::default();
        buffer.reserve(HEADER.len() + bytes + TRAILER.len());
        buffer.extend_from_slice(HEADER);
        Self { statement, buffer, failure: None }
    }

    /// Adds a row.
    pub fn row(&mut self, write: impl FnOnce(&mut Row<'_>)) {
        let count = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 2]);
        let mut row = Row { rows: self, fields: 0 };
        write(&mut row);
        let fields = row.fields.to_be_bytes();
        self.buffer[count..count + fields.len()].copy_from_slice(&fields);
    }

    /// Copies the rows into their table, all or none; tells how many they were.
    pub async fn copy(mut self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        if let Some(failure) = self.failure {
            return Err(sqlx::Error::Encode(failure));
        }
        self.buffer.extend_from_slice(&TRAILER);
        let mut copy = connection.copy_in_raw(self.statement).await?;
        copy.send(self.buffer.as_slice()).await?;
        copy.finish().await
    }
}

impl Row<'_> {
    /// Adds the value of the next of the statement's columns, which must be of just that type: what
    /// PostgreSQL takes is not converted.
    pub fn field<'q>(&mut self, value: impl Encode<'q, Postgres>) -> &mut Self {
        let buffer = &mut self.rows.buffer;
        let place = buffer.len();
        buffer.extend_from_slice(&NULL);
        match value.encode_by_ref(buffer) {
            Ok(IsNull::Yes) => {}
            Ok(IsNull::No) => match i32::try_from(buffer.len() - place - NULL.len()) {
                Ok(length) => {
                    buffer[place..place + NULL.len()].copy_from_slice(&length.to_be_bytes());
                }
                Err(error) => drop(self.rows.failure.get_or_insert(error.into())),
            },
            Err(error) => drop(self.rows.failure.get_or_insert(error)),
        }
        self.fields += 1;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_as_the_manual_of_postgresql_says() {
        let mut rows = Rows::new("", 0);
        rows.row(|row| {
            row.field("ab").field(7_i32).field(None::<i64>).field(JsonText(b"[]"));
        });
        rows.row(|row| {
            row.field("");
        });
        let mut expected = HEADER.to_vec();
        expected.extend(b"\0\x04\0\0\0\x02ab\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff\0\0\0\x03\x01[]");
        expected.extend(b"\0\x01\0\0\0\0");
        assert_eq!(rows.buffer.as_slice(), expected);
    }
}
