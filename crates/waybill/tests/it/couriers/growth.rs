//! The cost of the board, of the queue and of the statistics with many couriers.

use sqlx::PgConnection;
use testkit::{CourierDatabase, TestEnvironment, shared, wait_until};

use crate::support::{Fleet, insert_fleet};

/// The calls whose cost is compared, and how often each is made.
const CALLS: [&str; 3] = ["/", "/queue", "/statistics"];
const REPEATS: usize = 40;

const EMPTY: Fleet =
    Fleet { busy: 0, overdue: 0, paused: 0, free: 0, waiting: 0, held: 0, released: 0 };

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_times_the_couriers_cost_the_board_no_more() {
    let small = blocks_of_calls(Fleet { busy: 70, paused: 70, free: 60, ..EMPTY }).await;
    let large = blocks_of_calls(Fleet { busy: 7_000, paused: 7_000, free: 6_000, ..EMPTY }).await;

    assert!(large < 2 * small, "{large} blocks with 20,000 couriers, {small} with 200");
}

/// Returns the number of blocks of the database that the calls read.
async fn blocks_of_calls(fleet: Fleet) -> i64 {
    let env = TestEnvironment::new(shared()).await;
    let database = env.courier_database().await;
    insert_fleet(&database.pool, fleet).await;
    database.pool.close().await;
    let mut administrator = database.administrator().await;
    for statement in ["TRUNCATE couriers.delivery_outbox", "VACUUM ANALYZE"] {
        sqlx::query(statement).execute(&mut administrator).await.unwrap();
    }

    let idle = blocks_of_run(&env, &database, &mut administrator, 0).await;
    blocks_of_run(&env, &database, &mut administrator, REPEATS).await - idle
}

/// Returns the number of blocks that are read between the start and the end of the service.
async fn blocks_of_run(
    env: &TestEnvironment,
    database: &CourierDatabase,
    administrator: &mut PgConnection,
    repeats: usize,
) -> i64 {
    let before = blocks(administrator).await;
    let service = env.start_couriers(database, &[]).await;
    for _ in 0..repeats {
        for call in CALLS {
            assert_eq!(service.get(call).await.status(), 200);
        }
    }
    service.stop().await.unwrap();
    // PostgreSQL adds up the numbers of a connection when it ends, at the latest.
    wait_until("the service's connections to end", async || {
        let statement =
            "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()";
        sqlx::query_scalar::<_, bool>(statement).fetch_one(&mut *administrator).await.unwrap()
    })
    .await;
    blocks(administrator).await - before
}

async fn blocks(administrator: &mut PgConnection) -> i64 {
    let statement =
        "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()";
    sqlx::query_scalar(statement).fetch_one(administrator).await.unwrap()
}
