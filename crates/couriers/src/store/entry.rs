//! An entry of the log about an order, as its row and as the event that is sent.

use chassis::postgres::errors::bad_column;
use events::{DeliveryCause, DeliveryEvent, DeliveryStatus};
use time::OffsetDateTime;

/// A row of the log about an order.
pub(crate) struct EntryRow {
    pub(crate) number: i64,
    pub(crate) at: OffsetDateTime,
    pub(crate) status: String,
    pub(crate) order_id: String,
    pub(crate) courier_id: Option<i64>,
    pub(crate) transport_type: Option<String>,
    pub(crate) deadline: Option<OffsetDateTime>,
    pub(crate) cause: String,
}

impl TryFrom<EntryRow> for DeliveryEvent {
    type Error = sqlx::Error;

    fn try_from(row: EntryRow) -> Result<Self, sqlx::Error> {
        let bad = |column| move |error| bad_column(column, error);
        let unknown = |column| move || bad_column(column, "this word is not known");
        Ok(Self {
            order_id: row.order_id.parse().map_err(bad("couriers.delivery_log.order_id"))?,
            courier_id: row
                .courier_id
                .map(TryInto::try_into)
                .transpose()
                .map_err(|error| bad_column("couriers.delivery_log.courier_id", error))?,
            status: DeliveryStatus::of_word(&row.status)
                .ok_or_else(unknown("couriers.delivery_log.status"))?,
            at: row.at,
            number: row.number,
            transport_type: row
                .transport_type
                .map(|word| word.parse())
                .transpose()
                .map_err(|error| bad_column("couriers.delivery_log.transport_type", error))?,
            deadline: row.deadline,
            cause: Some(
                DeliveryCause::of_word(&row.cause)
                    .ok_or_else(unknown("couriers.delivery_log.cause"))?,
            ),
        })
    }
}
