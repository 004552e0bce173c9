//! `waybill audit`: checks the invariants of ARCHITECTURE.md against the databases and the topics,
//! and prints one line for each check.

use std::process::ExitCode;

use anyhow::Context;
use chassis::{
    audit::check::{Check, Reason, Verdict},
    postgres::pool::reach,
    process::exit::ExitReason,
};
use clap::Args;
use serde::Serialize;

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
  waybill audit --strict
      fail also if a part of a check could not be made
  waybill audit --json | jq 'select(.verdict != \"kept\" or .not_checked > 0)'
      the checks that are broken or incomplete, for a program
  waybill explain ORDER_UID
      the history of an order that a broken check names

Output: one line for each check. It has the verdict, the number of the invariant
in ARCHITECTURE.md, and the number of orders or records that were checked. The
verdict is one of these:
  kept         everything that was checked keeps the invariant
  BROKEN       up to five examples follow: an order_uid, or a record as
               topic:partition:offset, with the field that differs, such as
               `order-17: /payment/amount`; values are never shown
  not checked  there was something to check, and nothing of it could be checked
A part that could not be checked follows with its number and the reason: for
example, because Kafka has deleted the records, or because the consumer group
has committed no offset. Control characters and invisible characters are shown
as \\u{1b}; with --json, they are escaped as in JSON.

With --json, each line is an object: verdict (kept, broken, not_checked), number,
invariant, checked, broken, examples, not_checked, and reasons, an array of
{count, reason}.

Exit codes: 0 no invariant is broken, 1 at least one is broken or was not
checked at all (with --strict: or was not checked completely), 2 wrong command
line, 69 Kafka or PostgreSQL did not answer for 10 seconds, 78 wrong
configuration.";

/// Check the invariants of both services in the databases and the topics.
///
/// The audit compares what the databases contain with what the topics contain, field by field: for
/// example, that each valid record is stored with its content, that each stored order has its event,
/// that its delivery is the latest one, and that no order waits while a courier is available. It also
/// finds rows that were changed manually. It may run while the services are working. Give it the same topics, the same
/// --kafka-group-id and the same --dispatch-sweep as the services.
///
/// It writes nothing. It reads all tables and topics from their beginning, and needs about 200 bytes
/// of memory for each order. It works on compacted topics, on topics with the timestamps of
/// producers (CreateTime), and with transactional producers. Rows whose records Kafka has deleted are
/// not checked, and are counted.
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
    /// Exit with 1 also if a part of a check could not be made.
    #[arg(long)]
    strict: bool,
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
const UNUSED: [&str; 9] = [
    "kafka_create_topics",
    "kafka_instance_id",
    "postgres_connections",
    "couriers_http_addr",
    "delivery_time_on_foot",
    "delivery_time_scooter",
    "delivery_time_car",
    "overdue_grace",
    "released_orders",
];

/// A check as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    verdict: Verdict,
    #[serde(flatten)]
    check: &'a Check,
}

pub(crate) async fn run(args: AuditArgs) -> anyhow::Result<ExitCode> {
    let AuditArgs { json, strict, .. } = args;
    // A topic scan blocks its thread, so the audit runs outside the threads of the runtime.
    let runtime = tokio::runtime::Handle::current();
    let audit = tokio::task::spawn_blocking(move || runtime.block_on(check_invariants(&args)));
    let checks = audit.await??;
    for check in &checks {
        if json {
            let line = Line { verdict: check.verdict(), check };
            output::print_json(&serde_json::to_string(&line).expect("a check has string keys"))?;
        } else {
            output::print(&escape::line(&describe(check)))?;
        }
    }
    if !json {
        output::print(&summarize(&checks))?;
    }
    let fails =
        |check: &Check| check.verdict() != Verdict::Kept || (strict && check.not_checked > 0);
    Ok(ExitCode::from(u8::from(checks.iter().any(fails))))
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
    let topics = (status_topic.as_str(), args.topics.kafka_deliveries_topic.as_str());
    checks.extend(couriers::audit(&args.kafka, topics, &database, sweep).await?);
    checks.sort_by_key(|check| check.number);
    Ok(checks)
}

fn describe(check: &Check) -> String {
    let verdict = match check.verdict() {
        Verdict::Kept => "kept       ",
        Verdict::Broken => "BROKEN     ",
        Verdict::NotChecked => "not checked",
    };
    let Check { number, invariant, checked, broken, not_checked, .. } = check;
    let mut line = format!("{verdict}  {number}  {invariant}: {checked} checked");
    if *broken > 0 {
        line += &format!(", {broken} broken, such as {}", check.examples.join(", "));
    }
    if *not_checked > 0 {
        let reasons =
            check.reasons.iter().map(|Reason { count, reason }| format!("{count} {reason}"));
        let reasons: Vec<_> = reasons.collect();
        line += &format!(", {not_checked} not checked ({})", reasons.join("; "));
    }
    line
}

/// Returns the last line: the number of checks by verdict.
fn summarize(checks: &[Check]) -> String {
    let count = |verdict: Verdict| checks.iter().filter(|check| check.verdict() == verdict).count();
    let (broken, not_checked) = (count(Verdict::Broken), count(Verdict::NotChecked));
    let mut summary = match (broken, not_checked) {
        (0, 0) => format!("All {} checks passed: every invariant is kept.", checks.len()),
        (0, not_checked) => format!(
            "{not_checked} of {} checks could check nothing: see the lines `not checked`.",
            checks.len()
        ),
        (broken, _) => format!("{broken} of {} checks failed: see the lines BROKEN.", checks.len()),
    };
    let partly = checks.iter().filter(|it| it.verdict() == Verdict::Kept && it.not_checked > 0);
    let partly = partly.count();
    if partly > 0 {
        summary +=
            &format!(" {partly} could not check everything; --strict counts that as a failure.");
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_is_shown_with_its_numbers() {
        let mut check = Check::new(3, "numbers are even");
        check.look(true, String::new);
        assert_eq!(describe(&check), "kept         3  numbers are even: 1 checked");
        check.skip(2, "too large");
        check.skip(1, "too small");
        let text =
            "kept         3  numbers are even: 1 checked, 3 not checked (2 too large; 1 too small)";
        assert_eq!(describe(&check), text);
        check.look(false, || "7".to_owned());
        assert!(describe(&check).starts_with(
            "BROKEN       3  numbers are even: 2 checked, 1 broken, such as 7, 3 not checked"
        ));
        let mut nothing = Check::new(3, "numbers are even");
        nothing.skip(2, "too large");
        assert!(
            describe(&nothing).starts_with("not checked  3  numbers are even: 0 checked, 2 not")
        );
        assert!(summarize(&[check, nothing.clone()]).starts_with("1 of 2 checks failed"));
        assert!(summarize(&[nothing]).starts_with("1 of 1 checks could check nothing"));
        assert!(summarize(&[Check::new(1, "")]).starts_with("All 1 checks passed"));
    }

    #[test]
    fn a_line_of_json_has_the_verdict() {
        let mut check = Check::new(3, "numbers are even");
        check.skip(2, "too large");
        let line = serde_json::to_value(Line { verdict: check.verdict(), check: &check }).unwrap();
        let expected = serde_json::json!({
            "verdict": "not_checked", "number": 3, "invariant": "numbers are even", "checked": 0,
            "broken": 0, "examples": [], "not_checked": 2,
            "reasons": [{"count": 2, "reason": "too large"}],
        });
        assert_eq!(line, expected);
    }
}
