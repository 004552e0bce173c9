//! The output of a process: data on standard output, messages on standard error, the exit code.

use std::{
    io::{self, ErrorKind, Write as _},
    process::ExitCode,
};

use anyhow::Context;
use chassis::{
    postgres::errors,
    process::{exit, telemetry},
};

use crate::escape;

/// Prints data for a person, with control characters escaped. It is not an error if the reader of a
/// pipe has ended, as `head` does.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    write_line(&escape::lines(text.trim_end()))
}

/// Prints JSON for a program, also with control characters escaped, as JSON escapes them.
pub(crate) fn print_json(json: &str) -> anyhow::Result<()> {
    write_line(&escape::json(json))
}

fn write_line(text: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout();
    let written = writeln!(output, "{text}").and_then(|()| output.flush());
    unless_closed(written).context("writing to standard output")
}

/// Returns the error of a write, unless the reader of a pipe has ended.
pub(crate) fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

/// Prints a message for a person, after the log lines before it. It may contain a text of a server:
/// control characters are escaped.
pub(crate) fn print_error(text: &str) {
    telemetry::flush();
    // Standard error may already be closed, as with `2>&1 | head`. That must not change the exit
    // code.
    let _ = writeln!(std::io::stderr(), "{}", escape::lines(text));
}

/// Prints the error that ends the process, and returns the exit code. A usage error ends the process
/// here.
pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
    if let Some(usage) = error.downcast_ref::<clap::Error>() {
        usage.exit();
    }
    print_error(&format!("waybill: {error:#}"));
    ExitCode::from(exit_code(error))
}

/// Returns the exit code of an error. If PostgreSQL refused the user, the database or a permission,
/// this is 78, whichever call it refused.
fn exit_code(error: &anyhow::Error) -> u8 {
    let refused = error.chain().filter_map(|cause| cause.downcast_ref()).any(errors::is_refusal);
    match exit::code(error) {
        1 if refused => 78,
        code => code,
    }
}
