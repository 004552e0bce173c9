//! Takes one sample after the other: reads the metrics, and adds the difference from the sample
//! before to the values of all intervals.

use std::{collections::BTreeMap, sync::Arc};

use prometheus_client::registry::Registry;
use serde_json::json;

use super::{
    Replica,
    catalogue::{Catalogue, Fold, Range, Select, Source},
    level::Level,
    marks::{Mark, MarkKind, Marks},
    moment::{Covered, Moment},
    portion::Portion,
    reading::{Plan, Reading},
    view::{FlowView, MarkView, OTHER_ROUTES, RouteView, SeriesView, Times, Values, instant},
};
use crate::process::metrics::seconds_now;

/// The most series of a catalogue.
pub const MAX_SERIES: usize = 40;
/// The most routes whose requests have series of their own; requests of further routes are
/// counted together, as [`OTHER_ROUTES`].
pub const MAX_ROUTES: usize = 48;
/// Requests and errors.
const SERIES_OF_ROUTE: usize = 2;
/// The values of one series in all ranges.
const VALUES: usize = Range::Minutes.values() + Range::Day.values() + Range::Week.values();
/// The most memory of all values: 1,638,528 bytes. A series has 3,012 values of 4 bytes, and a
/// service has up to 40 series and 48 routes with two series each. The rest of a sampler (names,
/// sums, marks and the last reading) is less than 100 KB. The flow also keeps the last answer as
/// JSON: at most 9 bytes per value of one range.
pub const MAX_BYTES: usize =
    (MAX_SERIES + MAX_ROUTES * SERIES_OF_ROUTE) * VALUES * size_of::<f32>();

/// The samples of one replica: at most [`MAX_BYTES`] of values, and less than 2 MB in all.
///
/// A sample takes about 0.8 µs for each line of the metrics' text (measured in a release build, on one
/// core): 0.3 ms for 400 lines, 2 ms for 2,500 lines. The text alone is a third of that.
#[derive(Debug)]
pub(super) struct Sampler {
    catalogue: Catalogue,
    plan: Plan,
    levels: [Level; Range::ALL.len()],
    /// The names of the routes, in the sequence of their series.
    routes: Vec<String>,
    marks: Marks,
    /// The second of the start.
    since: i64,
    /// The sample before.
    before: Option<(Moment, Reading)>,
}

impl Sampler {
    pub(super) fn new(catalogue: Catalogue, since: i64) -> Self {
        let count = catalogue.series().count();
        assert!(count <= MAX_SERIES, "the catalogue has {count} series");
        let mut levels = Range::ALL.map(|range| Level::new(range.step(), range.values()));
        for level in &mut levels {
            (0..count).for_each(|_| level.add_track());
        }
        let plan = Plan::of(&catalogue);
        let (routes, marks) = (Vec::new(), Marks::since(since));
        Self { catalogue, plan, levels, routes, marks, since, before: None }
    }

    /// Takes the sample of this moment.
    pub(super) fn take(&mut self, registry: &Registry, moment: Moment) {
        let covered = self.before.as_ref().map(|(before, _)| moment.covered_since(*before));
        if covered == Some(Covered::Nothing) {
            return;
        }
        let reading = self.plan.read(registry);
        self.note_marks(&reading, moment.second);
        match (covered, self.before.take()) {
            (Some(Covered::Seconds { number, elapsed }), Some((before, old))) => {
                self.add_routes(&reading);
                let portions = self.portions(&old, &reading, elapsed);
                for offset in 1..=i64::from(number) {
                    for level in &mut self.levels {
                        level.add(before.second + offset, &portions, 1.0 / f64::from(number));
                    }
                }
            }
            (Some(Covered::Gap), Some((before, _))) => {
                for level in &mut self.levels {
                    level.set_back_to(moment.second);
                }
                let (from, to) = (before.second.min(moment.second), moment.second);
                self.marks.note(MarkKind::Gap, from, to);
            }
            // The first sample: the increase since the start has no known second.
            _ => {}
        }
        self.before = Some((moment, reading));
    }

    fn note_marks(&mut self, reading: &Reading, second: i64) {
        for (kind, gauges) in self.catalogue.outages {
            let is_down = self.plan.sum(reading, gauges) > 0.0;
            self.marks.note_outage(*kind, is_down, second);
        }
        let Some((_, before)) = &self.before else { return };
        for (kind, counters) in self.catalogue.events {
            let count = |reading| self.plan.sum(reading, counters).max(0.0);
            if count(reading) > count(before) {
                self.marks.note(*kind, second, second);
            }
        }
    }

    /// Gives each new route its series.
    fn add_routes(&mut self, reading: &Reading) {
        for route in reading.routes.keys() {
            if self.routes.len() == MAX_ROUTES {
                return;
            }
            let is_last = self.routes.len() + 1 == MAX_ROUTES;
            if !self.routes.iter().any(|known| known == route) {
                self.routes.push(if is_last { OTHER_ROUTES.to_owned() } else { route.clone() });
                for level in &mut self.levels {
                    (0..SERIES_OF_ROUTE).for_each(|_| level.add_track());
                }
            }
        }
    }

    /// Returns what the time between two readings adds to each series.
    fn portions(&self, old: &Reading, new: &Reading, elapsed: f64) -> Vec<Portion> {
        let series = self.catalogue.series();
        let portions = series.map(|(_, series)| self.portion(&series.source, old, new, elapsed));
        portions.chain(self.portions_of_routes(old, new, elapsed)).collect()
    }

