//! The binary: parses the command line, starts telemetry, awaits a role, returns an exit code.

pub mod load;
mod rejected;
mod up;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use sqlx::postgres::PgConnectOptions;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a role may take to stop. An orderly end takes a second or two; one that waits for a
/// dependency that is down would take for ever, and need not: what is unfinished comes again.
const FAREWELL: Duration = Duration::from_secs(10);

/// Bad configuration, credentials or rights.
const EX_CONFIG: u8 = 78;

/// Waybill: orders from Kafka to PostgreSQL to a page, and nothing lost on the way.
///
/// Every option can also be given by the environment variable that its help names, or by a line of
/// the file .env in the current folder; a flag beats the environment, which beats .env.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Run everything on this machine, with a PostgreSQL and a Kafka of its own.
    Up(Box<up::UpArgs>),
    /// Run the order service: Kafka to PostgreSQL to cache to HTTP.
    Orders(Box<orders::Config>),
    /// Send orders that look real, or your own.
    Load(Box<LoadRole>),
    /// Make the databases, users and tables; may be run again at any time.
    Migrate(Box<MigrateArgs>),
    /// List, show and replay rejected records.
    Rejected(rejected::RejectedArgs),
}

#[derive(Args)]
struct LoadRole {
    #[command(flatten)]
    load: load::LoadArgs,
    #[command(flatten)]
    kafka: chassis::kafka::KafkaConfig,
    #[command(flatten)]
    topics: orders::TopicConfig,
}

/// Without an administrator's address only the tables are made or brought up to date, by the
/// service's own user. With one, its database, the owning role, the user and the grants come first.
#[derive(Args)]
struct MigrateArgs {
    #[command(flatten)]
    database: orders::DatabaseConfig,
    #[command(flatten)]
    administrator: Administrator,
}

#[derive(Args)]
struct Administrator {
    /// An administrator's database, for making databases and users.
    #[arg(long, env = "ADMIN_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    admin_database_url: Option<String>,
    /// A file that holds ADMIN_DATABASE_URL.
    #[arg(long, env = "ADMIN_DATABASE_URL_FILE", value_name = "FILE")]
    admin_database_url_file: Option<PathBuf>,
}

impl Administrator {
    fn options(&self) -> anyhow::Result<Option<PgConnectOptions>> {
        let url =
            match &self.admin_database_url_file {
                Some(file) => Some(std::fs::read_to_string(file).with_context(|| {
                    format!("reading ADMIN_DATABASE_URL_FILE {}", file.display())
                })?),
                None => self.admin_database_url.clone(),
            };
        url.map(|url| url.trim().parse().context("ADMIN_DATABASE_URL is not a PostgreSQL address"))
            .transpose()
    }
}

fn main() -> ExitCode {
    match dotenvy::dotenv() {
        Ok(_) => {}
        Err(error) if error.not_found() => {}
        Err(error) => return fail(EX_CONFIG, &anyhow::Error::new(error).context("reading .env")),
    }
    let cli = Cli::parse();
    chassis::telemetry::start();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &error.into()),
    };
    runtime.block_on(run(cli.role))
}

async fn run(role: Role) -> ExitCode {
    let outcome = match role {
        Role::Up(args) => up::run(*args).await,
        Role::Orders(config) => serve_orders(*config).await,
        Role::Load(role) => return load_role(*role).await,
        Role::Migrate(args) => migrate(*args).await,
        Role::Rejected(args) => return rejected::run(args).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<BadConfiguration>() => fail(EX_CONFIG, &error),
        Err(error) => fail(1, &error),
    }
}

/// The context of what is wrong before anything has started.
#[derive(Debug, thiserror::Error)]
#[error("bad configuration")]
struct BadConfiguration;

async fn serve_orders(config: orders::Config) -> anyhow::Result<()> {
    config.topics.check().context(BadConfiguration)?;
    config.database.options().context(BadConfiguration)?;
    let shutdown = chassis::shutdown::on_signals(FAREWELL)?;
    let address = config.orders_http_addr;
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| {
            format!("listening on {address}; --orders-http-addr chooses another address")
        })
        .context(BadConfiguration)?;
    tracing::info!("the order service listens on http://{}", listener.local_addr()?);
    orders::run(config, listener, shutdown).await
}

async fn migrate(args: MigrateArgs) -> anyhow::Result<()> {
    args.database.options().context(BadConfiguration)?;
    let administrator = args.administrator.options().context(BadConfiguration)?;
    let migrating = orders::migrate(&args.database, administrator.as_ref());
    migrating.await?;
    tracing::info!("the order service's database is ready");
    Ok(())
}

async fn load_role(role: LoadRole) -> ExitCode {
    let shutdown = match chassis::shutdown::on_signals(FAREWELL) {
        Ok(shutdown) => shutdown,
        Err(error) => return fail(1, &error.into()),
    };
    match load::run(&role.load, &role.kafka, role.topics.orders(), shutdown).await {
        Ok(summary) => {
            let json = serde_json::to_string(&summary).expect("a summary has string keys");
            say(&if role.load.json { json } else { summary.to_string() });
            ExitCode::from(summary.exit_code())
        }
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(usage) => usage.exit(),
            Err(error) => fail(1, &error),
        },
    }
}

/// Data goes to standard output. Whoever reads it may have gone away.
#[expect(clippy::print_stdout, reason = "this is where data goes")]
fn say(text: &str) {
    println!("{}", text.trim_end());
}

#[expect(clippy::print_stderr, reason = "the last word of a process, for a person")]
fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    eprintln!("waybill: {error:#}");
    ExitCode::from(code)
}
