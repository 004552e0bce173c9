//! PostgreSQL fails over to a standby: the old server is killed, the standby is promoted, and the
//! proxy leads to it, as the address of a cluster does.

use std::{
    os::unix::fs::{MetadataExt as _, chown},
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use local::{Postgres, PostgresOptions};
use sqlx::{Connection as _, PgConnection};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use super::{ScenarioArgs, assert_progress, finish, send, start};
use crate::{
    finding::Verdict,
    system::{DELIVERIES_TOPIC, GROUP, ORDERS_TOPIC, Role, STATUS_TOPIC, System, loopback},
};

/// The time in which transactions are committed that the standby does not get.
const LOST: Duration = Duration::from_secs(4);

/// The transactions that the standby lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    Nothing,
    LastTransactions,
}

pub(super) async fn run(args: &ScenarioArgs, folder: &Path, loss: Loss) -> Result<Verdict> {
    let mut system = start(args, folder, 1).await?;
    let standby = start_standby(&system, folder).await?;
    if loss == Loss::Nothing {
        run_on(&system, "ALTER SYSTEM SET synchronous_standby_names = '*'").await?;
        run_on(&system, "SELECT pg_reload_conf()").await?;
    }
    let senders = send(args, &system)?;
    sleep(Duration::from_secs(args.seconds / 3)).await;
    assert_progress(&system, "before the failover").await?;

    let before_loss = SystemTime::now();
    let mut standby_connection = connect(standby.port()).await?;
    if loss == Loss::LastTransactions {
        // The standby no longer receives; the old server goes on to commit.
        for statement in ["ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"] {
            sqlx::query(statement).execute(&mut standby_connection).await?;
        }
        sleep(LOST).await;
    }
    system.postgres.lock().await.kill().await?;
    sqlx::query("SELECT pg_promote()").execute(&mut standby_connection).await?;
    wait_until_promoted(&mut standby_connection).await?;
    standby_connection.close().await?;
    if loss == Loss::Nothing {
        // The new server has no standby, so it must not wait for one.
        let mut connection = connect(standby.port()).await?;
        for statement in ["ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"]
        {
            sqlx::query(statement).execute(&mut connection).await?;
        }
        connection.close().await?;
    }
    system.database.set_port(standby.port());
    system.postgres_proxy.set_target(loopback(standby.port()));
    *system.postgres.lock().await = standby;
    assert_progress(&system, "after the failover").await?;
    if loss == Loss::LastTransactions {
        rewind(&mut system, before_loss).await?;
        assert_progress(&system, "after the rewind").await?;
    }
    finish(args, system, senders, loss == Loss::LastTransactions).await
}

async fn start_standby(system: &System, folder: &Path) -> Result<Postgres> {
    let primary = system.postgres.lock().await;
    let home = folder.join("standby");
    std::fs::create_dir_all(&home).context("creating the folder of the standby")?;
    let cluster = home.join("cluster");
    let copied = Command::new(primary.bin().join("pg_basebackup"))
        .args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--pgdata"])
        .arg(&cluster)
        .args(["--host=127.0.0.1", "--username=waybill_admin"])
        .arg(format!("--port={}", primary.port()))
        .output()
        .await
        .context("starting pg_basebackup")?;
    if !copied.status.success() {
        bail!("pg_basebackup failed:\n{}", String::from_utf8_lossy(&copied.stderr));
    }
    // PostgreSQL runs as the owner of its data.
    let owner = primary.cluster().metadata().context("reading the owner of the data")?;
    give_to(&cluster, owner.uid(), owner.gid())?;
    Postgres::start(&PostgresOptions { data_dir: home, port: 0 }, &|_| {}).await
}

fn give_to(path: &Path, user: u32, group: u32) -> Result<()> {
    let changed = chown(path, Some(user), Some(group));
    changed.with_context(|| format!("changing the owner of {}", path.display()))?;
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).context("reading the data of the standby")? {
            give_to(&entry.context("reading the data of the standby")?.path(), user, group)?;
        }
    }
    Ok(())
}

async fn connect(port: u16) -> Result<PgConnection> {
    let url = format!("postgres://waybill_admin@127.0.0.1:{port}/postgres?sslmode=disable");
    PgConnection::connect(&url).await.context("connecting to the standby")
}

async fn run_on(system: &System, statement: &str) -> Result<()> {
    system.database.run(Role::Orders, statement).await
}

async fn wait_until_promoted(connection: &mut PgConnection) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let is_standby: bool =
            sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&mut *connection).await?;
        if !is_standby {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the standby was not promoted");
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Stops the replicas, sets the groups back to a time before the loss, and starts them again.
async fn rewind(system: &mut System, to: SystemTime) -> Result<()> {
    // A little earlier: a record may have waited in a batch.
    let to = OffsetDateTime::from(to - Duration::from_secs(20)).format(&Rfc3339)?;
    system.stop_replicas().await;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let output = Command::new(&system.options.program)
            .args(["rewind", "--to", &to, "--kafka-brokers", &system.brokers])
            .args(["--kafka-group-id", GROUP, "--kafka-orders-topic", ORDERS_TOPIC])
            .args(["--kafka-status-topic", STATUS_TOPIC])
            .args(["--kafka-deliveries-topic", DELIVERIES_TOPIC])
            .current_dir(&system.options.folder)
            .kill_on_drop(true)
            .output()
            .await
            .context("starting waybill rewind")?;
        if output.status.success() {
            break;
        }
        // A group is active until its last member has left.
        if Instant::now() > deadline {
            bail!("waybill rewind failed:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        sleep(Duration::from_millis(500)).await;
    }
    system.start_replicas().await
}
