//! The address of a PostgreSQL. It is read here and not by sqlx, which ignores parameters that it
//! does not know, logs their values, and takes an unknown `PGSSLMODE` for `prefer`. A setting that
//! would protect the connection and cannot, is an error here.

mod parameters;
mod tls;

use std::{collections::BTreeMap, sync::OnceLock};

use anyhow::{anyhow, bail, ensure};
use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};
use url::Url;

pub use self::tls::MODES as SSL_MODES;

use self::parameters::{Effect, SUPPORTED, effect, refused_variable};
use crate::process::network::warn_of_unverified;

/// psql's variables for the host. They are used if the address names no host.
const HOST_VARIABLES: [&str; 2] = ["host", "hostaddr"];

/// psql's variables at the start of the process, if they were removed from the environment.
static KEPT: OnceLock<BTreeMap<&'static str, String>> = OnceLock::new();

/// Keeps the values of psql's variables for addresses that are given, and returns their names.
/// Remove these from the environment: otherwise sqlx would use them for the connections to the local
/// servers, too.
pub fn keep_variables() -> impl Iterator<Item = &'static str> {
    let kept =
        SUPPORTED.into_iter().filter_map(|(_, name)| Some((name, std::env::var(name).ok()?)));
    KEPT.get_or_init(|| kept.collect()).keys().copied()
}

/// The address of a database: libpq's parameters, checked.
#[derive(Clone)]
pub struct Address {
    parameters: BTreeMap<&'static str, Parameter>,
    /// The names of its parameters that have no effect.
    without_effect: Vec<&'static str>,
    /// The password in the address itself, which psql's variables do not change.
    own_password: Option<String>,
    /// The variable of the address, for messages.
    variable: String,
    mode: tls::Mode,
}

/// The identity of a service in its database.
#[derive(Clone)]
pub struct Login {
    pub user: String,
    pub password: Option<String>,
    pub database: String,
}

/// A parameter, and its place for messages.
#[derive(Clone)]
struct Parameter {
    value: String,
    place: String,
    is_variable: bool,
}

impl Address {
    /// Reads the address that the variable `name` contains. psql's variables fill what it omits.
    pub fn parse(name: &str, text: &str) -> anyhow::Result<Self> {
        Self::parse_with(name, text, variable)
    }

    /// Reads the address of a local server, which has no TLS. psql's variables are for other
    /// servers.
    pub fn parse_local(text: &str) -> anyhow::Result<Self> {
        let mut address = Self::given("the local address", text)?;
        address.set("sslmode", "disable", "the local address");
        address.checked()
    }

    /// Builds an address from its parts, each with the name of its variable. psql's variables give
    /// the missing parts.
    pub fn of_parts(parts: &[(&'static str, &str, Option<&str>)]) -> anyhow::Result<Self> {
        let mut address = Self::empty("POSTGRES_HOST");
        for (parameter, name, value) in parts {
            if let Some(value) = value {
                address.set(parameter, value, name);
            }
        }
        address.own_password = address.value("password").map(str::to_owned);
        address.fill(variable)?;
        address.checked()
    }

    fn parse_with(
        name: &str,
        text: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let mut address = Self::given(name, text)?;
        address.fill(variable)?;
        address.checked()
    }

    fn empty(variable: &str) -> Self {
        Self {
            parameters: BTreeMap::new(),
            without_effect: Vec::new(),
            own_password: None,
            variable: variable.to_owned(),
            mode: tls::Mode::default(),
        }
    }

    /// Reads what the text itself contains. No error repeats a value: it may be a password.
    fn given(name: &str, text: &str) -> anyhow::Result<Self> {
        let not_an_address = |reason: &str| anyhow!("{name} is not a PostgreSQL address: {reason}");
        let begin = "it must begin with postgres:// or postgresql://";
        ensure!(
            text.starts_with("postgres://") || text.starts_with("postgresql://"),
            not_an_address(begin)
        );
        let url = Url::parse(text).map_err(|error| not_an_address(&error.to_string()))?;
        ensure!(url.fragment().is_none(), not_an_address("write # in it as %23"));
        let decoded = |text: &str| {
            let text = percent_encoding::percent_decode_str(text).decode_utf8();
            text.map(|text| text.into_owned()).map_err(|_| not_an_address("it is not UTF-8"))
        };
        let mut address = Self::empty(name);
        let database = url.path().strip_prefix('/').unwrap_or_default();
        let port = url.port().map(|port| port.to_string());
        for (parameter, value) in [
            // An IPv6 address is in brackets in a URL only.
            ("host", url.host_str().map(|host| host.trim_matches(['[', ']']))),
            ("port", port.as_deref()),
            ("user", Some(url.username())),
            ("password", url.password()),
            ("dbname", Some(database)),
        ] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                address.set(parameter, &decoded(value)?, name);
            }
        }
        for (parameter, value) in url.query_pairs() {
            let place = || format!("the parameter {parameter} of {name}");
            match effect(&parameter, &value) {
                Effect::Supported(known) => address.set(known, &value, &place()),
                Effect::Harmless => {}
                Effect::None(known) => address.without_effect.push(known),
                Effect::Refused(_) => bail!(
                    "{} is not supported, so it would not protect the connection; remove it",
                    place()
                ),
                Effect::Unknown => bail!("{}", unknown(name, &parameter, &url)),
            }
        }
        address.own_password = address.value("password").map(str::to_owned);
        Ok(address)
    }

