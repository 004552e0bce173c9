//! The kinds of problem that only the calls of the courier service return. The kinds that both
//! services share are in `chassis::http::problems`.

use chassis::{
    http::{
        problem::{Problem, ProblemKind, Violation},
        problems::{kinds_with, of_database},
    },
    problem_kinds,
};

use crate::store::{NotAssigned, NotStored, NotUnassigned};

problem_kinds! {
    pub(crate) NO_SUCH_COURIER = 404, "/docs#no-such-courier", "no such courier",
        "there is no courier with this id; GET /couriers lists them";
    pub(crate) NO_SUCH_ORDER = 404, "/docs#no-such-order", "no such order",
        "no event has given an order with this id a status; events with an unknown word, or with \
         `updated`, are not recorded here";
    pub(crate) PHONE_TAKEN = 409, "/docs#phone-taken", "phone taken",
        "another courier has this phone number";
    pub(crate) ALREADY_ASSIGNED = 409, "/docs#already-assigned", "already assigned",
        "the order is assigned to courier 1; move it to another one by its courier_id, or unassign it \
         first";
    pub(crate) ORDER_ENDED = 409, "/docs#order-ended", "order ended",
        "the order is completed, so it needs no courier";
    pub(crate) NO_COURIER_AVAILABLE = 409, "/docs#no-courier-available", "no courier available",
        "no courier is available; nothing was stored";
    pub(crate) COURIER_NOT_AVAILABLE = 409, "/docs#courier-not-available", "courier not available",
        "the courier is paused; only an available courier gets an order";
    pub(crate) COURIER_CARRIES = 409, "/docs#courier-carries", "courier carries an order",
        "the courier carries an order; move or unassign it first";
    pub(crate) NOT_ASSIGNED = 409, "/docs#not-assigned", "not assigned",
        "the order has no courier; GET /delivery/{order_id} gives the reason";
}

/// Returns every kind that the page `/docs` lists.
pub(crate) fn kinds() -> Vec<ProblemKind> {
    kinds_with(KINDS)
}

/// Returns the problem for a query that failed.
pub(super) fn failed(error: sqlx::Error) -> Problem {
    of_database("answering a call", &error)
}

impl From<NotStored> for Problem {
    fn from(error: NotStored) -> Self {
        match error {
            NotStored::Unknown => NO_SUCH_COURIER.problem(),
            NotStored::Carries => COURIER_CARRIES.problem(),
            NotStored::PhoneTaken => {
                let errors = vec![Violation {
                    pointer: "/phone".to_owned(),
                    code: "taken".to_owned(),
                    message: PHONE_TAKEN.detail.to_owned(),
                }];
                Self { errors, ..PHONE_TAKEN.problem() }
            }
            NotStored::PhonesTaken(places) => {
                let errors = places.into_iter().map(|place| Violation {
                    pointer: format!("/{place}/phone"),
                    code: "taken".to_owned(),
                    message: PHONE_TAKEN.detail.to_owned(),
                });
                PHONE_TAKEN.with_violations(errors.collect())
            }
            NotStored::Database(error) => failed(error),
        }
    }
}

impl From<NotAssigned> for Problem {
    fn from(error: NotAssigned) -> Self {
        match error {
            NotAssigned::Already(courier) => ALREADY_ASSIGNED
                .with(format!("the order is assigned to courier {courier}; move it to another one by its courier_id, or unassign it first")),
            NotAssigned::Ended(status) => ORDER_ENDED
                .with(format!("the order is {}, so it needs no courier", status.as_str())),
            NotAssigned::NoCourier => NO_COURIER_AVAILABLE.problem(),
            NotAssigned::UnknownCourier => NO_SUCH_COURIER.problem(),
            NotAssigned::NotAvailable(status) => COURIER_NOT_AVAILABLE.with(format!(
                "the courier is {}; only an available courier gets an order",
                status.as_str()
            )),
            NotAssigned::Database(error) => failed(error),
        }
    }
}

impl From<NotUnassigned> for Problem {
    fn from(error: NotUnassigned) -> Self {
        match error {
            NotUnassigned::Unknown => NO_SUCH_ORDER.problem(),
            NotUnassigned::NotAssigned => NOT_ASSIGNED.problem(),
            NotUnassigned::Ended(status) => ORDER_ENDED
                .with(format!("the order is {}, so its delivery has ended", status.as_str())),
            NotUnassigned::Database(error) => failed(error),
        }
    }
}
