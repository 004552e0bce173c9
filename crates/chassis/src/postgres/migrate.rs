//! Prepares a database for a service: the database, an owner, the least-privilege user of the
//! service, its schema and its tables. It may run twice, and while the previous version is running,
//! because migrations are append-only. Services never run it themselves; `waybill migrate` and
//! `waybill up` do.

use anyhow::Context;
use sqlx::{
    Connection, PgConnection,
    migrate::{Migrate, MigrateError, Migrator},
    postgres::PgConnectOptions,
};

use crate::postgres::{address::Login, session::check_not_pooled};

/// The role that owns the tables. It cannot log in.
const OWNER: &str = "waybill_owner";
/// SQLSTATE `insufficient_privilege`.
const DENIED: &str = "42501";

/// The schema of a service.
#[derive(Debug)]
pub struct Schema {
    pub name: &'static str,
    pub migrations: Migrator,
    /// The permissions of the service's user, such as `SELECT, INSERT ON orders.orders`.
    pub grants: &'static [&'static str],
}

/// The error of a migration by a user without the necessary permissions.
#[derive(Debug, thiserror::Error)]
#[error(
    "the user \"{user}\" has no permission to migrate the schema {schema} in the database \
     \"{database}\": set ADMIN_DATABASE_URL to the address of an administrator and migrate again"
)]
pub struct MissingRights {
    user: String,
    database: String,
    schema: &'static str,
}

/// Migrates a schema. With the address of an administrator, it also creates the database, the
/// owner, and the service's user with its grants. Without one, the service's user creates the
/// tables; if all migrations are already applied, it needs no permission to create them.
pub async fn migrate(
    schema: &Schema,
    service: &PgConnectOptions,
    login: &Login,
    administrator: Option<&PgConnectOptions>,
) -> anyhow::Result<()> {
    let outcome = match administrator {
        None => create_tables(schema, service).await,
        Some(administrator) => create_all(schema, login, administrator).await,
    };
    let user = administrator.unwrap_or(service).get_username();
    outcome.map_err(|error| {
        if is_denied(&error) {
            error.context(MissingRights {
                user: user.to_owned(),
                database: login.database.clone(),
                schema: schema.name,
            })
        } else {
            error
        }
    })
}

async fn create_tables(schema: &Schema, service: &PgConnectOptions) -> anyhow::Result<()> {
    let mut connection = connect(schema, service).await?;
    if !is_migrated(schema, &mut connection).await? {
        // Asked first, because `CREATE SCHEMA IF NOT EXISTS` needs the permission to create schemas
        // even if the schema exists. `IF NOT EXISTS` is for another process that creates it
        // meanwhile.
        let exists = sqlx::query_scalar!(
            "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1) AS \"exists!\"",
            schema.name,
        );
        if !exists.fetch_one(&mut connection).await? {
            execute(&mut connection, format!("CREATE SCHEMA IF NOT EXISTS {}", schema.name))
                .await?;
        }
        apply(schema, &mut connection).await?;
    }
    Ok(connection.close().await?)
}

async fn create_all(
    schema: &Schema,
    login: &Login,
    administrator: &PgConnectOptions,
) -> anyhow::Result<()> {
    let mut server =
        connect(schema, administrator).await.context("connecting as the administrator")?;
    // Roles and databases have no `IF NOT EXISTS`, so only one process may check and create them at
    // a time. The server releases the lock when this session ends, also after a crash.
    execute(&mut server, "SELECT pg_advisory_lock(hashtext('waybill migrate'))".to_owned()).await?;
    create_role(&mut server, OWNER, None).await?;
    // An administrator without superuser rights must be a member of the owner to create the owner's
    // database and schema, and for `SET ROLE`.
    execute(&mut server, format!("GRANT {OWNER} TO CURRENT_USER")).await?;
    create_role(&mut server, &login.user, Some(login.password.as_deref())).await?;
    let exists = sqlx::query_scalar!(
        "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1) AS \"exists!\"",
        login.database,
    );
    if !exists.fetch_one(&mut server).await? {
        let name = quoted(&login.database);
        execute(&mut server, format!("CREATE DATABASE {name} OWNER {OWNER}")).await?;
    }
    // The lock ends here. Migrations take a lock of their own in the service's database.
    server.close().await?;

    let mut database = connect(schema, &administrator.clone().database(&login.database)).await?;
    let (name, user) = (schema.name, quoted(&login.user));
    execute(&mut database, format!("CREATE SCHEMA IF NOT EXISTS {name} AUTHORIZATION {OWNER}"))
        .await?;
    // From here on as the owner role, so that it, not the administrator, owns the tables.
    execute(&mut database, format!("SET ROLE {OWNER}")).await?;
    apply(schema, &mut database).await?;
    execute(&mut database, format!("GRANT USAGE ON SCHEMA {name} TO {user}")).await?;
    // The user of the service reads this table to see that all migrations are applied.
    let migrations = format!("SELECT ON {name}.{}", schema.migrations.table_name);
    for grant in schema.grants.iter().copied().chain([migrations.as_str()]) {
        execute(&mut database, format!("GRANT {grant} TO {user}")).await?;
    }
    Ok(database.close().await?)
}

