//! The options of `waybill load`.

use std::{path::PathBuf, str::FromStr, time::Duration};

use chassis::{http::web_address, process::number::within};
use clap::{Args, error::ErrorKind};
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::datetime};
use url::Url;

use super::{
    shares::{Share, Shares},
    simulation::Walk,
};
use crate::http::HttpOptions;

/// The average time between two statuses in `waybill up`: a courier carries an order for about 20
/// seconds.
const UP_STEP: Duration = Duration::from_secs(4);

/// The largest number of couriers: each has a phone number of its own.
pub(crate) const MAX_COURIERS: u64 = 1_000_000;

/// The options of the generator.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoadArgs {
    /// Records a second, from 0 to 1000000; 0 sends as fast as Kafka accepts them [default: 100,
    /// with --file 0].
    #[arg(
        long,
        value_name = "N",
        value_parser = within::<u32>(0..=1_000_000),
        help_heading = "Records"
    )]
    pub(crate) rate: Option<u32>,

    /// Number of records to send, from 0 to 1000000000000; 0 sends until Ctrl-C [default: 1000, with
    /// --file all lines].
    // With the latest --start, the last of the records is dated before the year 9999.
    #[arg(
        long,
        value_name = "N",
        value_parser = within::<u64>(0..=1_000_000_000_000),
        help_heading = "Records"
    )]
    pub(crate) count: Option<u64>,

    /// Seed of the random numbers, from 0 to 18446744073709551615 [default: another one in each run].
    ///
    /// The same seed, the same shares and the same --start give the same records, byte for byte, on
    /// every machine. The summary shows the seed.
    #[arg(
        long,
        value_name = "N",
        value_parser = within::<u64>(0..=u64::MAX),
        conflicts_with = "file",
        help_heading = "Records"
    )]
    pub(crate) seed: Option<u64>,

    /// Date of the first order (RFC 3339), or `now`.
    ///
    /// Each further record is dated 200 ms later, at any --rate. With `now`, each order is dated at
    /// the moment when it is generated, so no two runs are the same.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "2026-01-01T00:00:00Z",
        conflicts_with = "file",
        help_heading = "Records",
        hide_short_help = true
    )]
    pub(crate) start: Start,

    /// Send the lines of this file instead, unchanged; `-` is standard input.
    ///
    /// The key of a record is the line's order_uid; a line without one has no key. Blank lines are
    /// skipped. Lines longer than 2 MiB are skipped with a warning.
    #[arg(long, value_name = "PATH", help_heading = "Records")]
    pub(crate) file: Option<PathBuf>,

    /// Share of records that repeat an earlier order unchanged; 0.05 is one record in twenty.
    ///
    /// A share is a number from 0 to 1. The four shares together are at most 1; the rest are new
    /// orders. Earlier orders are the latest 4096 of the run.
    #[arg(
        long,
        value_name = "SHARE",
        default_value = "0",
        conflicts_with = "file",
        help_heading = "Irregular records",
        hide_short_help = true
    )]
    pub(crate) duplicates: Share,

    /// Share of records that repeat an earlier order_uid with other content.
    ///
    /// The address differs, and often a price and the status of an item.
    #[arg(
        long,
        value_name = "SHARE",
        default_value = "0",
        conflicts_with = "file",
        help_heading = "Irregular records",
        hide_short_help = true
    )]
    pub(crate) changed: Share,

    /// Share of records that are JSON, but not a valid order.
    ///
    /// Each breaks one rule of docs/validation.md.
    #[arg(
        long,
        value_name = "SHARE",
        default_value = "0",
        conflicts_with = "file",
        help_heading = "Irregular records",
        hide_short_help = true
    )]
    pub(crate) invalid: Share,

    /// Share of records that cannot be read as an order: truncated, empty, not UTF-8, compressed, …
    #[arg(
        long,
        value_name = "SHARE",
        default_value = "0",
        conflicts_with = "file",
        help_heading = "Irregular records",
        hide_short_help = true
    )]
    pub(crate) unparsable: Share,

    /// Simulate statuses: give created orders their next status every SECONDS, on average.
    ///
    /// Each order that this run sends and the order service stores becomes pending, confirmed,
    /// cooking, delivering and completed; orders of other senders are not changed. The run ends when
    /// all these orders have ended and no event about them has arrived for 5 seconds. SECONDS is a number from 0 to 86400, such as 2 or 0.5. At most
    /// 200000 orders are active at a time; others stay created.
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = seconds,
        help_heading = "Simulated statuses"
    )]
    pub(crate) walk: Option<Duration>,

    /// Share of simulated orders that are cancelled before they are delivered.
    #[arg(
        long,
        value_name = "SHARE",
        default_value = "0",
        requires = "walk",
        help_heading = "Simulated statuses",
        hide_short_help = true
    )]
    pub(crate) cancels: Share,

    /// Share of simulated orders with a status that is sent twice.
    #[arg(
        long,
        value_name = "SHARE",
        default_value = "0",
        requires = "walk",
        help_heading = "Simulated statuses",
        hide_short_help = true
    )]
    pub(crate) repeats: Share,

    /// Share of simulated orders with two statuses that are sent in the wrong order.
    #[arg(
        long,
        value_name = "SHARE",
        default_value = "0",
        requires = "walk",
        help_heading = "Simulated statuses",
        hide_short_help = true
    )]
    pub(crate) reordered: Share,

    /// Share of simulated orders with a status that is unknown to the services.
    #[arg(
        long,
        value_name = "SHARE",
        default_value = "0",
        requires = "walk",
        help_heading = "Simulated statuses",
        hide_short_help = true
    )]
    pub(crate) unknown: Share,

    /// Also continue the orders that earlier runs with --resume have sent within the last hour.
    ///
    /// The ids of generated orders then begin with a tag, which is the same for all runs with the
    /// same --kafka-group-id. Without this option, a run that is restarted leaves the orders of the
    /// run before to their couriers, and no one completes them.
    #[arg(
        long,
        requires = "walk",
        conflicts_with_all = ["file", "seed"],
        help_heading = "Simulated statuses",
        hide_short_help = true
    )]
    pub(crate) resume: bool,

    /// Number of couriers to register at the courier service before the first order, from 0 to
    /// 1000000.
    ///
    /// Courier N has the same name and phone number in every run, so couriers of an earlier run are
    /// not registered again.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        value_parser = within::<u64>(0..=MAX_COURIERS),
        help_heading = "Couriers"
    )]
    pub(crate) couriers: u64,

    /// URL of the courier service, for --couriers.
    #[arg(
        long,
        env = "COURIERS_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8082",
        value_parser = web_address,
        help_heading = "Couriers",
        hide_short_help = true
    )]
    pub(crate) couriers_url: Url,

    #[command(flatten, next_help_heading = "Couriers")]
    pub(crate) http: HttpOptions,

    /// Print the summary as one JSON object.
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// Show no progress; warnings and errors are still shown.
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,

    // Not an option: `waybill load` ends with an error, `waybill up` waits.
    #[arg(skip)]
    pub(crate) on_timeout: OnTimeout,

    // Not an option: `waybill up` and `waybill load` each continue their own orders only.
    #[arg(skip = "load")]
    pub(crate) role: &'static str,
}

