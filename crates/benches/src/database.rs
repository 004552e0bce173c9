//! The database of a test environment, as its superuser.

use anyhow::Context;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use testkit::TestEnvironment;

pub(crate) async fn administrator(env: &TestEnvironment) -> anyhow::Result<PgConnection> {
    Ok(PgConnection::connect(&address(env)?).await?)
}

pub(crate) fn address(env: &TestEnvironment) -> anyhow::Result<String> {
    let (server, _) = env
        .servers
        .postgres
        .rsplit_once('/')
        .context("the address contains the name of a database")?;
    Ok(format!("{server}/{}", name(env)))
}

/// Drops the databases, so that neither their data nor their vacuum slows down the next round.
pub(crate) async fn drop_all(env: &TestEnvironment, others: &[String]) -> anyhow::Result<()> {
    env.pool.close().await;
    let mut server = PgConnection::connect(&env.servers.postgres).await?;
    for database in others.iter().chain([&name(env)]) {
        let statement = format!("DROP DATABASE {database} WITH (FORCE)");
        sqlx::query(AssertSqlSafe(statement)).execute(&mut server).await?;
    }
    Ok(server.close().await?)
}

fn name(env: &TestEnvironment) -> String {
    format!("{}_orders", env.name)
}
