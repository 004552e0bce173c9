//! Bugs that are planted after a clean run: rows, records, offsets, ledgers and caches are changed.
//! Rows are changed in copies of the databases, so the bugs do not mix.

use anyhow::Context as _;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use testkit::Servers;

use super::{
    Planted,
    run::{COURIER_OPTIONS, Part, Run, connect, database_url},
};
use crate::{
    finding::{FindingKind, Verdict},
    judge::judge,
    ledger::Ledger,
    traffic::Stream,
};

const FAMILY: &str = "altered";

/// A change of rows.
struct Alteration {
    bug: &'static str,
    database: Database,
    statements: &'static [&'static str],
    expected: FindingKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Database {
    Orders,
    Couriers,
}

/// Runs both services without a bug, then plants one bug after the other. Returns the verdict about
/// the clean run, too.
pub(super) async fn plant(servers: &Servers) -> anyhow::Result<(Verdict, Vec<Planted>)> {
    let mut run = Run::prepare(servers, 1).await?;
    run.send(Part::First).await?;
    let orders = run.env.start(&[]).await;
    let couriers = run.env.start_couriers(&run.couriers, &COURIER_OPTIONS).await;
    run.wait_until_processed().await;
    run.send(Part::Second).await?;
    run.wait_until_processed().await;
    run.case.order_services = vec![orders.url.clone()];
    run.case.couriers_run = true;
    let clean = run.judge().await?;

    let mut planted = vec![plant_cache(&run, &clean).await?];
    couriers.stop().await?;
    orders.stop().await?;
    run.case.order_services = Vec::new();
    run.case.couriers_run = false;
    run.env.pool.close().await;
    run.couriers.pool.close().await;
    let stopped = run.judge().await?;
    for alteration in ALTERATIONS {
        let result = plant_rows(servers, &run, &stopped, alteration).await;
        planted.push(result.with_context(|| alteration.bug)?);
    }
    plant_records(&run, stopped, &mut planted).await?;
    Ok((clean, planted))
}

/// Changes an order behind the cache of the running service, and changes it back.
async fn plant_cache(run: &Run, before: &Verdict) -> anyhow::Result<Planted> {
    let mut database = run.env.administrator().await;
    let update = |change: &str| {
        format!(
            "UPDATE orders.orders SET {change}
             WHERE order_uid = (SELECT min(order_uid) FROM orders.orders)"
        )
    };
    Run::execute(&mut database, [update("delivery_city = delivery_city || '!'")]).await?;
    let after = run.judge().await?;
    Run::execute(&mut database, [update("delivery_city = left(delivery_city, -1)")]).await?;
    let bug = "a row is changed, and the cache still serves the former one";
    Ok(Planted::since(FAMILY, bug, FindingKind::WrongCache, before, &after))
}

/// Changes rows in a copy of a database.
async fn plant_rows(
    servers: &Servers,
    run: &Run,
    before: &Verdict,
    alteration: &Alteration,
) -> anyhow::Result<Planted> {
    let schema = match alteration.database {
        Database::Orders => "orders",
        Database::Couriers => "couriers",
    };
    let (source, copy) = (format!("{}_{schema}", run.env.name), format!("{}_copy", run.env.name));
    let mut administrator = connect(servers, "postgres").await?;
    let create = [
        format!("DROP DATABASE IF EXISTS {copy} WITH (FORCE)"),
        format!("CREATE DATABASE {copy} TEMPLATE {source}"),
    ];
    Run::execute(&mut administrator, create).await?;
    let mut database = connect(servers, &copy).await?;
    let statements = alteration.statements.iter().map(|statement| (*statement).to_owned());
    Run::execute(&mut database, statements).await?;
    let mut case = run.case.clone();
    case.couriers_run = alteration.expected == FindingKind::WaitingWhileAvailable;
    match alteration.database {
        Database::Orders => case.orders_database = database_url(servers, &copy)?,
        Database::Couriers => case.couriers_database = database_url(servers, &copy)?,
    }
    let after = judge(&case).await?;
    Ok(Planted::since(FAMILY, alteration.bug, alteration.expected, before, &after))
}

