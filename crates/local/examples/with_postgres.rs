//! Runs a command with a temporary PostgreSQL:
//!
//! ```text
//! cargo run -p local --example with_postgres -- \
//!     [--migrations FOLDER --schema NAME]… -- COMMAND [ARGUMENT]…
//! ```
//!
//! Creates each schema and applies the `*.sql` files of its folder, sorted by name. The command
//! gets the address of the server in `DATABASE_URL`; its exit code is the exit code of this
//! program.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};
use local::{Postgres, PostgresOptions};

const USAGE: &str =
    "usage: with_postgres [--migrations FOLDER --schema NAME]… -- COMMAND [ARGUMENT]…";

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let (schemas, command) = parse(env::args().skip(1))?;
    let data_dir = env::temp_dir().join(format!("waybill-with-postgres-{}", std::process::id()));
    let options = PostgresOptions { data_dir: data_dir.clone(), port: 0 };
    let mut postgres = Postgres::start(&options, &|_| {}).await?;

    let code = schemas
        .iter()
        .try_for_each(|(folder, schema)| migrate(&postgres.url(), folder, schema))
        .and_then(|()| run(&postgres.url(), &command));

    postgres.stop().await?;
    fs::remove_dir_all(&data_dir).with_context(|| format!("removing {}", data_dir.display()))?;
    Ok(ExitCode::from(code?))
}

type Schema = (PathBuf, String);

fn parse(mut words: impl Iterator<Item = String>) -> Result<(Vec<Schema>, Vec<String>)> {
    let mut schemas = Vec::new();
    loop {
        match words.next().as_deref() {
            Some("--migrations") => {
                let (Some(folder), Some("--schema"), Some(schema)) =
                    (words.next(), words.next().as_deref(), words.next())
                else {
                    bail!(USAGE);
                };
                schemas.push((folder.into(), schema));
            }
            Some("--") => {
                let command: Vec<String> = words.collect();
                if command.is_empty() {
                    bail!(USAGE);
                }
                return Ok((schemas, command));
            }
            _ => bail!(USAGE),
        }
    }
}

fn migrate(url: &str, folder: &Path, schema: &str) -> Result<()> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("reading the migrations in {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();

    let mut psql = command("psql");
    psql.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", url])
        .args(["--command", &format!("CREATE SCHEMA IF NOT EXISTS {schema}")])
        .args(["--command", &format!("SET search_path TO {schema}")]);
    for file in &files {
        psql.arg("--file").arg(file);
    }
    let status = psql.status().context("starting psql")?;
    if !status.success() {
        bail!("the migrations in {} do not apply ({status})", folder.display());
    }
    Ok(())
}

/// Returns a command without psql's variables, such as PGSSLMODE: they are for other servers.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PG") && name != "PG_BIN_DIR") {
            command.env_remove(name);
        }
    }
    command
}

fn run(url: &str, words: &[String]) -> Result<u8> {
    let status = command(&words[0])
        .args(&words[1..])
        .env("DATABASE_URL", url)
        .status()
        .with_context(|| format!("starting {}", words[0]))?;
    // A command that was ended by a signal has no code.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
