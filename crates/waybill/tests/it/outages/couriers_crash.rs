//! The courier service killed at the worst moments, asked to end in full flow, with replicas that
//! come and go and servers that go away: in the end every order stands as if nothing had happened.

use testkit::{
    CourierDatabase, OwnServers, Servers, TestEnvironment,
    browser::{Page, Reader},
    shared, wait_until,
};

use crate::support::Program;

const COURIERS: i64 = 30;
/// Makes batches small, so that there is always one on its way.
const SMALL: [&str; 2] = ["--batch-rows", "20"];

fn event(order_id: &str, status: &str) -> (Vec<u8>, Vec<u8>) {
    let value = format!(r#"{{"order_id":"{order_id}","status":"{status}"}}"#);
    (order_id.as_bytes().to_vec(), value.into_bytes())
}

/// What becomes of orders: each of these lives in turn, and a record that is no event after every
/// fiftieth.
fn lives(first: usize, count: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    const LIVES: [&[&str]; 8] = [
        &["created"],
        &["created", "pending", "created"],
        &["created", "completed"],
        &["cancelled", "created"],
        &["completed", "created", "completed"],
        &["created", "updated", "deleted"],
        &["created", "delivered", "canceled"],
        &["cooking", "lost"],
    ];
    let mut events = Vec::new();
    for number in first..first + count {
        let order_id = format!("order-{number:05}");
        events.extend(LIVES[number % LIVES.len()].iter().map(|status| event(&order_id, status)));
        if number % 50 == 0 {
            events.push((order_id.into_bytes(), format!("{{\"bad\": {number}").into_bytes()));
        }
    }
    events
}

/// A database with couriers in it.
async fn with_couriers(servers: &Servers) -> CourierDatabase {
    let database = CourierDatabase::new(servers).await;
    sqlx::query(
        "INSERT INTO couriers.couriers (name, phone, transport_type, status) \
         SELECT 'c', '+7' || lpad(n::text, 10, '0'), 'car', 'available' FROM generate_series(1, $1) AS n",
    )
    .bind(COURIERS)
    .execute(&database.pool)
    .await
    .unwrap();
    database
}

async fn count(database: &CourierDatabase, from: &str) -> i64 {
    let statement = format!("SELECT count(*) FROM couriers.{from}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(&database.pool).await.unwrap()
}

/// How each order stands: its rank, and whether it waits for a courier or has one.
async fn states(database: &CourierDatabase) -> Vec<(String, i16, bool, bool)> {
    sqlx::query_as(
        "SELECT order_id, rank, created_at IS NOT NULL, waiting_since IS NOT NULL OR courier_id IS NOT NULL AND completed_at IS NULL \
         FROM couriers.order_states LEFT JOIN couriers.courier_orders USING (order_id) ORDER BY order_id",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap()
}

/// All is settled: offsets at the end, every order as in a run that never stopped, every invariant
/// whole, every rejected record kept once and dead-lettered at least once, nobody idle while orders
/// wait.
async fn is_settled(env: &TestEnvironment, database: &CourierDatabase) {
    env.events_drained().await;
    let (undisturbed, again) = (with_couriers(&env.servers).await, env.in_another_group());
    let service = again.start_couriers(&undisturbed, &[]).await;
    again.events_drained().await;
    service.stop().await.unwrap();
    assert_eq!(states(database).await, states(&undisturbed).await);

    let service = env.start_couriers(database, &[]).await;
    wait_until("everybody to carry", async || {
        count(database, "couriers WHERE status = 'busy'").await == COURIERS
    })
    .await;
    service.stop().await.unwrap();
    let broken: Vec<(String, i64)> =
        sqlx::query_as(include_str!("../../../../couriers/tests/it/invariants.sql"))
            .fetch_all(&database.pool)
            .await
            .unwrap();
    assert!(broken.iter().all(|(_, number)| *number == 0), "{broken:?}");

    let rejected: Vec<(i32, i64)> = sqlx::query_as(
        r#"SELECT "partition", "offset" FROM couriers.rejected_records ORDER BY 1, 2"#,
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    assert_eq!(rejected.len() as i64, count(&undisturbed, "rejected_records").await);
    let mut letters: Vec<(i32, i64)> = env
        .read_all(&format!("{}.dlq", env.status_topic()))
        .await
        .iter()
        .map(|letter| {
            let number = |name: &str| letter.headers[&format!("__connect.errors.{name}")].clone();
            (number("partition").parse().unwrap(), number("offset").parse().unwrap())
        })
        .collect();
    letters.sort_unstable();
    letters.dedup();
    assert_eq!(letters, rejected);
}

/// A backlog, a program that dies in it at `point`, and one that goes on.
async fn dies_at(point: &str) {
    let env = TestEnvironment::new(shared()).await;
    let database = with_couriers(&env.servers).await;
    env.send_all_to(&env.status_topic(), lives(0, 400)).await;
    Program::start_couriers(&env, &database, &[], Some(point)).was_killed().await;
    assert_ne!(env.events_lag().await, 0, "it died before the offsets were committed");
    let stored = count(&database, "order_states").await;
    assert_eq!(stored == 0, point == "before-commit", "{stored} orders");

    let again = Program::start_couriers(&env, &database, &[], None);
    env.events_drained().await;
    assert!(again.terminate().await.success());
    is_settled(&env, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_around_the_commit_and_the_offsets_every_order_stands_as_if_it_had_not_been() {
    // Together, for the broker takes its time to give up a member that died.
    tokio::join!(dies_at("before-commit"), dies_at("after-commit"), dies_at("after-publish"));
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_end_in_full_flow_it_drains_and_the_next_goes_on() {
    let env = TestEnvironment::new(shared()).await;
    let database = with_couriers(&env.servers).await;
    env.send_all_to(&env.status_topic(), lives(0, 6_000)).await;
    let first = Program::start_couriers(&env, &database, &SMALL, None);
    wait_until("the flow to be on", async || count(&database, "order_states").await > 0).await;
    let status = first.terminate().await;
    assert_eq!(status.code(), Some(0), "{status}");
    let lag = env.events_lag().await;
    assert!(lag > 0, "it was to end in the midst of the flow");

    let again = Program::start_couriers(&env, &database, &[], None);
    env.events_drained().await;
    assert!(again.terminate().await.success());
    let letters = env.read_all(&format!("{}.dlq", env.status_topic())).await.len();
    assert_eq!(letters, 120, "an orderly end repeats no dead letter");
    is_settled(&env, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_come_and_go_and_servers_that_go_away_change_no_order() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let database = with_couriers(&env.servers).await;
    let first = env.start_couriers(&database, &SMALL).await;
    let mut second = Some(env.start_couriers(&database, &SMALL).await);
    for round in 0..3 {
        let before = count(&database, "order_states").await;
        for (_, value) in lives(round * 1_500, 1_500) {
            // Without a key, so that both replicas hear of each order.
            env.enqueue_status(None, &value);
        }
        wait_until("the flow to be on", async || count(&database, "order_states").await > before)
            .await;
        match round {
            0 => {
                own.local.postgres.as_mut().unwrap().kill().await.unwrap();
                let page = Page::open(Reader::default(), &first.url).await;
                page.shows("The board cannot be shown").await;
                own.local.postgres.as_mut().unwrap().restart().await.unwrap();
                wait_until("the board to be back", async || {
                    page.go(&first.url).await;
                    page.value("!!document.querySelector('.board-page')").await
                })
                .await;
            }
            1 => {
                own.local.kafka.as_mut().unwrap().stop().await.unwrap();
                // What needs no Kafka goes on.
                assert_eq!(first.get("/queue").await.status(), 200);
                own.local.kafka.as_mut().unwrap().restart().await.unwrap();
            }
            _ => second.take().unwrap().stop().await.unwrap(),
        }
        env.flush();
        env.events_drained().await;
    }
    first.stop().await.unwrap();
    is_settled(&env, &database).await;
    own.stop().await;
}
