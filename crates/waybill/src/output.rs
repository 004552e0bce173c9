//! The output of a process: data on standard output, messages on standard error, the exit code.

use std::{io::Write as _, process::ExitCode};

use chassis::{
    postgres::errors,
    process::{exit, telemetry},
};

use crate::escape;

/// Prints data for a person, with control characters escaped. Ignores errors: the reader of a pipe, such as `head`, may have ended.
pub(crate) fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", escape::lines(text.trim_end()));
}

/// Prints JSON for a program, also with control characters escaped, as JSON escapes them.
pub(crate) fn print_json(json: &str) {
    let _ = writeln!(std::io::stdout(), "{}", escape::json(json));
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
