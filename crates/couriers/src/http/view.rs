//! The responses of the calls as JSON. Times are RFC 3339 in UTC, durations are in seconds.

use events::{CourierId, DeliveryCause, OrderUid, Transport};
use serde::Serialize;
use time::{OffsetDateTime, serde::rfc3339};

use crate::{
    delivery::{Assignment, WaitReason, courier::Courier},
    read::{
        Board, CourierCounts, Delivery, Entry, History, ListedDelivery, Queue, QueueState, Queued,
        Statistics, WINDOW,
    },
    store::Assigned,
};

#[derive(Serialize)]
pub(super) struct CourierView<'a> {
    id: i64,
    name: &'a str,
    phone: &'a str,
    status: &'static str,
    transport_type: &'static str,
    deliveries: i64,
    completed: i64,
    on_time: i64,
    #[serde(with = "rfc3339")]
    created_at: OffsetDateTime,
}

impl<'a> CourierView<'a> {
    pub(super) fn of(courier: &'a Courier) -> Self {
        Self {
            id: courier.id.get(),
            name: courier.name.as_ref(),
            phone: courier.phone.as_ref(),
            status: courier.status.as_str(),
            transport_type: courier.transport_type.as_str(),
            deliveries: courier.deliveries,
            completed: courier.completed,
            on_time: courier.on_time,
            created_at: courier.created_at,
        }
    }
}

#[derive(Serialize)]
pub(super) struct StatisticsView {
    deliveries: i64,
    completed: i64,
    active: i64,
    overdue: i64,
    released: i64,
    on_time: i64,
    read_late: i64,
    on_time_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_without_courier: Option<i64>,
    mean_seconds: Option<f64>,
    p95_seconds: Option<f64>,
    /// The time span of the mean and the percentile.
    window_seconds: u64,
}

