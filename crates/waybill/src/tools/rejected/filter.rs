//! The filters of rejected records on the command line.

use clap::{Args, ValueEnum};
use url::Url;

/// The filters that `list` and `replay --all` share. The service checks their values.
#[derive(Args)]
pub(super) struct FilterArgs {
    /// Only records with this reason, such as missing; docs/validation.md lists all.
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Only records with a violation whose JSON pointer begins with this text, such as /delivery.
    #[arg(long, value_name = "POINTER")]
    field: Option<String>,
    /// Only records with this text in the id, the key, the value, the reason or a violation; letter case
    /// counts.
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Only records with this key.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only records rejected at this time or later, in RFC 3339, such as 2026-03-01T12:00:00Z.
    #[arg(long, value_name = "DATE_TIME")]
    from: Option<String>,
    /// Only records rejected before this time.
    #[arg(long, value_name = "DATE_TIME")]
    to: Option<String>,
    /// Records that are left to do, those that are settled, or both.
    #[arg(long, value_name = "STATE", default_value = "left")]
    state: StateArg,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StateArg {
    Left,
    Settled,
    Any,
}

impl FilterArgs {
    /// Returns true if no filter is given.
    pub(super) fn is_empty(&self) -> bool {
        let Self { reason, field, text, key, from, to, state } = self;
        [reason, field, text, key, from, to].iter().all(|one| one.is_none())
            && *state == StateArg::Left
    }

    /// Returns the address of a call with these filters.
    pub(super) fn address(&self, base: &Url, path: &str) -> anyhow::Result<Url> {
        let mut url = base.join(path)?;
        // A service of an earlier version ignores a parameter that it does not have. Without it, it
        // lists all records.
        let settled = match self.state {
            StateArg::Left => "false",
            StateArg::Settled => "true",
            StateArg::Any => "any",
        };
        let filters = [
            ("reason", &self.reason),
            ("field", &self.field),
            ("q", &self.text),
            ("key", &self.key),
            ("from", &self.from),
            ("to", &self.to),
        ];
        let filters = filters.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        url.query_pairs_mut().extend_pairs(filters).append_pair("settled", settled);
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        filter: FilterArgs,
    }

    #[test]
    fn each_filter_is_a_parameter_of_the_call() {
        let base = "http://127.0.0.1:8081/".parse().unwrap();
        let address = |flags: &[&str]| {
            let command = Command::parse_from([&["x"], flags].concat());
            command.filter.address(&base, "rejected").unwrap().to_string()
        };
        assert_eq!(address(&[]), "http://127.0.0.1:8081/rejected?settled=false");
        let flags = ["--reason=missing", "--field=/a", "--text=b c", "--key=k", "--state=any"];
        assert_eq!(
            address(&flags),
            "http://127.0.0.1:8081/rejected?reason=missing&field=%2Fa&q=b+c&key=k&settled=any"
        );
        let flags = ["--from=2026-03-01T12:00:00+01:00", "--to=x", "--state=settled"];
        assert_eq!(
            address(&flags),
            "http://127.0.0.1:8081/rejected?from=2026-03-01T12%3A00%3A00%2B01%3A00&to=x&settled=true"
        );
    }
}