async fn connect(schema: &Schema, options: &PgConnectOptions) -> anyhow::Result<PgConnection> {
    let options =
        options.clone().options([("search_path", schema.name)]).application_name("waybill migrate");
    let mut connection =
        PgConnection::connect_with(&options).await.context("connecting to PostgreSQL")?;
    // The advisory lock and the role of the session would not be those of the next transaction.
    check_not_pooled(&mut connection, schema.name).await?;
    Ok(connection)
}

/// Returns true if all migrations are applied. It is checked first because sqlx needs the
/// permission to create tables even if it creates none.
async fn is_migrated(schema: &Schema, connection: &mut PgConnection) -> anyhow::Result<bool> {
    let table = schema.migrations.table_name.as_ref();
    let qualified = format!("{}.{table}", schema.name);
    let is_there =
        sqlx::query_scalar!("SELECT to_regclass($1) IS NOT NULL AS \"is_there!\"", qualified);
    if !is_there.fetch_one(&mut *connection).await? {
        return Ok(false);
    }
    let applied = connection.list_applied_migrations(table).await?;
    Ok(schema.migrations.iter().all(|wanted| {
        applied.iter().any(|one| one.version == wanted.version && one.checksum == wanted.checksum)
    }))
}

async fn apply(schema: &Schema, connection: &mut PgConnection) -> anyhow::Result<()> {
    schema
        .migrations
        .run(connection)
        .await
        .with_context(|| format!("migrating the schema {}", schema.name))
}

/// Creates a role if it does not exist. `login` is `None` for NOLOGIN, and `Some(None)` for LOGIN
/// without a password.
async fn create_role(
    server: &mut PgConnection,
    name: &str,
    login: Option<Option<&str>>,
) -> anyhow::Result<()> {
    let exists = sqlx::query_scalar!(
        "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1) AS \"exists!\"",
        name,
    );
    if exists.fetch_one(&mut *server).await? {
        return Ok(());
    }
    let mut statement = format!("CREATE ROLE {} ", quoted(name));
    match login {
        None => statement += "NOLOGIN",
        Some(None) => statement += "LOGIN",
        Some(Some(password)) => {
            // Utility statements take no parameters; the server quotes the literal itself.
            let literal =
                sqlx::query_scalar!("SELECT quote_literal($1::text) AS \"literal!\"", password)
                    .fetch_one(&mut *server)
                    .await?;
            statement += "LOGIN PASSWORD ";
            statement += &literal;
        }
    }
    execute(server, statement).await
}

async fn execute(connection: &mut PgConnection, statement: String) -> anyhow::Result<()> {
    // The statements contain only names from the program, names that are quoted here, and a literal
    // that the server quoted. The error does not contain the statement, which may contain a
    // password.
    sqlx::query(sqlx::AssertSqlSafe(statement))
        .execute(connection)
        .await
        .context("preparing the database")?;
    Ok(())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn is_denied(error: &anyhow::Error) -> bool {
    let cause = |error: &sqlx::Error| {
        error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == DENIED)
    };
    error.chain().any(|link| {
        link.downcast_ref::<sqlx::Error>().is_some_and(cause)
            || match link.downcast_ref::<MigrateError>() {
                Some(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                    cause(error)
                }
                _ => false,
            }
    })
}