impl StatisticsView {
    pub(super) fn of(statistics: &Statistics) -> Self {
        Self {
            deliveries: statistics.deliveries,
            completed: statistics.completed,
            active: statistics.active,
            overdue: statistics.overdue,
            released: statistics.released,
            on_time: statistics.on_time,
            read_late: statistics.read_late,
            on_time_share: statistics.on_time_share(),
            completed_without_courier: statistics.completed_without_courier,
            mean_seconds: statistics.mean_seconds,
            p95_seconds: statistics.p95_seconds,
            window_seconds: WINDOW.as_secs(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct AssignedView<'a> {
    courier_id: i64,
    order_id: &'a str,
    transport_type: &'static str,
    #[serde(with = "rfc3339")]
    delivery_deadline: OffsetDateTime,
}

impl<'a> AssignedView<'a> {
    pub(super) fn of(order_id: &'a OrderUid, assigned: &Assigned) -> Self {
        Self {
            courier_id: assigned.courier_id.get(),
            order_id: order_id.as_str(),
            transport_type: assigned.transport_type.as_str(),
            delivery_deadline: assigned.deadline,
        }
    }
}

#[derive(Serialize)]
struct AssignmentView<'a> {
    courier_id: i64,
    courier_name: Option<&'a str>,
    transport_type: &'static str,
    #[serde(with = "rfc3339")]
    assigned_at: OffsetDateTime,
    #[serde(with = "rfc3339")]
    deadline: OffsetDateTime,
    by_hand: bool,
    #[serde(with = "rfc3339::option")]
    completed_at: Option<OffsetDateTime>,
    #[serde(with = "rfc3339::option")]
    released_at: Option<OffsetDateTime>,
}

impl<'a> AssignmentView<'a> {
    fn of(assignment: &Assignment, courier: Option<&'a Courier>) -> Self {
        Self {
            courier_id: assignment.courier_id.get(),
            courier_name: courier.map(|courier| courier.name.as_ref()),
            transport_type: assignment.transport_type.as_str(),
            assigned_at: assignment.assigned_at,
            deadline: assignment.deadline,
            by_hand: assignment.is_manual,
            completed_at: assignment.completed_at,
            released_at: assignment.released_at,
        }
    }
}

#[derive(Serialize)]
struct CountsView {
    available: i64,
    busy: i64,
    paused: i64,
}

impl From<CourierCounts> for CountsView {
    fn from(counts: CourierCounts) -> Self {
        Self { available: counts.available, busy: counts.busy, paused: counts.paused }
    }
}

/// The reason why an order has no courier yet: a stable code, and a sentence.
#[derive(Serialize)]
struct WaitReasonView {
    code: &'static str,
    message: String,
}

impl WaitReasonView {
    fn of(reason: WaitReason, counts: Option<CourierCounts>) -> Self {
        let message = match (reason, counts) {
            (WaitReason::NotCreated, _) => {
                "the order's created event has not arrived yet".to_owned()
            }
            (WaitReason::HeldManually, _) => {
                "the order was unassigned manually and waits for a manual assignment".to_owned()
            }
            (WaitReason::Released, _) => {
                "the delivery was released long after its deadline; assign the order manually"
                    .to_owned()
            }
            (WaitReason::NoCouriers, _) => "no courier is registered".to_owned(),
            (WaitReason::AllBusy, Some(counts)) => {
                format!("no courier is available: {} busy, {} paused", counts.busy, counts.paused)
            }
            (WaitReason::AllBusy, None) => "no courier is available".to_owned(),
            (WaitReason::AllPaused, _) => "every courier is paused".to_owned(),
            (WaitReason::InTurn, _) => {
                "a courier is available; the order will be assigned in its turn".to_owned()
            }
        };
        Self { code: reason.as_str(), message }
    }
}

#[derive(Serialize)]
pub(super) struct DeliveryView<'a> {
    order_id: &'a str,
    /// The state of the delivery.
    state: &'static str,
    /// The status of the order.
    order_status: &'static str,
    #[serde(with = "rfc3339::option")]
    created_at: Option<OffsetDateTime>,
    #[serde(with = "rfc3339")]
    changed_at: OffsetDateTime,
    #[serde(with = "rfc3339::option")]
    waiting_since: Option<OffsetDateTime>,
    #[serde(with = "rfc3339::option")]
    held_at: Option<OffsetDateTime>,
    position: Option<i64>,
    why_not_assigned: Option<WaitReasonView>,
    couriers: Option<CountsView>,
    assignment: Option<AssignmentView<'a>>,
}

impl<'a> DeliveryView<'a> {
    pub(super) fn of(
        order_id: &'a OrderUid,
        delivery: &Delivery,
        counts: Option<CourierCounts>,
        courier: Option<&'a Courier>,
    ) -> Self {
        Self {
            order_id: order_id.as_str(),
            state: delivery.state.as_str(),
            order_status: delivery.status.as_str(),
            created_at: delivery.created_at,
            changed_at: delivery.changed_at,
            waiting_since: delivery.waiting_since,
            held_at: delivery.held_at,
            position: delivery.position,
            why_not_assigned: delivery.reason.map(|reason| WaitReasonView::of(reason, counts)),
            couriers: counts.map(CountsView::from),
            assignment: delivery
                .assignment
                .as_ref()
                .map(|assignment| AssignmentView::of(assignment, courier)),
        }
    }
}

#[derive(Serialize)]
struct EntryView<'a> {
    number: i64,
    #[serde(with = "rfc3339")]
    at: OffsetDateTime,
    status: &'static str,
    courier_id: Option<i64>,
    from_courier_id: Option<i64>,
    transport_type: Option<&'static str>,
    #[serde(with = "rfc3339::option")]
    deadline: Option<OffsetDateTime>,
    cause: Option<&'static str>,
    record: Option<&'a str>,
    actor: Option<&'a str>,
}

