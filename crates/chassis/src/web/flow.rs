//! The flow page: the summary of each chart, which the server renders, and the texts for its script,
//! which draws the charts from `/flow.json`.
//!
//! `templates/flow.html` is the content. Each service has its own template struct for it, as for the
//! documentation.

use serde::Serialize;
use serde_json::json;
use time::OffsetDateTime;

use super::{Lang, flow_words::FlowWords, lang::machine_time, words::fill};
use crate::flow::{
    Flow, FlowView, Mark, RouteView,
    catalogue::{Catalogue, Chart, Range, Scope, Unit},
};

/// The texts of a service's charts and series, by their ids.
#[derive(Debug)]
pub struct ChartWords {
    pub charts: &'static [(&'static str, &'static str)],
    pub series: &'static [(&'static str, &'static str)],
}

impl ChartWords {
    /// Returns the title of a chart.
    ///
    /// # Panics
    ///
    /// Panics if there is none, which [`assert_complete`](Self::assert_complete) excludes.
    fn chart(&self, id: &str) -> &'static str {
        text(self.charts, id).expect("every chart has a title")
    }

    fn series(&self, id: &str) -> &'static str {
        text(self.series, id).expect("every series has a text")
    }

    /// For a test of each service: asserts that every chart and every series has a text, and that no
    /// text is left over.
    ///
    /// # Panics
    ///
    /// Panics if a text is missing or is not used.
    pub fn assert_complete(&self, catalogue: &Catalogue) {
        let charts: Vec<_> = catalogue.charts.iter().map(|chart| chart.id).collect();
        let series: Vec<_> = catalogue.series().map(|(_, series)| series.id).collect();
        for (ids, texts) in [(charts, self.charts), (series, self.series)] {
            let with_text: Vec<_> = texts.iter().map(|(id, _)| *id).collect();
            assert_eq!(ids, with_text);
        }
    }
}