/// Plants bugs into ledgers, topics and offsets. They cannot be undone, so each verdict is compared
/// with the one before.
async fn plant_records(
    run: &Run,
    mut before: Verdict,
    planted: &mut Vec<Planted>,
) -> anyhow::Result<()> {
    let source = format!("waybill/{}/orders", run.case.group);
    let unknown = run.case.traffic.id(run.case.traffic.order_numbers() + 1);
    let value = |status: &str| {
        let created_at = "2026-01-01T00:00:00Z";
        serde_json::json!({"order_id": unknown, "status": status, "created_at": created_at})
    };
    let (orders_topic, status_topic) =
        (run.case.orders_topic.clone(), run.case.status_topic.clone());

    let mut judge_next = async |run: &Run, bug: &str, expected: FindingKind| {
        let after = run.judge().await?;
        planted.push(Planted::since(FAMILY, bug, expected, &before, &after));
        before = after;
        anyhow::Ok(())
    };

    Ledger::open(&Ledger::path(&run.case.ledger_dir, Stream::Orders))?.append(7, 0, 1_000_000)?;
    let bug = "Kafka loses an acknowledged record";
    judge_next(run, bug, FindingKind::LostByKafka).await?;

    let created = value("created").to_string();
    run.send_other(&status_topic, &unknown, &created, &[("ce_source", &source)]).await?;
    let bug = "the order service publishes an event about an unknown order";
    judge_next(run, bug, FindingKind::EventWithoutFact).await?;

    plant_late_entry(run).await?;
    let bug = "an event of a delivery is sent before an earlier one of its order";
    judge_next(run, bug, FindingKind::OutOfSequence).await?;

    run.send_other(&orders_topic, "key", "{}", &[]).await?;
    let bug = "a record that no sender has sent is on the orders topic";
    judge_next(run, bug, FindingKind::Foreign).await?;

    let number = [("chaos.number", "7")];
    run.send_other(&status_topic, "key", "{}", &number).await?;
    let bug = "a record of the status topic has other bytes than were sent";
    judge_next(run, bug, FindingKind::Altered).await?;

    run.env.commit(0, 1_000_000).await;
    let bug = "an offset is committed beyond the end of its partition";
    judge_next(run, bug, FindingKind::OffsetsAhead).await?;

    delete_records(&run.case.brokers, &format!("{orders_topic}.dlq")).await?;
    let bug = "dead letters are deleted";
    judge_next(run, bug, FindingKind::MissingDeadLetter).await
}

/// Writes two further entries of an order, and sends their events in the wrong sequence.
async fn plant_late_entry(run: &Run) -> anyhow::Result<()> {
    let mut database = run.couriers.administrator().await;
    let order_id: String = sqlx::query_scalar(
        "SELECT min(order_id) FROM couriers.delivery_log WHERE status = 'completed'",
    )
    .fetch_one(&mut database)
    .await?;
    let at = "2100-01-01T00:00:00Z";
    let source = format!("waybill/{}/couriers", run.case.group);
    for number in [2_000_000_002_i64, 2_000_000_001] {
        let insert = format!(
            "INSERT INTO couriers.delivery_log (number, at, status, order_id, cause)
             OVERRIDING SYSTEM VALUE
             SELECT {number}, '{at}', 'completed', min(order_id), 'event' FROM couriers.delivery_log
             WHERE status = 'completed'"
        );
        Run::execute(&mut database, [insert]).await?;
        let value = serde_json::json!({
            "order_id": order_id, "courier_id": null, "status": "completed", "at": at,
            "number": number, "transport_type": null, "deadline": null, "cause": "event",
        });
        let id = format!("{order_id}:{number}:completed");
        let headers =
            [("ce_source", source.as_str()), ("ce_type", "completed"), ("ce_id", id.as_str())];
        let topic = &run.case.deliveries_topic;
        run.send_other(topic, &order_id, &value.to_string(), &headers).await?;
    }
    Ok(())
}

