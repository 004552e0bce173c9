//! The rows of the board, for its template.

use chassis::{
    http::path_segment,
    web::{
        machine_time,
        words::{counted, fill},
    },
};
use time::OffsetDateTime;

use super::{Frame, board_words::BoardWords};
use crate::{
    delivery::{DeliveryState, WaitReason, courier::CourierStatus},
    read::{Board, CourierCounts, CourierRow, OrderRow},
};

/// An order.
pub(super) struct OrderView<'a> {
    pub(super) order_id: &'a str,
    pub(super) href: String,
    pub(super) state: &'static str,
    /// The state in words, in place of a time.
    pub(super) label: Option<&'static str>,
    /// The time from which it waits, is held or is released.
    pub(super) since: Option<OffsetDateTime>,
    /// The courier who has it, or had it: their id, name and address.
    pub(super) courier: Option<(i64, &'a str)>,
    /// The reason why it has no courier, or the courier's transport.
    pub(super) note: String,
    pub(super) timer: Option<Timer>,
    /// True if it can be assigned, or moved.
    pub(super) is_open: bool,
    pub(super) is_carried: bool,
}

/// The time until a deadline.
pub(super) struct Timer {
    pub(super) is_late: bool,
    pub(super) from: String,
    pub(super) deadline: String,
    pub(super) until: String,
    /// The share of the time that is left, 0 to 1.
    pub(super) left: f64,
}

impl<'a> OrderView<'a> {
    /// Returns the view of an order; `position` is its place in the queue, if it is known.
    pub(super) fn of(
        frame: &Frame<'_>,
        board: &Board,
        row: &'a OrderRow,
        position: Option<usize>,
    ) -> Self {
        let (lang, words, texts) = (frame.lang, frame.words(), BoardWords::of(frame.lang));
        let timer = row
            .carried
            .as_ref()
            .map(|carried| Timer::of(frame, (carried.assigned_at, carried.deadline), board.at));
        let is_late = timer.as_ref().is_some_and(|timer| timer.is_late);
        let state = match row.state {
            DeliveryState::Assigned if is_late => DeliveryState::Overdue,
            state => state,
        };
        let age = || lang.age(row.since, board.at);
        let note = match (&row.carried, state) {
            (Some(carried), _) => {
                let transport = words.transport_of(carried.transport_type);
                match carried.is_courier_paused {
                    true => format!("{transport} · {}", words.paused),
                    false => transport.to_owned(),
                }
            }
            (None, DeliveryState::Waiting) => why(frame, board, position),
            (None, DeliveryState::Held) => fill(texts.held_manually, age()),
            (None, DeliveryState::Released) => fill(texts.released_from, age()),
            (None, _) => String::new(),
        };
        let is_queued =
            matches!(state, DeliveryState::Waiting | DeliveryState::Held | DeliveryState::Released);
        Self {
            order_id: &row.order_id,
            href: frame.order_href(&row.order_id),
            state: state.as_str(),
            label: match state {
                DeliveryState::Waiting | DeliveryState::Assigned | DeliveryState::Overdue => None,
                state => Some(texts.state(state)),
            },
            since: is_queued.then_some(row.since),
            courier: row.courier.as_ref().map(|one| (one.id.get(), one.name.as_ref())),
            note,
            is_open: is_queued || timer.is_some(),
            is_carried: timer.is_some(),
            timer,
        }
    }
}

/// Returns the reason why a waiting order has no courier yet.
fn why(frame: &Frame<'_>, board: &Board, position: Option<usize>) -> String {
    let (lang, words) = (frame.lang, frame.words());
    let CourierCounts { busy, paused, .. } = board.counts;
    let number = |n: i64| usize::try_from(n).unwrap_or(0);
    match (position, board.queue.reason) {
        (Some(position @ 2..), _) => {
            fill(words.place_in_queue, lang.number(i64::try_from(position).unwrap_or(i64::MAX)))
        }
        // Further rows are read without their place.
        (None, _) => String::new(),
        (_, Some(WaitReason::AllBusy)) => {
            let carry = counted(lang, &words.all_carry, number(busy));
            match paused {
                0 => carry,
                paused => carry + &counted(lang, &words.and_paused, number(paused)),
            }
        }
        (_, Some(WaitReason::AllPaused)) => words.all_paused.to_owned(),
        (_, Some(WaitReason::NoCouriers)) => words.no_couriers.to_owned(),
        _ => words.next_in_queue.to_owned(),
    }
}

