//! The binary: parses the command line, starts telemetry, awaits the role and returns an exit code.
//!
//! ```text
//! up/        everything on one machine           load/    the generator
//! serve      the order and the courier service   tools/   migrate, rejected, explain, audit, probe
//! usage      errors of the command line          output   standard output and error, exit codes
//! http       the HTTP client of tools and generator
//! ```

mod http;
mod load;
mod output;
mod serve;
#[cfg(test)]
mod settings;
mod tools;
mod up;
mod usage;

use std::process::ExitCode;

use anyhow::Context;
use chassis::process::{exit::ExitReason, telemetry};
use clap::{Parser, Subcommand};

use crate::output::fail;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    Load(Box<load::LoadCommand>),
    /// Make the databases, users and tables; may be run again at any time.
    Migrate(Box<tools::migrate::MigrateArgs>),
    /// List, show and replay rejected records.
    Rejected(tools::rejected::RejectedArgs),
    /// Tell one order's whole life, from both services.
    Explain(tools::explain::ExplainArgs),
    /// Recount the promises from the databases and the topics.
    Audit(Box<tools::audit::AuditArgs>),
    /// Ask a service whether it is well, as a container's health check.
    Probe(tools::probe::ProbeArgs),
}

fn main() -> ExitCode {
    if let Err(error) = read_dotenv() {
        return fail(&error);
    }
    let cli: Cli = match usage::parse() {
        Ok(cli) => cli,
        Err(code) => return ExitCode::from(code),
    };
    telemetry::start();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    // The error is printed inside the runtime, because dropping the runtime waits for its threads.
    let code = runtime.block_on(async { run(cli.role).await.unwrap_or_else(|error| fail(&error)) });
    telemetry::flush();
    code
}

fn read_dotenv() -> anyhow::Result<()> {
    match dotenvy::dotenv() {
        Err(error) if !error.not_found() => {
            Err(error).context("reading .env").context(ExitReason::Configuration)
        }
        _ => Ok(()),
    }
}

async fn run(role: Role) -> anyhow::Result<ExitCode> {
    match role {
        Role::Up(args) => up::run(*args).await?,
        Role::Orders(config) => serve::orders(*config).await?,
        Role::Couriers(config) => serve::couriers(*config).await?,
        Role::Migrate(args) => tools::migrate::run(*args).await?,
        Role::Rejected(args) => tools::rejected::run(args).await?,
        Role::Probe(args) => tools::probe::run(args).await?,
        Role::Load(args) => return load::run_command(*args).await,
        Role::Explain(args) => return tools::explain::run(args).await,
        Role::Audit(args) => return tools::audit::run(*args).await,
    }
    Ok(ExitCode::SUCCESS)
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
