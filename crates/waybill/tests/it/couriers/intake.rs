//! Black-box tests of the courier service: events in by Kafka, deliveries in PostgreSQL.

use sqlx::Connection as _;
use testkit::{CourierDatabase, TestEnvironment, shared, wait_until};

/// The event as the task that this service was made for prints it.
const EXAMPLE: &str = "{
    \"order_id\": \"123\",
    \"status\": \"created\",
    \"created_at\": \"2025-08-06T12:00:00Z\"
  }";

fn event(order_id: &str, status: &str) -> (Vec<u8>, Vec<u8>) {
    let value = format!(
        r#"{{"order_id":"{order_id}","status":"{status}","created_at":"2025-08-06T12:00:00Z"}}"#
    );
    // Without a key, as many send them.
    (Vec::new(), value.into_bytes())
}

async fn add_couriers(database: &CourierDatabase, number: i64) {
    sqlx::query(
        "INSERT INTO couriers.couriers (name, phone, transport_type, status) \
         SELECT 'c', '+7' || lpad(n::text, 10, '0'), 'car', 'available' FROM generate_series(1, $1) AS n",
    )
    .bind(number)
    .execute(&database.pool)
    .await
    .unwrap();
}

async fn count(database: &CourierDatabase, from: &str) -> i64 {
    let statement = format!("SELECT count(*) FROM couriers.{from}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(&database.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_event_as_it_is_printed_gets_a_courier_and_its_end_frees_him() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    add_couriers(&database, 1).await;
    let service = env.start_couriers(&database, &[]).await;
    env.send_all_to(&env.status_topic(), [(Vec::new(), EXAMPLE.as_bytes().to_vec())]).await;
    wait_until("the order to have a courier", async || {
        count(&database, "courier_orders WHERE order_id = '123'").await == 1
    })
    .await;
    assert_eq!(count(&database, "couriers WHERE status = 'busy'").await, 1);

    env.send_all_to(&env.status_topic(), [event("123", "deleted")]).await;
    wait_until("the courier to be free", async || {
        count(&database, "couriers WHERE status = 'available' AND deliveries = 0").await == 1
    })
    .await;
    assert_eq!(count(&database, "courier_orders").await, 0);
    assert_eq!(service.get("/ping").await.text().await.unwrap(), r#"{"message":"pong"}"#);
    let health = service.http.head(service.at("/healthcheck")).send().await.unwrap();
    assert_eq!(health.status(), 204);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_kept_and_dead_lettered_and_what_the_database_refuses_stands_alone() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    // A rule that reading an event does not know.
    let mut administrator = database.administrator().await;
    sqlx::raw_sql("ALTER TABLE couriers.order_states ADD CHECK (order_id <> 'guilty')")
        .execute(&mut administrator)
        .await
        .unwrap();
    administrator.close().await.unwrap();
    let mut records: Vec<_> =
        (0..100).map(|number| event(&format!("order-{number}"), "created")).collect();
    records.insert(40, event("guilty", "created"));
    for bad in ["", "{", "[]", "{}", r#"{"order_id":7,"status":"created"}"#] {
        records.insert(17, (Vec::new(), bad.as_bytes().to_vec()));
    }
    env.send_all_to(&env.status_topic(), records).await;
    let service = env.start_couriers(&database, &["--batch-age-ms", "500"]).await;
    env.events_drained().await;

    assert_eq!(count(&database, "order_states WHERE waiting_since IS NOT NULL").await, 100);
    assert_eq!(count(&database, "rejected_records").await, 6);
    assert_eq!(count(&database, "rejected_records WHERE reason = 'refused_by_database'").await, 1);
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
async fn after_an_hour_of_events_it_catches_up_to_the_same_states() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    add_couriers(&database, 50).await;
    let mut records = Vec::new();
    env.send_all_to(&env.status_topic(), [event("order-0", "created")]).await;
    let service = env.start_couriers(&database, &[]).await;
    env.events_drained().await;
    service.stop().await.unwrap();
    for number in 0..8_000 {
        let order_id = format!("order-{number}");
        records.push(event(&order_id, "created"));
        if number % 2 == 0 {
            records.push(event(&order_id, if number % 3 == 0 { "canceled" } else { "delivered" }));
        }
        records.push(event(&order_id, "updated"));
    }
    env.send_all_to(&env.status_topic(), records).await;
    let service = env.start_couriers(&database, &[]).await;
    env.events_drained().await;

    assert_eq!(count(&database, "order_states").await, 8_000);
    assert_eq!(count(&database, "order_states WHERE rank = 0").await, 4_000);
    assert_eq!(count(&database, "order_states WHERE rank = 6").await, 1_334);
    assert_eq!(count(&database, "order_states WHERE rank = 5").await, 2_666);
    wait_until("every courier to carry", async || {
        count(&database, "couriers WHERE status = 'busy'").await == 50
    })
    .await;
    assert_eq!(count(&database, "order_states WHERE waiting_since IS NOT NULL").await, 3_950);
    assert_eq!(count(&database, "rejected_records").await, 0);
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_board_lists_who_is_free_however_many_carry() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    add_couriers(&database, 455).await;
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
    assert!(board.contains("data-key=\"courier-251\"") && !board.contains("nobody-idle"));
    assert!(board.contains("data-key=\"idle-more\">and 5 more<"), "{board}");

    let statement = "DELETE FROM couriers.couriers WHERE id > 250";
    sqlx::raw_sql(statement).execute(&mut database.administrator().await).await.unwrap();
    assert!(page().await.contains("data-key=\"nobody-idle\">Everybody is on the road.<"));
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_look_at_the_board_the_database_is_asked_once() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    add_couriers(&database, 3).await;
    let service = env.start_couriers(&database, &[]).await;
    let look = |query: &str| {
        let request = service.http.get(service.at(&format!("/{query}")));
        request.header("accept", "text/html").send()
    };
    // Whoever was told of a board by `/live` is shown that one.
    let mut live = service.get("/live").await;
    let told = live.chunk().await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&told).into_owned();
    let (_, told) = told.split_once("data: ").unwrap();
    let told: serde_json::Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    drop(live);
    let mut administrator = database.administrator().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE couriers.couriers IN ACCESS EXCLUSIVE MODE")
        .execute(&mut administrator)
        .await
        .unwrap();
    let shown = look(&format!("?at={}", told["at"].as_str().unwrap())).await.unwrap();
    assert_eq!(shown.status(), 200);
    assert!(shown.text().await.unwrap().contains("data-key=\"courier-3\""));

    // All others wait for one question.
    let mut looking = tokio::task::JoinSet::new();
    for _ in 0..50 {
        looking.spawn(look(""));
    }
    let asked = async || {
        let statement = "SELECT count(*) FROM pg_stat_activity \
            WHERE datname = current_database() AND wait_event_type = 'Lock' \
                AND query LIKE '-- count_couriers%'";
        let mut administrator = database.administrator().await;
        sqlx::query_scalar::<_, i64>(statement).fetch_one(&mut administrator).await.unwrap()
    };
    wait_until("the board to be asked for", async || asked().await > 0).await;
    assert_eq!(asked().await, 1);
    sqlx::raw_sql("COMMIT").execute(&mut administrator).await.unwrap();
    while let Some(answer) = looking.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), 200);
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_nobody_completed_is_counted_and_shown() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    add_couriers(&database, 1).await;
    let flags = ["--delivery-time-car", "0s", "--overdue-grace", "0s", "--dispatch-sweep", "100ms"];
    let service = env.start_couriers(&database, &flags).await;
    env.send_all_to(&env.status_topic(), [event("lost", "created")]).await;
    wait_until("the courier to be free again", async || {
        service.json("/statistics").await["released"] == 1
    })
    .await;
    assert_eq!(service.json("/courier/1/statistics").await["released"], 1);
    let request = service.http.get(service.at("/")).header("accept", "text/html");
    let board = request.send().await.unwrap().text().await.unwrap();
    assert!(board.contains("data-key=\"figure-released\"><b>1</b>"), "{board}");
    env.send_all_to(&env.status_topic(), [event("lost", "completed")]).await;
    wait_until("it to be completed after all", async || {
        let statistics = service.json("/statistics").await;
        statistics["released"] == 0 && statistics["completed"] == 1
    })
    .await;
    service.stop().await.unwrap();
}
