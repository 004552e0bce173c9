//! The table of orders: every field of every row, and the events that follow from the rows.

use futures_util::TryStreamExt as _;
use serde_json::Value;
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use time::OffsetDateTime;
use twox_hash::XxHash3_128;

use super::{Case, Position, difference::difference, progress::Progress, topics::Records};
use crate::{
    finding::{
        CheckResult,
        FindingKind::{
            Altered, Duplicated, EventWithoutFact, Foreign, Misplaced, Missing, MissingEvent,
        },
    },
    traffic::{Delivery, Item, Order, Payment},
};

/// Selects all rows of the table.
pub(super) const SELECT: &str = "-- judge_orders\nSELECT * FROM orders.orders";

/// A row of the table.
pub(super) struct StoredOrder {
    /// `None` if the items are not those of an order.
    pub(super) order: Option<Order>,
    pub(super) uid: String,
    pub(super) version: i32,
    pub(super) hash: Vec<u8>,
    warnings: Vec<String>,
    position: Position,
    position_time: OffsetDateTime,
}

/// Checks the rows, and that no order is missing. Positions of missing records are added to
/// `missing`.
pub(super) async fn check(
    case: &Case,
    database: &mut PgConnection,
    records: &mut Records,
    missing: &mut Vec<Position>,
) -> anyhow::Result<CheckResult> {
    let mut check = CheckResult::new(1, "orders: each valid record, field by field");
    let progress = Progress::new("orders.orders", case.traffic.orders.cast_signed());
    let mut rows = sqlx::query(SELECT).fetch(database);
    while let Some(row) = rows.try_next().await? {
        progress.advance();
        check.checked += 1;
        let stored = StoredOrder::read(&row)?;
        check_row(case, &stored, records, &mut check);
    }
    for (number, slot) in records.slots.iter() {
        if let Some((position, _)) = slot.latest
            && slot.version == 0
        {
            missing.push(position);
            check.find(Missing, || format!("{} of {position}", case.traffic.id(number)));
        }
    }
    Ok(check)
}

fn check_row(case: &Case, stored: &StoredOrder, records: &mut Records, check: &mut CheckResult) {
    let uid = &stored.uid;
    let number = case.traffic.order_number(uid);
    let number = number.filter(|number| records.slots.get(*number).latest.is_some());
    let Some(number) = number else {
        // The row may be a record that must be rejected.
        let Position { partition, offset, .. } = stored.position;
        let entry = records.orders.find(partition, offset);
        let kind = if entry.is_some_and(|entry| entry.is_rejected) { Misplaced } else { Foreign };
        return check.find(kind, || format!("{uid} of {}", stored.position));
    };
    let slot = records.slots.get(number);
    let content = slot.content(number).expect("the order has a record");
    let is_repeated = std::mem::replace(&mut slot.version, stored.version) != 0;
    check.expect(!is_repeated, Duplicated, || uid.clone());
    let expected = case.traffic.order(content);
    let is_equal = stored.order.as_ref() == Some(&expected);
    check.expect(is_equal, Altered, || match &stored.order {
        Some(order) => format!("{uid}: {}", difference(&json(&expected), &json(order))),
        None => format!("{uid}: the items are not those of an order"),
    });
    let (latest, _) = slot.latest.expect("the order has a record");
    let is_latest = stored.position == latest && stored.position_time == latest.time();
    check.expect(is_latest, Altered, || {
        format!("{uid}: the record is {} instead of {latest}", stored.position)
    });
    check.expect(stored.hash == hash(&expected), Altered, || format!("{uid}: content_hash"));
    check.expect(stored.warnings == expected.warnings(), Altered, || {
        format!(
            "{uid}: the warnings are {:?} instead of {:?}",
            stored.warnings,
            expected.warnings()
        )
    });
    let greatest = if slot.has_changed { slot.records } else { 1 };
    let is_possible = u32::try_from(stored.version).is_ok_and(|it| (1..=greatest).contains(&it));
    check.expect(is_possible, Altered, || {
        format!("{uid}: version {} of {} records", stored.version, slot.records)
    });
}

