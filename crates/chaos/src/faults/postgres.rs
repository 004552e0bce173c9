//! Faults of PostgreSQL.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tokio::time::sleep;

use crate::{
    child::send_signal,
    system::{Role, System},
};

const ROLES: [Role; 2] = [Role::Orders, Role::Couriers];

/// Rows of each table that are locked.
const LOCKED_ROWS: u32 = 200;

pub(super) async fn stop(system: &System, hold: Duration) -> Result<String> {
    let mut postgres = system.postgres.lock().await;
    postgres.kill().await?;
    sleep(hold).await;
    postgres.restart().await?;
    Ok(String::new())
}

/// Freezes the main process and all its children.
pub(super) async fn freeze(system: &System, hold: Duration) -> Result<String> {
    let postgres = system.postgres.lock().await;
    let id = postgres.process_id().context("PostgreSQL runs")?;
    let mut frozen = vec![id];
    frozen.extend(children(id)?);
    signal_all(&frozen, Signal::STOP);
    sleep(hold).await;
    signal_all(&frozen, Signal::CONT);
    Ok(String::new())
}

/// Freezes every second session of the services.
pub(super) async fn freeze_backends(
    system: &System,
    number: usize,
    hold: Duration,
) -> Result<String> {
    let _alone = system.postgres.lock().await;
    let sessions = sessions(system).await?;
    let frozen: Vec<u32> = sessions.into_iter().skip(number % 2).step_by(2).collect();
    signal_all(&frozen, Signal::STOP);
    sleep(hold).await;
    signal_all(&frozen, Signal::CONT);
    Ok(format!("{} sessions", frozen.len()))
}

pub(super) async fn terminate_backends(system: &System) -> Result<String> {
    let _alone = system.postgres.lock().await;
    let mut connection = system.database.connect(Role::Orders).await?;
    let rows = sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'soak%'",
    )
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    Ok(format!("{} sessions", rows.len()))
}

/// Makes new and running sessions read-only, as a failover does.
pub(super) async fn read_only(system: &System, hold: Duration) -> Result<String> {
    let _alone = system.postgres.lock().await;
    for value in ["on", "off"] {
        // PostgreSQL counts ALTER SYSTEM among the commands that a read-only session may run.
        for statement in [
            &format!("ALTER SYSTEM SET default_transaction_read_only = {value}"),
            "SELECT pg_reload_conf()",
        ] {
            system.database.run(Role::Orders, statement).await?;
        }
        if value == "on" {
            sleep(hold).await;
        }
    }
    Ok(String::new())
}

/// Locks rows that the services change, in a transaction that is rolled back.
pub(super) async fn lock_rows(system: &System, role: Role, hold: Duration) -> Result<String> {
    let _alone = system.postgres.lock().await;
    let tables: &[&str] = match role {
        Role::Orders => &["orders.orders", "orders.order_status"],
        Role::Couriers => &["couriers.order_states", "couriers.couriers"],
    };
    let mut connection = system.database.connect(role).await?;
    let mut transaction = connection.begin().await?;
    for table in tables {
        // The services may hold some of these locks.
        let statement = format!("SELECT 1 FROM {table} LIMIT {LOCKED_ROWS} FOR UPDATE SKIP LOCKED");
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
    }
    sleep(hold).await;
    transaction.rollback().await?;
    Ok(String::new())
}

/// Holds a snapshot, so that no dead row can be removed.
pub(super) async fn hold_snapshot(system: &System, role: Role, hold: Duration) -> Result<String> {
    let _alone = system.postgres.lock().await;
    let mut connection = system.database.connect(role).await?;
    sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ").execute(&mut connection).await?;
    sqlx::query("SELECT txid_current()").execute(&mut connection).await?;
    sleep(hold).await;
    sqlx::query("ROLLBACK").execute(&mut connection).await?;
    Ok(String::new())
}

/// Refuses every statement that inserts more than five orders, with an error that looks like bad
/// data. The service splits its batches until the parts are accepted.
pub(super) async fn refuse_batches(system: &System, hold: Duration) -> Result<String> {
    let _alone = system.postgres.lock().await;
    system
        .database
        .run(
            Role::Orders,
            "CREATE OR REPLACE FUNCTION orders.chaos_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF (SELECT count(*) FROM inserted) > 5 THEN
                     RAISE check_violation USING MESSAGE = 'the batch is too large';
                 END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER chaos_refuse AFTER INSERT ON orders.orders
             REFERENCING NEW TABLE AS inserted
             FOR EACH STATEMENT EXECUTE FUNCTION orders.chaos_refuse()",
        )
        .await?;
    sleep(hold).await;
    system.database.run(Role::Orders, "DROP TRIGGER chaos_refuse ON orders.orders").await?;
    Ok(String::new())
}

/// Returns the process ids of the services' sessions.
async fn sessions(system: &System) -> Result<Vec<u32>> {
    let mut connection = system.database.connect(ROLES[0]).await?;
    let rows = sqlx::query("SELECT pid FROM pg_stat_activity WHERE usename LIKE 'soak%'")
        .fetch_all(&mut connection)
        .await?;
    connection.close().await?;
    rows.iter()
        .map(|row| {
            let id: i32 = row.try_get("pid")?;
            u32::try_from(id).context("a process id is positive")
        })
        .collect()
}

fn signal_all(ids: &[u32], signal: Signal) {
    for id in ids {
        send_signal(*id, signal);
    }
}

/// Returns the children of a process.
fn children(id: u32) -> Result<Vec<u32>> {
    let path = format!("/proc/{id}/task/{id}/children");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    text.split_whitespace().map(|id| id.parse().context("a process id is a number")).collect()
}
