//! The search for orders and couriers.

use chassis::http::path_segment;
use serde_json::{Value, json};
use testkit::{Service, TestEnvironment, shared};

use crate::support::{
    add_courier, call, insert_couriers, run_sql, send_status, set_courier_status, wait_for_delivery,
};

/// Returns the names of the couriers whom a text finds.
async fn names(service: &Service, text: &str) -> Vec<String> {
    let found = search(service, text).await;
    let couriers = found["couriers"].as_array().unwrap();
    couriers.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

async fn search(service: &Service, text: &str) -> Value {
    let answer = service.get(&format!("/search?q={}", path_segment(text))).await;
    assert_eq!(answer.status(), 200, "{text}");
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn couriers_are_found_by_words_and_orders_by_their_id() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start_couriers(&env.courier_database().await, &[]).await;
    let phone = json!({
        "name": "Анна-Мария Ёлкина", "phone": "+70001112233", "transport_type": "car", "status": "paused",
    });
    assert_eq!(call(&service, "POST", "/courier", &phone.to_string()).await.0, 201);
    let bob = add_courier(&service, "Bob O'Neil", "car", "paused").await;
    add_courier(&service, "Boris", "car", "paused").await;

    for text in
        ["анна", "АННА", "мар", "ёл", "ёлкина анна", "анна-мария", "+7000111", "7 (000) 111-22-33"]
    {
        assert_eq!(names(&service, text).await, ["Анна-Мария Ёлкина"], "{text}");
    }
    assert_eq!(names(&service, "bo").await, ["Bob O'Neil", "Boris"]);
    assert_eq!(names(&service, "neil b").await, ["Bob O'Neil"]);
    assert_eq!(names(&service, &bob.to_string()).await[0], "Bob O'Neil", "the id");
    for nothing in ["", "  ", "'", "%", "_", "\\", "bob boris", "ob", "(", "-", "\u{202e}"] {
        assert_eq!(names(&service, nothing).await, [""; 0], "{nothing:?}");
    }

    // Another name replaces the words, and a retired courier is still found.
    let change = json!({ "id": bob, "name": "Robert" }).to_string();
    assert_eq!(call(&service, "PUT", "/courier", &change).await.0, 200);
    assert_eq!(names(&service, "bob").await, [""; 0]);
    set_courier_status(&service, bob, "retired").await;
    let found = search(&service, "rob").await;
    assert_eq!(found["couriers"][0]["status"], "retired");

    for order_id in ["ab", "a%", "a", "b"] {
        send_status(&env, order_id, "created").await;
    }
    wait_for_delivery(&service, "b", "waiting").await;
    env.wait_until_couriers_drained().await;
    let orders = |found: &Value| -> Vec<String> {
        let orders = found["orders"].as_array().unwrap();
        orders.iter().map(|one| one["order_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(orders(&search(&service, "a").await), ["a", "a%", "ab"]);
    assert_eq!(orders(&search(&service, "a%").await), ["a%"]);
    let first = search(&service, "a").await["orders"][0].clone();
    let expected =
        json!({ "order_id": "a", "state": "waiting", "courier_id": null, "courier_name": null });
    assert_eq!(first, expected);
    let limited = service.json("/search?q=a&limit=1").await;
    assert_eq!(orders(&limited), ["a"]);

    for (path, name) in [
        ("/search", "q"),
        ("/search?q=a&limit=0", "limit"),
        ("/search?q=%00", "q"),
        (&*format!("/search?q={}", "x".repeat(101)), "q"),
    ] {
        let answer = service.get(path).await;
        assert_eq!(answer.status(), 400, "{path}");
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().contains(name), "{path}: {problem}");
    }
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_reads_ranges_of_indexes() {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    insert_couriers(&database.pool, 30_000).await;
    sqlx::query(
        "INSERT INTO couriers.order_states (order_id, rank, changed_at) \
         SELECT 'order-' || n, 1, now() FROM generate_series(1, 30000) AS n",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    run_sql(&mut database.administrator().await, "ANALYZE").await;

    assert_eq!(database.count("couriers.courier_words WHERE word = 'c'").await, 30_000);

    let words = include_str!("../../../../couriers/queries/find_words.sql");
    let words = sqlx::AssertSqlSafe(format!("EXPLAIN {words}"));
    let words = sqlx::query_scalar::<_, String>(words).bind(["c", "70"]).bind(8_i64);
    let orders = include_str!("../../../../couriers/queries/found_orders.sql");
    let orders = sqlx::AssertSqlSafe(format!("EXPLAIN {orders}"));
    let orders = sqlx::query_scalar::<_, String>(orders).bind("order-2").bind(8_i64);
    let plans = [words.fetch_all(&database.pool).await, orders.fetch_all(&database.pool).await];
    for plan in plans {
        let plan = plan.unwrap().join("\n");
        for table in ["courier_words", "order_states", "couriers"] {
            assert!(!plan.contains(&format!("Seq Scan on {table}")), "{plan}");
        }
        assert!(
            plan.contains("courier_words_pkey") || plan.contains("order_states_pkey"),
            "{plan}"
        );
    }

    // The words and the phone numbers are removed with their couriers.
    let administrator = &mut database.administrator().await;
    run_sql(administrator, "DELETE FROM couriers.couriers WHERE id <= 29990").await;
    assert_eq!(database.count("couriers.courier_words WHERE word = 'c'").await, 10);
    assert_eq!(database.count("couriers.courier_phones").await, 10);
    run_sql(administrator, "TRUNCATE couriers.couriers, couriers.courier_orders").await;
    assert_eq!(database.count("couriers.courier_words").await, 0);
    assert_eq!(database.count("couriers.courier_phones").await, 0);
}
