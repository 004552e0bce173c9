//! `waybill rewind`: sets the consumer groups of both services back to a time, so that the records
//! since then are read again.

use std::process::ExitCode;

use anyhow::Context;
use chassis::{
    kafka::{
        config::KafkaConfig,
        offsets::NextOffset,
        rewind::{PartitionRewind, Rewind},
    },
    process::exit::ExitReason,
};
use clap::Args;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    escape, output,
    usage::{SEE_LONG_HELP, hide},
};

const EXAMPLES: &str = "\
Examples:
  waybill rewind --to 2026-03-01T12:00:00Z --dry-run --kafka-brokers kafka:9092
      show what would be read again, and change nothing
  waybill rewind --to 2026-03-01T12:00:00Z --kafka-brokers kafka:9092
      set the groups back; stop all replicas of both services first
  waybill audit
      after the services have read the records again: check that nothing is missing

The time: an earlier time is always safe, a later one may leave records out. It is
compared with the timestamps of the records, and a record may have waited before
it was stored. After PostgreSQL has lost its last transactions, this statement
in the database of the order service gives the time up to which every partition
is stored completely:
  SELECT min(latest) FROM (SELECT max(source_timestamp) AS latest
    FROM orders.orders GROUP BY source_partition) AS partitions
Take a time some minutes before it, and before the loss. If producers set the
timestamps of a topic (CreateTime), also allow for their clocks.

Output: for each group and partition, the committed offset before and after. With
--json, each partition is a line with an object: group, topic, partition,
committed (null if there is none), to (null if it stays as it is), records (the
number of offsets that are read again), and older_deleted (true if Kafka has
deleted records that may have been sent since then).

Exit codes: 0 done, or nothing to do, 1 refused, because a group is active or no
group has committed an offset, 2 wrong command line, such as a time in the future,
69 Kafka did not answer for 10 seconds, 78 wrong configuration.";

/// Set the consumer groups back to a time, so that the records since then are read again.
///
/// Use it if a database has lost its last transactions, for example after a failover to a standby
/// that lacked them, or after a restore of a backup: the services have committed the offsets of
/// records that are no longer stored. Records that are still stored change nothing when they are read
/// again; their events are repeated.
///
/// The command changes the groups of the order service (orders, status, deliveries) and of the courier
/// service (couriers). An offset never moves forward, and a partition without a record since then stays as it
/// is. The command is refused while a group is active: stop all replicas first.
#[derive(Args)]
#[command(
    after_help = SEE_LONG_HELP,
    after_long_help = EXAMPLES,
    mut_args(|option| hide(option, &["kafka_create_topics", "kafka_instance_id"]))
)]
pub(crate) struct RewindArgs {
    /// Time to go back to, in RFC 3339, such as 2026-03-01T12:00:00Z.
    #[arg(long, value_name = "DATE_TIME", value_parser = past)]
    to: OffsetDateTime,
    /// Only show what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: one line with one object for each partition.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    kafka: KafkaConfig,
    #[command(flatten)]
    topics: orders::TopicConfig,
}

pub(crate) async fn run(args: RewindArgs) -> anyhow::Result<ExitCode> {
    args.kafka.check().context(ExitReason::Configuration)?;
    args.topics.check().context(ExitReason::Configuration)?;
    args.kafka.warn();
    // The calls to Kafka block their thread.
    tokio::task::spawn_blocking(move || rewind(&args)).await?
}

