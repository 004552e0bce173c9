//! Bugs in SQL: a trigger alters or drops what the services write, or an index is missing, while
//! they run.

use testkit::Servers;

use super::{
    Planted,
    run::{COURIER_OPTIONS, Part, Run},
};
use crate::finding::{FindingKind, Verdict};

/// A trigger for each row of a table, and other statements before it.
pub(super) struct SqlBug {
    bug: &'static str,
    expected: FindingKind,
    table: &'static str,
    event: &'static str,
    /// The body of the function: `NEW` and `OLD` are the row, and NULL drops the change.
    body: &'static str,
    before: &'static [&'static str],
}

pub(super) const BUGS: &[SqlBug] = &[
    SqlBug {
        bug: "a trigger changes a city as an order is inserted",
        expected: FindingKind::Altered,
        table: "orders.orders",
        event: "INSERT",
        body: "NEW.delivery_city := NEW.delivery_city || '!'; RETURN NEW;",
        before: &[],
    },
    SqlBug {
        bug: "the update of an order is dropped",
        expected: FindingKind::Altered,
        table: "orders.orders",
        event: "UPDATE",
        body: "RETURN NULL;",
        before: &[],
    },
    SqlBug {
        bug: "the insert of a rejection is dropped",
        expected: FindingKind::Missing,
        table: "orders.rejected_records",
        event: "INSERT",
        body: "RETURN NULL;",
        before: &[],
    },
    SqlBug {
        bug: "the reason of a rejection is lost",
        expected: FindingKind::WrongReason,
        table: "couriers.rejected_records",
        event: "INSERT",
        body: "NEW.reason := 'missing'; RETURN NEW;",
        before: &[],
    },
    SqlBug {
        bug: "the update of a status is dropped",
        expected: FindingKind::IllegalStatus,
        table: "orders.order_status",
        event: "UPDATE",
        body: "RETURN NULL;",
        before: &[],
    },
    SqlBug {
        bug: "ignored events are not recorded",
        expected: FindingKind::Missing,
        table: "orders.order_events",
        event: "INSERT",
        body: "IF NEW.ignored IS NULL THEN RETURN NEW; END IF; RETURN NULL;",
        before: &[],
    },
    SqlBug {
        bug: "the deletion of a cancelled delivery is dropped",
        expected: FindingKind::IllegalStatus,
        table: "couriers.courier_orders",
        event: "DELETE",
        body: "RETURN NULL;",
        before: &[],
    },
    SqlBug {
        bug: "completed deliveries are not counted",
        expected: FindingKind::WrongStatistics,
        table: "couriers.couriers",
        event: "UPDATE",
        body: "NEW.completed := OLD.completed; NEW.on_time := OLD.on_time; RETURN NEW;",
        before: &[],
    },
    SqlBug {
        bug: "a courier stays busy after the delivery",
        expected: FindingKind::IllegalStatus,
        table: "couriers.couriers",
        event: "UPDATE",
        body: "IF NEW.status = 'available' THEN NEW.status := 'busy'; END IF; RETURN NEW;",
        before: &[],
    },
    SqlBug {
        bug: "entries of the log do not reach the outbox",
        expected: FindingKind::MissingEvent,
        table: "couriers.delivery_outbox",
        event: "INSERT",
        body: "RETURN NULL;",
        before: &[],
    },
    SqlBug {
        bug: "completed deliveries have no entry in the log",
        expected: FindingKind::IllegalStatus,
        table: "couriers.delivery_log",
        event: "INSERT",
        body: "IF NEW.status = 'completed' THEN RETURN NULL; END IF; RETURN NEW;",
        before: &[],
    },
    SqlBug {
        bug: "the order service does not replace a delivery by a later one",
        expected: FindingKind::Altered,
        table: "orders.order_deliveries",
        event: "UPDATE",
        body: "RETURN NULL;",
        before: &[],
    },
    SqlBug {
        bug: "without its unique index, one courier gets every delivery",
        expected: FindingKind::TwoActiveDeliveries,
        table: "couriers.courier_orders",
        event: "INSERT",
        body: "NEW.courier_id := (SELECT min(id) FROM couriers.couriers); RETURN NEW;",
        before: &["DROP INDEX couriers.courier_orders_active"],
    },
];

pub(super) async fn plant(servers: &Servers, bug: &SqlBug) -> anyhow::Result<Planted> {
    let run = Run::prepare(servers, 2).await?;
    let SqlBug { table, event, body, .. } = bug;
    let schema = table.split_once('.').map_or(*table, |(schema, _)| schema);
    let mut database = match schema {
        "orders" => run.env.administrator().await,
        _ => run.couriers.administrator().await,
    };
    let before = bug.before.iter().map(|statement| (*statement).to_owned());
    let trigger = [
        format!(
            "CREATE FUNCTION {schema}.planted() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN {body} END $$"
        ),
        format!(
            "CREATE TRIGGER planted BEFORE {event} ON {table} FOR EACH ROW \
             EXECUTE FUNCTION {schema}.planted()"
        ),
    ];
    Run::execute(&mut database, before.chain(trigger)).await?;

    let orders = run.env.start(&[]).await;
    let couriers = run.env.start_couriers(&run.couriers, &COURIER_OPTIONS).await;
    for part in [Part::First, Part::Second] {
        run.send(part).await?;
        run.wait_until_processed().await;
    }
    couriers.stop().await?;
    orders.stop().await?;
    let after = run.judge().await?;
    let clean = Verdict { checks: Vec::new() };
    Ok(Planted::since("sql", bug.bug, bug.expected, &clean, &after))
}
