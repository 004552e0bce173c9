//! Making the database what the order service needs. May run twice, and beside the previous
//! version: migrations only ever add.

use anyhow::Context;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

use crate::config::DatabaseConfig;

/// The role that owns the tables; nobody logs in as it.
const OWNER: &str = "waybill_owner";

/// Migrates. Given an administrator's address, it first makes the database, the owner, the
/// service's user and its grants; without one, the tables are made by the service's own user.
pub async fn migrate(
    config: &DatabaseConfig,
    administrator: Option<&PgConnectOptions>,
) -> anyhow::Result<()> {
    let login = config.login()?;
    match administrator {
        None => {
            let mut connection = connect(&config.options()?).await?;
            sqlx::query("CREATE SCHEMA IF NOT EXISTS orders").execute(&mut connection).await?;
            make_tables(&mut connection).await
        }
        Some(administrator) => {
            let mut server =
                connect(administrator).await.context("connecting as the administrator")?;
            // Two that migrate at once take turns: roles and databases know no IF NOT EXISTS.
            sqlx::query("SELECT pg_advisory_lock(hashtext('waybill migrate'))")
                .execute(&mut server)
                .await?;
            make_role(&mut server, OWNER, None).await?;
            // An administrator who is no superuser must be a member to give anything to the owner.
            execute(&mut server, format!("GRANT {OWNER} TO CURRENT_USER")).await?;
            make_role(&mut server, &login.user, Some(login.password.as_deref())).await?;
            make_database(&mut server, &login.database).await?;
            server.close().await?;

            let mut database = connect(&administrator.clone().database(&login.database)).await?;
            for statement in [
                format!("CREATE SCHEMA IF NOT EXISTS orders AUTHORIZATION {OWNER}"),
                format!("SET ROLE {OWNER}"),
            ] {
                execute(&mut database, statement).await?;
            }
            make_tables(&mut database).await?;
            let user = quoted(&login.user);
            for statement in [
                format!("GRANT USAGE ON SCHEMA orders TO {user}"),
                format!(
                    "GRANT SELECT, INSERT, UPDATE ON orders.orders, orders.rejected_records TO {user}"
                ),
                format!("GRANT SELECT ON orders.order_items TO {user}"),
            ] {
                execute(&mut database, statement).await?;
            }
            database.close().await?;
            Ok(())
        }
    }
}

async fn connect(options: &PgConnectOptions) -> anyhow::Result<PgConnection> {
    let options =
        options.clone().options([("search_path", "orders")]).application_name("waybill migrate");
    PgConnection::connect_with(&options).await.context("connecting to PostgreSQL")
}

async fn make_tables(connection: &mut PgConnection) -> anyhow::Result<()> {
    sqlx::migrate!().run(connection).await.context("migrating the schema orders")
}

async fn make_role(
    server: &mut PgConnection,
    name: &str,
    login: Option<Option<&str>>,
) -> anyhow::Result<()> {
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)")
            .bind(name)
            .fetch_one(&mut *server)
            .await?;
    if exists {
        return Ok(());
    }
    let mut statement = format!("CREATE ROLE {} ", quoted(name));
    match login {
        None => statement += "NOLOGIN",
        Some(None) => statement += "LOGIN",
        Some(Some(password)) => {
            // Utility statements take no parameters; the server quotes the literal itself.
            let literal: String = sqlx::query_scalar("SELECT quote_literal($1)")
                .bind(password)
                .fetch_one(&mut *server)
                .await?;
            statement += "LOGIN PASSWORD ";
            statement += &literal;
        }
    }
    execute(server, statement).await
}

async fn make_database(server: &mut PgConnection, name: &str) -> anyhow::Result<()> {
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(name)
            .fetch_one(&mut *server)
            .await?;
    if !exists {
        execute(server, format!("CREATE DATABASE {} OWNER {OWNER}", quoted(name))).await?;
    }
    Ok(())
}

async fn execute(connection: &mut PgConnection, statement: String) -> anyhow::Result<()> {
    // Only names quoted here and a literal quoted by the server are in these statements. The
    // statement is not repeated in the error, for it may hold a password.
    sqlx::query(sqlx::AssertSqlSafe(statement))
        .execute(connection)
        .await
        .context("preparing the database")?;
    Ok(())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
