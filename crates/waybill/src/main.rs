//! The binary: parses the command line, starts logging, runs one command and returns an exit code.
//!
//! ```text
//! up/        everything on one machine           load/    the generator
//! serve      the order and the courier service   tools/   migrate, rejected, explain, audit, rewind, probe
//! usage      errors of the command line          output   standard output and error, exit codes
//! dotenv     the file .env                       http     the client of tools and generator
//! environment   the variables of the process, before anything reads them
//! escape     texts from outside, as a terminal may show them
//! ```

#[cfg(test)]
mod containers;
mod dotenv;
mod environment;
mod escape;
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

use chassis::process::telemetry;
use clap::{Parser, Subcommand};

use crate::output::fail;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MORE: &str = "\
Start with `waybill up`, which runs everything on this machine.
`waybill COMMAND -h` shows the most important options of a command.
`waybill COMMAND --help` explains the command and all its options.";

const CONFIGURATION_AND_EXIT_CODES: &str = "\
Configuration:
  Most options can also be set by an environment variable, which the help shows
  as [env: NAME], or by a line NAME=value of the file .env in the current folder
  or in the nearest folder above it. The command line overrides the environment,
  the environment overrides .env, and .env overrides the defaults. An empty
  variable counts as unset. A .env of a folder above is named in the log, and is
  refused if other users can write to it or another user (not root) owns it. In
  .env, $NAME is replaced by the value of that variable, except in single quotes:
  put a value with spaces or $ in single quotes.
  The file .env.example lists all variables.

Exit codes:
  0   success, or stopped by a signal and shut down completely
  1   failure: for example, an audit found a broken invariant, a record could
      not be sent, or a service ended unexpectedly
  2   wrong command line: an unknown option, or an option with an invalid value
  69  a dependency of a tool (Kafka, PostgreSQL or a service) did not answer for
      10 seconds
  78  wrong configuration: an environment variable with an invalid value, a
      missing setting, wrong credentials, missing permissions, or an address
      that is in use";

/// Waybill takes orders from Kafka, stores them in PostgreSQL, serves them over HTTP, and assigns them
/// to couriers.
///
/// Start with `waybill up`, which runs everything on this machine. In production, run `waybill
/// migrate` once for each version, and then replicas of `waybill orders` and `waybill couriers`. The
/// other commands are tools. `waybill COMMAND --help` explains a command and all its options, with
/// examples.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = MORE,
    after_long_help = CONFIGURATION_AND_EXIT_CODES
)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    Up(Box<up::UpArgs>),
    /// Run the order service.
    ///
    /// The order service consumes orders from Kafka, validates them, stores them in PostgreSQL,
    /// publishes their status events, and serves them over HTTP, from a cache, as JSON and as pages.
    /// Records that are not valid orders are stored as rejected; see `waybill rejected`.
    ///
    /// The tables must exist: run `waybill migrate` first. If Kafka or PostgreSQL does not answer,
    /// the service waits. SIGTERM or Ctrl-C shuts it down within 10 seconds; a second signal ends it
    /// at once. Records that were not finished are redelivered at the next start.
    #[command(after_help = usage::SEE_LONG_HELP, after_long_help = serve::ORDERS_EXAMPLES)]
    Orders(Box<orders::Config>),
    /// Run the courier service.
    ///
    /// The courier service consumes status events from Kafka, assigns waiting orders to available
    /// couriers, and serves couriers, deliveries and a board for dispatchers over HTTP.
    ///
    /// The tables must exist: run `waybill migrate` first. If Kafka or PostgreSQL does not answer,
    /// the service waits. SIGTERM or Ctrl-C shuts it down within 10 seconds; a second signal ends it
    /// at once. Records that were not finished are redelivered at the next start.
    #[command(after_help = usage::SEE_LONG_HELP, after_long_help = serve::COURIERS_EXAMPLES)]
    Couriers(Box<serve::CouriersArgs>),
    Load(Box<load::LoadCommand>),
    Migrate(Box<tools::migrate::MigrateArgs>),
    Rejected(tools::rejected::RejectedArgs),
    Explain(tools::explain::ExplainArgs),
    Audit(Box<tools::audit::AuditArgs>),
    Rewind(Box<tools::rewind::RewindArgs>),
    Probe(tools::probe::ProbeArgs),
}

fn main() -> ExitCode {
    // Before the command line is parsed, because the parser reads the environment; and before the
    // runtime is built, because changing the environment is safe only in a single thread.
    let parent_dotenv = match environment::prepare() {
        Ok(parent_dotenv) => parent_dotenv,
        Err(error) => return fail(&error),
    };
    let cli: Cli = match usage::parse() {
        Ok(cli) => cli,
        Err(code) => return ExitCode::from(code),
    };
    telemetry::start();
    if let Some(path) = parent_dotenv {
        tracing::info!("variables are read from {}", path.display());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    // The error is printed inside the runtime: dropping the runtime waits for its blocking threads,
    // which can take seconds.
    let code = runtime.block_on(async { run(cli.role).await.unwrap_or_else(|error| fail(&error)) });
    telemetry::flush();
    code
}

async fn run(role: Role) -> anyhow::Result<ExitCode> {
    match role {
        Role::Up(args) => up::run(*args).await?,
        Role::Orders(config) => serve::orders(*config).await?,
        Role::Couriers(args) => match args.tool {
            None => serve::couriers(args.config).await?,
            Some(serve::CouriersTool::Import(import)) => tools::import::run(import).await?,
        },
        Role::Migrate(args) => tools::migrate::run(*args).await?,
        Role::Probe(args) => tools::probe::run(args).await?,
        Role::Load(args) => return load::run_command(*args).await,
        Role::Rejected(args) => return tools::rejected::run(args).await,
        Role::Explain(args) => return tools::explain::run(args).await,
        Role::Audit(args) => return tools::audit::run(*args).await,
        Role::Rewind(args) => return tools::rewind::run(*args).await,
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
