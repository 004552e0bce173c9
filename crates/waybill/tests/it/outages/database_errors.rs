//! What PostgreSQL may say to a batch: weather is waited out and nothing is skipped for it, a value
//! that it refuses becomes a rejection, alone.

use serde_json::json;
use testkit::{TestEnvironment, shared, wait_until};

use crate::support::{Sent, alter, order, record};

/// Has PostgreSQL fail an order whose `entry` is a SQLSTATE with just that: data always, weather
/// as long as the table `weather` says so. Every such failure takes a number of `failures`, which a
/// transaction that is rolled back does not give back.
const TRAP: &str = "
CREATE SEQUENCE orders.failures;
CREATE TABLE orders.weather AS SELECT true AS is_bad;
CREATE FUNCTION orders.fail() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF NEW.entry IN ('40P01', '25006', '53100', '57P01', '57014')
       AND NOT (SELECT is_bad FROM orders.weather) THEN
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
async fn weather_is_waited_out_and_refused_values_are_rejected_alone() {
    let env = TestEnvironment::new(shared()).await;
    alter(&env, TRAP).await;
    let service = env.start(&["--batch-age-ms", "100"]).await;
    let mut sent = Sent::default();
    let failures = async || {
        sqlx::query_scalar::<_, i64>("SELECT last_value FROM orders.failures")
            .fetch_one(&env.pool)
            .await
            .unwrap()
    };
    // A deadlock, read-only after a failover, a full disk, a shutdown, a time-out.
    for code in ["40P01", "25006", "53100", "57P01", "57014"] {
        alter(&env, "UPDATE orders.weather SET is_bad = true").await;
        let before = failures().await;
        let mut order = order(&format!("weather-{code}"), 1);
        order["entry"] = json!(code);
        env.send_all([record(&order)]).await;
        sent.orders.insert(format!("weather-{code}"), order);
        wait_until("it to be tried again", async || failures().await >= before + 2).await;
        assert_eq!(env.count("orders.rejected_records").await, 0, "{code} is nobody's fault");
        alter(&env, "UPDATE orders.weather SET is_bad = false").await;
        env.drained().await;
    }

    // Values too long, out of range, of no encoding; constraints; limits of the program.
    let refused = ["22001", "22003", "22021", "23502", "23505", "23514", "54000", "54001"];
    let mut records = sent.mixed(0, 30);
    for (number, code) in refused.iter().enumerate() {
        let mut order = order(&format!("refused-{code}"), 1);
        order["entry"] = json!(code);
        records.insert(number * 3, record(&order));
        sent.invalid += 1;
    }
    // On one partition, so that they are in batches together.
    for (key, value) in &records {
        env.send(Some(0), Some(key), Some(value)).await;
    }
    env.drained().await;
    let rejected: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT key FROM orders.rejected_records WHERE reason = 'refused_by_database' ORDER BY key",
    )
    .fetch_all(&env.pool)
    .await
    .unwrap();
    let wanted = refused.map(|code| format!("refused-{code}").into_bytes());
    assert_eq!(rejected, wanted);
    sent.is_served(&env, &service).await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_only_reads_for_a_while_in_full_flow_loses_nothing() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&["--batch-rows", "50"]).await;
    let mut sent = Sent::default();
    env.send_all(sent.mixed(0, 3_000)).await;
    wait_until("the flow to be on", async || env.count("orders.orders").await > 0).await;
    // As after a failover: the old connections are gone, new ones may only read.
    let database = format!("{}_orders", env.name);
    let read_only = format!("ALTER DATABASE {database} SET default_transaction_read_only = on");
    alter(&env, &read_only).await;
    let cut_off = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
        WHERE datname = current_database() AND application_name = 'waybill orders'";
    alter(&env, cut_off).await;
    let stored = env.count("orders.orders").await;
    assert!(stored < 3_000, "it was to happen in full flow");
    env.send_all(sent.mixed(3_000, 200)).await;
    assert_eq!(service.get("/order/order-000000").await.status(), 200);
    let refused = async || {
        let refused = "SELECT xact_rollback FROM pg_stat_database WHERE datname = $1";
        sqlx::query_scalar::<_, i64>(refused).bind(&database).fetch_one(&env.pool).await.unwrap()
    };
    let before = refused().await;
    wait_until("batches to be refused again and again", async || refused().await >= before + 3)
        .await;
    assert!(env.lag().await > 0, "offsets wait for the database");
    assert_eq!(env.count("orders.orders").await, stored, "nothing is written meanwhile");

    // The connections that were made meanwhile stay: a refused batch gives its own up.
    let reset = "SET TRANSACTION READ WRITE; ALTER DATABASE";
    alter(&env, &format!("{reset} {database} RESET default_transaction_read_only")).await;
    env.drained().await;
    sent.is_served(&env, &service).await;
    service.stop().await.unwrap();
}
