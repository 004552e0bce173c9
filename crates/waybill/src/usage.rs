//! The help and the errors of the command line. An invalid value of an option is a usage error (exit code 2); an
//! invalid value of an environment variable is bad configuration (exit code 78).

use std::ffi::{OsStr, OsString};

use clap::{
    Arg, Command, CommandFactory, Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::output::{print_error, unless_closed};

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

/// Options of the servers that `up` starts itself, unless one of the first variables gives the
/// address of another one.
const SERVERS: [(&[&str], &[&str]); 3] = [
    (
        &["KAFKA_BROKERS", "KAFKA_BROKER"],
        &[
            "KAFKA_SECURITY_PROTOCOL",
            "KAFKA_SASL_MECHANISM",
            "KAFKA_SASL_USERNAME",
            "KAFKA_SASL_PASSWORD",
            "KAFKA_SASL_PASSWORD_FILE",
            "KAFKA_SSL_CA_LOCATION",
            "KAFKA_SSL_CERTIFICATE_LOCATION",
            "KAFKA_SSL_KEY_LOCATION",
        ],
    ),
    (
        &["POSTGRES_HOST"],
        &[
            "POSTGRES_PORT",
            "POSTGRES_USER",
            "POSTGRES_PASSWORD",
            "POSTGRES_PASSWORD_FILE",
            "POSTGRES_DB",
        ],
    ),
    (
        &[
            "POSTGRES_HOST",
            "DATABASE_URL",
            "DATABASE_URL_FILE",
            "ORDERS_DATABASE_URL",
            "ORDERS_DATABASE_URL_FILE",
            "COURIERS_DATABASE_URL",
            "COURIERS_DATABASE_URL_FILE",
        ],
        &["POSTGRES_SSLMODE"],
    ),
];

/// Parses the command line. Prints an error and returns its exit code.
pub(crate) fn parse<C: Parser + CommandFactory>() -> Result<C, u8> {
    let args: Vec<OsString> = std::env::args_os().collect();
    let command = C::command()
        .mut_subcommand("up", |up| without_local_servers(up, &args))
        .mut_subcommand("couriers", |role| without_service_settings(role, &args));
    let parsed = command.try_get_matches_from(&args);
    let parsed = parsed.and_then(|matches| C::from_arg_matches(&matches));
    parsed.map_err(|mut error| {
        let command = C::command();
        let variable = variable(&error, &command, &args);
        if variable.is_some() || has_secret(&error, &command) {
            hide_value(&mut error);
        }
        let printed = unless_closed(error.print());
        match variable {
            Some(variable) => {
                print_error(&format!(
                    "waybill: this value comes from the variable {variable}, in the environment or in .env"
                ));
                78
            }
            // Help that cannot be written is not a success.
            None if error.exit_code() == 0 && printed.is_err() => 1,
            None => u8::try_from(error.exit_code()).unwrap_or(2),
        }
    })
}

/// Removes the variables of servers that `up` starts itself, so that they are not checked.
fn without_local_servers(mut up: Command, args: &[OsString]) -> Command {
    for (addresses, unused) in SERVERS {
        let is_given = addresses.iter().any(|name| {
            let long = environment_option(&up, name);
            std::env::var_os(name).is_some() || long.is_some_and(|long| is_in(args, &long))
        });
        if !is_given {
            up = up.mut_args(|option| {
                let name = option.get_env().and_then(OsStr::to_str);
                let is_unused = name.is_some_and(|name| unused.contains(&name));
                if is_unused { option.env(None::<&'static str>) } else { option }
            });
        }
    }
    up
}

/// Removes the variables of the courier service if the command line is that of its tool `import`, so
/// that they are not checked.
fn without_service_settings(role: Command, args: &[OsString]) -> Command {
    if args.get(2).is_some_and(|tool| tool == "import") {
        role.mut_args(|option| option.env(None::<&'static str>))
    } else {
        role
    }
}

fn environment_option(command: &Command, variable: &str) -> Option<String> {
    let mut options = command.get_arguments();
    let option = options.find(|option| option.get_env() == Some(OsStr::new(variable)));
    Some(option?.get_long()?.to_owned())
}

fn is_in(args: &[OsString], long: &str) -> bool {
    args.iter().filter_map(|arg| arg.to_str()?.strip_prefix("--")).any(|arg| {
        arg.strip_prefix(long).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

/// Returns true if the invalid value may contain a password: a secret, or a URL.
fn has_secret(error: &clap::Error, command: &Command) -> bool {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return false;
    };
    argument.contains("URL") || long_of(argument).is_some_and(|long| is_secret(command, long))
}

fn is_secret(command: &Command, long: &str) -> bool {
    let mut options = command.get_arguments();
    options.any(|arg| arg.get_long() == Some(long) && arg.is_hide_env_values_set())
        || command.get_subcommands().any(|role| is_secret(role, long))
}

/// Replaces the invalid value in the text of an error.
fn hide_value(error: &mut clap::Error) {
    if error.get(ContextKind::InvalidValue).is_some() {
        error.insert(ContextKind::InvalidValue, ContextValue::String("…".to_owned()));
    }
}

fn long_of(argument: &str) -> Option<&str> {
    argument.split_whitespace().next()?.strip_prefix("--")
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
    let long = long_of(argument)?;
    error.get(ContextKind::InvalidValue)?;
    if is_in(args, long) { None } else { environment(command, long) }
}

/// Returns the variable of the option `long`, of this command or of a subcommand.
fn environment(command: &Command, long: &str) -> Option<String> {
    let own = command.get_arguments().find(|arg| arg.get_long() == Some(long));
    own.and_then(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()))
        .or_else(|| command.get_subcommands().find_map(|role| environment(role, long)))
}
