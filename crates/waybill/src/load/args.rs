//! The options of `waybill load`.

use std::{path::PathBuf, str::FromStr, time::Duration};

use chassis::http::web_address;
use clap::{Args, error::ErrorKind};
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::datetime};
use url::Url;

use super::{
    shares::{Share, Shares},
    simulation::Walk,
};

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
  waybill load --couriers 50 --walk 2 --cancels 0.1
                                                  with people who carry the orders, and the rest
                                                  of the world: every two seconds on the average
                                                  an order goes on, one in ten is cancelled

Same seed, same shares, same --start: the same records, byte for byte, on every machine.
A repeat under --duplicates is byte for byte what that order last was; one under --changed has the
same order_uid, another address and often other prices. Both repeat one of the latest 4,096 orders.
With --walk, each order that is created meanwhile, whoever sent it, goes through pending, confirmed,
cooking and delivering to completed; the run ends when all have, and nothing is heard for 5 seconds.
Invalid records are JSON that breaks one rule of docs/validation.md; unparsable ones are no JSON.

Exit codes: 0 all sent and acknowledged (or stopped by Ctrl-C with nothing failed), 1 something was
not, 2 usage, 69 Kafka was silent for 10 seconds, 78 bad configuration or credentials.";

/// The step of `waybill up`, at which a courier carries an order for some twenty seconds.
const CALM_STEP: Duration = Duration::from_secs(4);

/// Sends orders to the orders topic: invented ones that look real, or your own.
///
/// The summary goes to standard output, everything else to standard error.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LoadArgs {
    /// Records a second; 0 is as fast as Kafka takes them [default: 100, with --file 0]
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<u32>,

    /// How many records; 0 is until stopped by Ctrl-C [default: 1000, with --file all lines]
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,

    /// What all chance comes from; the summary names it [default: another one each time]
    #[arg(long, value_name = "N", conflicts_with = "file")]
    pub(crate) seed: Option<u64>,

    /// When the first order is dated (RFC 3339), each further record 200 ms later; or `now`: each
    /// order at the moment it is made, so that no two runs are the same
    #[arg(
        long,
        value_name = "TIME",
        default_value = "2026-01-01T00:00:00Z",
        conflicts_with = "file"
    )]
    pub(crate) start: Start,

    /// Share of records that repeat an earlier order as it is; 0.05 is one in twenty
    #[arg(long, value_name = "SHARE", default_value = "0", conflicts_with = "file")]
    pub(crate) duplicates: Share,

    /// Share of records that repeat an earlier order_uid with other content
    #[arg(long, value_name = "SHARE", default_value = "0", conflicts_with = "file")]
    pub(crate) changed: Share,

    /// Share of records that are JSON but no valid order
    #[arg(long, value_name = "SHARE", default_value = "0", conflicts_with = "file")]
    pub(crate) invalid: Share,

    /// Share of records that are no JSON: cut off, empty, not UTF-8, something else altogether
    #[arg(long, value_name = "SHARE", default_value = "0", conflicts_with = "file")]
    pub(crate) unparsable: Share,

    /// Send the lines of this file instead, as they are; `-` is standard input. A line is keyed by
    /// its order_uid if it has one; blank lines are passed over, those above 2 MiB reported
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,

    /// Walk every order that is created through the statuses, so many seconds apart on the average
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) walk: Option<Duration>,

    /// Share of walked orders that are cancelled on the way
    #[arg(long, value_name = "SHARE", default_value = "0", requires = "walk")]
    pub(crate) cancels: Share,

    /// Share of walked orders one of whose statuses is told twice
    #[arg(long, value_name = "SHARE", default_value = "0", requires = "walk")]
    pub(crate) repeats: Share,

    /// Share of walked orders two of whose statuses come the wrong way round
    #[arg(long, value_name = "SHARE", default_value = "0", requires = "walk")]
    pub(crate) reordered: Share,

    /// Share of walked orders of which a word is told that no service knows
    #[arg(long, value_name = "SHARE", default_value = "0", requires = "walk")]
    pub(crate) unknown: Share,

    /// Enlist so many couriers first; those of an earlier run are not enlisted again
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) couriers: u64,

    /// Where the courier service answers
    #[arg(long, env = "COURIERS_URL", value_name = "URL", default_value = "http://127.0.0.1:8082", value_parser = web_address)]
    pub(crate) couriers_url: Url,

    /// Give the summary as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Show no progress
    #[arg(long, short)]
    pub(crate) quiet: bool,

    // `waybill up` waits for Kafka and for the courier service, the tool gives up.
    #[arg(skip)]
    pub(crate) on_timeout: OnTimeout,

    // `waybill up` also walks the orders that its last run has left on their way.
    #[arg(skip)]
    pub(crate) walked: Walked,
}

