//! Parses the bodies of calls: a JSON object becomes valid values, or a list of all violations.
//! Violations that only the database can find, such as a phone number that is taken, are not here.

use std::{collections::HashSet, str::FromStr};

use chassis::http::{
    BodyWithin,
    problem::{Problem, Violation},
    problems::INVALID_BODY,
};
use events::OrderUid;
use serde_json::{Map, Value};

use super::problems::PHONE_TAKEN;
use crate::{
    delivery::courier::{CourierChange, CourierId, Invalid, NewCourier, RequestedStatus},
    store::Then,
};

/// The body of a call: one small JSON object.
pub(super) type Body = BodyWithin<64>;

/// The body of `POST /couriers`.
pub(super) type ListBody = BodyWithin<16384>;

/// The code of a phone number that two couriers of a list have.
const REPEATED: &str = "repeated";
/// The largest number of couriers in a request.
const MAX_NEW_COURIERS: usize = 10_000;

/// `{"name", "phone", "transport_type", "status"}`; the default status is available.
pub(super) fn new_courier(body: Body) -> Result<NewCourier, Problem> {
    let mut form = Form::read(body)?;
    form.new_courier().ok_or_else(|| INVALID_BODY.with_violations(form.violations))
}

/// An array of couriers as in [`new_courier`], with different phone numbers.
pub(super) fn new_couriers(BodyWithin(body): ListBody) -> Result<Vec<NewCourier>, Problem> {
    let mut list = Form::default();
    let items = match serde_json::from_slice(&body) {
        Ok(Value::Array(items)) if (1..=MAX_NEW_COURIERS).contains(&items.len()) => items,
        Ok(Value::Array(_)) => {
            list.violate("", "wrong_length", "the array must have 1 to 10000 couriers");
            Vec::new()
        }
        Ok(_) => {
            list.violate("", "not_an_array", "the body must be a JSON array");
            Vec::new()
        }
        Err(_) => {
            list.violate("", "invalid_json", "the body must be JSON");
            Vec::new()
        }
    };
    let (mut couriers, mut phones) = (Vec::new(), HashSet::new());
    for (place, item) in items.into_iter().enumerate() {
        let mut form = Form { place: format!("/{place}"), ..Form::default() };
        match item {
            Value::Object(fields) => form.fields = fields,
            _ => form.violate("", "not_an_object", "a courier must be a JSON object"),
        }
        if let Some(courier) = form.violations.is_empty().then(|| form.new_courier()).flatten() {
            if !phones.insert(courier.phone.as_ref().to_owned()) {
                form.violate("/phone", REPEATED, "another courier of the list has this number");
            }
            couriers.push(courier);
        }
        list.violations.append(&mut form.violations);
    }
    // Each courier alone is valid if only phone numbers are repeated.
    if list.violations.iter().any(|violation| violation.code != REPEATED) {
        Err(INVALID_BODY.with_violations(list.violations))
    } else if list.violations.is_empty() {
        Ok(couriers)
    } else {
        Err(PHONE_TAKEN.with_violations(list.violations))
    }
}

/// `{"id", …}` with at least one field to change.
pub(super) fn courier_change(body: Body) -> Result<(CourierId, CourierChange), Problem> {
    let mut form = Form::read(body)?;
    let id = form.id();
    let change = CourierChange {
        name: form.optional("name"),
        phone: form.optional("phone"),
        status: form.optional("status"),
        transport_type: form.optional("transport_type"),
    };
    if form.violations.is_empty() && change == CourierChange::default() {
        form.violate(
            "",
            "missing",
            "at least one of name, phone, status and transport_type is required",
        );
    }
    match id {
        Some(id) if form.violations.is_empty() => Ok((id, change)),
        _ => Err(INVALID_BODY.with_violations(form.violations)),
    }
}

