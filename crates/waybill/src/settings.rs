//! Tests that other files agree with the program: `.env.example` lists every variable that the program
//! reads, once, with its default, under the heading of the help; `compose.yaml` sets no other variables
//! and generates the same orders as `waybill up`; the Dockerfile builds with the toolchain of the
//! repository.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Arg, Command, CommandFactory, Parser as _};

const EXAMPLE: &str = include_str!("../../../.env.example");
const COMPOSE: &str = include_str!("../../../compose.yaml");
const DOCKERFILE: &str = include_str!("../../../Dockerfile");
const TOOLCHAIN: &str = include_str!("../../../rust-toolchain.toml");

/// Variables that are not options: the log reads the first, the search for programs the others.
const WITHOUT_OPTION: [&str; 4] = ["RUST_LOG", "PG_BIN_DIR", "JAVA_HOME", "KAFKA_HOME"];

fn options(command: &Command) -> Vec<&Arg> {
    let below = command.get_subcommands().flat_map(options);
    command.get_arguments().filter(|option| option.get_env().is_some()).chain(below).collect()
}

fn variable(option: &Arg) -> String {
    option.get_env().expect("filtered").to_string_lossy().into_owned()
}

fn variables(command: &Command) -> BTreeSet<String> {
    options(command).into_iter().map(variable).collect()
}

/// Returns the variables of the example with their values, from the lines `#NAME=value`.
fn example() -> BTreeMap<&'static str, &'static str> {
    EXAMPLE.lines().filter_map(example_line).collect()
}

fn example_line(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix('#')?.split_once('=').filter(|(name, _)| is_variable(name))
}

fn is_variable(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// Returns the variables of each service in `compose.yaml` that runs a role of this program.
fn composition() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut services = BTreeMap::new();
    for service in COMPOSE.split("\n\n").map(str::trim_end) {
        if !service.contains("<<: *waybill\n") {
            continue;
        }
        let Some(role) = service.lines().find_map(|line| line.strip_prefix("    command: ["))
        else {
            continue;
        };
        // The service `migrate` has another entry point, so its command begins with the program.
        let mut words = role.split([',', ']']).map(str::trim).filter(|word| *word != "waybill");
        let role = words.next().expect("the command names a role");
        let given = service
            .lines()
            .filter_map(|line| line.strip_prefix("      ")?.split_once(": "))
            .map(|(name, _)| name)
            .filter(|name| is_variable(name));
        services.insert(role, given.collect());
    }
    services
}

#[test]
fn the_example_lists_every_variable_and_no_other() {
    let example = example();
    let words: BTreeSet<_> =
        EXAMPLE.split(|c: char| !(c.is_ascii_uppercase() || c == '_')).collect();
    let known = variables(&crate::Cli::command());

    // An alias is only in the comment of its variable.
    let unlisted: Vec<_> = known.iter().filter(|name| !words.contains(name.as_str())).collect();
    assert!(unlisted.is_empty(), "missing in .env.example: {unlisted:?}");
    let unknown: Vec<_> = example
        .keys()
        .filter(|name| !known.contains(**name) && !WITHOUT_OPTION.contains(name))
        .collect();
    assert!(unknown.is_empty(), "in .env.example, but nothing reads it: {unknown:?}");
}

/// Numbers and times, by the names of their values in the help.
const NUMBERS: [&str; 6] = ["N", "BYTES", "MILLISECONDS", "SECONDS", "TIME", "PORT"];

#[test]
fn every_number_has_a_range_that_the_help_shows() {
    let mut count = 0;
    let command = crate::Cli::command();
    for role in command.get_subcommands() {
        let nested = role.get_subcommands().map(|nested| vec![role.get_name(), nested.get_name()]);
        for path in nested.chain([vec![role.get_name()]]) {
            let command = path.iter().skip(1).fold(role, |command, name| {
                command.find_subcommand(name).expect("it is a subcommand")
            });
            // `--start` is a date.
            let is_number = |option: &&Arg| {
                let names = option.get_value_names().unwrap_or_default();
                !option.is_hide_set()
                    && option.get_id() != "start"
                    && names.iter().any(|name| NUMBERS.contains(&name.as_str()))
            };
            for option in command.get_arguments().filter(is_number) {
                count += 1;
                let long = option.get_long().expect("numbers are options");
                let help = option.get_long_help().or(option.get_help()).expect("it has help");
                let help = help.to_string().replace('\n', " ");
                let range = help.split("from ").any(|rest| {
                    let first = rest.split_whitespace().nth(1);
                    rest.starts_with(|char: char| char.is_ascii_digit()) && first == Some("to")
                });
                assert!(range, "{path:?} --{long} shows no range: {help}");
                for wrong in ["-1", "99999999999999999999", "99999999999999999999h", ""] {
                    let option = format!("--{long}={wrong}");
                    let line = ["waybill"].into_iter().chain(path.clone()).chain([&*option]);
                    let error = crate::Cli::try_parse_from(line).err();
                    let error = error.unwrap_or_else(|| panic!("{option} is accepted")).to_string();
                    let shown = error.contains(&format!("--{long}")) && error.contains("from ");
                    assert!(shown, "{option}: {error}");
                }
            }
        }
    }
    assert!(count > 30, "only {count} options are numbers");
}

