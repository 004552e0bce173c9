//! The SQL for orders that may already be stored: inserts those that are not, and replaces those
//! whose record is later.
//!
//! Each statement takes one array per column. [`store`](crate::ingest::store) decides which orders
//! to insert and which to replace. Batches that are expected to be new do not come here: they are
//! copied, see [`copied_row`](crate::ingest::copied_row).

use chassis::kafka::record::{Position, instant};
use sqlx::{PgConnection, postgres::PgBindIterExt as _, types::Json};

use crate::{
    ingest::copied_row::EncodedOrder,
    order::{Order, columns::order_columns},
};

/// The latest record of an order in a part of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LatestRecord<'a> {
    /// The index of the record in the part.
    pub(crate) index: usize,
    pub(crate) position: Position,
    pub(crate) order: &'a EncodedOrder,
}

/// Makes the query of a file, with one array per column.
macro_rules! query_of_columns {
    (($file:tt, $records:ident, $orders:ident) { $($column:ident: $type:ty,)* }
        $($part:ident: $Part:ident { $($part_column:ident: $part_type:ty = $part_field:ident,)* })*
    ) => {
        sqlx::query_file!(
            $file,
            $orders.iter().map(|order| order.order_uid.as_str()).bind_iter() as _,
            $($orders.iter().map(|order| &order.$column).bind_iter() as _,)*
            $($($orders.iter().map(|order| &order.$part.$part_field).bind_iter() as _,)*)*
            $orders.iter().map(|order| Json(&order.items)).bind_iter() as _,
            // PostgreSQL cannot take an array of arrays of different lengths, so the codes are
            // joined here and split in the statement.
            $records.iter().map(|it| it.order.warnings.join(" ")).bind_iter() as _,
            $records.iter().map(|it| it.order.hash.as_bytes().as_slice()).bind_iter() as _,
            $records.iter().map(|it| instant(it.position.timestamp_ms)).bind_iter() as _,
            $records.iter().map(|it| it.position.partition).bind_iter() as _,
            $records.iter().map(|it| it.position.offset).bind_iter() as _,
        )
    };
}

/// Inserts the orders that are not stored and returns their number.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    records: &[LatestRecord<'_>],
) -> Result<u64, sqlx::Error> {
    let orders = read_back(records);
    let query = order_columns!(query_of_columns!("queries/insert_orders.sql", records, orders));
    Ok(query.execute(connection).await?.rows_affected())
}

/// Replaces the orders whose rows come from an earlier record; the statement compares the positions
/// after it has locked the rows.
pub(crate) async fn update(
    connection: &mut PgConnection,
    records: &[LatestRecord<'_>],
) -> Result<(), sqlx::Error> {
    let orders = read_back(records);
    let query = order_columns!(query_of_columns!("queries/update_orders.sql", records, orders));
    query.execute(connection).await?;
    Ok(())
}

/// Reads the orders from their canonical form: an [`EncodedOrder`] has its columns only in the form
/// that `COPY` needs.
fn read_back<'a>(records: &[LatestRecord<'a>]) -> Vec<Order<'a>> {
    records.iter().map(|record| record.order.order()).collect()
}

#[cfg(test)]
mod tests {
    use crate::ingest::copied_row::COPY_ORDERS;

    const INSERT: &str = include_str!("../../queries/insert_orders.sql");
    const UPDATE: &str = include_str!("../../queries/update_orders.sql");

    /// The names in the parentheses after `before`.
    fn names<'a>(sql: &'a str, before: &str) -> Vec<&'a str> {
        let (_, rest) = sql.split_once(before).unwrap();
        let (list, _) = rest.split_once(')').unwrap();
        list.split(',').map(str::trim).collect()
    }

    #[test]
    fn sql_files_name_the_columns_in_the_order_of_the_list() {
        let columns = names(COPY_ORDERS, "COPY orders.orders (");

        assert_eq!(names(INSERT, "INSERT INTO orders.orders ("), columns);
        assert_eq!(names(UPDATE, ") AS t ("), columns);
    }

    #[test]
    fn an_update_sets_every_column_from_its_own_argument() {
        let (_, set) = UPDATE.split_once(" SET").unwrap();
        let (set, _) = set.split_once("\nFROM").unwrap();
        let set = set.split(",\n").map(str::trim).collect::<Vec<_>>();

        // The key is not set, and the version has no argument.
        let columns = names(COPY_ORDERS, "COPY orders.orders (");
        assert_eq!(set.len(), columns.len());
        for (assignment, column) in set[1..].iter().zip(&columns[1..]) {
            let (assigned, value) = assignment.split_once(" = ").unwrap();
            assert_eq!(assigned, *column);
            assert!(value.contains(&format!("incoming.{column}")), "{assignment}");
        }
    }
}