    fn portion(&self, source: &Source, old: &Reading, new: &Reading, elapsed: f64) -> Portion {
        // A counter without a value has not counted yet. `max` replaces `NaN`.
        let count = |reading, counters| self.plan.sum(reading, counters).max(0.0);
        let increase = |counters| count(new, counters) - count(old, counters);
        let gauge = |gauges| Some(self.plan.sum(new, gauges)).filter(|value| !value.is_nan());
        let mean = |value: f64| Portion::Quotient { part: value * elapsed, whole: elapsed };
        match *source {
            Source::Rate(counters) => {
                Portion::Quotient { part: increase(counters), whole: elapsed }
            }
            Source::Share { part, whole } => {
                Portion::Quotient { part: 100.0 * increase(part), whole: increase(whole) }
            }
            Source::Quotient { part, whole } => {
                Portion::Quotient { part: increase(part), whole: increase(whole) }
            }
            Source::Percentile { histogram, rank } => self.observations(histogram, rank, old, new),
            Source::Mean(gauges) => gauge(gauges).map_or(Portion::Missing, mean),
            Source::Max(gauges) => gauge(gauges).map_or(Portion::Missing, Portion::Max),
            Source::Measured { gauges, at, max_age_seconds, fold, factor } => {
                // An old value says nothing about this second.
                let age = seconds_now() - self.plan.sum(new, &[Select::all(at)]);
                let value = gauge(gauges).filter(|_| age.abs() <= max_age_seconds);
                match (value, fold) {
                    (Some(value), Fold::Mean) => mean(value * factor),
                    (Some(value), Fold::Max) => Portion::Max(value * factor),
                    (None, _) => Portion::Missing,
                }
            }
        }
    }

    fn observations(&self, name: &str, rank: f64, old: &Reading, new: &Reading) -> Portion {
        let (Some(new), Some(old)) =
            (self.plan.histogram(new, name), self.plan.histogram(old, name))
        else {
            return Portion::Missing;
        };
        // Each bucket counts all observations up to its bound.
        let mut below = 0.0;
        let counts = new.up_to.iter().enumerate().map(|(place, up_to)| {
            let up_to = up_to - old.up_to.get(place).unwrap_or(&0.0);
            let inside = up_to - below;
            below = up_to;
            inside
        });
        let counts = counts.collect();
        Portion::Observations { rank, bounds: Arc::from(&*new.bounds), counts }
    }

    fn portions_of_routes(&self, old: &Reading, new: &Reading, elapsed: f64) -> Vec<Portion> {
        let is_full = self.routes.len() == MAX_ROUTES;
        let mut increases = vec![[0.0; SERIES_OF_ROUTE]; self.routes.len()];
        for (route, counts) in &new.routes {
            let named = self.routes.iter().position(|known| known == route);
            let Some(place) = named.or(is_full.then_some(MAX_ROUTES - 1)) else { continue };
            let before = old.routes.get(route).copied().unwrap_or_default();
            for (kind, increase) in increases[place].iter_mut().enumerate() {
                *increase += counts[kind] - before[kind];
            }
        }
        let increases = increases.into_iter().flatten();
        increases.map(|part| Portion::Quotient { part, whole: elapsed }).collect()
    }

    #[cfg(test)]
    pub(super) fn value_bytes(&self) -> usize {
        self.levels.iter().map(Level::value_bytes).sum()
    }

    /// Returns the second of the newest sample.
    pub(super) fn newest_second(&self) -> Option<i64> {
        self.levels[0].newest()
    }

    pub(super) fn marks(&self) -> Vec<Mark> {
        self.marks.all().collect()
    }

    /// Returns the newest sample as JSON: the values of all series in the same sequence as in a view,
    /// and the values of each route by its name.
    pub(super) fn newest(&self) -> Option<String> {
        let level = &self.levels[0];
        let second = level.newest()?;
        let newest = |track| level.newest_value(track);
        let count = self.catalogue.series().count();
        let routes = self.routes.iter().enumerate().map(|(index, route)| {
            let first = count + index * SERIES_OF_ROUTE;
            (route.as_str(), Values(vec![newest(first), newest(first + 1)]))
        });
        let routes: BTreeMap<&str, Values> = routes.collect();
        let sample = json!({
            "at": instant(second),
            "values": Values((0..count).map(newest).collect()),
            "routes": routes,
            "marks": self.marks.version(),
        });
        Some(sample.to_string())
    }

    pub(super) fn view(&self, range: Range, replica: &Replica) -> FlowView {
        let level = &self.levels[range as usize];
        let slots = level.slots(self.since);
        let from = slots.start * range.step();
        let values = |track| Values(level.values(track, slots.clone()));
        let series = self.catalogue.series().enumerate();
        let series = series.map(|(track, (chart, series))| SeriesView {
            id: series.id,
            unit: chart.unit,
            scope: chart.scope,
            values: values(track),
        });
        let series: Vec<_> = series.collect();
        let routes = self.routes.iter().enumerate().map(|(index, route)| {
            let first = series.len() + index * SERIES_OF_ROUTE;
            RouteView { route: route.clone(), requests: values(first), errors: values(first + 1) }
        });
        // A route without a request in this range would only be long.
        let routes = routes.filter(|route| route.requests.0.iter().any(|value| *value > 0.0));
        let routes = routes.collect();
        let is_shown = |to: Option<i64>| to.is_none_or(|to| to >= from);
        let marks = self.marks.all().filter(|mark| is_shown(mark.to)).map(MarkView::of).collect();
        let count = slots.clone().count();
        FlowView {
            range: range.as_str(),
            replica: replica.into(),
            times: Times { from: instant(from), step_seconds: range.step(), count },
            series,
            routes,
            marks,
            marks_version: self.marks.version(),
        }
    }
}