/// `{"order_id", "courier_id"}`; the courier is optional.
pub(super) fn assignment(body: Body) -> Result<(OrderUid, Option<CourierId>), Problem> {
    let mut form = Form::read(body)?;
    let order_id = form.required("order_id");
    let courier_id = form.optional_id("courier_id");
    match order_id {
        Some(order_id) if form.violations.is_empty() => Ok((order_id, courier_id)),
        _ => Err(INVALID_BODY.with_violations(form.violations)),
    }
}

/// `{"order_id", "then"}`; without `then`, the order is held.
pub(super) fn unassignment(body: Body) -> Result<(OrderUid, Then), Problem> {
    let mut form = Form::read(body)?;
    let order_id = form.required("order_id");
    let then = form.optional("then").unwrap_or_default();
    match order_id {
        Some(order_id) if form.violations.is_empty() => Ok((order_id, then)),
        _ => Err(INVALID_BODY.with_violations(form.violations)),
    }
}

/// The fields of an object, and their violations so far.
#[derive(Default)]
struct Form {
    fields: Map<String, Value>,
    violations: Vec<Violation>,
    /// The pointer of the object in the body.
    place: String,
}

impl Form {
    fn new_courier(&mut self) -> Option<NewCourier> {
        let (name, phone) = (self.required("name"), self.required("phone"));
        let transport_type = self.required("transport_type");
        let status = self.optional("status");
        if status == Some(RequestedStatus::Retired) {
            self.violate("/status", "invalid", &Invalid::NewAndRetired.to_string());
        }
        let status = status.unwrap_or(RequestedStatus::Available);
        let courier =
            NewCourier { name: name?, phone: phone?, status, transport_type: transport_type? };
        self.violations.is_empty().then_some(courier)
    }

    fn read(BodyWithin(body): Body) -> Result<Self, Problem> {
        let mut form = Self::default();
        match serde_json::from_slice(&body) {
            Ok(Value::Object(fields)) => form.fields = fields,
            Ok(_) => form.violate("", "not_an_object", "the body must be a JSON object"),
            Err(_) => form.violate("", "invalid_json", "the body must be JSON"),
        }
        if form.violations.is_empty() {
            Ok(form)
        } else {
            Err(INVALID_BODY.with_violations(form.violations))
        }
    }

    fn required<T: FromStr<Err: ToString>>(&mut self, field: &str) -> Option<T> {
        if self.fields.get(field).is_none_or(Value::is_null) {
            self.violate(&format!("/{field}"), "missing", "this field is required");
            return None;
        }
        self.optional(field)
    }

