//! The problems that only the courier service's calls meet. `/docs` shows one of each
//! kind.

use chassis::http::problem::{Problem, Violation};
use events::OrderStatus;
use http::StatusCode;

use crate::{
    delivery::courier::CourierId,
    store::{NotAssigned, NotStored, NotUnassigned},
};

/// One of each kind, those that any call may meet among them.
pub(super) fn all() -> Vec<Problem> {
    let rule = Violation {
        pointer: "/phone".to_owned(),
        code: "missing".to_owned(),
        message: "is required".to_owned(),
    };
    let courier = CourierId::try_from(1).expect("1 is an id");
    let mut all = chassis::http::problems::all();
    all.extend([invalid_body(vec![rule]), no_such_courier(), no_such_order()]);
    all.extend([
        Refused::from(NotStored::PhoneTaken).into(),
        Refused::from(NotAssigned::Already(courier)).into(),
        Refused::from(NotAssigned::Ended(OrderStatus::Completed)).into(),
        Refused::from(NotAssigned::NoCourier).into(),
        Refused::from(NotUnassigned::NotAssigned).into(),
    ]);
    all.sort_by_key(|problem| problem.status);
    all
}

/// What the database has made of a call.
pub(super) fn silent(error: sqlx::Error) -> Problem {
    chassis::http::problems::of_database("answering a call", &error)
}

pub(super) fn invalid_body(errors: Vec<Violation>) -> Problem {
    let detail = match errors.as_slice() {
        [one] => format!("1 violation: {} {}", one.pointer, one.message),
        many => {
            let first = many.first().map(|first| format!("{} {}", first.pointer, first.message));
            format!("{} violations, the first: {}", many.len(), first.as_deref().unwrap_or("none"))
        }
    };
    let mut problem = Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "/docs#invalid-body",
        "invalid body",
        detail,
    );
    problem.errors = errors;
    problem
}

pub(super) fn no_such_courier() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "/docs#no-such-courier",
        "no such courier",
        "there is no courier with this id; GET /couriers lists them",
    )
}

pub(super) fn no_such_order() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "/docs#no-such-order",
        "no such order",
        "no event has told of an order with this id",
    )
}

impl From<NotStored> for Refused {
    fn from(error: NotStored) -> Self {
        Self(match error {
            NotStored::Unknown => no_such_courier(),
            NotStored::PhoneTaken => {
                let mut problem = Problem::new(
                    StatusCode::CONFLICT,
                    "/docs#phone-taken",
                    "phone taken",
                    "another courier has this phone number",
                );
                problem.errors = vec![Violation {
                    pointer: "/phone".to_owned(),
                    code: "taken".to_owned(),
                    message: problem.detail.clone(),
                }];
                problem
            }
            NotStored::Database(error) => silent(error),
        })
    }
}

impl From<NotAssigned> for Refused {
    fn from(error: NotAssigned) -> Self {
        Self(match error {
            NotAssigned::Already(courier) => conflict(
                "/docs#already-assigned",
                "already assigned",
                format!("courier {courier} has this order; unassign it first"),
            ),
            NotAssigned::Ended(status) => conflict(
                "/docs#order-ended",
                "order ended",
                format!("the order is {}: it needs no courier any more", status.as_str()),
            ),
            NotAssigned::NoCourier => conflict(
                "/docs#no-courier",
                "no courier",
                "no courier is available; nothing was stored".to_owned(),
            ),
            NotAssigned::Database(error) => silent(error),
        })
    }
}

impl From<NotUnassigned> for Refused {
    fn from(error: NotUnassigned) -> Self {
        Self(match error {
            NotUnassigned::Unknown => no_such_order(),
            NotUnassigned::NotAssigned => conflict(
                "/docs#not-assigned",
                "not assigned",
                "the order has no courier; GET /delivery/{order_id} tells why".to_owned(),
            ),
            NotUnassigned::Ended(status) => conflict(
                "/docs#order-ended",
                "order ended",
                format!("the order is {}: its delivery is over", status.as_str()),
            ),
            NotUnassigned::Database(error) => silent(error),
        })
    }
}

/// A refusal by the store, in words.
pub(super) struct Refused(Problem);

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        refused.0
    }
}

fn conflict(kind: &'static str, title: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, kind, title, detail)
}
