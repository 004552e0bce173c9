//! A courier's page: their state, their deliveries of today as a strip over the day, their figures, and
//! the log.

use askama::Template;
use axum::{extract::State, response::Response};
use chassis::{
    http::Id,
    postgres::{read::snapshot, time_limit::BY_KEY},
    web::{
        Lang, Reader, machine_time,
        words::{counted, fill},
    },
};
use http::StatusCode;
use time::{OffsetDateTime, Time, UtcOffset};

use super::{
    Frame, PageState,
    board_words::BoardWords,
    courier_words::CourierWords,
    figures::spell,
    message, render,
    rows::{buttons, courier_state},
    words::Words,
};
use crate::{
    delivery::{
        DeliveryState,
        courier::{Courier, CourierId},
    },
    read::{CourierHistory, ListedDelivery, Statistics, courier_statistics, find_courier_history},
    store::find_courier,
};

/// The width of the strip: one unit is a minute.
const DAY_MINUTES: f64 = 1_440.0;
/// The narrowest bar, so that a short delivery can be seen.
const MIN_BAR_MINUTES: f64 = 6.0;
/// The heights of the strip, and of a bar in its upper and its lower row.
const UPPER_ROW: i32 = 4;
const LOWER_ROW: i32 = 26;

/// `GET /courier/{id}`
pub(crate) async fn get(State(state): State<PageState>, Id(id): Id, reader: Reader) -> Response {
    let frame = Frame::of(&state, &reader);
    let texts = CourierWords::of(frame.lang);
    let not_found =
        |status| reader.send(status, message(frame, texts.not_found_title, texts.not_found_text));
    let Ok(id) = id.parse::<CourierId>() else { return not_found(StatusCode::BAD_REQUEST) };
    let midnight = frame.now.to_offset(UtcOffset::UTC).replace_time(Time::MIDNIGHT);
    let found = snapshot(&state.api.pool, BY_KEY, async |snapshot| {
        let Some(courier) = find_courier(&mut *snapshot, id).await? else { return Ok(None) };
        let Some(statistics) = courier_statistics(&mut *snapshot, id).await? else {
            return Ok(None);
        };
        let history = find_courier_history(snapshot, id, midnight).await?;
        Ok(Some((courier, statistics, history)))
    });
    match found.await {
        Ok(Some((courier, statistics, history))) => {
            let page = courier_page(&frame, &courier, &statistics, &history, midnight);
            reader.send(StatusCode::OK, page)
        }
        Ok(None) => not_found(StatusCode::NOT_FOUND),
        Err(error) => {
            tracing::warn!("showing a courier: {error}");
            let words = frame.words();
            let page = message(frame, words.trouble_title, words.trouble_text);
            reader.send(StatusCode::SERVICE_UNAVAILABLE, page)
        }
    }
}

fn courier_page(
    frame: &Frame<'_>,
    courier: &Courier,
    statistics: &Statistics,
    history: &CourierHistory,
    midnight: OffsetDateTime,
) -> String {
    let lang = frame.lang;
    let (texts, board_texts) = (CourierWords::of(lang), BoardWords::of(lang));
    let deliveries = history.deliveries.iter();
    let views = deliveries.clone().map(|delivery| DeliveryView::of(frame, delivery, history.at));
    let bars = deliveries.filter_map(|delivery| Bar::of(lang, delivery, midnight, history.at));
    let entries = history.entries.iter().map(|entry| EntryView {
        text: texts.entry(&entry.status),
        machine: machine_time(entry.at),
        exact: lang.exact_time(entry.at),
        actor: entry
            .actor
            .as_deref()
            .map(|actor| fill(texts.by_actor, chassis::web::visible(actor))),
    });
    let bars: Vec<_> = bars.collect();
    let number = bars.len();
    render(&CourierTemplate {
        frame,
        words: frame.words(),
        texts,
        board_texts,
        tab: "",
        at: machine_time(history.at),
        courier_id: courier.id.get(),
        name: courier.name.as_ref(),
        phone: courier.phone.as_ref(),
        status: courier.status.as_str(),
        state: courier_state(board_texts, courier.status),
        transport: frame.words().transport_of(courier.transport_type),
        since: fill(texts.since, lang.date_time(courier.created_at)),
        carries: history
            .deliveries
            .iter()
            .find(|one| {
                one.assignment.completed_at.is_none() && one.assignment.released_at.is_none()
            })
            .map(|one| (one.order_id.as_str(), frame.order_href(&one.order_id))),
        buttons: buttons(frame, courier.status),
        figures: figures(lang, statistics),
        strip: counted(lang, &texts.strip_deliveries, number),
        now_at: minutes(midnight, history.at),
        bars,
        deliveries: views.collect(),
        entries: entries.collect(),
    })
}