    fn optional<T: FromStr<Err: ToString>>(&mut self, field: &str) -> Option<T> {
        let pointer = format!("/{field}");
        match self.fields.get(field) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => match text.parse() {
                Ok(value) => Some(value),
                Err(rule) => {
                    self.violate(&pointer, "invalid", &rule.to_string());
                    None
                }
            },
            Some(_) => {
                self.violate(&pointer, "wrong_type", "must be a string");
                None
            }
        }
    }

    /// Returns the id, which is a number or a string that contains a number.
    fn id(&mut self) -> Option<CourierId> {
        self.write_number_as_text("id");
        self.required("id")
    }

    fn optional_id(&mut self, field: &str) -> Option<CourierId> {
        self.write_number_as_text(field);
        self.optional(field)
    }

    fn write_number_as_text(&mut self, field: &str) {
        if let Some(Value::Number(number)) = self.fields.get(field) {
            let text = number.to_string();
            self.fields.insert(field.to_owned(), Value::String(text));
        }
    }

    fn violate(&mut self, pointer: &str, code: &str, message: &str) {
        self.violations.push(Violation {
            pointer: format!("{}{pointer}", self.place),
            code: code.to_owned(),
            message: message.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Body {
        BodyWithin(text.to_owned().into())
    }

    fn violations<T: std::fmt::Debug>(outcome: Result<T, Problem>) -> Vec<String> {
        let errors = outcome.unwrap_err().errors;
        errors.into_iter().map(|error| format!("{} {}", error.pointer, error.code)).collect()
    }

    #[test]
    fn every_violation_of_a_courier_is_listed() {
        assert_eq!(violations(new_courier(body("{"))), [" invalid_json"]);
        assert_eq!(violations(new_courier(body("[]"))), [" not_an_object"]);
        assert_eq!(
            violations(new_courier(body("{}"))),
            ["/name missing", "/phone missing", "/transport_type missing"]
        );
        assert_eq!(
            violations(new_courier(body(
                r#"{"name":" ","phone":"1","transport_type":7,"status":"busy"}"#
            ))),
            ["/name invalid", "/phone invalid", "/transport_type wrong_type", "/status invalid"]
        );
    }

    #[test]
    fn a_change_needs_an_id_and_at_least_one_field() {
        assert_eq!(violations(courier_change(body(r#"{"status":"paused"}"#))), ["/id missing"]);
        assert_eq!(violations(courier_change(body(r#"{"id":0,"name":"A"}"#))), ["/id invalid"]);
        assert_eq!(violations(courier_change(body(r#"{"id":1.5,"name":"A"}"#))), ["/id invalid"]);
        assert_eq!(violations(courier_change(body(r#"{"id":1}"#))), [" missing"]);
        let (id, change) = courier_change(body(r#"{"id":1,"status":"paused"}"#)).unwrap();
        assert_eq!((id.get(), change.status), (1, Some(RequestedStatus::Paused)));
    }

    #[test]
    fn every_violation_of_a_list_has_its_place() {
        let list = |text: &str| new_couriers(BodyWithin(text.to_owned().into()));
        let anna = r#"{"name":"A","phone":"+0123456789","transport_type":"car"}"#;
        assert_eq!(list(&format!("[{anna}]")).unwrap().len(), 1);
        let wrong = format!(r#"[{anna},{anna},7,{{"name":"B","phone":"1"}}]"#);
        assert_eq!(
            violations(list(&wrong)),
            [
                "/1/phone repeated",
                "/2 not_an_object",
                "/3/phone invalid",
                "/3/transport_type missing"
            ]
        );
        let repeated = list(&format!("[{anna},{anna}]")).unwrap_err();
        assert_eq!((repeated.status, repeated.errors.len()), (409, 1));
        assert_eq!(violations(list("{}")), [" not_an_array"]);
        assert_eq!(violations(list("[]")), [" wrong_length"]);
    }

    #[test]
    fn a_new_courier_cannot_be_retired() {
        let body =
            body(r#"{"name":"A","phone":"+0123456789","transport_type":"car","status":"retired"}"#);
        assert_eq!(violations(new_courier(body)), ["/status invalid"]);
    }

    #[test]
    fn the_courier_of_an_assignment_is_optional() {
        let read = |text: &str| assignment(body(text));
        assert_eq!(read(r#"{"order_id":"1"}"#).unwrap().1, None);
        for text in [r#"{"order_id":"1","courier_id":7}"#, r#"{"order_id":"1","courier_id":"7"}"#] {
            assert_eq!(read(text).unwrap().1.map(CourierId::get), Some(7));
        }
        assert_eq!(
            violations(read(r#"{"courier_id":0}"#)),
            ["/order_id missing", "/courier_id invalid"]
        );
    }

    #[test]
    fn an_unassigned_order_is_held_unless_it_should_wait() {
        let read = |text: &str| unassignment(body(text));
        assert_eq!(read(r#"{"order_id":"123"}"#).unwrap().1, Then::Hold);
        assert_eq!(read(r#"{"order_id":"123","then":"hold"}"#).unwrap().1, Then::Hold);
        assert_eq!(read(r#"{"order_id":"123","then":"wait"}"#).unwrap().1, Then::Wait);
        assert_eq!(
            violations(read(r#"{"order_id":1,"then":"later"}"#)),
            ["/order_id wrong_type", "/then invalid"]
        );
    }
}
