//! The program on the command line: its commands, configuration, output and exit codes.

mod addresses;
mod audit;
mod clone;
mod configuration;
mod exit_codes;
mod load;
mod migrate;
mod pgbouncer;
mod rejected;
mod rejected_many;
mod rewind;
mod servers;
mod terminal;
mod up;