fn rewind(args: &RewindArgs) -> anyhow::Result<ExitCode> {
    let RewindArgs { to, dry_run, json, kafka, topics } = args;
    let status_topic = topics.kafka_status_topic.as_str();
    let deliveries_topic = topics.kafka_deliveries_topic.as_str();
    let groups = [
        ("orders", topics.orders()),
        ("status", status_topic),
        ("deliveries", deliveries_topic),
        ("couriers", status_topic),
    ];
    let plan = |(group, topic)| Rewind::plan(kafka, kafka.group(group), topic, *to);
    let rewinds = groups.into_iter().map(plan).collect::<anyhow::Result<Vec<_>>>()?;

    // The services work without the deliveries topic, so it may be missing.
    let mut missing = rewinds.iter().filter(|rewind| rewind.partitions.is_empty());
    if let Some(Rewind { topic, .. }) = missing.find(|rewind| rewind.topic != deliveries_topic) {
        let brokers = kafka.brokers();
        return Err(anyhow::anyhow!(
            "Kafka at {brokers} has no topic {topic}; check the names of the topics"
        )
        .context(ExitReason::Configuration));
    }

    let names: Vec<_> = rewinds.iter().map(|rewind| rewind.group.as_str()).collect();
    let partitions = || rewinds.iter().flat_map(|rewind| &rewind.partitions);
    anyhow::ensure!(
        partitions().any(|partition| partition.committed.is_some()),
        "none of the groups {} has committed an offset; check --kafka-group-id and \
         --kafka-brokers",
        names.join(", ")
    );
    // All groups are checked before the first one is changed.
    let active: Vec<_> = rewinds.iter().filter(|rewind| !rewind.members.is_empty()).collect();
    if let Some(refusal) = refusal(&active) {
        anyhow::ensure!(*dry_run, refusal);
        output::print_error(&format!("waybill: without --dry-run, this is refused: {refusal}"));
    }
    for rewind in &rewinds {
        show(rewind, *json)?;
    }
    if !*dry_run {
        rewinds.iter().try_for_each(Rewind::commit)?;
    }
    if !*json {
        let records: u64 = partitions().map(PartitionRewind::records).sum();
        output::print(match (records, *dry_run) {
            (0, _) => "Nothing to do: no group has committed a record since then.",
            (_, true) => "Nothing was changed (--dry-run).",
            (_, false) => "Done. Start the services again; then `waybill audit` checks the result.",
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

fn refusal(active: &[&Rewind]) -> Option<String> {
    if active.is_empty() {
        return None;
    }
    let groups = active.iter().map(|rewind| {
        let count = rewind.members.len();
        let members = if count == 1 { "member" } else { "members" };
        format!("the group {} has {count} {members} ({})", rewind.group, rewind.members.join(", "))
    });
    let groups: Vec<_> = groups.collect();
    Some(format!(
        "{}: stop all replicas of `waybill orders` and `waybill couriers`, and run this command \
         again; a replica that was killed is a member for 10 more seconds, or 30 with \
         KAFKA_INSTANCE_ID",
        groups.join("; ")
    ))
}

/// A partition as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    group: &'a str,
    topic: &'a str,
    partition: i32,
    committed: Option<i64>,
    to: Option<i64>,
    records: u64,
    older_deleted: bool,
}

fn show(rewind: &Rewind, json: bool) -> anyhow::Result<()> {
    let Rewind { group, topic, partitions, .. } = rewind;
    if !json {
        let records: u64 = partitions.iter().map(PartitionRewind::records).sum();
        let head = match partitions.is_empty() {
            true => format!("{group}, topic {topic}: Kafka has no such topic"),
            false => format!("{group}, topic {topic}: {records} records to read again"),
        };
        output::print(&escape::line(&head))?;
    }
    for partition in partitions {
        if json {
            let line = Line {
                group,
                topic,
                partition: partition.partition,
                committed: partition.committed.map(NextOffset::get),
                to: partition.to.map(NextOffset::get),
                records: partition.records(),
                older_deleted: partition.is_oldest,
            };
            output::print_json(&serde_json::to_string(&line).expect("a line has string keys"))?;
        } else {
            output::print(&describe(partition))?;
        }
    }
    Ok(())
}

fn describe(rewind: &PartitionRewind) -> String {
    let change = match (rewind.committed.map(NextOffset::get), rewind.to.map(NextOffset::get)) {
        (None, _) => "no committed offset, so it is read from its beginning".to_owned(),
        (Some(committed), None) => format!("stays at {committed}"),
        (Some(committed), Some(to)) => format!("{committed} -> {to}"),
    };
    let deleted = match rewind.is_oldest {
        true => " (the oldest record that Kafka has; it has deleted records before it)",
        false => "",
    };
    format!("  partition {}: {change}{deleted}", rewind.partition)
}

/// Parses a time that is not in the future: no record could have been read since then.
fn past(text: &str) -> Result<OffsetDateTime, String> {
    let to = events::parse_instant(text);
    let to = to.ok_or("a time in RFC 3339 is needed, such as 2026-03-01T12:00:00Z")?;
    let now = OffsetDateTime::now_utc();
    if to > now {
        let now =
            now.truncate_to_second().format(&Rfc3339).expect("the current year has four digits");
        return Err(format!("the time is in the future: it is now {now}"));
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_must_be_in_the_past() {
        assert!(past("2024-03-01T12:00:00Z").is_ok());
        assert!(past("2024-03-01T12:00:00+03:00").is_ok());
        assert!(past("yesterday").unwrap_err().contains("RFC 3339"));
        assert!(past("2024-03-01").unwrap_err().contains("RFC 3339"));
        assert!(past("9999-01-01T00:00:00Z").unwrap_err().contains("in the future: it is now 20"));
    }
}
