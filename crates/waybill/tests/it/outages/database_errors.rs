//! Errors of PostgreSQL during a batch: a transient error is retried and nothing is skipped; a
//! record with a permanent error is rejected alone.

use serde_json::json;
use testkit::{TestEnvironment, shared, wait_until};

use crate::support::{Sent, order, record, run_as_administrator};

/// Makes PostgreSQL fail each order whose `entry` is a SQLSTATE with that code: a permanent error
/// always, a transient error while the table `transient_errors` is enabled. Each failure takes a
/// number of the sequence `failures`, which a rollback does not return.
const FAIL_BY_ENTRY: &str = "
CREATE SEQUENCE orders.failures;
CREATE TABLE orders.transient_errors AS SELECT true AS enabled;
CREATE FUNCTION orders.fail() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF NEW.entry IN ('40P01', '25006', '53100', '57P01', '57014')
       AND NOT (SELECT enabled FROM orders.transient_errors) THEN
        RETURN NEW;
    END IF;
    PERFORM nextval('orders.failures');
    RAISE 'as the test wants it' USING ERRCODE = NEW.entry;
END $$;
CREATE TRIGGER fail BEFORE INSERT ON orders.orders FOR EACH ROW
    WHEN (NEW.entry ~ '^[0-9A-Z]{5}$')
    EXECUTE FUNCTION orders.fail();
GRANT SELECT ON orders.failures TO PUBLIC;";

#[tokio::test(flavor = "multi_thread")]
async fn transient_errors_are_retried_and_refused_values_rejected() {
    let env = TestEnvironment::new(shared()).await;
    run_as_administrator(&env, FAIL_BY_ENTRY).await;
    let service = env.start(&["--batch-age-ms", "100"]).await;
    let mut sent = Sent::default();
    let failures = async || {
        sqlx::query_scalar::<_, i64>("SELECT last_value FROM orders.failures")
            .fetch_one(&env.pool)
            .await
            .unwrap()
    };

    // A deadlock, a read-only server after a failover, a full disk, a shutdown, a timeout.
    for code in ["40P01", "25006", "53100", "57P01", "57014"] {
        run_as_administrator(&env, "UPDATE orders.transient_errors SET enabled = true").await;
        let before = failures().await;
        let mut order = order(&format!("transient-{code}"), 1);
        order["entry"] = json!(code);
        env.send_all([record(&order)]).await;
        sent.orders.insert(format!("transient-{code}"), order);
        wait_until("the batch to be retried", async || failures().await >= before + 2).await;
        assert_eq!(env.count("orders.rejected_records").await, 0, "{code} is nobody's fault");
        run_as_administrator(&env, "UPDATE orders.transient_errors SET enabled = false").await;
        env.wait_until_drained().await;
    }

    // Values that are too long, out of range or wrongly encoded; constraints; program limits.
    let refused = ["22001", "22003", "22021", "23502", "23505", "23514", "54000", "54001"];
    let mut records = sent.mixed(0, 30);
    for (number, code) in refused.iter().enumerate() {
        let mut order = order(&format!("refused-{code}"), 1);
        order["entry"] = json!(code);
        records.insert(number * 3, record(&order));
        sent.invalid += 1;
    }
    // On one partition, so that several of them are in one batch.
    for (key, value) in &records {
        env.send(Some(0), Some(key), Some(value)).await;
    }
    env.wait_until_drained().await;
    let rejected: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT key FROM orders.rejected_records WHERE reason = 'refused_by_database' ORDER BY key",
    )
    .fetch_all(&env.pool)
    .await
    .unwrap();
    let wanted = refused.map(|code| format!("refused-{code}").into_bytes());

    assert_eq!(rejected, wanted);
    sent.assert_settled_at(&env, &service).await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_read_only_under_load_loses_nothing() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--batch-rows", "4"]).await;
    let mut sent = Sent::default();

    env.send_all(sent.mixed(0, 3_000)).await;
    wait_until("the first order to be stored", async || {
        env.count("orders.orders WHERE order_uid = 'order-000000'").await == 1
    })
    .await;
    // As after a failover: old connections are closed, new ones are read-only.
    let database = format!("{}_orders", env.name);
    let read_only = format!("ALTER DATABASE {database} SET default_transaction_read_only = on");
    run_as_administrator(&env, &read_only).await;
    let terminate = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
        WHERE datname = current_database() AND application_name = 'waybill orders'";
    run_as_administrator(&env, terminate).await;
    let stored = env.count("orders.orders").await;

    assert!(stored < 3_000, "the failure must come while orders are ingested");

    env.send_all(sent.mixed(3_000, 200)).await;
    assert_eq!(service.get("/order/order-000000").await.status(), 200);

    let refused = async || {
        let refused = "SELECT xact_rollback FROM pg_stat_database WHERE datname = $1";
        sqlx::query_scalar::<_, i64>(refused).bind(&database).fetch_one(&env.pool).await.unwrap()
    };
    let before = refused().await;
    wait_until("several batches to be refused", async || refused().await >= before + 3).await;

    assert!(env.lag().await > 0, "offsets wait for the database");
    assert_eq!(env.count("orders.orders").await, stored, "nothing is written meanwhile");

    // Connections opened meanwhile stay read-only until a refused batch closes its connection.
    let reset = "SET TRANSACTION READ WRITE; ALTER DATABASE";
    run_as_administrator(&env, &format!("{reset} {database} RESET default_transaction_read_only"))
        .await;
    env.wait_until_drained().await;

    sent.assert_settled_at(&env, &service).await;
    service.stop().await.unwrap();
}
