//! `waybill audit`: checks the invariants of ARCHITECTURE.md against the databases and the topics,
//! and prints one line for each.

use std::process::ExitCode;

use anyhow::Context;
use chassis::{audit::check::Check, postgres::pool::reach, process::exit::ExitReason};
use clap::Args;

use crate::output;

const EXAMPLES: &str = "\
Examples:
  waybill audit                      both services, with traffic going on
  waybill audit --json | jq 'select(.broken > 0)'
                                     what is broken, for a program

Reads the committed offsets first, then tables and topics from their beginning, streaming; takes
some 150 bytes of memory an order. Nothing is written. Records that Kafka has deleted by now cannot
be recounted, and are not.

Exit codes: 0 every promise is kept, 1 one is broken, 2 usage, 69 a dependency was silent for 10
seconds, 78 bad configuration.";

/// Recount the promises from the databases and the topics.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AuditArgs {
    /// Give JSON: one object a promise, one a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    orders_database: orders::DatabaseConfig,
    #[command(flatten)]
    couriers: couriers::Options,
    #[command(flatten)]
    kafka: chassis::kafka::config::KafkaConfig,
    #[command(flatten)]
    topics: orders::TopicConfig,
}

pub(crate) async fn run(args: AuditArgs) -> anyhow::Result<ExitCode> {
    let json = args.json;
    // A topic scan blocks its thread, so the audit runs on a thread of its own.
    let runtime = tokio::runtime::Handle::current();
    let audit = tokio::task::spawn_blocking(move || runtime.block_on(recount(&args)));
    let checks = audit.await??;
    for check in &checks {
        let line = serde_json::to_string(check).expect("a check has string keys");
        output::print(&if json { line } else { describe(check) });
    }
    let broken = checks.iter().filter(|check| check.broken > 0).count();
    if !json {
        output::print(&match broken {
            0 => format!("All {} promises are kept.", checks.len()),
            broken => format!("{broken} of {} promises are broken.", checks.len()),
        });
    }
    Ok(ExitCode::from(u8::from(broken > 0)))
}

async fn recount(args: &AuditArgs) -> anyhow::Result<Vec<Check>> {
    reach(&args.orders_database.options().context(ExitReason::Configuration)?).await?;
    let mut checks = orders::audit(&args.kafka, &args.topics, &args.orders_database).await?;
    let database = args.couriers.database.options(&args.orders_database.postgres);
    let database = database.context(ExitReason::Configuration)?;
    reach(&database).await?;
    let status_topic = &args.topics.kafka_status_topic;
    let sweep = args.couriers.dispatch_sweep;
    checks.extend(couriers::audit(&args.kafka, status_topic, &database, sweep).await?);
    checks.sort_by_key(|check| check.invariant);
    Ok(checks)
}

fn describe(check: &Check) -> String {
    let verdict = if check.broken == 0 { "kept  " } else { "BROKEN" };
    let mut line =
        format!("{verdict}  {}  {}: {} looked at", check.invariant, check.promise, check.checked);
    if check.broken > 0 {
        line += &format!(", {} broken, such as {}", check.broken, check.examples.join(", "));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_promise_is_marked() {
        let mut check = Check::new(3, "numbers are even");
        check.look(true, String::new);
        assert_eq!(describe(&check), "kept    3  numbers are even: 1 looked at");
        check.look(false, || "7".to_owned());
        assert_eq!(
            describe(&check),
            "BROKEN  3  numbers are even: 2 looked at, 1 broken, such as 7"
        );
    }
}