/// The action after 10 seconds in which Kafka has acknowledged nothing, or the courier service has
/// not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OnTimeout {
    /// End with an error.
    #[default]
    GiveUp,
    /// Log one warning, and continue to wait.
    Wait,
}

/// The date of the orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// The first order is dated at this time, and each further one 200 ms later.
    At(OffsetDateTime),
    /// Each order is dated at the moment when it is generated.
    Now,
}

impl LoadArgs {
    /// Returns the options of `waybill up`: new orders, dated now, at `rate` a second; simulated
    /// statuses, most of them regular; `couriers` couriers; no end, no progress, no timeout.
    #[must_use]
    pub(crate) fn unending(rate: u32, couriers: u64, couriers_url: Url) -> Self {
        Self {
            walk: Some(UP_STEP),
            cancels: Share::percent(4),
            repeats: Share::percent(1),
            reordered: Share::percent(1),
            unknown: Share::percent(1),
            couriers,
            couriers_url,
            http: HttpOptions::default(),
            resume: true,
            role: "up",
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
                "the sum of --duplicates, --changed, --invalid and --unparsable is more than 1; \
                 they are shares of the same records\n",
            )
        })
    }

    /// Returns the options of the simulation, or `None` without --walk.
    pub(super) fn walk(&self) -> Option<Walk> {
        let Self { walk, cancels, repeats, reordered, unknown, .. } = *self;
        walk.map(|step| Walk { step, cancels, repeats, reordered, unknown })
    }

    /// Returns the records a second; 0 is as fast as possible.
    pub(super) fn pace(&self) -> u32 {
        self.rate.unwrap_or(if self.file.is_some() { 0 } else { 100 })
    }

    /// Returns the maximum number of records; `None` is no limit.
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
    // No range contains NaN.
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err(SECONDS_RULE.to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

const SECONDS_RULE: &str = "a number of seconds from 0 to 86400, such as 2 or 0.5";

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "now" {
            return Ok(Self::Now);
        }
        let rule = "`now`, or a time in the years 1970 to 2999, such as 2026-01-01T00:00:00Z";
        let start = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| rule.to_owned())?;
        // RFC 3339 has years of four digits. The margin up to 9999 is longer than any run.
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
    fn defaults_depend_on_the_source_of_the_records() {
        let generated = parse("load").unwrap();
        assert_eq!((generated.pace(), generated.limit()), (100, Some(1_000)));
        assert_eq!(generated.start, Start::At(datetime!(2026-01-01 0:00 UTC)));
        assert_eq!(generated.shares().unwrap(), Shares::default());
        let given = parse("load --file -").unwrap();
        assert_eq!((given.pace(), given.limit()), (0, None));
        let both = parse("load --file x --rate 7 --count 3").unwrap();
        assert_eq!((both.pace(), both.limit()), (7, Some(3)));
        assert_eq!(parse("load --count 0").unwrap().limit(), None);
        let unending = LoadArgs::unending(5, 100, "http://127.0.0.1:8082".parse().unwrap());
        assert_eq!((unending.limit(), unending.resume, unending.role), (None, true, "up"));
        assert_eq!((generated.walk(), generated.couriers, generated.resume), (None, 0, false));
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
            "load --rate 1000001",
            "load --count 1000000000001",
            "load --couriers 1000001",
            "load --walk 86401",
            "load --seed 18446744073709551616",
            "load --duplicates 2",
            "load --invalid 5%",
            "load --start yesterday",
            "load --start 3000-01-01T00:00:00Z",
            "load --file x --seed 1",
            "load --file x --invalid 0.1",
            "load --cancels 0.1",
            "load --resume",
            "load --walk 1 --resume --seed 1",
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
