//! `waybill audit`: checks the invariants of ARCHITECTURE.md against the databases and the topics,
//! and prints one line for each check.

use std::process::ExitCode;

use anyhow::Context;
use chassis::{audit::check::Check, postgres::pool::reach, process::exit::ExitReason};
use clap::Args;

use crate::{
    escape, output,
    usage::{SEE_LONG_HELP, hide},
};

const EXAMPLES: &str = "\
Examples:
  waybill audit --orders-database-url postgres://waybill_orders:…@db/orders \\
    --couriers-database-url postgres://waybill_couriers:…@db/couriers \\
    --kafka-brokers kafka:9092
      check both services
  waybill audit --json | jq 'select(.broken > 0)'
      the failed checks, for a program
  waybill explain ORDER_UID
      the history of an order that a failed check names

Output: one line for each check. It has the verdict (holds or BROKEN), the
number of the invariant in ARCHITECTURE.md, the number of orders or records that
were checked, and up to five examples of those that break the invariant: an
order_uid, or a record as topic:partition:offset. Control characters and invisible
characters are shown as \\u{1b}; with --json, they are escaped as in JSON.

Exit codes: 0 all invariants hold, 1 at least one is broken, 2 wrong command
line, 69 Kafka or PostgreSQL did not answer for 10 seconds, 78 wrong
configuration.";

/// Check the invariants of both services in the databases and the topics.
///
/// The audit compares what the databases contain with what the topics contain: for example, that each
/// valid record is stored, that each stored order has its event, and that no order waits while a
/// courier is available. It may run while the services are working. Give it the same topics, the
/// same --kafka-group-id and the same --dispatch-sweep as the services.
///
/// It writes nothing. It reads all tables and topics from their beginning, and needs about 150 bytes
/// of memory for each order. Records that Kafka has deleted are not checked.
#[derive(Args)]
#[command(
    after_help = SEE_LONG_HELP,
    after_long_help = EXAMPLES,
    mut_args(|option| hide(option, &UNUSED))
)]
pub(crate) struct AuditArgs {
    /// Print JSON: one line with one object for each check.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    kafka: chassis::kafka::config::KafkaConfig,
    #[command(flatten)]
    topics: orders::TopicConfig,
    #[command(flatten)]
    orders_database: orders::DatabaseConfig,
    #[command(flatten)]
    couriers: couriers::Options,
}

/// Options of the services that the audit does not read.
const UNUSED: [&str; 7] = [
    "kafka_create_topics",
    "postgres_connections",
    "couriers_http_addr",
    "delivery_time_on_foot",
    "delivery_time_scooter",
    "delivery_time_car",
    "overdue_grace",
];

pub(crate) async fn run(args: AuditArgs) -> anyhow::Result<ExitCode> {
    let json = args.json;
    // A topic scan blocks its thread, so the audit runs outside the threads of the runtime.
    let runtime = tokio::runtime::Handle::current();
    let audit = tokio::task::spawn_blocking(move || runtime.block_on(check_invariants(&args)));
    let checks = audit.await??;
    for check in &checks {
        if json {
            output::print_json(&serde_json::to_string(check).expect("a check has string keys"))?;
        } else {
            output::print(&escape::line(&describe(check)))?;
        }
    }
    let broken = checks.iter().filter(|check| check.broken > 0).count();
    if !json {
        output::print(&match broken {
            0 => format!("All {} checks passed: every invariant holds.", checks.len()),
            broken => format!("{broken} of {} checks failed: see the lines BROKEN.", checks.len()),
        })?;
    }
    Ok(ExitCode::from(u8::from(broken > 0)))
}

async fn check_invariants(args: &AuditArgs) -> anyhow::Result<Vec<Check>> {
    args.kafka.check().context(ExitReason::Configuration)?;
    args.topics.check().context(ExitReason::Configuration)?;
    args.kafka.warn();
    let database = args.orders_database.address().context(ExitReason::Configuration)?;
    database.warn();
    reach(&database.options()).await?;
    let mut checks = orders::audit(&args.kafka, &args.topics, &args.orders_database).await?;
    let database = args.couriers.database.address(&args.orders_database.postgres);
    let database = database.context(ExitReason::Configuration)?;
    database.warn();
    let database = database.options();
    reach(&database).await?;
    let status_topic = &args.topics.kafka_status_topic;
    let sweep = args.couriers.dispatch_sweep;
    checks.extend(couriers::audit(&args.kafka, status_topic, &database, sweep).await?);
    checks.sort_by_key(|check| check.number);
    Ok(checks)
}

fn describe(check: &Check) -> String {
    let verdict = if check.broken == 0 { "holds " } else { "BROKEN" };
    let mut line =
        format!("{verdict}  {}  {}: {} checked", check.number, check.invariant, check.checked);
    if check.broken > 0 {
        line += &format!(", {} broken, such as {}", check.broken, check.examples.join(", "));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_invariant_is_marked() {
        let mut check = Check::new(3, "numbers are even");
        check.look(true, String::new);
        assert_eq!(describe(&check), "holds   3  numbers are even: 1 checked");
        check.look(false, || "7".to_owned());
        assert_eq!(describe(&check), "BROKEN  3  numbers are even: 2 checked, 1 broken, such as 7");
    }
}
