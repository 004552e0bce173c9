//! Takes the values of a catalogue's metrics from the text of `/metrics`. The registry writes the
//! text piece by piece, and each line is read as soon as it is complete, so the text is never in
//! memory as a whole.
//!
//! The text is the only interface of the registry that has all values: a histogram does not give
//! its buckets, and a family does not give its labels.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use prometheus_client::{encoding::text, registry::Registry};

use super::catalogue::{Catalogue, Select, Source};

/// The metric that counts all requests by route.
const REQUESTS: &str = "http_server_request_duration_seconds_count";
const ROUTE: &str = "http_route";
const STATUS: &str = "http_response_status_code";
/// The statuses of errors of the service begin with this.
const ERROR: &str = "5";

/// The lines that are read, by the name of their metric.
#[derive(Debug, Default)]
pub(super) struct Plan {
    scalars: HashMap<String, Vec<Place>>,
    buckets: HashMap<String, usize>,
    scalar_count: usize,
    histogram_names: Vec<&'static str>,
}

/// The place of a value in a reading, and the label that it needs.
#[derive(Debug)]
struct Place {
    index: usize,
    label: Option<(&'static str, &'static str)>,
}

/// The values of one moment. Each sum is at the index that the plan has given to its metrics.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// `NaN` if no metric of this name has a value yet.
    sums: Vec<f64>,
    histograms: Vec<Histogram>,
    /// The requests and the errors of each route since the start.
    pub(super) routes: BTreeMap<String, [f64; 2]>,
}

/// The number of observations up to each bound.
#[derive(Debug, Clone, Default)]
pub(super) struct Histogram {
    pub(super) bounds: Vec<f64>,
    pub(super) up_to: Vec<f64>,
}

impl Plan {
    pub(super) fn of(catalogue: &Catalogue) -> Self {
        let mut plan = Self::default();
        let selects = catalogue.outages.iter().chain(catalogue.events).map(|(_, selects)| *selects);
        for selects in selects.chain(catalogue.series().flat_map(|(_, one)| sums_of(&one.source))) {
            for select in selects {
                plan.add(*select);
            }
        }
        for (_, series) in catalogue.series() {
            match series.source {
                Source::Percentile { histogram, .. } => plan.add_histogram(histogram),
                Source::Measured { at, .. } => plan.add(Select::all(at)),
                _ => {}
            }
        }
        plan
    }

    fn add(&mut self, select: Select) {
        let place = Place { index: self.scalar_count, label: select.label };
        self.scalars.entry(select.metric.to_owned()).or_default().push(place);
        self.scalar_count += 1;
    }

    fn add_histogram(&mut self, name: &'static str) {
        if !self.histogram_names.contains(&name) {
            self.buckets.insert(format!("{name}_bucket"), self.histogram_names.len());
            self.histogram_names.push(name);
        }
    }

    /// Reads the current values.
    pub(super) fn read(&self, registry: &Registry) -> Reading {
        let mut reading = Reading {
            sums: vec![f64::NAN; self.scalar_count],
            histograms: vec![Histogram::default(); self.histogram_names.len()],
            routes: BTreeMap::new(),
        };
        let mut lines = Lines { plan: self, reading: &mut reading, line: String::new() };
        // `Lines` never fails, and a metric that cannot be written is not read: its series are
        // missing then, and `/metrics` reports the error.
        let _ = text::encode(&mut lines, registry);
        reading
    }

    /// Returns the sum of the metrics that `selects` names, or `NaN` if none has a value.
    pub(super) fn sum(&self, reading: &Reading, selects: &[Select]) -> f64 {
        let values = selects.iter().filter_map(|select| {
            let places = self.scalars.get(select.metric)?;
            let place = places.iter().find(|place| place.label == select.label)?;
            Some(reading.sums[place.index]).filter(|value| !value.is_nan())
        });
        values.reduce(|sum, value| sum + value).unwrap_or(f64::NAN)
    }

    /// Returns the buckets of a histogram.
    pub(super) fn histogram<'a>(&self, reading: &'a Reading, name: &str) -> Option<&'a Histogram> {
        let index = self.histogram_names.iter().position(|known| *known == name)?;
        Some(&reading.histograms[index])
    }
}

