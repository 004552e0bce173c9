//! The courier service is killed around a commit, stopped under load, and loses its servers: at the
//! end, every order has the same state as without these outages.

use testkit::{
    CourierDatabase, OwnServers, Servers, TestEnvironment,
    browser::{Page, Reader},
    shared, wait_until,
};

use crate::support::{
    Program, assert_courier_invariants, insert_couriers, status_event_without_time,
};

const COURIERS: i64 = 30;
/// Makes batches small, so that one is always in progress.
const SMALL_BATCHES: [&str; 2] = ["--batch-rows", "20"];

fn keyed_event(order_id: &str, status: &str) -> (Vec<u8>, Vec<u8>) {
    (order_id.as_bytes().to_vec(), status_event_without_time(order_id, status))
}

/// Returns the events of `count` orders from number `first` on, with these histories in turn, and
/// an invalid record after every fiftieth order.
fn histories(first: usize, count: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    const HISTORIES: [&[&str]; 8] = [
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
        let statuses = HISTORIES[number % HISTORIES.len()];
        events.extend(statuses.iter().map(|status| keyed_event(&order_id, status)));
        if number % 50 == 0 {
            events.push((order_id.into_bytes(), format!("{{\"bad\": {number}").into_bytes()));
        }
    }
    events
}

/// Creates a database with couriers.
async fn with_couriers(servers: &Servers) -> CourierDatabase {
    let database = CourierDatabase::new(servers).await;
    insert_couriers(&database.pool, COURIERS).await;
    database
}

#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
struct OrderState {
    order_id: String,
    rank: i16,
    is_created: bool,
    /// True if the order waits for a courier or has one.
    is_active: bool,
}

