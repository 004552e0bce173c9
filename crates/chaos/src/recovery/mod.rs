//! `chaos recovery`: measures how soon the order service works again after a fault.
//!
//! Each case is repeated, and each repetition is measured from the moment at which the service could
//! work again: from SIGKILL for a killed replica, from the freeze for a frozen connection, and from
//! the first answer to this program for a server that was down. The median, the 95th percentile and
//! the maximum of each case are printed.

mod cases;
mod replica;

use std::{io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use cases::Bench;
pub(crate) use replica::Replica;

/// The bound of the 95th percentile.
const BOUND: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Number of measurements of each case.
    #[arg(long, default_value_t = 100, value_name = "N")]
    times: usize,
    /// Program that is measured.
    #[arg(long, default_value = "target/soak/waybill", value_name = "FILE")]
    waybill: PathBuf,
    /// Case to measure; may be repeated [default: all].
    #[arg(long, value_name = "CASE")]
    case: Vec<Case>,
}

/// A fault whose recovery is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    KilledReplica,
    Postgresql,
    Kafka,
    FrozenConnection,
}

impl Case {
    fn describe(self) -> &'static str {
        match self {
            Self::KilledReplica => "SIGKILL of a replica → next commit of its partitions",
            Self::Postgresql => "PostgreSQL usable again → next commit",
            Self::Kafka => "Kafka usable again → next event",
            Self::FrozenConnection => "connections frozen → next answer of an uncached read",
        }
    }
}

/// Measures the cases and prints a table. The exit code is 1 if a case exceeds [`BOUND`].
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let cases = if args.case.is_empty() { Case::value_variants() } else { &args.case };
    let mut lines = vec![
        "| from → to | measured | median | p95 | maximum |".to_owned(),
        "| --- | --- | --- | --- | --- |".to_owned(),
    ];
    let mut is_within_bound = true;
    for &case in cases {
        let mut bench = Bench::start(&args.waybill).await?;
        let progress = progress_bar(case, args.times);
        let mut times = Vec::with_capacity(args.times);
        for _ in 0..args.times {
            times.push(match case {
                Case::KilledReplica => bench.kill_replica().await?,
                Case::Postgresql => bench.stop_postgresql().await?,
                Case::Kafka => bench.stop_kafka().await?,
                Case::FrozenConnection => bench.freeze_connections().await?,
            });
            progress.inc(1);
        }
        progress.finish_and_clear();
        bench.stop().await?;
        times.sort_unstable();
        is_within_bound &= percentile(&times, 95) <= BOUND;
        let seconds = |percent| format!("{:.2} s", percentile(&times, percent).as_secs_f64());
        let (count, describe) = (times.len(), case.describe());
        lines.push(format!(
            "| {describe} | {count} | {} | {} | {} |",
            seconds(50),
            seconds(95),
            seconds(100)
        ));
    }
    writeln!(std::io::stdout(), "{}", lines.join("\n"))?;
    Ok(ExitCode::from(u8::from(!is_within_bound)))
}

fn progress_bar(case: Case, times: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {bar:40} {pos}/{len}");
    let bar = ProgressBar::new(times as u64).with_prefix(case.describe());
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Returns the smallest time that at least `percent` of the sorted times do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).clamp(1, sorted.len().max(1));
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_times() {
        let times: Vec<_> = (1..=100).map(Duration::from_secs).collect();
        let of = |percent| percentile(&times, percent).as_secs();
        assert_eq!((of(50), of(95), of(100)), (50, 95, 100));
        assert_eq!(percentile(&times[..1], 95).as_secs(), 1);
        assert_eq!(percentile(&[], 95), Duration::ZERO);
    }
}