#[test]
fn the_example_shows_the_defaults() {
    // Two commands may have different defaults for one variable; the example shows one of them.
    let mut defaults: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for option in options(&crate::Cli::command()) {
        if let [default] = option.get_default_values() {
            let default = default.to_str().expect("defaults are UTF-8").to_owned();
            defaults.entry(variable(option)).or_default().push(default);
        }
    }
    let example = example();
    for (name, defaults) in defaults {
        let shown = example.get(name.as_str()).map(|shown| (*shown).to_owned());
        assert!(
            shown.as_ref().is_some_and(|shown| defaults.contains(shown)),
            "{name} is {defaults:?} by default, and {shown:?} in .env.example"
        );
    }
}

#[test]
fn the_example_lists_each_variable_once_under_the_heading_of_the_help() {
    // These commands have headings of their own, or none.
    let others = ["load", "rejected", "explain", "probe"];
    let mut heading = "";
    let mut shown: BTreeMap<&str, &str> = BTreeMap::new();
    for line in EXAMPLE.lines() {
        if let Some(title) = line.strip_prefix("# --- ") {
            heading = title.split(" --").next().expect("split gives one");
        } else if let Some((name, _)) = example_line(line) {
            assert!(shown.insert(name, heading).is_none(), "{name} is in .env.example twice");
        }
    }

    let command = crate::Cli::command();
    for role in command.get_subcommands().filter(|role| !others.contains(&role.get_name())) {
        for option in options(role) {
            if let Some(heading) = shown.get(variable(option).as_str()) {
                assert_eq!(option.get_help_heading(), Some(*heading), "{}", variable(option));
            }
        }
    }
}

#[test]
fn a_service_is_given_what_its_role_reads() {
    let command = crate::Cli::command();
    let composition = composition();
    // Without a command, the service `tools` shows the help.
    for role in ["migrate", "orders", "couriers", "load", "--help"] {
        assert!(composition.contains_key(role), "compose.yaml has no service for {role}");
    }
    for (role, given) in composition {
        let tools = ["audit", "explain", "rejected", "rewind"];
        let roles = if role == "--help" { &tools[..] } else { &[role] };
        let find = |role: &&str| {
            command.find_subcommand(role).unwrap_or_else(|| panic!("{role} is not a command"))
        };
        let known: BTreeSet<_> = roles.iter().map(find).flat_map(variables).collect();
        let unknown: Vec<_> = given.into_iter().filter(|name| !known.contains(*name)).collect();
        assert!(unknown.is_empty(), "{role} does not read {unknown:?}");
    }
}

#[test]
fn the_containers_generate_the_orders_of_up() {
    let (_, command) = COMPOSE.split_once("[load,").expect("compose.yaml has a service load");
    let (command, _) = command.split_once(']').expect("its command ends");
    let words = command.split(',').map(|word| word.trim().trim_matches('"'));
    let cli = crate::Cli::try_parse_from(["waybill", "load"].into_iter().chain(words));
    let crate::Role::Load(role) = cli.expect("the command is valid").role else {
        panic!("the role is load")
    };
    let (given, rate) = (role.load, 5);
    let url = given.couriers_url.clone();
    let up = crate::load::LoadArgs::unending(rate, crate::up::enough_couriers(rate), url);
    let generator = |args: &crate::load::LoadArgs| {
        let shares = [args.cancels, args.repeats, args.reordered, args.unknown];
        (args.rate, args.count, args.start, args.walk, args.couriers, shares, args.resume)
    };
    assert_eq!(generator(&given), generator(&up));
}

#[test]
fn the_image_is_built_by_the_toolchain_of_the_repository() {
    let channel =
        TOOLCHAIN.lines().find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"'));
    let image =
        format!("FROM rust:{}-slim-", channel.expect("rust-toolchain.toml names a channel"));
    assert!(DOCKERFILE.contains(&image), "no `{image}` in the Dockerfile");
}

#[test]
fn every_secret_may_be_in_a_file() {
    let command = crate::Cli::command();
    let known = variables(&command);
    for option in options(&command).into_iter().filter(|option| option.is_hide_env_values_set()) {
        let file = format!("{}_FILE", variable(option));
        assert!(known.contains(&file), "{file} is missing");
    }
}
