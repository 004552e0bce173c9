//! Queries about deliveries, for the JSON API and the board. Nothing here changes the database.
//!
//! - `figures`: the statistics of one courier or of all, and the number of couriers by status
//! - `queue`: the orders without a courier
//! - `delivery`: the delivery of one order; `history`: its entries in the log
//! - `deliveries`: lists of deliveries
//! - `rows`: the rows of one list of the board, a page at a time
//! - `board`: the figures and the first rows of the board, read in one snapshot
//! - `search`: the search for orders and couriers
//! - `courier`: the deliveries of one courier today, and their log

mod board;
mod courier;
mod deliveries;
mod delivery;
mod figures;
mod history;
mod queue;
mod rows;
mod search;

pub use board::{Board, QueueCounts, board};
pub use courier::{CourierEntry, CourierHistory, find_courier_history};
pub use deliveries::{DeliveryFilter, Listed, ListedDelivery, list_deliveries};
pub use delivery::{Delivery, find_delivery};
pub use figures::{
    CourierCounts, Statistics, WINDOW, count_couriers, courier_statistics, statistics,
};
pub use history::{Entry, History, find_history};
pub use queue::{Queue, QueueState, Queued, queue};
pub use rows::{
    Carried, CourierOfOrder, CourierRow, List, OrderRow, Place, Rows, Window, read_rows,
};
pub use search::{Found, MAX_SEARCH_CHARS, search, search_free};