/// Returns the lists of metrics of which a series takes the sum.
fn sums_of(source: &Source) -> Vec<&'static [Select]> {
    match source {
        Source::Rate(one) | Source::Mean(one) | Source::Max(one) => vec![one],
        Source::Share { part, whole } | Source::Quotient { part, whole } => vec![part, whole],
        Source::Measured { gauges, .. } => vec![gauges],
        Source::Percentile { .. } => Vec::new(),
    }
}

/// Receives the text of the metrics.
struct Lines<'a> {
    plan: &'a Plan,
    reading: &'a mut Reading,
    line: String,
}

impl fmt::Write for Lines<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut parts = text.split('\n');
        self.line.push_str(parts.next().expect("a split text has a first part"));
        for part in parts {
            self.take_line();
            self.line.push_str(part);
        }
        Ok(())
    }
}

impl Lines<'_> {
    fn take_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.read(&line);
        self.line = line;
        self.line.clear();
    }

    /// Reads a line such as `name 1` or `name{label="value"} 1`.
    fn read(&mut self, line: &str) {
        let Some((metric, value)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) else {
            return;
        };
        let (name, labels) = match metric.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').unwrap_or(labels)),
            None => (metric, ""),
        };
        if name == REQUESTS {
            self.read_requests(labels, value);
        }
        if let Some(places) = self.plan.scalars.get(name) {
            let Ok(value) = value.parse::<f64>() else { return };
            for Place { index, label: wanted } in places {
                let is_wanted = wanted.is_none_or(|(name, beginning)| {
                    label(labels, name).is_some_and(|value| value.starts_with(beginning))
                });
                let sum = &mut self.reading.sums[*index];
                if is_wanted {
                    *sum = if sum.is_nan() { value } else { *sum + value };
                }
            }
        } else if let Some(index) = self.plan.buckets.get(name) {
            self.read_bucket(*index, labels, value);
        }
    }

    fn read_bucket(&mut self, index: usize, labels: &str, count: &str) {
        let bound = match label(labels, "le") {
            Some("+Inf") => Ok(f64::INFINITY),
            Some(bound) => bound.parse(),
            None => return,
        };
        let (Ok(bound), Ok(count)) = (bound, count.parse::<f64>()) else { return };
        let histogram = &mut self.reading.histograms[index];
        // The same histogram with other labels has the same bounds.
        match histogram.bounds.iter().position(|known| *known == bound) {
            Some(place) => histogram.up_to[place] += count,
            None => {
                histogram.bounds.push(bound);
                histogram.up_to.push(count);
            }
        }
    }

    fn read_requests(&mut self, labels: &str, value: &str) {
        let (Some(route), Ok(value)) = (label(labels, ROUTE), value.parse::<f64>()) else { return };
        let is_error = label(labels, STATUS).is_some_and(|status| status.starts_with(ERROR));
        let routes = &mut self.reading.routes;
        if !routes.contains_key(route) {
            routes.insert(route.to_owned(), [0.0; 2]);
        }
        let [requests, errors] = routes.get_mut(route).expect("it was just inserted");
        *requests += value;
        *errors += if is_error { value } else { 0.0 };
    }
}

/// Returns the value of a label in a text such as `a="1",b="2"`.
fn label<'a>(labels: &'a str, wanted: &str) -> Option<&'a str> {
    let mut rest = labels;
    while let Some((name, text)) = rest.split_once("=\"") {
        let mut is_escaped = false;
        let end = text.find(|letter| {
            let is_end = letter == '"' && !is_escaped;
            is_escaped = letter == '\\' && !is_escaped;
            is_end
        })?;
        if name == wanted {
            return Some(&text[..end]);
        }
        rest = text[end + 1..].trim_start_matches(',');
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_found_behind_values_with_quotes_and_braces() {
        let labels = r#"method="GET",http_route="/order/{order_uid}",le="0.5",odd="a\"b,le=\"c""#;
        assert_eq!(label(labels, "http_route"), Some("/order/{order_uid}"));
        assert_eq!(label(labels, "le"), Some("0.5"));
        assert_eq!(label(labels, "odd"), Some(r#"a\"b,le=\"c"#));
        assert_eq!(label(labels, "route"), None);
        assert_eq!(label("", "le"), None);
        assert_eq!(label("broken=\"", "broken"), None);
    }
}
