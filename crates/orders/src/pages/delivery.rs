//! The courier's delivery on the page of an order, from the latest delivery event that is stored. It
//! is shown without a request to the courier service.

use chassis::web::{Lang, machine_time, time_markup, words::fill};
use events::{DeliveryEvent, DeliveryStatus};
use time::OffsetDateTime;

use super::delivery_words::DeliveryWords;

/// The values of the template.
pub(super) struct DeliveryView {
    /// The status, the courier and the transport.
    pub(super) text: String,
    /// The deadline as markup; `None` if it has no meaning any more.
    pub(super) deadline: Option<String>,
    pub(super) is_late: bool,
    /// By time and number, a script finds out which of two deliveries is the later one.
    pub(super) number: i64,
    pub(super) machine: String,
    pub(super) exact: String,
}

impl DeliveryView {
    pub(super) fn of(lang: Lang, event: &DeliveryEvent) -> Self {
        let words = DeliveryWords::of(lang);
        let mut parts = vec![words.status(event.status).to_owned()];
        // The courier whom an order was taken from does not matter to the reader any more.
        if event.status != DeliveryStatus::Requeued {
            parts.extend(event.courier_id.map(|id| fill(words.courier, id.to_string())));
            parts.extend(event.transport_type.map(|one| words.transport(one).to_owned()));
        }
        let is_late = event.status == DeliveryStatus::Overdue;
        let deadline = |at: OffsetDateTime| fill(words.deadline, time_markup(lang, at));
        Self {
            text: parts.join(" · "),
            deadline: event.deadline.filter(|_| has_deadline(event.status)).map(deadline),
            is_late,
            number: event.number,
            machine: machine_time(event.at),
            exact: lang.exact_time(event.at),
        }
    }
}

/// Returns true while the courier still has to deliver the order.
fn has_deadline(status: DeliveryStatus) -> bool {
    matches!(
        status,
        DeliveryStatus::Assigned | DeliveryStatus::Reassigned | DeliveryStatus::Overdue
    )
}
