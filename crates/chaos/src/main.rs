//! `chaos`: the command of the judge and of the chaos runner.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Show that the platform loses and repeats nothing, whatever is done to it.
#[derive(Parser)]
#[command(name = "chaos", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Judge(chaos::judge::command::Args),
    Plant(chaos::plant::command::Args),
    Compat(chaos::compat::Args),
    /// Measure how soon the order service works again after a fault.
    Recovery(chaos::recovery::Args),
    /// Measure the memory with a backlog on Kafka while PostgreSQL is down.
    Backlog(chaos::backlog::Args),
    Scenario(chaos::scenario::ScenarioArgs),
    Soak(chaos::soak::SoakArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Judge(args) => chaos::judge::command::run(args).await,
        Command::Plant(args) => chaos::plant::command::run(args).await,
        Command::Compat(args) => chaos::compat::run(args).await,
        Command::Recovery(args) => chaos::recovery::run(args).await,
        Command::Backlog(args) => chaos::backlog::run(args).await,
        Command::Scenario(args) => chaos::scenario::run(args).await,
        Command::Soak(args) => chaos::soak::run(args).await,
    };
    result.unwrap_or_else(|error| {
        use std::io::Write as _;
        // A closed standard error changes nothing about the exit code.
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        ExitCode::from(2)
    })
}