async fn order_states(database: &CourierDatabase) -> Vec<OrderState> {
    sqlx::query_as(
        "SELECT order_id, rank, created_at IS NOT NULL AS is_created, \
             waiting_since IS NOT NULL OR courier_id IS NOT NULL AND completed_at IS NULL AS is_active \
         FROM couriers.order_states LEFT JOIN couriers.courier_orders USING (order_id) ORDER BY order_id",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap()
}

/// Waits until all offsets are committed, and asserts that every order has the same state as in a
/// run without outages, all invariants hold, every rejected record is stored once and dead-lettered
/// at least once, and no courier is available while orders wait.
async fn assert_couriers_settled(env: &TestEnvironment, database: &CourierDatabase) {
    env.wait_until_couriers_drained().await;
    let (undisturbed, again) = (with_couriers(&env.servers).await, env.in_another_group());
    let service = again.start_couriers(&undisturbed, &[]).await;
    again.wait_until_couriers_drained().await;
    service.stop().await.unwrap();
    assert_eq!(order_states(database).await, order_states(&undisturbed).await);

    let service = env.start_couriers(database, &[]).await;
    wait_until("every courier to be busy", async || {
        database.count("couriers.couriers WHERE status = 'busy'").await == COURIERS
    })
    .await;
    service.stop().await.unwrap();
    assert_courier_invariants(&database.pool).await;

    let rejected: Vec<(i32, i64)> = sqlx::query_as(
        r#"SELECT "partition", "offset" FROM couriers.rejected_records ORDER BY 1, 2"#,
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    assert_eq!(rejected.len() as i64, undisturbed.count("couriers.rejected_records").await);
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

/// Kills a program that reads a backlog at `point`, and asserts that the next one settles
/// everything.
async fn assert_deliveries_survive_a_crash(point: &str) {
    let env = TestEnvironment::new(shared()).await;
    let database = with_couriers(&env.servers).await;
    env.send_all_to(&env.status_topic(), histories(0, 400)).await;
    let kill = format!("{point}=kill");
    Program::start_couriers(&env, &database, &[], Some(&kill)).assert_killed().await;
    assert_ne!(env.couriers_lag().await, 0, "the program ended before it committed the offsets");
    let stored = database.count("couriers.order_states").await;
    assert_eq!(stored == 0, point == "before-commit", "{stored} orders");

    let again = Program::start_couriers(&env, &database, &[], None);
    env.wait_until_couriers_drained().await;
    assert!(again.terminate().await.success());
    assert_couriers_settled(&env, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_around_the_commit_changes_no_order() {
    // They run in parallel, because the broker takes long to remove a killed member of a group.
    tokio::join!(
        assert_deliveries_survive_a_crash("before-commit"),
        assert_deliveries_survive_a_crash("after-commit"),
        assert_deliveries_survive_a_crash("before-wake"),
        assert_deliveries_survive_a_crash("after-publish"),
        assert_deliveries_survive_a_crash("store-offsets")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn transient_errors_at_every_step_change_no_delivery() {
    const ERRORS: &str = "begin=30%error;before-commit=30%error;after-commit=30%error;\
                          send=20%error;match=30%error";
    let env = TestEnvironment::new(shared()).await;
    let database = with_couriers(&env.servers).await;
    env.send_all_to(&env.status_topic(), histories(0, 400)).await;

    let service = Program::start_couriers(&env, &database, &SMALL_BATCHES, Some(ERRORS));
    env.wait_until_couriers_drained().await;

    assert!(service.terminate().await.success());
    assert_couriers_settled(&env, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_drains_and_repeats_no_dead_letter() {
    let env = TestEnvironment::new(shared()).await;
    let database = with_couriers(&env.servers).await;

    env.send_all_to(&env.status_topic(), histories(0, 6_000)).await;
    let first = Program::start_couriers(&env, &database, &SMALL_BATCHES, None);
    wait_until("the first events to be recorded", async || {
        database.count("couriers.order_states").await > 0
    })
    .await;
    let status = first.terminate().await;

    assert_eq!(status.code(), Some(0), "{status}");

    let lag = env.couriers_lag().await;
    assert!(lag > 0, "the stop must come while events are consumed");

    let again = Program::start_couriers(&env, &database, &[], None);
    env.wait_until_couriers_drained().await;
    assert!(again.terminate().await.success());

    let letters = env.read_all(&format!("{}.dlq", env.status_topic())).await.len();
    assert_eq!(letters, 120, "a graceful stop repeats no dead letter");
    assert_couriers_settled(&env, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_replicas_and_servers_change_no_order() {
    let mut own = OwnServers::start().await;
    let env = TestEnvironment::new(&own.servers()).await;
    let database = with_couriers(&env.servers).await;
    let first = env.start_couriers(&database, &SMALL_BATCHES).await;
    let mut second = Some(env.start_couriers(&database, &SMALL_BATCHES).await);

    for round in 0..3 {
        let before = database.count("couriers.order_states").await;
        for (_, value) in histories(round * 1_500, 1_500) {
            // Without a key, so that both replicas get events of each order.
            env.enqueue_status(None, &value);
        }
        wait_until("the first events to be recorded", async || {
            database.count("couriers.order_states").await > before
        })
        .await;
        match round {
            0 => {
                own.local.postgres.as_mut().unwrap().kill().await.unwrap();
                let page = Page::open(Reader::default(), &first.url).await;
                page.wait_for_text("The board cannot be shown").await;
                own.local.postgres.as_mut().unwrap().restart().await.unwrap();
                wait_until("the board to be available again", async || {
                    page.go(&first.url).await;
                    page.value("!!document.querySelector('.board-page')").await
                })
                .await;
            }
            1 => {
                own.local.kafka.as_mut().unwrap().stop().await.unwrap();
                // Calls that need no Kafka still work.
                assert_eq!(first.get("/queue").await.status(), 200);
                own.local.kafka.as_mut().unwrap().restart().await.unwrap();
            }
            _ => second.take().unwrap().stop().await.unwrap(),
        }
        env.flush_queue();
        env.wait_until_couriers_drained().await;
    }
    first.stop().await.unwrap();
    assert_couriers_settled(&env, &database).await;
    own.stop().await;
}
