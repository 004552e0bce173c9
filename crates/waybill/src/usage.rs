//! The help and the errors of the command line. An invalid value of an option is a usage error (exit code 2); an
//! invalid value of an environment variable is bad configuration (exit code 78).

use std::ffi::{OsStr, OsString};

use clap::{
    Arg, Command, CommandFactory, Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::output::print_error;

/// The end of the short help of a command.
pub(crate) const SEE_LONG_HELP: &str = "`--help` explains all options and shows examples.";

/// Hides an option of a shared group from the help if it is one of `unused`, which this command
/// accepts and does not read. Their variables are not read either, so that a wrong one does not stop
/// a command that has no use for it.
pub(crate) fn hide(option: Arg, unused: &[&str]) -> Arg {
    if unused.contains(&option.get_id().as_str()) {
        option.hide(true).env(None::<&'static str>)
    } else {
        option
    }
}

/// Parses the command line. Prints an error and returns its exit code.
pub(crate) fn parse<C: Parser + CommandFactory>() -> Result<C, u8> {
    C::try_parse().map_err(|error| {
        let _ = error.print();
        match variable(&error, &C::command(), &std::env::args_os().collect::<Vec<_>>()) {
            Some(variable) => {
                print_error(&format!(
                    "waybill: this value comes from the variable {variable}, in the environment or in .env"
                ));
                78
            }
            None => u8::try_from(error.exit_code()).unwrap_or(2),
        }
    })
}

/// Returns the variable that the invalid value comes from, or `None` if an option contains it.
fn variable(error: &clap::Error, command: &Command, args: &[OsString]) -> Option<String> {
    // clap names neither the option nor the variable of a value that is not UTF-8.
    if error.kind() == ErrorKind::InvalidUtf8 && args.iter().all(|arg| arg.to_str().is_some()) {
        let role =
            command.get_subcommands().find(|role| args.iter().any(|arg| arg == role.get_name()));
        let is_malformed =
            |name: &&OsStr| std::env::var_os(name).is_some_and(|value| value.to_str().is_none());
        let name = role?.get_arguments().filter_map(Arg::get_env).find(is_malformed);
        return name.map(|name| name.to_string_lossy().into_owned());
    }
    let ContextValue::String(argument) = error.get(ContextKind::InvalidArg)? else { return None };
    let long = argument.split_whitespace().next()?.strip_prefix("--")?;
    error.get(ContextKind::InvalidValue)?;
    let given = args.iter().filter_map(|arg| arg.to_str()?.strip_prefix("--")).any(|arg| {
        arg.strip_prefix(long).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    });
    if given { None } else { environment(command, long) }
}

/// Returns the variable of the option `long`, of this command or of a subcommand.
fn environment(command: &Command, long: &str) -> Option<String> {
    let own = command.get_arguments().find(|arg| arg.get_long() == Some(long));
    own.and_then(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()))
        .or_else(|| command.get_subcommands().find_map(|role| environment(role, long)))
}