/// The orders that are walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Walked {
    /// Those created from the start of the run on.
    #[default]
    FromNowOn,
    /// All that are on the status topic and have not ended.
    All,
}

/// The reaction when Kafka acknowledges nothing, or the courier service does not answer, for ten
/// seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OnTimeout {
    /// End with an error.
    #[default]
    GiveUp,
    /// Log a warning once, and continue to wait.
    Wait,
}

/// The date of the orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// The first order is dated at this instant, further ones at fixed distances.
    At(OffsetDateTime),
    /// Each order is dated at the moment it is made.
    Now,
}

impl LoadArgs {
    /// Returns the options of `waybill up`: new orders, dated now, at `rate` a second, most of them
    /// walked to completion; `couriers` couriers; no end, no progress, no timeout.
    #[must_use]
    pub(crate) fn unending(rate: u32, couriers: u64, couriers_url: Url) -> Self {
        Self {
            walk: Some(CALM_STEP),
            cancels: Share::percent(4),
            repeats: Share::percent(1),
            reordered: Share::percent(1),
            unknown: Share::percent(1),
            couriers,
            couriers_url,
            walked: Walked::All,
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
            on_timeout: OnTimeout::Wait,
        }
    }

    /// Returns the shares; a sum above 1 is a usage error.
    pub(crate) fn shares(&self) -> Result<Shares, clap::Error> {
        Shares::new(self.duplicates, self.changed, self.invalid, self.unparsable).ok_or_else(|| {
            clap::Error::raw(
                ErrorKind::ValueValidation,
                "--duplicates, --changed, --invalid and --unparsable together are more than 1: \
                 they are shares of the same records\n",
            )
        })
    }

    /// Returns how orders are walked, if they are.
    pub(super) fn walk(&self) -> Option<Walk> {
        let Self { walk, cancels, repeats, reordered, unknown, .. } = *self;
        walk.map(|step| Walk { step, cancels, repeats, reordered, unknown })
    }

    /// Returns the records a second; 0 is as fast as possible.
    pub(super) fn pace(&self) -> u32 {
        self.rate.unwrap_or(if self.file.is_some() { 0 } else { 100 })
    }

    /// Returns the largest number of records; `None` is without end.
    pub(super) fn limit(&self) -> Option<u64> {
        match (self.count, &self.file) {
            (Some(0), _) | (None, Some(_)) => None,
            (Some(count), _) => Some(count),
            (None, None) => Some(1_000),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| SECONDS_RULE.to_owned())?;
    // NaN is in no range.
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err(SECONDS_RULE.to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

const SECONDS_RULE: &str = "seconds from 0 to 86400, such as 2 or 0.5";

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "now" {
            return Ok(Self::Now);
        }
        let rule = "`now`, or an instant of the years 1970 to 2999 like 2026-01-01T00:00:00Z";
        let start = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| rule.to_owned())?;
        // However long the run is, its last date has a form in RFC 3339.
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
        let unending = LoadArgs::unending(5, 100, "http://127.0.0.1:8082".parse().unwrap());
        assert_eq!((unending.limit(), unending.walked), (None, Walked::All));
        assert_eq!((ours.walk(), ours.couriers, ours.walked), (None, 0, Walked::FromNowOn));
        let walk = parse("load --walk 0.5 --cancels 0.1").unwrap().walk().unwrap();
        assert_eq!(
            (walk.step, walk.cancels.to_string()),
            (Duration::from_millis(500), "0.1".into())
        );
    }

    #[test]
    fn contradictions_are_usage_errors() {
        for line in [
            "load --rate -1",
            "load --duplicates 2",
            "load --invalid 5%",
            "load --start yesterday",
            "load --start 3000-01-01T00:00:00Z",
            "load --file x --seed 1",
            "load --file x --invalid 0.1",
            "load --cancels 0.1",
            "load --walk -1",
            "load --walk soon",
            "load more",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        let much = parse("load --duplicates 0.6 --changed 0.5").unwrap();
        assert_eq!(much.shares().unwrap_err().exit_code(), 2);
    }
}