/// Deletes all records of a topic with 8 partitions.
async fn delete_records(brokers: &str, topic: &str) -> anyhow::Result<()> {
    let administrator: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..8 {
        list.add_partition_offset(topic, partition, Offset::End)?;
    }
    administrator.delete_records(&list, &AdminOptions::new()).await?;
    Ok(())
}

const fn orders(
    bug: &'static str,
    expected: FindingKind,
    statements: &'static [&'static str],
) -> Alteration {
    Alteration { bug, database: Database::Orders, statements, expected }
}

const fn couriers(
    bug: &'static str,
    expected: FindingKind,
    statements: &'static [&'static str],
) -> Alteration {
    Alteration { bug, database: Database::Couriers, statements, expected }
}

const ALTERATIONS: &[Alteration] = &[
    couriers(
        "the log of a delivery is missing",
        FindingKind::Missing,
        &["\
        DELETE FROM couriers.delivery_log
        WHERE order_id = (SELECT min(order_id) FROM couriers.courier_orders)"],
    ),
    couriers(
        "an entry of the log names another courier",
        FindingKind::Altered,
        &["\
        UPDATE couriers.delivery_log SET courier_id = courier_id + 1
        WHERE number = (SELECT min(number) FROM couriers.delivery_log WHERE courier_id IS NOT NULL)"],
    ),
    couriers(
        "an entry of the log is not sent",
        FindingKind::MissingEvent,
        &["\
        INSERT INTO couriers.delivery_log (at, status, order_id, cause)
        SELECT now(), status, order_id, cause FROM couriers.delivery_log
        WHERE status = 'cancelled' ORDER BY number LIMIT 1"],
    ),
    couriers(
        "the last entry of a completed order says that it is assigned",
        FindingKind::IllegalStatus,
        &["\
        UPDATE couriers.delivery_log SET status = 'assigned'
        WHERE number = (SELECT min(number) FROM couriers.delivery_log WHERE status = 'completed')"],
    ),
    orders(
        "the stored delivery of an order names another courier",
        FindingKind::Altered,
        &["\
        UPDATE orders.order_deliveries SET courier_id = courier_id + 1
        WHERE order_uid = (
            SELECT min(order_uid) FROM orders.order_deliveries WHERE courier_id IS NOT NULL
        )"],
    ),
    orders(
        "the stored delivery of an order is missing",
        FindingKind::Missing,
        &["\
        DELETE FROM orders.order_deliveries
        WHERE order_uid = (SELECT min(order_uid) FROM orders.order_deliveries)"],
    ),
    orders(
        "a delivery is stored of which there is no event",
        FindingKind::Foreign,
        &["\
        INSERT INTO orders.order_deliveries (order_uid, since, number, status)
        VALUES ('foreign', now(), 1, 'cancelled')"],
    ),
    orders(
        "an address is changed",
        FindingKind::Altered,
        &["\
        UPDATE orders.orders SET delivery_address = 'Main Street 1'
        WHERE order_uid = (SELECT min(order_uid) FROM orders.orders)"],
    ),
    orders(
        "the price of an item is changed",
        FindingKind::Altered,
        &["\
        UPDATE orders.orders SET items = jsonb_set(items, '{0,price}', '987654321')
        WHERE order_uid = (SELECT min(order_uid) FROM orders.orders)"],
    ),
    orders(
        "a date is changed by a microsecond",
        FindingKind::Altered,
        &["\
        UPDATE orders.orders SET date_created = date_created + interval '1 microsecond'
        WHERE order_uid = (SELECT min(order_uid) FROM orders.orders)"],
    ),
    orders(
        "the hash of an order is changed",
        FindingKind::Altered,
        &["\
        UPDATE orders.orders SET content_hash = decode(repeat('00', 16), 'hex')
        WHERE order_uid = (SELECT min(order_uid) FROM orders.orders)"],
    ),
    orders(
        "an order keeps the position of an older record",
        FindingKind::Altered,
        &["\
        UPDATE orders.orders SET source_offset = source_offset - 1
        WHERE order_uid = (SELECT min(order_uid) FROM orders.orders)"],
    ),
    orders(
        "an order has a version that was never published",
        FindingKind::MissingEvent,
        &["\
        UPDATE orders.orders SET version = version + 1
        WHERE order_uid = (SELECT min(order_uid) FROM orders.orders)"],
    ),
    orders(
        "an order is deleted",
        FindingKind::Missing,
        &["\
        DELETE FROM orders.orders WHERE order_uid = (SELECT min(order_uid) FROM orders.orders)"],
    ),
    orders(
        "the offset of a record without a row is committed",
        FindingKind::OffsetsAhead,
        &["\
        DELETE FROM orders.orders WHERE order_uid = (SELECT max(order_uid) FROM orders.orders)"],
    ),
    orders(
        "an order that was never sent is stored",
        FindingKind::Foreign,
        &["\
        INSERT INTO orders.orders
        SELECT (jsonb_populate_record(o, '{\"order_uid\": \"foreign\"}')).*
        FROM orders.orders AS o LIMIT 1"],
    ),
    orders(
        "an order is stored twice",
        FindingKind::Duplicated,
        &[
            "ALTER TABLE orders.orders DROP CONSTRAINT orders_pkey",
            "INSERT INTO orders.orders SELECT * FROM orders.orders LIMIT 1",
        ],
    ),
    orders(
        "an invalid record is stored as an order",
        FindingKind::Misplaced,
        &["\
        INSERT INTO orders.orders
        SELECT (jsonb_populate_record(o, jsonb_build_object('order_uid', 'b563feb7b2b84b6test',
            'source_partition', r.\"partition\", 'source_offset', r.\"offset\"))).*
        FROM orders.orders AS o, orders.rejected_records AS r LIMIT 1"],
    ),
    orders(
        "a valid record is rejected",
        FindingKind::Misplaced,
        &["\
        INSERT INTO orders.rejected_records
        SELECT (jsonb_populate_record(r, jsonb_build_object('partition', o.source_partition,
            'offset', o.source_offset, 'record_timestamp', o.source_timestamp))).*
        FROM orders.orders AS o, orders.rejected_records AS r LIMIT 1"],
    ),
    orders(
        "a rejection is stored twice",
        FindingKind::Duplicated,
        &[
            "ALTER TABLE orders.rejected_records DROP CONSTRAINT rejected_records_pkey",
            "INSERT INTO orders.rejected_records SELECT * FROM orders.rejected_records LIMIT 1",
        ],
    ),
    orders(
        "a rejection is deleted",
        FindingKind::Missing,
        &["\
        DELETE FROM orders.rejected_records WHERE ctid = (
            SELECT min(ctid) FROM orders.rejected_records)"],
    ),
    orders(
        "a rejection has another reason",
        FindingKind::WrongReason,
        &["\
        UPDATE orders.rejected_records SET reason = 'implausible_phone' WHERE ctid = (
            SELECT min(ctid) FROM orders.rejected_records WHERE reason <> 'implausible_phone')"],
    ),
    orders(
        "a byte of a rejected value is changed",
        FindingKind::Altered,
        &["\
        UPDATE orders.rejected_records SET value = set_byte(value, 0, 7) WHERE ctid = (
            SELECT min(ctid) FROM orders.rejected_records WHERE length(value) > 0)"],
    ),
    orders(
        "an event is missing in the history",
        FindingKind::Missing,
        &["\
        DELETE FROM orders.order_events WHERE ctid = (
            SELECT min(ctid) FROM orders.order_events WHERE rank > 0)"],
    ),
    orders(
        "the word of an event is changed",
        FindingKind::Altered,
        &["\
        UPDATE orders.order_events SET word = 'Lost', rank = NULL WHERE ctid = (
            SELECT min(ctid) FROM orders.order_events WHERE rank > 0)"],
    ),
    orders(
        "an order has a lower status than its events",
        FindingKind::IllegalStatus,
        &["\
        UPDATE orders.order_status SET rank = rank - 1 WHERE ctid = (
            SELECT min(ctid) FROM orders.order_status WHERE rank > 0)"],
    ),
    couriers(
        "a rejected event is deleted",
        FindingKind::Missing,
        &["\
        DELETE FROM couriers.rejected_records WHERE ctid = (
            SELECT min(ctid) FROM couriers.rejected_records)"],
    ),
    couriers(
        "a completed order is delivering again",
        FindingKind::IllegalStatus,
        &["\
        UPDATE couriers.order_states SET rank = 4, without_courier = false WHERE order_id = (
            SELECT min(order_id) FROM couriers.order_states WHERE rank = 5)"],
    ),
    couriers(
        "a cancelled order keeps its delivery",
        FindingKind::IllegalStatus,
        &["\
        INSERT INTO couriers.courier_orders
        SELECT order_id, 1, 'car', changed_at, changed_at, false, changed_at
        FROM couriers.order_states WHERE rank = 6 LIMIT 1"],
    ),
    couriers(
        "a waiting order leaves the queue",
        FindingKind::IllegalStatus,
        &["\
        UPDATE couriers.order_states SET waiting_since = NULL WHERE order_id = (
            SELECT min(order_id) FROM couriers.order_states WHERE waiting_since IS NOT NULL)"],
    ),
    couriers(
        "the state of an order is deleted",
        FindingKind::Missing,
        &["\
        DELETE FROM couriers.order_states WHERE order_id = (
            SELECT min(order_id) FROM couriers.order_states WHERE rank = 6)"],
    ),
    couriers(
        "a delivery belongs to no order",
        FindingKind::Foreign,
        &["\
        INSERT INTO couriers.courier_orders VALUES
            ('foreign', 1, 'car', now(), now(), false, now(), NULL)"],
    ),
    couriers(
        "a courier has two active deliveries",
        FindingKind::TwoActiveDeliveries,
        &[
            "DROP INDEX couriers.courier_orders_active",
            "UPDATE couriers.courier_orders SET courier_id = (
            SELECT min(courier_id) FROM couriers.active_deliveries)
        WHERE order_id = (SELECT order_id FROM couriers.active_deliveries
            ORDER BY courier_id DESC LIMIT 1)",
        ],
    ),
    couriers(
        "a counter of a courier is changed",
        FindingKind::WrongStatistics,
        &["\
        UPDATE couriers.couriers SET deliveries = deliveries + 1 WHERE id = 1"],
    ),
    couriers(
        "an order counts as completed without a courier",
        FindingKind::WrongStatistics,
        &["\
        UPDATE couriers.order_states SET without_courier = true WHERE order_id = (
            SELECT min(order_id) FROM couriers.order_states WHERE rank < 5)"],
    ),
    couriers(
        "a total of couriers is changed",
        FindingKind::WrongStatistics,
        &["\
        INSERT INTO couriers.totals (busy) VALUES (1)"],
    ),
    couriers(
        "the trigger that counts couriers is missing",
        FindingKind::WrongStatistics,
        &[
            "ALTER TABLE couriers.couriers DISABLE TRIGGER count_insert",
            "INSERT INTO couriers.couriers (name, phone, transport_type, status)
        VALUES ('Paused', '+70000000002', 'car', 'paused')",
        ],
    ),
    couriers(
        "a courier is available, and orders wait",
        FindingKind::WaitingWhileAvailable,
        &["\
        INSERT INTO couriers.couriers (name, phone, transport_type, status)
        VALUES ('Free', '+70000000001', 'car', 'available')"],
    ),
];
