//! Status events from Kafka become deliveries in PostgreSQL, and appear on the board.

use std::time::Duration;

use serde_json::json;
use sqlx::Connection as _;
use testkit::{Service, TestEnvironment, shared, wait_until};

use crate::support::{
    add_courier, assert_courier_invariants, insert_couriers, keyless_event, metric, post, run_sql,
    status_event, wait_for_delivery,
};

/// The example event of the specification, byte for byte.
const EXAMPLE: &str = "{
    \"order_id\": \"123\",
    \"status\": \"created\",
    \"created_at\": \"2025-08-06T12:00:00Z\"
  }";

#[tokio::test(flavor = "multi_thread")]
async fn the_example_event_gets_a_courier_until_the_order_ends() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;

    insert_couriers(&database.pool, 1).await;
    let service = env.start_couriers(&database, &[]).await;
    env.send_all_to(&env.status_topic(), [(Vec::new(), EXAMPLE.as_bytes().to_vec())]).await;
    wait_until("the order to have a courier", async || {
        database.count("couriers.courier_orders WHERE order_id = '123'").await == 1
    })
    .await;

    assert_eq!(database.count("couriers.couriers WHERE status = 'busy'").await, 1);

    env.send_all_to(&env.status_topic(), [keyless_event("123", "deleted")]).await;
    wait_until("the courier to be free", async || {
        database.count("couriers.couriers WHERE status = 'available' AND deliveries = 0").await == 1
    })
    .await;
    assert_eq!(database.count("couriers.courier_orders").await, 0);
    assert_eq!(service.get("/ping").await.text().await.unwrap(), r#"{"message":"pong"}"#);

    let health = service.http.head(service.at("/healthcheck")).send().await.unwrap();
    assert_eq!(health.status(), 204);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_and_refused_events_are_kept_and_dead_lettered() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    // The validation of events does not check this constraint.
    let mut administrator = database.administrator().await;
    let rule = "ALTER TABLE couriers.order_states ADD CHECK (order_id <> 'refused')";

    run_sql(&mut administrator, rule).await;
    administrator.close().await.unwrap();
    let mut records: Vec<_> =
        (0..100).map(|number| keyless_event(&format!("order-{number}"), "created")).collect();
    records.insert(40, keyless_event("refused", "created"));
    for bad in ["", "{", "[]", "{}", r#"{"order_id":1.5,"status":"created"}"#] {
        records.insert(17, (Vec::new(), bad.as_bytes().to_vec()));
    }
    env.send_all_to(&env.status_topic(), records).await;
    let service = env.start_couriers(&database, &["--batch-age-ms", "500"]).await;
    env.wait_until_couriers_drained().await;

    assert_eq!(database.count("couriers.order_states WHERE waiting_since IS NOT NULL").await, 100);
    assert_eq!(database.count("couriers.rejected_records").await, 6);
    assert_eq!(
        database.count("couriers.rejected_records WHERE reason = 'refused_by_database'").await,
        1
    );

    let letters = env.read_all(&format!("{}.dlq", env.status_topic())).await;
    let mut reasons: Vec<_> =
        letters.iter().map(|letter| letter.headers["waybill.error.reason"].as_str()).collect();
    reasons.sort_unstable();

    assert_eq!(
        reasons,
        [
            "empty_record",
            "invalid_json",
            "missing",
            "not_an_object",
            "refused_by_database",
            "wrong_type"
        ]
    );
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_large_status_record_only_its_start_and_its_hash_are_stored() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let large = vec![b'a'; 80_000_000];
    let (partition, offset) =
        env.send_compressed(&env.status_topic(), "gzip", b"large", &large).await;
    let service = env.start_couriers(&database, &[]).await;
    env.wait_until_couriers_drained().await;

    let path = format!("/rejected/{}:{partition}:{offset}", env.status_topic());
    let shown = service.json(&path).await;
    assert_eq!(shown["value"].as_str().unwrap().len(), 64 << 10);
    assert_eq!(shown["value_cut"]["length"], large.len());

    let letters = env.read_all(&format!("{}.dlq", env.status_topic())).await;
    assert_eq!(letters[0].value.as_deref(), Some(&b""[..]));
    assert_eq!(letters[0].headers["waybill.truncated"], "true");

    let replay = format!("{path}/replay");
    assert_eq!(post(&service, &replay, "").await.status(), 409);
    let edited = String::from_utf8(status_event("edited", "created")).unwrap();
    assert_eq!(post(&service, &replay, &edited).await.status(), 202);
    wait_until("the edited event", async || {
        database.count("couriers.order_states WHERE order_id = 'edited'").await == 1
    })
    .await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_an_hour_ends_in_the_same_states() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;

    insert_couriers(&database.pool, 50).await;
    let mut records = Vec::new();
    env.send_all_to(&env.status_topic(), [keyless_event("order-0", "created")]).await;
    let service = env.start_couriers(&database, &[]).await;
    env.wait_until_couriers_drained().await;
    service.stop().await.unwrap();
    for number in 0..8_000 {
        let order_id = format!("order-{number}");
        records.push(keyless_event(&order_id, "created"));
        if number % 2 == 0 {
            records.push(keyless_event(
                &order_id,
                if number % 3 == 0 { "canceled" } else { "delivered" },
            ));
        }
        records.push(keyless_event(&order_id, "updated"));
    }
    env.send_all_to(&env.status_topic(), records).await;
    let service = env.start_couriers(&database, &[]).await;
    env.wait_until_couriers_drained().await;

    assert_eq!(database.count("couriers.order_states").await, 8_000);
    assert_eq!(database.count("couriers.order_states WHERE rank = 0").await, 4_000);
    assert_eq!(database.count("couriers.order_states WHERE rank = 6").await, 1_334);
    assert_eq!(database.count("couriers.order_states WHERE rank = 5").await, 2_666);

    wait_until("every courier to carry an order", async || {
        database.count("couriers.couriers WHERE status = 'busy'").await == 50
    })
    .await;
    assert_eq!(
        database.count("couriers.order_states WHERE waiting_since IS NOT NULL").await,
        3_950
    );
    assert_eq!(database.count("couriers.rejected_records").await, 0);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_board_lists_free_couriers_however_many_are_busy() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;

    insert_couriers(&database.pool, 455).await;
    sqlx::raw_sql(
        "INSERT INTO couriers.courier_orders \
             (order_id, courier_id, transport_type, assigned_at, deadline, by_hand) \
         SELECT 'order-' || id, id, 'car', now(), now() + interval '5 min', false \
         FROM couriers.couriers WHERE id <= 250; \
         UPDATE couriers.couriers SET status = 'busy', deliveries = 1 WHERE id <= 250; \
         UPDATE couriers.couriers SET status = 'paused' WHERE id > 450",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let service = env.start_couriers(&database, &[]).await;
    let page = async || {
        let request = service.http.get(service.at("/")).header("accept", "text/html");
        request.send().await.unwrap().text().await.unwrap()
    };
    let board = page().await;

    // The first 50 rows of each list, and all of the short one before the free couriers.
    assert_eq!(board.matches("data-key=\"order-order-").count(), 50);
    assert!(board.contains(">and 200 more</a>"), "{board}");
    assert_eq!(board.matches("data-key=\"courier-").count(), 50 + 5);
    assert!(board.contains("data-key=\"courier-251\"") && !board.contains("free-empty"));
    assert!(board.contains(">and 150 more</a>"), "{board}");

    let statement = "DELETE FROM couriers.couriers WHERE id > 250";
    sqlx::raw_sql(statement).execute(&mut database.administrator().await).await.unwrap();
    assert!(page().await.contains("data-key=\"free-empty\">No courier is free.<"));
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_of_the_board_cause_one_query() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;

    insert_couriers(&database.pool, 3).await;
    let service = env.start_couriers(&database, &[]).await;
    let look = |query: &str| {
        let request = service.http.get(service.at(&format!("/{query}")));
        request.header("accept", "text/html").send()
    };
    // A reader who got the time of a board from `/live` gets that board.
    let mut live = service.get("/live").await;
    let event = live.chunk().await.unwrap().unwrap();
    let event = String::from_utf8_lossy(&event).into_owned();
    let (_, event) = event.split_once("data: ").unwrap();
    let event: serde_json::Value = serde_json::from_str(event.lines().next().unwrap()).unwrap();
    drop(live);
    let mut administrator = database.administrator().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE couriers.totals IN ACCESS EXCLUSIVE MODE")
        .execute(&mut administrator)
        .await
        .unwrap();
    let shown = look(&format!("?at={}", event["at"].as_str().unwrap())).await.unwrap();

    assert_eq!(shown.status(), 200);
    assert!(shown.text().await.unwrap().contains("data-key=\"courier-3\""));

    // All other readers wait for one query.
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..50 {
        requests.spawn(look(""));
    }
    let queries = async || {
        let statement = "SELECT count(*) FROM pg_stat_activity \
            WHERE datname = current_database() AND wait_event_type = 'Lock' \
                AND query LIKE '-- count_couriers%'";
        let mut administrator = database.administrator().await;
        sqlx::query_scalar::<_, i64>(statement).fetch_one(&mut administrator).await.unwrap()
    };
    wait_until("the board to be requested", async || queries().await > 0).await;

    assert_eq!(queries().await, 1);

    sqlx::raw_sql("COMMIT").execute(&mut administrator).await.unwrap();
    while let Some(answer) = requests.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), 200);
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_delivery_is_counted_and_shown() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;

    insert_couriers(&database.pool, 1).await;
    let flags = ["--delivery-time-car", "0s", "--overdue-grace", "0s", "--dispatch-sweep", "100ms"];
    let service = env.start_couriers(&database, &flags).await;
    env.send_all_to(&env.status_topic(), [keyless_event("lost", "created")]).await;
    wait_until("the courier to be free again", async || {
        service.json("/statistics").await["released"] == 1
    })
    .await;

    assert_eq!(service.json("/courier/1/statistics").await["released"], 1);

    let request = service.http.get(service.at("/")).header("accept", "text/html");
    let board = request.send().await.unwrap().text().await.unwrap();
    let (_, figure) = board.split_once("data-key=\"figure-released\">").unwrap();
    assert!(figure.trim_start().starts_with("<b>1</b>"), "{board}");

    env.send_all_to(&env.status_topic(), [keyless_event("lost", "completed")]).await;
    wait_until("the released delivery to be completed", async || {
        let statistics = service.json("/statistics").await;
        statistics["released"] == 0 && statistics["completed"] == 1
    })
    .await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_leave_out_deliveries_that_were_read_late() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let service = env.start_couriers(&database, &[]).await;
    let anna = add_courier(&service, "Anna", "car", "available").await;
    env.send_all_to(&env.status_topic(), [keyless_event("late", "created")]).await;
    wait_for_delivery(&service, "late", "assigned").await;

    // The event was sent before the assignment, and is read after it, as after an outage.
    sqlx::raw_sql(
        "UPDATE couriers.courier_orders SET assigned_at = assigned_at + interval '1 h', \
             deadline = deadline + interval '1 h'",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    env.send_all_to(&env.status_topic(), [keyless_event("late", "completed")]).await;
    wait_for_delivery(&service, "late", "completed").await;

    for path in ["/statistics".to_owned(), format!("/courier/{anna}/statistics")] {
        let statistics = service.json(&path).await;
        assert_eq!((&statistics["completed"], &statistics["on_time"]), (&json!(1), &json!(0)));
        assert_eq!(
            (&statistics["on_time_share"], &statistics["read_late"]),
            (&json!(null), &json!(1))
        );
        assert_eq!(
            (&statistics["mean_seconds"], &statistics["p95_seconds"]),
            (&json!(null), &json!(null))
        );
    }
    assert_eq!(service.json(&format!("/courier/{anna}")).await["on_time"], 0);

    // A delivery that is read in time counts alone.
    env.send_all_to(&env.status_topic(), [keyless_event("next", "created")]).await;
    wait_for_delivery(&service, "next", "assigned").await;
    env.send_all_to(&env.status_topic(), [keyless_event("next", "completed")]).await;
    wait_for_delivery(&service, "next", "completed").await;
    let statistics = service.json("/statistics").await;
    assert_eq!((&statistics["completed"], &statistics["on_time"]), (&json!(2), &json!(1)));
    assert_eq!((&statistics["on_time_share"], &statistics["read_late"]), (&json!(1.0), &json!(1)));

    env.send_all_to(&env.status_topic(), [keyless_event("late", "cancelled")]).await;
    wait_for_delivery(&service, "late", "cancelled").await;
    let statistics = service.json("/statistics").await;
    assert_eq!((&statistics["completed"], &statistics["read_late"]), (&json!(1), &json!(0)));
    assert_courier_invariants(&database.pool).await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_completed_without_a_courier_are_counted() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    let service = env.start_couriers(&database, &[]).await;

    // `waited` completes from the queue, `both` in one batch with its created event, and the
    // created event of `only` never arrives.
    env.send_all_to(&env.status_topic(), [keyless_event("waited", "created")]).await;
    wait_for_delivery(&service, "waited", "waiting").await;
    let events = [
        ("waited", "completed"),
        ("both", "created"),
        ("both", "completed"),
        ("only", "completed"),
        ("cancelled", "cancelled"),
    ];
    let events = events.map(|(order_id, status)| keyless_event(order_id, status));
    env.send_all_to(&env.status_topic(), events).await;
    wait_until("three orders to be completed", async || {
        service.json("/statistics").await["completed_without_courier"] == 3
    })
    .await;
    assert_eq!(service.json("/statistics").await["completed"], 0);

    let request = service.http.get(service.at("/")).header("accept", "text/html");
    let board = request.send().await.unwrap().text().await.unwrap();
    let (_, figure) = board.split_once("data-key=\"figure-without-courier\">").unwrap();
    assert!(figure.trim_start().starts_with("<b>3</b>"), "{board}");

    let events = ["waited", "only"].map(|order_id| keyless_event(order_id, "cancelled"));
    env.send_all_to(&env.status_topic(), events).await;
    wait_until("two orders to be cancelled", async || {
        service.json("/statistics").await["completed_without_courier"] == 1
    })
    .await;
    assert_courier_invariants(&database.pool).await;
    service.stop().await.unwrap();
}