#[derive(Template)]
#[template(path = "courier.html")]
struct CourierTemplate<'a> {
    frame: &'a Frame<'a>,
    words: &'static Words,
    texts: &'static CourierWords,
    board_texts: &'static BoardWords,
    tab: &'static str,
    at: String,
    courier_id: i64,
    name: &'a str,
    phone: &'a str,
    /// The status as in JSON.
    status: &'static str,
    /// The status in words.
    state: &'static str,
    transport: &'static str,
    since: String,
    carries: Option<(&'a str, String)>,
    buttons: Vec<(&'static str, &'static str)>,
    figures: Vec<(String, &'static str)>,
    /// The number of deliveries in the strip, for readers who do not see it.
    strip: String,
    /// The place of the present time in the strip.
    now_at: f64,
    bars: Vec<Bar>,
    deliveries: Vec<DeliveryView<'a>>,
    entries: Vec<EntryView<'a>>,
}

struct EntryView<'a> {
    text: &'a str,
    machine: String,
    exact: String,
    actor: Option<String>,
}

fn figures(lang: Lang, statistics: &Statistics) -> Vec<(String, &'static str)> {
    let texts = CourierWords::of(lang);
    let share = statistics.on_time_share();
    let mut figures = vec![
        (lang.number(statistics.deliveries), texts.deliveries),
        (lang.number(statistics.completed), texts.completed),
        (share.map_or_else(|| "–".to_owned(), |share| lang.percent(share)), texts.on_time),
    ];
    let times = [(statistics.mean_seconds, texts.mean), (statistics.p95_seconds, texts.p95)];
    figures.extend(
        times.into_iter().filter_map(|(seconds, text)| Some((spell(lang, seconds?), text))),
    );
    for (number, text) in
        [(statistics.released, texts.released), (statistics.read_late, texts.read_late)]
    {
        if number > 0 {
            figures.push((lang.number(number), text));
        }
    }
    figures
}

/// The state of a delivery on this page: its class and its text.
fn state_of(
    texts: &CourierWords,
    delivery: &ListedDelivery,
    now: OffsetDateTime,
) -> (&'static str, &'static str) {
    let one = &delivery.assignment;
    match (delivery.state(), one.completed_at) {
        (_, Some(at)) if at < one.assigned_at => ("quiet", texts.read_late_state),
        (_, Some(at)) if at <= one.deadline => ("good", texts.on_time_state),
        (_, Some(_)) => ("warn", texts.late),
        (DeliveryState::Released, _) => ("bad", texts.released_state),
        _ if one.deadline < now => ("bad", texts.overdue),
        _ => ("accent", texts.on_road),
    }
}

/// A row of the table.
struct DeliveryView<'a> {
    order_id: &'a str,
    href: String,
    tone: &'static str,
    state: &'static str,
    assigned: Moment,
    deadline: Moment,
    end: Option<Moment>,
}

/// A time, for a program and for a reader.
struct Moment {
    machine: String,
    text: String,
}

impl Moment {
    fn of(lang: Lang, at: OffsetDateTime) -> Self {
        Self { machine: machine_time(at), text: lang.date_time(at) }
    }
}

impl<'a> DeliveryView<'a> {
    fn of(frame: &Frame<'_>, delivery: &'a ListedDelivery, now: OffsetDateTime) -> Self {
        let lang = frame.lang;
        let one = &delivery.assignment;
        let (tone, state) = state_of(CourierWords::of(lang), delivery, now);
        Self {
            order_id: &delivery.order_id,
            href: frame.order_href(&delivery.order_id),
            tone,
            state,
            assigned: Moment::of(lang, one.assigned_at),
            deadline: Moment::of(lang, one.deadline),
            end: one.completed_at.or(one.released_at).map(|at| Moment::of(lang, at)),
        }
    }
}

