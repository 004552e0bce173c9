//! The courier service: status events become deliveries, and calls change them.

pub(crate) mod api;
mod both_services;
mod dispatch;
mod growth;
mod intake;
mod lists;
mod outbox;
mod rejected;
mod search;