fn text(texts: &[(&str, &'static str)], id: &str) -> Option<&'static str> {
    texts.iter().find(|(known, _)| *known == id).map(|(_, text)| *text)
}

/// The content of the page.
#[derive(Debug)]
pub struct FlowPage {
    pub words: &'static FlowWords,
    pub range: &'static str,
    pub ranges: Vec<RangeLink>,
    pub replica: String,
    /// The start of the replica, as the value of a `datetime` attribute and as text.
    pub started_at: [String; 2],
    pub charts: Vec<ChartView>,
    pub routes: Vec<RouteRow>,
    pub marks: Vec<MarkRow>,
    /// The texts for the script, as JSON.
    pub live_words: String,
}

#[derive(Debug)]
pub struct RangeLink {
    pub href: String,
    pub text: &'static str,
    pub is_current: bool,
}

#[derive(Debug)]
pub struct ChartView {
    pub id: &'static str,
    pub title: &'static str,
    /// The part of the installation that the values describe.
    pub scope: &'static str,
    pub lines: Vec<LineView>,
    /// The unit and the lines for the script, as JSON.
    pub json: String,
}

/// A series, and its values in words.
#[derive(Debug)]
pub struct LineView {
    pub id: &'static str,
    pub text: &'static str,
    pub tone: &'static str,
    pub newest: String,
    pub mean: String,
    pub minimum: String,
    pub maximum: String,
}

#[derive(Debug)]
pub struct RouteRow {
    pub route: String,
    pub requests: String,
    pub errors: String,
}

#[derive(Debug)]
pub struct MarkRow {
    pub text: &'static str,
    /// As values of a `datetime` attribute and as text.
    pub from: [String; 2],
    pub to: Option<[String; 2]>,
    /// True for an outage that lasts.
    pub lasts: bool,
}

#[derive(Serialize)]
struct LineJson {
    id: &'static str,
    text: &'static str,
    tone: &'static str,
}

impl FlowPage {
    /// Returns the page of a range.
    #[must_use]
    pub fn new(
        flow: &Flow,
        catalogue: &Catalogue,
        words: &ChartWords,
        range: Range,
        lang: Lang,
    ) -> Self {
        let (view, shared) = (flow.view(range), FlowWords::of(lang));
        let charts = catalogue.charts.iter();
        let charts = charts.map(|chart| chart_view(chart, &view, shared, words, lang)).collect();
        let replica = flow.replica();
        let name = format!("{}, {}", replica.host, replica.address);
        let marks = flow.marks().into_iter().rev();
        Self {
            words: shared,
            range: range.as_str(),
            ranges: Range::ALL.map(|one| range_link(one, range, shared)).into(),
            replica: fill(shared.live.replica, name),
            started_at: time_texts(lang, replica.started_at),
            charts,
            routes: view.routes.iter().map(|route| route_row(route, shared, lang)).collect(),
            marks: marks.map(|mark| mark_row(mark, shared, lang)).collect(),
            live_words: serde_json::to_string(&shared.live).expect("a struct of texts is JSON"),
        }
    }
}

fn range_link(range: Range, current: Range, words: &FlowWords) -> RangeLink {
    let text = match range {
        Range::Minutes => words.last_15_minutes,
        Range::Day => words.last_24_hours,
        Range::Week => words.last_7_days,
    };
    RangeLink { href: format!("?range={}", range.as_str()), text, is_current: range == current }
}

fn chart_view(
    chart: &Chart,
    view: &FlowView,
    shared: &FlowWords,
    words: &ChartWords,
    lang: Lang,
) -> ChartView {
    let lines = chart.series.iter().map(|series| {
        let values = view.series.iter().find(|one| one.id == series.id);
        let values = values.map_or(&[][..], |one| &one.values.0);
        let show = |value: Option<f64>| shown(lang, shared, chart.unit, value);
        LineView {
            id: series.id,
            text: words.series(series.id),
            tone: series.tone.as_str(),
            newest: show(
                values.last().map(|value| f64::from(*value)).filter(|value| !value.is_nan()),
            ),
            mean: show(mean(values)),
            minimum: show(known(values).reduce(f64::min)),
            maximum: show(known(values).reduce(f64::max)),
        }
    });
    let lines: Vec<_> = lines.collect();
    let line_json = |line: &LineView| LineJson { id: line.id, text: line.text, tone: line.tone };
    let json = json!({
        "unit": chart.unit,
        "lines": lines.iter().map(line_json).collect::<Vec<_>>(),
    });
    ChartView {
        id: chart.id,
        title: words.chart(chart.id),
        scope: match chart.scope {
            Scope::Replica => shared.of_replica,
            Scope::Whole => shared.of_whole,
        },
        lines,
        json: json.to_string(),
    }
}

/// Returns the values that are not missing.
fn known(values: &[f32]) -> impl Iterator<Item = f64> {
    values.iter().copied().filter(|value| !value.is_nan()).map(f64::from)
}

fn mean(values: &[f32]) -> Option<f64> {
    let number = known(values).count();
    (number > 0).then(|| known(values).sum::<f64>() / number as f64)
}

/// Returns a value with its unit, or a dash for a missing one.
fn shown(lang: Lang, words: &FlowWords, unit: Unit, value: Option<f64>) -> String {
    const NBSP: char = '\u{a0}';
    let Some(value) = value else { return "–".to_owned() };
    let live = &words.live;
    match unit {
        Unit::PerSecond => format!("{}{}", lang.decimal(value), live.per_second),
        Unit::Seconds if value.abs() < 1.0 && value != 0.0 => {
            format!("{}{NBSP}{}", lang.decimal(value * 1_000.0), live.milliseconds)
        }
        Unit::Seconds => format!("{}{NBSP}{}", lang.decimal(value), live.seconds),
        Unit::Percent => format!("{}{NBSP}%", lang.decimal(value)),
        Unit::Count => lang.decimal(value),
    }
}

fn route_row(route: &RouteView, words: &FlowWords, lang: Lang) -> RouteRow {
    let mean_of = |values: &[f32]| shown(lang, words, Unit::PerSecond, mean(values));
    let is_other = route.is_other();
    RouteRow {
        route: if is_other { words.other_routes.to_owned() } else { route.route.clone() },
        requests: mean_of(&route.requests.0),
        errors: mean_of(&route.errors.0),
    }
}

fn mark_row(mark: Mark, words: &FlowWords, lang: Lang) -> MarkRow {
    let texts = |second: i64| {
        let at = OffsetDateTime::from_unix_timestamp(second);
        time_texts(lang, at.unwrap_or(OffsetDateTime::UNIX_EPOCH))
    };
    MarkRow {
        text: words.mark(mark.kind).long,
        from: texts(mark.from),
        to: mark.to.filter(|to| *to > mark.from).map(texts),
        lasts: mark.to.is_none(),
    }
}

fn time_texts(lang: Lang, at: OffsetDateTime) -> [String; 2] {
    [machine_time(at), lang.second_time(at)]
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn values_have_three_digits_and_their_unit() {
        let en = |unit, value| shown(Lang::En, FlowWords::of(Lang::En), unit, Some(value));
        assert_eq!(en(Unit::PerSecond, 1_312.4), "1,312/s");
        assert_eq!(en(Unit::PerSecond, 0.25), "0.25/s");
        assert_eq!(en(Unit::Seconds, 0.0123), "12.3\u{a0}ms");
        assert_eq!(en(Unit::Seconds, 0.0), "0\u{a0}s");
        assert_eq!(en(Unit::Seconds, 75.0), "75\u{a0}s");
        assert_eq!(en(Unit::Percent, 99.94), "99.9\u{a0}%");
        assert_eq!(en(Unit::Count, 2.0), "2");
        let ru = FlowWords::of(Lang::Ru);
        assert_eq!(shown(Lang::Ru, ru, Unit::Seconds, Some(1.5)), "1,5\u{a0}с");
        assert_eq!(shown(Lang::Ru, ru, Unit::Seconds, None), "–");
    }

    #[test]
    fn the_script_uses_only_texts_that_the_page_has() {
        let scripts = [
            include_str!("assets/chart.js"),
            include_str!("assets/flow.js"),
            include_str!("assets/measures.js"),
        ];
        let uses: Vec<_> =
            scripts.iter().flat_map(|script| script.split("texts.").skip(1)).collect();
        assert!(uses.len() > 10, "{}", uses.len());
        for lang in Lang::ALL {
            let texts = serde_json::to_value(&FlowWords::of(lang).live).unwrap();
            for text in &uses {
                let name = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
                assert_ne!(texts[name.unwrap()], Value::Null, "{name:?}");
            }
            for kind in crate::flow::MarkKind::ALL {
                let words = FlowWords::of(lang).mark(kind);
                assert_eq!(texts[kind.as_str()]["long"], words.long);
            }
        }
    }
}