/// The service releases a delivery at the first sweep after its deadline.
const RELEASE_AT_ONCE: [&str; 4] = ["--overdue-grace", "0s", "--dispatch-sweep", "50ms"];

const MAKE_OVERDUE: &str = "UPDATE couriers.courier_orders \
    SET assigned_at = now() - interval '2 h', deadline = now() - interval '1 h'";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_released_before_the_backlog_is_read() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    insert_couriers(&database.pool, 2).await;
    let service = env.start_couriers(&database, &[]).await;
    let created = ["completed-in-time", "lost"].map(|order_id| keyless_event(order_id, "created"));
    env.send_all_to(&env.status_topic(), created).await;
    wait_for_delivery(&service, "completed-in-time", "assigned").await;
    wait_for_delivery(&service, "lost", "assigned").await;
    env.wait_until_couriers_drained().await;
    service.stop().await.unwrap();

    sqlx::raw_sql(MAKE_OVERDUE).execute(&database.pool).await.unwrap();
    let backlog = (0..2_000).map(|number| keyless_event(&format!("order-{number}"), "cancelled"));
    env.send_all_to(&env.status_topic(), backlog).await;
    env.send_all_to(&env.status_topic(), [keyless_event("completed-in-time", "completed")]).await;
    let service = env.start_couriers(&database, &RELEASE_AT_ONCE).await;
    wait_until("the lost order to be released", async || {
        metric(&service, "waybill_deliveries_released_total").await > 0.0
    })
    .await;

    assert_eq!(env.couriers_lag().await, 0, "the release came after the backlog");
    let released = "couriers.courier_orders WHERE released_at IS NOT NULL AND order_id = ";
    assert_eq!(database.count(&format!("{released}'completed-in-time'")).await, 0);
    assert_eq!(database.count(&format!("{released}'lost'")).await, 1);
    wait_until("no release to be held back", async || {
        metric(&service, "waybill_releases_held_back").await == 0.0
    })
    .await;
    assert_courier_invariants(&database.pool).await;
    service.stop().await.unwrap();
}

