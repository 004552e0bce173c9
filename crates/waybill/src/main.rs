//! The binary: parses the command line, starts telemetry, awaits a role, returns an exit code.

pub mod load;
#[cfg(test)]
mod settings;
mod tools;
mod up;
mod usage;

use std::{io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use chassis::{
    postgres::errors,
    process::{
        exit::{self, ExitReason},
        secret,
    },
};
use clap::{Args, Parser, Subcommand};
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a role may take to stop. An orderly end takes a second or two; one that waits for a
/// dependency that is down would take for ever, and need not: what is unfinished comes again.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

const EXIT_CODES: &str = "\
Exit codes:
  0   done, or stopped in good order
  1   a finding, or an unexpected end
  2   usage: a flag that is unknown or cannot be read
  69  what a tool depends on was silent for 10 seconds
  78  bad configuration, credentials or rights; a variable that cannot be read, too";

/// Waybill: orders from Kafka to PostgreSQL to a page, and nothing lost on the way.
///
/// Every option can also be given by the environment variable that its help names, or by a line of
/// the file .env of the current folder or of the nearest above it; a flag beats the environment,
/// which beats .env.
#[derive(Parser)]
#[command(version, max_term_width = 100, after_help = EXIT_CODES)]
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
    /// Run the courier service: status events to deliveries, orders to couriers.
    Couriers(Box<couriers::Config>),
    /// Send orders that look real, or your own.
    Load(Box<LoadRole>),
    /// Make the databases, users and tables; may be run again at any time.
    Migrate(Box<MigrateArgs>),
    /// List, show and replay rejected records.
    Rejected(tools::rejected::RejectedArgs),
    /// Tell one order's whole life, from both services.
    Explain(tools::explain::ExplainArgs),
    /// Recount the promises from the databases and the topics.
    Audit(Box<tools::audit::AuditArgs>),
    /// Ask a service whether it is well, as a container's health check.
    Probe(tools::probe::ProbeArgs),
}

#[derive(Args)]
struct LoadRole {
    #[command(flatten)]
    load: load::LoadArgs,
    #[command(flatten)]
    kafka: chassis::kafka::config::KafkaConfig,
    #[command(flatten)]
    topics: orders::TopicConfig,
}

/// Each service whose database is given. Without an administrator's address only the tables are
/// made or brought up to date, by the service's own user. With one, its database, the owning role,
/// the user and the grants come first.
#[derive(Args)]
struct MigrateArgs {
    #[command(flatten)]
    orders: orders::DatabaseConfig,
    #[command(flatten)]
    couriers: couriers::DatabaseConfig,
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
        let file = self.admin_database_url_file.as_deref();
        let url = secret::read("ADMIN_DATABASE_URL", self.admin_database_url.as_deref(), file)?;
        url.map(|url| url.parse().context("ADMIN_DATABASE_URL is not a PostgreSQL address"))
            .transpose()
    }
}

fn main() -> ExitCode {
    match dotenvy::dotenv() {
        Ok(_) => {}
        Err(error) if error.not_found() => {}
        Err(error) => {
            let error = anyhow::Error::new(error).context("reading .env");
            return fail(&error.context(ExitReason::Configuration));
        }
    }
    let cli: Cli = match usage::parse() {
        Ok(cli) => cli,
        Err(code) => return ExitCode::from(code),
    };
    chassis::process::telemetry::start();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    runtime.block_on(run(cli.role))
}