impl Timer {
    fn of(
        frame: &Frame<'_>,
        (from, deadline): (OffsetDateTime, OffsetDateTime),
        now: OffsetDateTime,
    ) -> Self {
        let lang = frame.lang;
        let words = super::live_words::LiveWords::of(lang);
        let is_late = deadline < now;
        let left = (deadline - now).as_seconds_f64() / (deadline - from).as_seconds_f64();
        Self {
            is_late,
            from: machine_time(from),
            deadline: machine_time(deadline),
            until: if is_late {
                fill(words.late, lang.age(deadline, now))
            } else {
                fill(words.until, format!("{:02}:{:02} UTC", deadline.hour(), deadline.minute()))
            },
            // A deadline may equal the time of the assignment, which divides by zero.
            left: if left.is_finite() { left.clamp(0.0, 1.0) } else { 0.0 },
        }
    }
}

/// A courier.
pub(super) struct CourierView<'a> {
    pub(super) id: i64,
    pub(super) href: String,
    pub(super) name: &'a str,
    pub(super) phone: &'a str,
    pub(super) state: &'static str,
    pub(super) label: &'static str,
    pub(super) note: String,
    pub(super) carries: Option<(&'a str, String)>,
    /// The text of each button, and the status that it requests.
    pub(super) buttons: Vec<(&'static str, &'static str)>,
}

impl<'a> CourierView<'a> {
    pub(super) fn of(frame: &Frame<'_>, row: &'a CourierRow) -> Self {
        let (lang, words, texts) = (frame.lang, frame.words(), BoardWords::of(frame.lang));
        let deliveries = usize::try_from(row.deliveries).unwrap_or(0);
        let transport = words.transport_of(row.transport_type);
        Self {
            id: row.id.get(),
            href: courier_href(row.id.get()),
            name: row.name.as_ref(),
            phone: row.phone.as_ref(),
            state: row.status.as_str(),
            label: courier_state(texts, row.status),
            note: format!("{transport} · {}", counted(lang, &words.deliveries, deliveries)),
            carries: row.order_id.as_deref().map(|id| (id, found_href(id))),
            buttons: buttons(frame, row.status),
        }
    }
}

pub(super) fn courier_state(texts: &BoardWords, status: CourierStatus) -> &'static str {
    match status {
        CourierStatus::Available => texts.free[0],
        CourierStatus::Busy => texts.busy,
        CourierStatus::Paused => texts.paused[0],
        CourierStatus::Retired => texts.retired_state,
    }
}

/// Returns the buttons for a courier: their texts, and the statuses that they request.
pub(super) fn buttons(
    frame: &Frame<'_>,
    status: CourierStatus,
) -> Vec<(&'static str, &'static str)> {
    let (words, texts) = (frame.words(), BoardWords::of(frame.lang));
    match status {
        CourierStatus::Available => vec![(words.pause, "paused"), (texts.retire, "retired")],
        CourierStatus::Busy => vec![(words.pause, "paused")],
        CourierStatus::Paused => vec![(words.resume, "available"), (texts.retire, "retired")],
        CourierStatus::Retired => vec![(texts.restore, "available")],
    }
}

/// The address of a courier's page.
pub(super) fn courier_href(id: i64) -> String {
    format!("/courier/{id}")
}

/// The address of the board with this order.
pub(super) fn found_href(order_id: &str) -> String {
    format!("/?q={}", path_segment(order_id))
}