/// Waits until the release is held back for this reason, and asserts that several sweeps release
/// nothing.
async fn assert_held_back(service: &Service, reason: &str) {
    let held_back = format!("waybill_releases_held_back_reason{{reason=\"{reason}\"}} 1");
    wait_until(reason, async || {
        service.get("/metrics").await.text().await.unwrap().lines().any(|line| line == held_back)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(metric(service, "waybill_releases_held_back").await, 1.0);
    assert_eq!(metric(service, "waybill_deliveries_released_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_partition_holds_releases_back() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    insert_couriers(&database.pool, 1).await;
    let service = env.start_couriers(&database, &RELEASE_AT_ONCE).await;
    env.send_all_to(&env.status_topic(), [keyless_event("lost", "created")]).await;
    wait_for_delivery(&service, "lost", "assigned").await;
    env.send_all_to(&env.status_topic(), [keyless_event("locked", "created")]).await;
    wait_for_delivery(&service, "locked", "waiting").await;

    // Intake waits for this lock, with the event of one partition.
    let mut other = database.administrator().await;
    let lock = "BEGIN; SELECT FROM couriers.order_states WHERE order_id = 'locked' FOR UPDATE";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    env.send_all_to(&env.status_topic(), [keyless_event("locked", "cancelled")]).await;
    sqlx::raw_sql(MAKE_OVERDUE).execute(&database.pool).await.unwrap();
    assert_held_back(&service, "intake_behind").await;

    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    wait_until("the delivery to be released", async || {
        metric(&service, "waybill_deliveries_released_total").await == 1.0
    })
    .await;
    assert_courier_invariants(&database.pool).await;
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_orders_are_matched_and_none_is_released() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    insert_couriers(&database.pool, 2).await;
    sqlx::raw_sql(
        "INSERT INTO couriers.order_states (order_id, rank, created_at, changed_at) \
         VALUES ('lost', 0, now(), now()); \
         INSERT INTO couriers.courier_orders \
             (order_id, courier_id, transport_type, assigned_at, deadline, by_hand) \
         VALUES ('lost', 1, 'car', now() - interval '2 h', now() - interval '1 h', false); \
         UPDATE couriers.couriers SET status = 'busy', deliveries = 1 WHERE id = 1",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let mut offline = env.clone();
    offline.servers.kafka = "127.0.0.1:1".to_owned();
    let service = offline.start_couriers(&database, &RELEASE_AT_ONCE).await;
    assert_held_back(&service, "kafka_unreachable").await;
    sqlx::raw_sql(
        "INSERT INTO couriers.order_states (order_id, rank, created_at, changed_at, waiting_since) \
         VALUES ('next', 0, now(), now(), now())",
    )
    .execute(&database.pool)
    .await
    .unwrap();

    wait_for_delivery(&service, "next", "assigned").await;

    assert_eq!(metric(&service, "waybill_deliveries_released_total").await, 0.0);
    assert_courier_invariants(&database.pool).await;
    service.stop().await.unwrap();
}
