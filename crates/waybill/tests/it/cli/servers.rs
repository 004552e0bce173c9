//! The servers that the program needs: a wrong one is named with the reason, and psql's variables
//! do not change the connections to those that `up` starts itself.

use std::time::Duration;

use serde_json::Value;
use sqlx::{Connection as _, PgConnection, PgPool, postgres::PgPoolOptions};
use testkit::{TestEnvironment, shared, wait_until};

use crate::support::{Program, Scratch, Up, run_sql, waybill};

/// Creates the databases `name`_latin, which is not UTF-8, and `name`_old, in which the service's
/// user sees a function that reports an old version of PostgreSQL.
async fn create_databases(env: &TestEnvironment) {
    let mut administrator = PgConnection::connect(&env.servers.postgres).await.unwrap();
    let name = &env.name;
    let create = format!(
        "CREATE DATABASE {name}_latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0 \
         OWNER {name}_user"
    );
    run_sql(&mut administrator, &create).await;
    run_sql(&mut administrator, &format!("CREATE DATABASE {name}_old OWNER {name}_user")).await;
    let server = env.servers.postgres.replace("/postgres?", &format!("/{name}_old?"));
    let mut old = PgConnection::connect(&server).await.unwrap();
    let lie = format!(
        "CREATE SCHEMA old; GRANT USAGE ON SCHEMA old TO public;
         CREATE FUNCTION old.current_setting(text) RETURNS text LANGUAGE sql AS $$
             SELECT CASE $1 WHEN 'server_version_num' THEN '140011'
                 ELSE pg_catalog.current_setting($1) END
         $$;
         ALTER ROLE {name}_user IN DATABASE {name}_old SET search_path = old, pg_catalog"
    );
    run_sql(&mut old, &lie).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_encoding_or_an_old_server_stops_the_start() {
    let env = TestEnvironment::new(shared()).await;
    create_databases(&env).await;
    let server = env.servers.postgres.rsplit_once('/').unwrap().0;
    let host = server.rsplit_once('@').unwrap().1;
    for (database, words) in [
        ("latin", ["has the encoding LATIN1", "needs UTF8"]),
        ("old", ["has version 14", "needs 15 or newer"]),
    ] {
        let url = format!("postgres://{0}_user:secret@{host}/{0}_{database}", env.name);
        for role in ["orders", "couriers"] {
            let variables = [
                ("DATABASE_URL", url.as_str()),
                ("KAFKA_BROKERS", &env.servers.kafka),
                ("KAFKA_CREATE_TOPICS", "false"),
                ("ORDERS_HTTP_ADDR", "127.0.0.1:0"),
                ("COURIERS_HTTP_ADDR", "127.0.0.1:0"),
            ];
            let output = waybill(&[role], &variables).await;
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{error}");
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
            assert!(error.contains(host) && !error.contains("secret"), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_for_no_connection_is_reported_with_the_address() {
    // Nothing listens there.
    let folder = Scratch::new();
    let path = folder.0.join("log");
    let variables = [
        ("DATABASE_URL", "postgres://someone:secret@127.0.0.1:1/x"),
        ("KAFKA_BROKERS", "127.0.0.1:1"),
    ];
    let program = Program::start_in_with_log(&folder, &variables, &path);
    let log = || std::fs::read_to_string(&path).unwrap();
    wait_until("the wait to be logged", async || log().contains("waiting for PostgreSQL")).await;
    assert!(log().contains("refused") && log().contains("127.0.0.1:1"), "{}", log());
    assert!(!log().contains("secret") && !log().contains("pool timed out"), "{}", log());
    program.kill().await;

    let unreachable = "postgres://u@127.0.0.1:1/x?sslmode=disable";
    let error = read_one(&PgPool::connect_lazy(unreachable).unwrap()).await.unwrap_err();
    assert!(error.contains("no connection to PostgreSQL at 127.0.0.1:1: "), "{error}");
    assert!(error.contains("refused"), "{error}");

    // All connections are in use.
    let pool = PgPoolOptions::new().max_connections(1);
    let pool = pool.acquire_timeout(Duration::from_millis(300)).connect(&shared().postgres);
    let pool = pool.await.unwrap();
    let used = pool.acquire().await.unwrap();
    // A machine that is busy may not answer in time at the first attempt.
    wait_until("the reason to be known", async || {
        read_one(&pool).await.unwrap_err().contains("are in use")
    })
    .await;
    drop(used);
    assert_eq!(read_one(&pool).await.unwrap(), 1);
}

async fn read_one(pool: &PgPool) -> Result<i32, String> {
    let limit = chassis::postgres::time_limit::BY_KEY;
    let read = chassis::postgres::read::read(pool, limit, async |connection| {
        sqlx::query_scalar("SELECT 1").fetch_one(connection).await
    });
    read.await.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_variables_of_psql_do_not_change_the_local_servers() {
    let folder = Scratch::new();
    let variables = [
        ("PGSSLMODE", "require"),
        ("PGSSLROOTCERT", "/nowhere"),
        ("PGSSLCERT", "/nowhere"),
        ("PGCHANNELBINDING", "require"),
        ("PGOPTIONS", "-c default_transaction_read_only=on -c statement_timeout=1"),
        ("PGHOST", "192.0.2.1"),
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGPORT", "1"),
        ("PGUSER", "nobody"),
        ("PGPASSWORD", "wrong"),
        ("PGDATABASE", "none"),
        ("PGAPPNAME", "other"),
    ];
    let up = Up::start(&folder, &[], &variables).await;
    wait_until("an order to be stored", async || {
        let (_, text) = up.get("/orders?limit=1", "application/json").await;
        let orders: Value = serde_json::from_str(&text).unwrap_or_default();
        orders["items"].as_array().is_some_and(|items| !items.is_empty())
    })
    .await;
    up.interrupt().await;
}