/// Checks the events of the order service against the rows.
pub(super) fn check_events(case: &Case, records: &Records) -> CheckResult {
    let mut check = CheckResult::new(2, "own events: each stored order, and nothing else");
    for (number, slot) in records.slots.iter() {
        let (created, updated, version) =
            (slot.created_version, slot.updated_version, slot.version);
        if created.max(updated).max(version) == 0 {
            continue;
        }
        check.checked += 1;
        let id = || case.traffic.id(number);
        if version == 0 {
            check.find(EventWithoutFact, || format!("{}: there is no such order", id()));
            continue;
        }
        let newest = created.max(updated);
        check.expect(newest <= version || case.lost_commits, EventWithoutFact, || {
            format!("{}: version {newest} of an order of version {version}", id())
        });
        check.expect(created > 0, MissingEvent, || format!("{}: created", id()));
        check.expect(version == 1 || updated >= version, MissingEvent, || {
            format!("{}: updated to version {version}, the last is {updated}", id())
        });
    }
    check
}

impl StoredOrder {
    pub(super) fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let position_time: OffsetDateTime = row.try_get("source_timestamp")?;
        let uid: String = row.try_get("order_uid")?;
        Ok(Self {
            order: order(row, &uid)?,
            version: row.try_get("version")?,
            hash: row.try_get("content_hash")?,
            warnings: row.try_get("warnings")?,
            position: Position {
                timestamp_ms: Position::milliseconds(position_time),
                partition: row.try_get("source_partition")?,
                offset: row.try_get("source_offset")?,
            },
            position_time,
            uid,
        })
    }
}

fn order(row: &PgRow, uid: &str) -> Result<Option<Order>, sqlx::Error> {
    let items: Value = row.try_get("items")?;
    let items: Option<Vec<Item>> =
        items.as_array().and_then(|items| items.iter().map(item).collect());
    let Some(items) = items else { return Ok(None) };
    Ok(Some(Order {
        order_uid: uid.to_owned(),
        track_number: row.try_get("track_number")?,
        entry: row.try_get("entry")?,
        delivery: Delivery {
            name: row.try_get("delivery_name")?,
            phone: row.try_get("delivery_phone")?,
            zip: row.try_get("delivery_zip")?,
            city: row.try_get("delivery_city")?,
            address: row.try_get("delivery_address")?,
            region: row.try_get("delivery_region")?,
            email: row.try_get("delivery_email")?,
        },
        payment: Payment {
            transaction: row.try_get("payment_transaction")?,
            request_id: row.try_get("payment_request_id")?,
            currency: row.try_get("payment_currency")?,
            provider: row.try_get("payment_provider")?,
            amount: row.try_get("payment_amount")?,
            payment_dt: row.try_get("payment_dt")?,
            bank: row.try_get("payment_bank")?,
            delivery_cost: row.try_get("payment_delivery_cost")?,
            goods_total: row.try_get("payment_goods_total")?,
            custom_fee: row.try_get("payment_custom_fee")?,
        },
        items,
        locale: row.try_get("locale")?,
        internal_signature: row.try_get("internal_signature")?,
        customer_id: row.try_get("customer_id")?,
        delivery_service: row.try_get("delivery_service")?,
        shardkey: row.try_get("shardkey")?,
        sm_id: row.try_get("sm_id")?,
        date_created: row.try_get("date_created")?,
        oof_shard: row.try_get("oof_shard")?,
    }))
}

/// Reads an item, which has exactly the keys of the model.
fn item(value: &Value) -> Option<Item> {
    let fields = value.as_object().filter(|fields| fields.len() == 11)?;
    let text = |key: &str| fields.get(key)?.as_str().map(str::to_owned);
    let number = |key: &str| fields.get(key)?.as_i64();
    Some(Item {
        chrt_id: number("chrt_id")?,
        track_number: text("track_number")?,
        price: number("price")?,
        rid: text("rid")?,
        name: text("name")?,
        sale: number("sale")?,
        size: text("size")?,
        total_price: number("total_price")?,
        nm_id: number("nm_id")?,
        brand: text("brand")?,
        status: number("status")?,
    })
}

fn json(order: &Order) -> Value {
    serde_json::from_str(&order.canonical()).expect("a canonical order is JSON")
}

/// Returns the hash of the canonical order, as the column `content_hash` holds it.
fn hash(order: &Order) -> Vec<u8> {
    XxHash3_128::oneshot(order.canonical().as_bytes()).to_be_bytes().to_vec()
}
