//! What `waybill load` can be told.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, error::ErrorKind};
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::datetime};

use super::shares::{Share, Shares};

const EXAMPLES: &str = "\
Examples:
  waybill load                                    1,000 new orders, 100 a second
  waybill load --rate 0 --count 500000            a backlog, as fast as Kafka takes it
  waybill load --rate 5 --count 0 --start now     a calm shop, until Ctrl-C
  waybill load --duplicates 0.1 --changed 0.1 --invalid 0.05 --unparsable 0.05
                                                  one record in ten repeats an order, one in ten
                                                  changes one, one in ten is bad
  waybill load --seed 7 --count 100               the same 100 records every time
  waybill load --file orders.ndjson               your own records, one JSON a line
  jq -c '.[]' orders.json | waybill load --file - the same from a pipe
  waybill load --json | jq .acknowledged          the summary for a program

Same seed, same shares, same --start: the same records, byte for byte, on every machine.
A repeat under --duplicates is byte for byte what that order last was; one under --changed has the
same order_uid, another address and often other prices. Both repeat one of the latest 4,096 orders.
Invalid records are JSON that breaks one rule of docs/validation.md; unparsable ones are no JSON.

Exit codes: 0 all sent and acknowledged (or stopped by Ctrl-C with nothing failed), 1 something was
not, 2 usage, 69 Kafka was silent for 10 seconds.";

/// Sends orders to the orders topic: invented ones that look real, or your own.
///
/// The summary goes to standard output, everything else to standard error.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct LoadArgs {
    /// Records a second; 0 is as fast as Kafka takes them [default: 100, with --file 0]
    #[arg(long, value_name = "N")]
    pub rate: Option<u32>,

    /// How many records; 0 is until stopped by Ctrl-C [default: 1000, with --file all lines]
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// What all chance comes from; the summary names it [default: another one each time]
    #[arg(long, value_name = "N", conflicts_with = "file")]
    pub seed: Option<u64>,

    /// When the first order is dated (RFC 3339), each further record 200 ms later; or `now`: each
    /// order at the moment it is made, so that no two runs are the same
    #[arg(
        long,
        value_name = "TIME",
        default_value = "2026-01-01T00:00:00Z",
        conflicts_with = "file"
    )]
    pub start: Start,

    /// Share of records that repeat an earlier order as it is; 0.05 is one in twenty
    #[arg(long, value_name = "SHARE", default_value = "0", conflicts_with = "file")]
    pub duplicates: Share,

    /// Share of records that repeat an earlier order_uid with other content
    #[arg(long, value_name = "SHARE", default_value = "0", conflicts_with = "file")]
    pub changed: Share,

    /// Share of records that are JSON but no valid order
    #[arg(long, value_name = "SHARE", default_value = "0", conflicts_with = "file")]
    pub invalid: Share,

    /// Share of records that are no JSON: cut off, empty, not UTF-8, something else altogether
    #[arg(long, value_name = "SHARE", default_value = "0", conflicts_with = "file")]
    pub unparsable: Share,

    /// Send the lines of this file instead, as they are; `-` is standard input. A line is keyed by
    /// its order_uid if it has one; blank lines are passed over, those above 2 MiB reported
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,

    /// Give the summary as one JSON object
    #[arg(long)]
    pub json: bool,

    /// Show no progress
    #[arg(long, short)]
    pub quiet: bool,

    /// What to do when Kafka is silent; `waybill up` waits, the tool gives up.
    #[arg(skip)]
    pub when_silent: WhenSilent,
}

/// What to do when Kafka acknowledges nothing for ten seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenSilent {
    /// End, and say so.
    #[default]
    GiveUp,
    /// Say so once, and go on waiting.
    Wait,
}

/// When orders are dated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The first at this instant, further ones at fixed distances.
    At(OffsetDateTime),
    /// Each at the moment it is made.
    Now,
}

impl LoadArgs {
    /// The generator of `waybill up`: new orders, dated now, at `rate` a second (0 is as fast as
    /// possible), until it is stopped, without a word, and patient with Kafka.
    #[must_use]
    pub fn unending(rate: u32) -> Self {
        Self {
            rate: Some(rate),
            count: Some(0),
            seed: None,
            start: Start::Now,
            duplicates: Share::default(),
            changed: Share::default(),
            invalid: Share::default(),
            unparsable: Share::default(),
            file: None,
            json: false,
            quiet: true,
            when_silent: WhenSilent::Wait,
        }
    }

    /// The shares; more mischief than records is a usage error, for [`clap::Error::exit`].
    pub fn shares(&self) -> Result<Shares, clap::Error> {
        Shares::new(self.duplicates, self.changed, self.invalid, self.unparsable).ok_or_else(|| {
            clap::Error::raw(
                ErrorKind::ValueValidation,
                "--duplicates, --changed, --invalid and --unparsable together are more than 1: \
                 they are shares of the same records\n",
            )
        })
    }

    /// Records a second; 0 is as fast as possible.
    pub(super) fn pace(&self) -> u32 {
        self.rate.unwrap_or(if self.file.is_some() { 0 } else { 100 })
    }

    /// How many records at most; `None` is without end.
    pub(super) fn limit(&self) -> Option<u64> {
        match (self.count, &self.file) {
            (Some(0), _) | (None, Some(_)) => None,
            (Some(count), _) => Some(count),
            (None, None) => Some(1_000),
        }
    }
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "now" {
            return Ok(Self::Now);
        }
        let rule = "`now`, or an instant of the years 1970 to 2999 like 2026-01-01T00:00:00Z";
        let start = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| rule.to_owned())?;
        // Far from the end of what RFC 3339 can write, however long the run.
        let known = datetime!(1970-01-01 0:00 UTC)..datetime!(3000-01-01 0:00 UTC);
        if known.contains(&start) { Ok(Self::At(start)) } else { Err(rule.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Tool {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn parse(line: &str) -> Result<LoadArgs, clap::Error> {
        Tool::try_parse_from(line.split_whitespace()).map(|tool| tool.load)
    }

    #[test]
    fn defaults_depend_on_whose_records_they_are() {
        let ours = parse("load").unwrap();
        assert_eq!((ours.pace(), ours.limit()), (100, Some(1_000)));
        assert_eq!(ours.start, Start::At(datetime!(2026-01-01 0:00 UTC)));
        assert_eq!(ours.shares().unwrap(), Shares::default());
        let theirs = parse("load --file -").unwrap();
        assert_eq!((theirs.pace(), theirs.limit()), (0, None));
        let both = parse("load --file x --rate 7 --count 3").unwrap();
        assert_eq!((both.pace(), both.limit()), (7, Some(3)));
        assert_eq!(parse("load --count 0").unwrap().limit(), None);
        assert_eq!(LoadArgs::unending(5).limit(), None);
    }

    #[test]
    fn what_cannot_be_is_a_usage_error() {
        for line in [
            "load --rate -1",
            "load --duplicates 2",
            "load --invalid 5%",
            "load --start yesterday",
            "load --start 3000-01-01T00:00:00Z",
            "load --file x --seed 1",
            "load --file x --invalid 0.1",
            "load more",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        let much = parse("load --duplicates 0.6 --changed 0.5").unwrap();
        assert_eq!(much.shares().unwrap_err().exit_code(), 2);
    }
}
