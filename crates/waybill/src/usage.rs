//! Reading the command line: a flag that cannot be read is usage and ends with 2, a variable of the
//! environment that cannot be read is configuration and ends with 78, as a later failure would.

use std::ffi::OsString;

use clap::{
    Command, CommandFactory, Parser,
    error::{ContextKind, ContextValue},
};

/// What was asked for, or the exit code once the trouble has been told.
pub(crate) fn parse<C: Parser + CommandFactory>() -> Result<C, u8> {
    C::try_parse().map_err(|error| {
        let _ = error.print();
        match variable(&error, &C::command(), &std::env::args_os().collect::<Vec<_>>()) {
            Some(variable) => {
                say(&format!("waybill: the environment or .env gives this value as {variable}"));
                78
            }
            None => u8::try_from(error.exit_code()).unwrap_or(2),
        }
    })
}

#[expect(clippy::print_stderr, reason = "the last word of a process, for a person")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// The variable that gave the value that cannot be read, unless a flag gave it.
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