async fn run(role: Role) -> ExitCode {
    let outcome = match role {
        Role::Up(args) => up::run(*args).await,
        Role::Orders(config) => serve_orders(*config).await,
        Role::Couriers(config) => serve_couriers(*config).await,
        Role::Load(role) => return load_role(*role).await,
        Role::Migrate(args) => migrate(*args).await,
        Role::Rejected(args) => return tools::rejected::run(args).await,
        Role::Explain(args) => return tools::explain::run(args).await,
        Role::Audit(args) => return tools::audit::run(*args).await,
        Role::Probe(args) => return tools::probe::run(args).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn serve_orders(config: orders::Config) -> anyhow::Result<()> {
    config.topics.check().context(ExitReason::Configuration)?;
    config.database.options().context(ExitReason::Configuration)?;
    let shutdown = chassis::process::shutdown::on_signals(SHUTDOWN_TIMEOUT)?;
    let listener = listen(config.orders_http_addr, "--orders-http-addr").await?;
    tracing::info!("the order service listens on http://{}", listener.local_addr()?);
    orders::run(config, listener, shutdown).await
}

/// Listens where a service is to answer; `flag` chooses another address.
async fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address}; {flag} chooses another address"))
        .context(ExitReason::Configuration)
}

async fn serve_couriers(config: couriers::Config) -> anyhow::Result<()> {
    config.own.database.options(&config.postgres).context(ExitReason::Configuration)?;
    let shutdown = chassis::process::shutdown::on_signals(SHUTDOWN_TIMEOUT)?;
    let listener = listen(config.own.couriers_http_addr, "--couriers-http-addr").await?;
    tracing::info!("the courier service listens on http://{}", listener.local_addr()?);
    couriers::run(config, listener, shutdown).await
}

/// Each service whose database is given; if none is, the order service's absence says so.
async fn migrate(args: MigrateArgs) -> anyhow::Result<()> {
    let MigrateArgs { orders, couriers, administrator } = args;
    let administrator = administrator.options().context(ExitReason::Configuration)?;
    let with_couriers = couriers.is_given(&orders.postgres);
    if orders.is_given() || !with_couriers {
        let service = orders.options().context(ExitReason::Configuration)?;
        chassis::postgres::pool::reach(administrator.as_ref().unwrap_or(&service)).await?;
        orders::migrate(&orders, administrator.as_ref()).await?;
        tracing::info!("the order service's database is ready");
    }
    if with_couriers {
        let service = couriers.options(&orders.postgres).context(ExitReason::Configuration)?;
        chassis::postgres::pool::reach(administrator.as_ref().unwrap_or(&service)).await?;
        couriers::migrate(&couriers, &orders.postgres, administrator.as_ref()).await?;
        tracing::info!("the courier service's database is ready");
    }
    Ok(())
}

async fn load_role(role: LoadRole) -> ExitCode {
    let shutdown = match chassis::process::shutdown::on_signals(SHUTDOWN_TIMEOUT) {
        Ok(shutdown) => shutdown,
        Err(error) => return fail(&error.into()),
    };
    let topic = role.topics.orders();
    match shutdown.run_until_cancelled(role.kafka.reach_topic(topic)).await {
        None => return ExitCode::SUCCESS,
        Some(Err(error)) => return fail(&error),
        Some(Ok(())) => {}
    }
    match load::run(&role.load, &role.kafka, &role.topics, shutdown).await {
        Ok(summary) => {
            let json = serde_json::to_string(&summary).expect("a summary has string keys");
            say(&if role.load.json { json } else { summary.to_string() });
            ExitCode::from(summary.exit_code())
        }
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(usage) => usage.exit(),
            Err(error) => fail(&error),
        },
    }
}

/// Data goes to standard output. Whoever reads it may have gone away.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

#[expect(clippy::print_stderr, reason = "the last word of a process, for a person")]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("waybill: {error:#}");
    ExitCode::from(exit_code(error))
}

/// The exit code of a process that ends with `error`: a refusal by PostgreSQL is bad configuration,
/// wherever it was met.
fn exit_code(error: &anyhow::Error) -> u8 {
    let refused = error.chain().filter_map(|cause| cause.downcast_ref()).any(errors::is_refusal);
    match exit::code(error) {
        1 if refused => 78,
        code => code,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_line_can_be_built() {
        Cli::command().debug_assert();
    }
}
