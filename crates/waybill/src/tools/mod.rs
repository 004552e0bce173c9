//! The tools beside the services: each is a client of what an operator can reach.

pub mod audit;
pub mod explain;
pub mod probe;
pub mod rejected;
