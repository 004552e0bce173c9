//! Queries about deliveries, for the JSON API and the board. Nothing here changes the database.
//!
//! - `figures`: the statistics of one courier or of all, and the number of couriers by status
//! - `queue`: the orders without a courier
//! - `delivery`: the delivery of one order; `history`: its entries in the log
//! - `deliveries`: lists of deliveries
//! - `board`: the content of the board, read in one snapshot

mod board;
mod deliveries;
mod delivery;
mod figures;
mod history;
mod queue;

pub use board::{Board, CourierOnBoard, board};
pub use deliveries::{DeliveryFilter, Listed, ListedDelivery, list_deliveries};
pub use delivery::{Delivery, find_delivery};
pub use figures::{
    CourierCounts, Statistics, WINDOW, count_couriers, courier_statistics, statistics,
};
pub use history::{Entry, History, find_history};
pub use queue::{Queue, QueueState, Queued, queue};
