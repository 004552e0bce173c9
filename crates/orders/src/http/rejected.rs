//! The rejected order records, for the shared [`handlers`](chassis::rejected::handlers) of the calls.

use chassis::{
    kafka::producer::Producer,
    rejected::{Rejection, handlers::RejectingService},
};
use sqlx::PgPool;

use super::ApiState;
use crate::order::parse::parse;

impl RejectingService for ApiState {
    fn pool(&self) -> &PgPool {
        &self.pool
    }

    fn producer(&self) -> &Producer {
        &self.producer
    }

    fn topic(&self) -> &str {
        &self.topics.orders
    }

    fn rejection_of(value: Option<&[u8]>) -> Option<Rejection> {
        parse(value).err()
    }

    fn key_of(value: &[u8]) -> Option<String> {
        Some(parse(Some(value)).ok()?.order.order_uid.to_string())
    }
}