impl<'a> EntryView<'a> {
    fn of(entry: &'a Entry) -> Self {
        let event = &entry.event;
        Self {
            number: event.number,
            at: event.at,
            status: event.status.as_str(),
            courier_id: event.courier_id.map(CourierId::get),
            from_courier_id: entry.from_courier_id.map(CourierId::get),
            transport_type: event.transport_type.map(Transport::as_str),
            deadline: event.deadline,
            cause: event.cause.map(DeliveryCause::as_str),
            record: entry.record.as_deref(),
            actor: entry.actor.as_deref(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct HistoryView<'a> {
    order_id: &'a str,
    #[serde(with = "rfc3339::option")]
    created_at: Option<OffsetDateTime>,
    items: Vec<EntryView<'a>>,
    next: Option<&'a str>,
}

impl<'a> HistoryView<'a> {
    pub(super) fn of(order_id: &'a OrderUid, history: &'a History, next: Option<&'a str>) -> Self {
        Self {
            order_id: order_id.as_str(),
            created_at: history.created_at,
            items: history.entries.rows.iter().map(EntryView::of).collect(),
            next,
        }
    }
}

#[derive(Serialize)]
pub(super) struct ListedDeliveryView<'a> {
    order_id: &'a str,
    state: &'static str,
    courier_id: i64,
    transport_type: &'static str,
    #[serde(with = "rfc3339")]
    assigned_at: OffsetDateTime,
    #[serde(with = "rfc3339")]
    deadline: OffsetDateTime,
    by_hand: bool,
    #[serde(with = "rfc3339::option")]
    completed_at: Option<OffsetDateTime>,
    #[serde(with = "rfc3339::option")]
    released_at: Option<OffsetDateTime>,
}

impl<'a> ListedDeliveryView<'a> {
    pub(super) fn of(delivery: &'a ListedDelivery) -> Self {
        let assignment = &delivery.assignment;
        Self {
            order_id: &delivery.order_id,
            state: delivery.state().as_str(),
            courier_id: assignment.courier_id.get(),
            transport_type: assignment.transport_type.as_str(),
            assigned_at: assignment.assigned_at,
            deadline: assignment.deadline,
            by_hand: assignment.is_manual,
            completed_at: assignment.completed_at,
            released_at: assignment.released_at,
        }
    }
}

#[derive(Serialize)]
struct QueuedView<'a> {
    order_id: &'a str,
    state: &'static str,
    position: Option<i64>,
    #[serde(with = "rfc3339::option")]
    waiting_since: Option<OffsetDateTime>,
    #[serde(with = "rfc3339::option")]
    held_at: Option<OffsetDateTime>,
    #[serde(with = "rfc3339::option")]
    released_at: Option<OffsetDateTime>,
    age_seconds: f64,
    reason: &'static str,
}

impl<'a> QueuedView<'a> {
    fn of(queued: &'a Queued) -> Self {
        let is_released = queued.state == QueueState::Released;
        Self {
            order_id: &queued.order_id,
            state: queued.state.as_str(),
            position: queued.position,
            waiting_since: (!is_released).then_some(queued.since),
            held_at: queued.held_at,
            released_at: is_released.then_some(queued.since),
            age_seconds: queued.age_seconds,
            reason: queued.reason.as_str(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct QueueView<'a> {
    waiting: i64,
    held: i64,
    released: i64,
    items: Vec<QueuedView<'a>>,
}

impl<'a> QueueView<'a> {
    pub(super) fn of(queue: &'a Queue) -> Self {
        Self {
            waiting: queue.waiting,
            held: queue.held,
            released: queue.released,
            items: queue.orders.iter().map(QueuedView::of).collect(),
        }
    }
}

/// The figures of the whole service at one moment, as `/live` sends them.
#[derive(Serialize)]
pub(crate) struct FiguresView {
    #[serde(with = "rfc3339")]
    at: OffsetDateTime,
    /// The time since which nothing on the board has changed.
    #[serde(with = "rfc3339")]
    changed_at: OffsetDateTime,
    waiting: i64,
    held: i64,
    couriers: CountsView,
    statistics: StatisticsView,
}

impl FiguresView {
    pub(crate) fn of(board: &Board) -> Self {
        Self {
            at: board.at,
            changed_at: board.changed_at,
            waiting: board.queue.waiting,
            held: board.queue.held,
            couriers: board.counts.into(),
            statistics: StatisticsView::of(&board.statistics),
        }
    }
}
