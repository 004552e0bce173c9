//! The board's page.

use std::time::Duration;

use askama::Template;
use axum::{extract::State, response::Response};
use chassis::{
    http::Parameters,
    web::{
        Lang, Reader, machine_time,
        words::{Forms, counted, fill},
    },
};
use http::StatusCode;
use serde::Deserialize;
use time::{OffsetDateTime, serde::rfc3339};

use super::{Frame, PageState, message, render, words::Words};
use crate::{
    delivery::{
        WaitReason,
        courier::{CourierStatus, Transport},
    },
    read::{Board, CourierCounts, CourierOnBoard, Queued, Statistics},
};

/// The longest wait for the database. After that, the page says that it does not answer.
const BOARD_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
pub(crate) struct BoardQuery {
    /// Asks for the board of this time or later. The board whose figures `/live` has sent is kept.
    #[serde(default, with = "rfc3339::option")]
    at: Option<OffsetDateTime>,
}

/// `GET /`
pub(crate) async fn get(
    State(state): State<PageState>,
    Parameters(query): Parameters<BoardQuery>,
    reader: Reader,
) -> Response {
    let frame = Frame::of(&state, &reader);
    let shown = state.api.board.show(&state.api.pool, query.at);
    match tokio::time::timeout(BOARD_TIMEOUT, shown).await {
        Ok(Ok(shown)) => return reader.send(StatusCode::OK, board(frame, &shown)),
        Ok(Err(error)) => tracing::warn!("showing the board: {error}"),
        Err(_) => {}
    }
    let words = frame.words();
    let page = message(frame, words.trouble_title, words.trouble_text);
    reader.send(StatusCode::SERVICE_UNAVAILABLE, page)
}

fn board(frame: Frame<'_>, board: &Board) -> String {
    let words = frame.words();
    let (carrying, idle): (Vec<_>, Vec<_>) =
        board.couriers.iter().partition(|courier| courier.order_id.is_some());
    let waiting: Vec<_> =
        board.queue.orders.iter().map(|queued| WaitingCard::of(&frame, board, queued)).collect();
    let road: Vec<_> =
        carrying.iter().filter_map(|courier| RoadCard::of(&frame, board.at, courier)).collect();
    let paused = carrying.iter().filter(|one| one.courier.status == CourierStatus::Paused);
    let idle: Vec<_> = paused.chain(&idle).map(|one| IdleCard::of(&frame, one)).collect();
    let lang = frame.lang;
    let more = |shown: usize, all: i64| {
        let rest = all - i64::try_from(shown).unwrap_or(all);
        (rest > 0).then(|| fill(words.and_more, lang.number(rest)))
    };
    let in_queue = board.queue.waiting + board.queue.held;
    let CourierCounts { available, busy, paused, .. } = board.counts;
    let nobody_idle = match (available + paused, busy) {
        (0, 0) => Some(words.no_couriers),
        (0, _) => Some(words.nobody_idle),
        _ => None,
    };
    render(&BoardTemplate {
        frame: &frame,
        words,
        tab: "board",
        at: machine_time(board.at),
        figures: figures(lang, words, board),
        waiting_count: lang.number(in_queue),
        waiting_more: more(waiting.len(), in_queue),
        road_count: lang.number(board.statistics.active),
        road_more: more(road.len(), board.statistics.active),
        couriers_count: lang.number(available + busy + paused),
        idle_more: more(idle.len(), available + paused),
        nobody_idle,
        transports: Transport::ALL.map(|one| (one.as_str(), words.transport_of(one))),
        waiting,
        road,
        idle,
    })
}

#[derive(Template)]
#[template(path = "board.html")]
struct BoardTemplate<'a> {
    frame: &'a Frame<'a>,
    words: &'static Words,
    tab: &'static str,
    at: String,
    figures: Vec<Figure>,
    waiting_count: String,
    waiting: Vec<WaitingCard<'a>>,
    waiting_more: Option<String>,
    road_count: String,
    road: Vec<RoadCard<'a>>,
    road_more: Option<String>,
    couriers_count: String,
    idle: Vec<IdleCard<'a>>,
    idle_more: Option<String>,
    nobody_idle: Option<&'static str>,
    transports: [(&'static str, &'static str); 3],
}

struct Figure {
    key: &'static str,
    value: String,
    label: String,
}

fn figures(lang: Lang, words: &Words, board: &Board) -> Vec<Figure> {
    let Statistics { active, overdue, released, completed, .. } = board.statistics;
    let oldest = board.queue.orders.iter().find(|queued| queued.position == Some(1));
    let mut waiting = form(lang, &words.orders_wait, board.queue.waiting);
    if let Some(oldest) = oldest {
        waiting += &fill(words.oldest, lang.age(oldest.since, board.at));
    }
    let road = match overdue {
        0 => words.on_the_road.to_lowercase(),
        late => fill(words.on_the_road_late, lang.number(late)),
    };
    let share = board.statistics.on_time_share();
    let share = share.map_or_else(|| "–".to_owned(), |share| percent(lang, share));
    let mut figures = vec![
        Figure { key: "waiting", value: lang.number(board.queue.waiting), label: waiting },
        Figure { key: "road", value: lang.number(active), label: road },
        Figure {
            key: "free",
            value: lang.number(board.counts.available),
            label: form(lang, &words.couriers_free, board.counts.available),
        },
        Figure {
            key: "completed",
            value: lang.number(completed),
            label: match board.statistics.mean_seconds {
                Some(mean) => fill(words.completed_mean, spell(lang, mean)),
                None => words.completed.to_owned(),
            },
        },
        Figure { key: "on-time", value: share, label: words.on_time.to_owned() },
    ];
    if released > 0 {
        let label = words.released.to_owned();
        figures.push(Figure { key: "released", value: lang.number(released), label });
    }
    if let Some(number @ 1..) = board.statistics.completed_without_courier {
        let label = words.completed_without_courier.to_owned();
        figures.push(Figure { key: "without-courier", value: lang.number(number), label });
    }
    figures
}

