//! `chaos`: the command of the judge and of the chaos runner.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Shows that the platform loses and repeats nothing, whatever is done to it.
#[derive(Parser)]
#[command(name = "chaos", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Judge(chaos::judge::command::Args),
    Compat(chaos::compat::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Judge(args) => chaos::judge::command::run(args).await,
        Command::Compat(args) => chaos::compat::run(args).await,
    };
    result.unwrap_or_else(|error| {
        use std::io::Write as _;
        // A closed standard error changes nothing about the exit code.
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        ExitCode::from(2)
    })
}
