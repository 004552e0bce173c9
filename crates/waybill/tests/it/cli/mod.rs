//! The program on the command line: its commands, configuration, output and exit codes.

mod audit;
mod clone;
mod configuration;
mod exit_codes;
mod load;
mod migrate;
mod rejected;
mod terminal;
mod up;