/// Returns the form for `n`, without the number.
fn form(lang: Lang, forms: &Forms, n: i64) -> String {
    counted(lang, forms, usize::try_from(n).unwrap_or(0))
}

/// `96.8 %`
fn percent(lang: Lang, share: f64) -> String {
    let tenths = (share * 1_000.0).round() as i64;
    let point = if lang == Lang::En { '.' } else { ',' };
    format!("{}{point}{}\u{a0}%", lang.number(tenths / 10), tenths % 10)
}

fn spell(lang: Lang, seconds: f64) -> String {
    let now = OffsetDateTime::UNIX_EPOCH;
    lang.age(now - time::Duration::seconds_f64(seconds), now)
}

struct WaitingCard<'a> {
    order_id: &'a str,
    href: String,
    since: OffsetDateTime,
    is_held: bool,
    why: String,
}

impl<'a> WaitingCard<'a> {
    fn of(frame: &Frame<'_>, board: &Board, queued: &'a Queued) -> Self {
        let (lang, words) = (frame.lang, frame.words());
        let CourierCounts { busy, paused, .. } = board.counts;
        let why = match (queued.reason, queued.position, queued.held_at) {
            (WaitReason::HeldManually, _, Some(held_at)) => {
                fill(words.held_since, lang.age(held_at, board.at))
            }
            (WaitReason::HeldManually, _, None) => words.held.to_owned(),
            (_, Some(position @ 2..), _) => fill(words.place_in_queue, lang.number(position)),
            (WaitReason::AllBusy, _, _) => {
                let carry = counted(lang, &words.all_carry, usize::try_from(busy).unwrap_or(0));
                match paused {
                    0 => carry,
                    paused => {
                        let paused = usize::try_from(paused).unwrap_or(0);
                        carry + &counted(lang, &words.and_paused, paused)
                    }
                }
            }
            (WaitReason::AllPaused, _, _) => words.all_paused.to_owned(),
            (WaitReason::NoCouriers, _, _) => words.no_couriers.to_owned(),
            // The board lists no released orders.
            (WaitReason::InTurn | WaitReason::NotCreated | WaitReason::Released, _, _) => {
                words.next_in_queue.to_owned()
            }
        };
        Self {
            order_id: &queued.order_id,
            href: frame.order_href(&queued.order_id),
            since: queued.since,
            is_held: queued.held_at.is_some(),
            why,
        }
    }
}

struct RoadCard<'a> {
    order_id: &'a str,
    href: String,
    name: &'a str,
    /// The transport, and whether the courier is paused.
    note: String,
    is_late: bool,
    from: String,
    deadline: String,
    until: String,
    /// The share of the time that is left, 0 to 1.
    left: f64,
}

impl<'a> RoadCard<'a> {
    fn of(frame: &Frame<'_>, now: OffsetDateTime, one: &'a CourierOnBoard) -> Option<Self> {
        let (lang, words) = (frame.lang, frame.words());
        let (order_id, assignment) = (one.order_id.as_deref()?, one.assignment.as_ref()?);
        let (from, deadline) = (assignment.assigned_at, assignment.deadline);
        let is_late = deadline < now;
        let transport = words.transport_of(assignment.transport_type);
        let note = match one.courier.status {
            CourierStatus::Paused => format!("{transport} · {}", words.paused),
            _ => transport.to_owned(),
        };
        let left = (deadline - now).as_seconds_f64() / (deadline - from).as_seconds_f64();
        Some(Self {
            order_id,
            href: frame.order_href(order_id),
            name: one.courier.name.as_ref(),
            note,
            is_late,
            from: machine_time(from),
            deadline: machine_time(deadline),
            until: if is_late {
                fill(words.live.late, lang.age(deadline, now))
            } else {
                fill(
                    words.live.until,
                    format!("{:02}:{:02} UTC", deadline.hour(), deadline.minute()),
                )
            },
            // A deadline may equal the time of the assignment, which divides by zero.
            left: if left.is_finite() { left.clamp(0.0, 1.0) } else { 0.0 },
        })
    }
}

struct IdleCard<'a> {
    id: i64,
    name: &'a str,
    state: &'static str,
    transport: &'static str,
    deliveries: String,
    carries: Option<&'a str>,
    button: &'static str,
    next_status: &'static str,
}

impl<'a> IdleCard<'a> {
    fn of(frame: &Frame<'_>, one: &'a CourierOnBoard) -> Self {
        let (lang, words) = (frame.lang, frame.words());
        let is_paused = one.courier.status == CourierStatus::Paused;
        let deliveries = usize::try_from(one.courier.completed).unwrap_or(0);
        Self {
            id: one.courier.id.get(),
            name: one.courier.name.as_ref(),
            state: if is_paused { words.paused } else { words.free },
            transport: words.transport_of(one.courier.transport_type),
            deliveries: counted(lang, &words.deliveries, deliveries),
            carries: one.order_id.as_deref(),
            button: if is_paused { words.resume } else { words.pause },
            next_status: if is_paused { "available" } else { "paused" },
        }
    }
}
