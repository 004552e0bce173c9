//! Status events from Kafka become deliveries in PostgreSQL, and appear on the board.

use sqlx::Connection as _;
use testkit::{TestEnvironment, shared, wait_until};

use crate::support::{insert_couriers, keyless_event, post, run_sql, status_event};

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
    for bad in ["", "{", "[]", "{}", r#"{"order_id":7,"status":"created"}"#] {
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
    let (partition, offset) = env.send_compressed(&env.status_topic(), b"large", &large).await;
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

    assert_eq!(board.matches("data-key=\"road-order-").count(), 200);
    assert!(board.contains("data-key=\"road-more\">and 50 more<"), "{board}");
    assert_eq!(board.matches("data-key=\"courier-").count(), 200);
    assert!(board.contains("data-key=\"courier-251\"") && !board.contains("idle-empty"));
    assert!(board.contains("data-key=\"idle-more\">and 5 more<"), "{board}");

    let statement = "DELETE FROM couriers.couriers WHERE id > 250";
    sqlx::raw_sql(statement).execute(&mut database.administrator().await).await.unwrap();
    assert!(page().await.contains("data-key=\"idle-empty\">All couriers are out for delivery.<"));
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
    sqlx::raw_sql("BEGIN; LOCK TABLE couriers.couriers IN ACCESS EXCLUSIVE MODE")
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
