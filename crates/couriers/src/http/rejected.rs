//! The rejected status records, for the shared [`handlers`](chassis::rejected::handlers) of the calls.

use chassis::{
    kafka::producer::Producer,
    rejected::{Rejection, handlers::RejectingService},
};
use events::StatusEvent;
use sqlx::PgPool;

use super::ApiState;
use crate::delivery::rejection;

impl RejectingService for ApiState {
    fn pool(&self) -> &PgPool {
        &self.pool
    }

    fn producer(&self) -> &Producer {
        &self.producer
    }

    fn topic(&self) -> &str {
        &self.status_topic
    }

    fn rejection_of(value: Option<&[u8]>) -> Option<Rejection> {
        StatusEvent::read(value).err().map(rejection::of)
    }

    fn key_of(value: &[u8]) -> Option<String> {
        Some(StatusEvent::read(Some(value)).ok()?.order_id.to_string())
    }
}
