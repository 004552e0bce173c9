//! Errors of the command line. An unreadable flag is a usage error (exit code 2); an unreadable
//! environment variable is bad configuration (exit code 78).

use std::ffi::OsString;

use clap::{
    Command, CommandFactory, Parser,
    error::{ContextKind, ContextValue},
};

use crate::output::print_error;

/// Parses the command line; an error is printed and becomes an exit code.
pub(crate) fn parse<C: Parser + CommandFactory>() -> Result<C, u8> {
    C::try_parse().map_err(|error| {
        let _ = error.print();
        match variable(&error, &C::command(), &std::env::args_os().collect::<Vec<_>>()) {
            Some(variable) => {
                print_error(&format!(
                    "waybill: the environment or .env gives this value as {variable}"
                ));
                78
            }
            None => u8::try_from(error.exit_code()).unwrap_or(2),
        }
    })
}

/// Returns the variable that contains the unreadable value, unless a flag contains it.
fn variable(error: &clap::Error, command: &Command, args: &[OsString]) -> Option<String> {
    let ContextValue::String(argument) = error.get(ContextKind::InvalidArg)? else { return None };
    let long = argument.split_whitespace().next()?.strip_prefix("--")?;
    error.get(ContextKind::InvalidValue)?;
    let given = args.iter().filter_map(|arg| arg.to_str()?.strip_prefix("--")).any(|arg| {
        arg.strip_prefix(long).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    });
    if given { None } else { environment(command, long) }
}

fn environment(command: &Command, long: &str) -> Option<String> {
    let own = command.get_arguments().find(|arg| arg.get_long() == Some(long));
    own.and_then(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()))
        .or_else(|| command.get_subcommands().find_map(|role| environment(role, long)))
}
