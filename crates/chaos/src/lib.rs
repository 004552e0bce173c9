//! The judge and the chaos runner: they show that the platform loses and repeats nothing, whatever
//! is done to it. Not a part of the shipped binary.
//!
//! ```text
//! traffic   the records that are sent: a function of a seed and a number
//! ledger    the records that Kafka has acknowledged, as the senders saw it
//! judge     compares databases, topics, groups and caches with the traffic
//! finding   the result of the judge
//! soak      one run: system (servers, replicas, senders, readers, a dispatcher), plan and faults, proxy,
//!           report
//! scenario  faults that need a system of their own
//! plant     planted bugs, each of which the judge must find
//! compat    a short run with faults on other versions of Kafka and PostgreSQL
//! recovery  measures how soon a service works again after a fault
//! backlog   measures the memory of a service with a backlog and without a database
//! resources compares memory, descriptors, threads and connections with those of new processes
//! ```
//!
//! Nothing here uses the parser, the state machine or the SQL of the services: the judge has its own.

pub mod backlog;
mod child;
pub mod compat;
mod dispatcher;
pub mod faults;
pub mod finding;
pub mod judge;
pub mod ledger;
pub mod plan;
pub mod plant;
pub mod proxy;
mod readers;
pub mod recovery;
pub mod report;
pub mod resources;
pub mod scenario;
pub mod soak;
pub mod system;
pub mod traffic;