/// A delivery in the strip.
struct Bar {
    tone: &'static str,
    x: f64,
    y: i32,
    width: f64,
    /// The order, its times and its state.
    title: String,
}

impl Bar {
    /// Returns the bar of a delivery, unless it ended before midnight.
    fn of(
        lang: Lang,
        delivery: &ListedDelivery,
        midnight: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Option<Self> {
        let one = &delivery.assignment;
        let ended_at = one.completed_at.or(one.released_at);
        // A delivery that was read late ended, by Kafka's clock, before it began.
        let end = ended_at.unwrap_or(now).max(one.assigned_at);
        if end < midnight {
            return None;
        }
        let (tone, state) = state_of(CourierWords::of(lang), delivery, now);
        let (from, to) = (minutes(midnight, one.assigned_at), minutes(midnight, end));
        let width = (to - from).max(MIN_BAR_MINUTES);
        let clock = |at: OffsetDateTime| {
            let at = at.to_offset(UtcOffset::UTC);
            format!("{:02}:{:02}", at.hour(), at.minute())
        };
        let id = chassis::web::visible(&delivery.order_id);
        Some(Self {
            tone,
            // At the end of the day, the narrowest bar still fits.
            x: from.min(DAY_MINUTES - width),
            // The courier may have carried other orders after a release.
            y: if one.released_at.is_some() { LOWER_ROW } else { UPPER_ROW },
            width,
            title: format!("{id}, {}–{}, {state}", clock(one.assigned_at), clock(end)),
        })
    }
}

/// Returns the minutes from midnight, within the day.
fn minutes(midnight: OffsetDateTime, at: OffsetDateTime) -> f64 {
    ((at - midnight).as_seconds_f64() / 60.0).clamp(0.0, DAY_MINUTES).round()
}

#[cfg(test)]
mod tests {
    use events::Transport;
    use time::macros::datetime;

    use super::*;
    use crate::delivery::Assignment;

    const MIDNIGHT: OffsetDateTime = datetime!(2026-11-23 0:00 UTC);

    fn delivery(
        assigned_at: OffsetDateTime,
        completed_at: Option<OffsetDateTime>,
    ) -> ListedDelivery {
        ListedDelivery {
            order_id: "a".to_owned(),
            is_overdue: false,
            assignment: Assignment {
                courier_id: CourierId::try_from(1).unwrap(),
                transport_type: Transport::Car,
                assigned_at,
                deadline: assigned_at + time::Duration::minutes(30),
                is_manual: false,
                completed_at,
                released_at: None,
            },
        }
    }

    fn bar(delivery: &ListedDelivery, now: OffsetDateTime) -> Option<(f64, f64, &'static str)> {
        Bar::of(Lang::En, delivery, MIDNIGHT, now).map(|bar| (bar.x, bar.width, bar.tone))
    }

    #[test]
    fn a_bar_lies_within_the_day() {
        let noon = datetime!(2026-11-23 12:00 UTC);
        let done = delivery(noon, Some(noon + time::Duration::minutes(20)));
        assert_eq!(bar(&done, noon), Some((720.0, 20.0, "good")));
        let late = delivery(noon, Some(noon + time::Duration::minutes(40)));
        assert_eq!(bar(&late, noon), Some((720.0, 40.0, "warn")));
        let active = delivery(noon, None);
        assert_eq!(bar(&active, noon), Some((720.0, MIN_BAR_MINUTES, "accent")), "just assigned");
        let overnight = delivery(datetime!(2026-11-22 23:50 UTC), None);
        assert_eq!(bar(&overnight, noon), Some((0.0, 720.0, "bad")));
        let last = delivery(datetime!(2026-11-23 23:59 UTC), None);
        let (x, width, _) = bar(&last, datetime!(2026-11-24 0:10 UTC)).unwrap();
        assert!(x + width <= DAY_MINUTES, "{x} {width}");
        let yesterday = datetime!(2026-11-22 20:00 UTC);
        assert_eq!(bar(&delivery(yesterday, Some(yesterday)), noon), None);
        let read_late = delivery(noon, Some(MIDNIGHT));
        assert_eq!(bar(&read_late, noon), Some((720.0, MIN_BAR_MINUTES, "quiet")));
    }
}