    /// Adds psql's variables.
    fn fill(&mut self, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<()> {
        if let Some(refused) = refused_variable(&variable) {
            bail!(
                "{refused} is not supported, so it would not protect the connection to the address \
                 in {}; remove it",
                self.variable
            );
        }
        let has_host = HOST_VARIABLES.iter().any(|name| self.parameters.contains_key(name));
        for (parameter, name) in SUPPORTED {
            let is_missing = match parameter {
                "host" | "hostaddr" => !has_host,
                _ => !self.parameters.contains_key(parameter),
            };
            if let (true, Some(value)) = (is_missing, variable(name)) {
                self.set(parameter, &value, name);
                self.parameters.get_mut(parameter).expect("it was set").is_variable = true;
            }
        }
        Ok(())
    }

    /// Checks the values. Several hosts are an error, because sqlx connects to one only.
    fn checked(mut self) -> anyhow::Result<Self> {
        for (name, parameter) in &self.parameters {
            let place = &parameter.place;
            ensure!(!parameter.value.contains('\0'), "{place} contains a NUL");
            match *name {
                "host" | "hostaddr" => ensure!(
                    !parameter.value.contains(','),
                    "{place} names several hosts: only one is supported"
                ),
                "port" => ensure!(
                    parameter.value.parse().is_ok_and(|port: u16| port > 0),
                    "{place}: the port must be from 1 to 65535"
                ),
                _ => {}
            }
        }
        self.mode = tls::check(&mut self.parameters, &self.variable)?;
        Ok(self)
    }

    fn set(&mut self, parameter: &'static str, value: &str, place: &str) {
        let value = value.to_owned();
        let place = place.to_owned();
        self.parameters.insert(parameter, Parameter { value, place, is_variable: false });
    }

    fn value(&self, parameter: &str) -> Option<&str> {
        self.parameters.get(parameter).map(|parameter| parameter.value.as_str())
    }

    /// Returns true if the address itself, and not a variable of psql, gives `sslmode`.
    #[must_use]
    pub fn has_sslmode(&self) -> bool {
        self.parameters.get("sslmode").is_some_and(|mode| !mode.is_variable)
    }

    /// Returns the options of a connection.
    #[must_use]
    pub fn options(&self) -> PgConnectOptions {
        // sqlx also reads the file .pgpass if no password is given, but only for a URL. In this one
        // each part is a parameter, so that none needs a syntax of its own.
        let mut url = Url::parse("postgres://").expect("it is a URL");
        for (name, parameter) in &self.parameters {
            url.query_pairs_mut().append_pair(name, &parameter.value);
        }
        PgConnectOptions::from_url(&url).expect("the parameters are checked")
    }

    /// Returns the user, the password and the database that a service logs in with.
    #[must_use]
    pub fn login(&self) -> Login {
        let options = self.options();
        let user = options.get_username().to_owned();
        let database = options.get_database().unwrap_or(&user).to_owned();
        Login { user, password: self.own_password.clone(), database }
    }

    /// Logs what the user may not expect: parameters without effect, and a server on another
    /// machine without verified TLS.
    pub fn warn(&self) {
        let variable = &self.variable;
        for parameter in &self.without_effect {
            tracing::warn!("the parameter {parameter} of {variable} has no effect");
        }
        if let tls::Mode::Off { unused_root: Some(place) } = &self.mode {
            tracing::warn!("{place} has no effect, because sslmode is disable");
        }
        if self.mode != tls::Mode::Verified {
            let advice = format!(
                "append ?sslmode=verify-full to {variable}, with &sslrootcert=FILE for a private \
                 certificate authority"
            );
            let options = self.options();
            let host = options.get_socket().map_or_else(
                || options.get_host().to_owned(),
                |folder| folder.to_string_lossy().into_owned(),
            );
            warn_of_unverified("PostgreSQL", [host.as_str()], &advice);
        }
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address").field("variable", &self.variable).finish_non_exhaustive()
    }
}

/// Returns the host and port, or the folder of the socket, without the user and the password.
#[must_use]
pub fn shown(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(folder) => format!("{}/.s.PGSQL.{}", folder.display(), options.get_port()),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

/// Returns the message about an unknown parameter. Its name is shown unless it may be a part of a
/// password in which a `?` was not written as %3F.
fn unknown(variable: &str, parameter: &str, url: &Url) -> String {
    let is_name = |char: char| char.is_ascii_lowercase() || ['_', '-'].contains(&char);
    if parameter.chars().all(is_name) && !url.query().unwrap_or_default().contains('@') {
        return format!("the parameter {parameter} of {variable} is unknown; remove it");
    }
    format!("{variable} has an unknown parameter; write ? in a user or a password as %3F")
}

/// Returns one of psql's variables, if it is not empty.
fn variable(name: &str) -> Option<String> {
    let kept = || KEPT.get()?.get(name).cloned();
    std::env::var(name).ok().filter(|value| !value.is_empty()).or_else(kept)
}

#[cfg(test)]
mod tests;
