//! The cost of the board, of the queue and of the statistics with many couriers.

use sqlx::{Connection as _, PgConnection};
use testkit::{CourierDatabase, TestEnvironment, shared, wait_until};

use crate::support::{Fleet, insert_fleet};

/// The calls whose cost is compared, and how often each is made.
const CALLS: [&str; 3] = ["/", "/queue", "/statistics"];
const REPEATS: usize = 40;

const EMPTY: Fleet =
    Fleet { busy: 0, overdue: 0, paused: 0, free: 0, waiting: 0, held: 0, released: 0 };

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_times_the_couriers_cost_the_board_no_more() {
    // With fewer couriers, each table is a few blocks, and PostgreSQL reads all of them: this takes fewer
    // blocks than to look each row up by its key.
    let small = blocks_of_calls(Fleet { busy: 99, paused: 490, free: 411, ..EMPTY }).await;
    let large = blocks_of_calls(Fleet { busy: 9_900, paused: 49_000, free: 41_100, ..EMPTY }).await;

    assert!(large < 2 * small, "{large} blocks with 100,000 couriers, {small} with 1,000");
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
    // The blocks that these statements have read are added up before the first run, not during it.
    administrator.close().await.unwrap();
    let mut administrator = database.administrator().await;

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
    blocks(administrator).await - before
}

/// Returns the number of blocks that all connections have read.
async fn blocks(administrator: &mut PgConnection) -> i64 {
    // PostgreSQL adds up the numbers of a connection when it ends, at the latest.
    wait_until("all other connections to end", async || {
        let statement =
            "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()";
        sqlx::query_scalar::<_, bool>(statement).fetch_one(&mut *administrator).await.unwrap()
    })
    .await;
    let statement =
        "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()";
    sqlx::query_scalar(statement).fetch_one(administrator).await.unwrap()
}
