//! A valid order in its batch, with its row already encoded for `COPY`.
//!
//! Pure: `order → row`. The row is encoded as soon as the order is parsed, while its texts are
//! still borrowed from the record, so they are copied only once. It executes no SQL, and rows that
//! may already be stored are written by [`upsert`](crate::ingest::upsert).

use chassis::{
    kafka::record::{Position, instant},
    postgres::copy::{Fields, Row},
};
use events::OrderUid;
use sqlx::{
    Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo},
    types::Json,
};

use crate::order::{
    Order, columns::order_columns, content_hash::ContentHash, parse::ValidOrder, text::Text,
};

macro_rules! copy_statement {
    (() { $($column:ident: $type:ty,)* }
        $($part:ident: $Part:ident { $($part_column:ident: $part_type:ty = $part_field:ident,)* })*
    ) => {
        concat!(
            "COPY orders.orders (order_uid, ",
            $(stringify!($column), ", ",)*
            $($(stringify!($part_column), ", ",)*)*
            "items, warnings, content_hash, source_timestamp, source_partition, source_offset) \
             FROM STDIN (FORMAT binary)"
        )
    };
}

/// The statement for the rows that [`EncodedOrder::write_row`] writes.
pub(crate) const COPY_ORDERS: &str = order_columns!(copy_statement!());

/// A valid order, independent of the record it was read from.
#[derive(Debug)]
pub(crate) struct EncodedOrder {
    pub(crate) order_uid: OrderUid,
    /// The canonical order.
    pub(crate) json: Vec<u8>,
    /// The hash of `json`.
    pub(crate) hash: ContentHash,
    pub(crate) warnings: Vec<&'static str>,
    pub(crate) unknown_fields: u32,
    /// The row without the record's position.
    fields: Fields,
}

impl From<ValidOrder<'_>> for EncodedOrder {
    fn from(valid: ValidOrder<'_>) -> Self {
        let fields = encode(&valid);
        let ValidOrder { order, json, hash, warnings, unknown_fields } = valid;
        Self { order_uid: order.order_uid, json, hash, warnings, unknown_fields, fields }
    }
}

impl EncodedOrder {
    /// Reads the order from its canonical form.
    pub(crate) fn order(&self) -> Order<'_> {
        Order::from_canonical(&self.json).expect("the canonical form is that of an order")
    }

    /// Writes the row. The columns of the position come last, because they are not known when the
    /// other columns are encoded.
    pub(crate) fn write_row(&self, row: &mut Row<'_>, position: Position) {
        row.fields(&self.fields)
            .field(instant(position.timestamp_ms))
            .field(position.partition)
            .field(position.offset);
    }
}

macro_rules! encode_columns {
    (($row:ident, $order:ident) { $($column:ident: $type:ty,)* }
        $($part:ident: $Part:ident { $($part_column:ident: $part_type:ty = $part_field:ident,)* })*
    ) => {
        $($row.field(&$order.$column);)*
        $($($row.field(&$order.$part.$part_field);)*)*
    };
}

fn encode(valid: &ValidOrder<'_>) -> Fields {
    let order = &valid.order;
    // The canonical form is about as long as the row.
    let fields = Fields::write(valid.json.len(), |row| {
        row.field(order.order_uid.as_str());
        order_columns!(encode_columns!(row, order));
        row.field(Json(&order.items))
            .field(valid.warnings.as_slice())
            .field(valid.hash.as_bytes().as_slice());
    });
    fields.expect("the fields of an order of at most 1 MiB fit in a row")
}

impl Encode<'_, Postgres> for Text<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <&str as Encode<'_, Postgres>>::encode_by_ref(&&**self, buffer)
    }
}

impl Type<Postgres> for Text<'_> {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }
}

impl PgHasArrayType for Text<'_> {
    fn array_type_info() -> PgTypeInfo {
        <&str as PgHasArrayType>::array_type_info()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use testkit::order_json::SAMPLE;

    use super::*;
    use crate::order::parse::parse;

    #[test]
    fn items_are_read_back_if_texts_look_like_json() {
        let tricks = [r#","locale":"#, r#""items":"#, r#"\","items":["#, "items", "locale\\\""];
        for trick in tricks {
            for pointer in ["/entry", "/items/0/name", "/oof_shard", "/delivery/email", "/locale"] {
                let trick = if pointer == "/delivery/email" { "a@b.c" } else { trick };
                let mut sample: Value = serde_json::from_str(SAMPLE).unwrap();
                *sample.pointer_mut(pointer).unwrap() = json!(trick);
                let text = sample.to_string();

                let valid = parse(Some(text.as_bytes())).unwrap();
                let items = valid.order.items.clone();

                assert_eq!(EncodedOrder::from(valid).order().items, items);
            }
        }
    }
}
