//! The actions of failpoints, as the environment gives them.

use std::{
    collections::HashMap,
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail, ensure};

use super::{GUARDS, NAMES, RETURN_ERRORS};
use crate::process::telemetry;

/// The action at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Kill,
    Delay(Duration),
    Hold,
    Error,
    Panic,
    Skip,
}

impl Action {
    fn kind(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Delay(_) => "delay",
            Self::Hold => "hold",
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Skip => "skip",
        }
    }
}

/// Returns the action that fires at this hit of a point, if any. Kills the process or panics
/// itself; the caller performs the other actions.
pub(super) fn fire(name: &'static str) -> Option<&'static Action> {
    let plan = plan()?;
    let rule = plan.rules.get(name)?.iter().find(|rule| rule.fires())?;
    plan.log(name, rule);
    match rule.action {
        Action::Kill => {
            tracing::warn!(name, "killing the process at a failpoint");
            telemetry::flush();
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
            // The signal may end the process a moment later: nothing more may happen until then.
            loop {
                std::thread::park();
            }
        }
        Action::Panic => panic!("a panic at the failpoint {name}"),
        Action::Delay(_) | Action::Hold | Action::Error | Action::Skip => Some(&rule.action),
    }
}

/// Returns true while the file of `hold` exists.
pub(super) fn is_held() -> bool {
    std::env::var_os("WAYBILL_FAILPOINT_HOLD").is_some_and(|file| Path::new(&file).exists())
}

/// The actions of all names, and the file of the log.
#[derive(Debug)]
struct Plan {
    rules: HashMap<&'static str, Vec<Rule>>,
    log: Option<PathBuf>,
}

/// An action, and when it fires.
#[derive(Debug)]
struct Rule {
    action: Action,
    percent: f64,
    /// The number of times that it may still fire.
    left: AtomicU64,
    /// The number of hits before the first one at which it may fire.
    after: u64,
    hits: AtomicU64,
    is_logged: OnceLock<()>,
}

/// Returns the plan of the environment; `None` if there is none, which is the usual case in a test
/// that runs the service in its own process.
fn plan() -> Option<&'static Plan> {
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    PLAN.get_or_init(|| {
        let text = std::env::var("WAYBILL_FAILPOINTS").ok().filter(|text| !text.is_empty())?;
        let log = std::env::var_os("WAYBILL_FAILPOINT_LOG").map(PathBuf::from);
        let rules = parse(&text).unwrap_or_else(|error| panic!("WAYBILL_FAILPOINTS: {error:#}"));
        Some(Plan { rules, log })
    })
    .as_ref()
}

impl Plan {
    /// Appends the line of a firing. The line is written by one call, so that lines of several
    /// processes do not mix, and is with the kernel before the action is performed.
    fn log(&self, name: &str, rule: &Rule) {
        if rule.action == Action::Skip && rule.is_logged.set(()).is_err() {
            return;
        }
        let Some(path) = &self.log else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let line = format!("{now} {} {name} {}\n", std::process::id(), rule.action.kind());
        let file = OpenOptions::new().create(true).append(true).open(path);
        if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
            tracing::error!("writing the log of failpoints: {error}");
        }
    }
}

impl Rule {
    fn fires(&self) -> bool {
        // The counts are independent of each other and of other memory, so they need no ordering.
        if self.hits.fetch_add(1, Ordering::Relaxed) < self.after
            || (self.percent < 100.0 && rand::random_range(0.0..100.0) >= self.percent)
        {
            return false;
        }
        let less = |left: u64| left.checked_sub(1);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// Parses `name=action;name=action`.
fn parse(text: &str) -> anyhow::Result<HashMap<&'static str, Vec<Rule>>> {
    let mut rules: HashMap<_, Vec<_>> = HashMap::new();
    for entry in text.split(';').filter(|entry| !entry.trim().is_empty()) {
        let (name, action) = entry.split_once('=').context("an entry is name=action")?;
        let known = NAMES.iter().chain(GUARDS).map(|(name, _)| *name);
        let name = known
            .into_iter()
            .find(|known| *known == name.trim())
            .with_context(|| format!("no failpoint is called {name}"))?;
        let rule = parse_rule(action.trim()).with_context(|| format!("the action of {name}"))?;
        let is_guard = GUARDS.iter().any(|(guard, _)| *guard == name);
        ensure!(is_guard == (rule.action == Action::Skip), "only a guard is skipped: {entry}");
        ensure!(
            rule.action != Action::Error || RETURN_ERRORS.contains(&name),
            "the step of {name} returns no error"
        );
        rules.entry(name).or_default().push(rule);
    }
    Ok(rules)
}

/// Parses `[P%][N*]kind[(milliseconds)][@K]`.
fn parse_rule(text: &str) -> anyhow::Result<Rule> {
    let (percent, rest) = text.split_once('%').unwrap_or(("100", text));
    let (left, rest) = match rest.split_once('*') {
        Some((left, rest)) => (left.parse().context("a number of times")?, rest),
        None => (u64::MAX, rest),
    };
    let (kind, after) = rest.split_once('@').unwrap_or((rest, "0"));
    let (kind, argument) = match kind.split_once('(') {
        Some((kind, rest)) => (kind, rest.strip_suffix(')')),
        None => (kind, None),
    };
    let action = match (kind, argument) {
        ("kill", None) => Action::Kill,
        ("delay", Some(milliseconds)) => {
            Action::Delay(Duration::from_millis(milliseconds.parse().context("milliseconds")?))
        }
        ("hold", None) => Action::Hold,
        ("error", None) => Action::Error,
        ("panic", None) => Action::Panic,
        ("skip", None) => Action::Skip,
        _ => bail!("{text} is none of kill, delay(milliseconds), hold, error, panic, skip"),
    };
    Ok(Rule {
        action,
        percent: percent.parse().context("a percentage")?,
        left: AtomicU64::new(left),
        after: after.parse().context("a number of hits")?,
        hits: AtomicU64::new(0),
        is_logged: OnceLock::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firings(action: &str, hits: usize) -> Vec<usize> {
        let rule = parse_rule(action).unwrap();
        (0..hits).filter(|_| rule.fires()).collect()
    }

    #[test]
    fn an_action_fires_after_its_hits_and_as_often_as_it_may() {
        assert_eq!(firings("kill", 3), [0, 1, 2]);
        assert_eq!(firings("2*error", 4), [0, 1]);
        assert_eq!(firings("1*delay(20)@2", 5), [2]);
        assert!(firings("0%panic", 100).is_empty());
        let some = firings("50%kill", 1_000).len();
        assert!((300..700).contains(&some), "{some}");
    }

    #[test]
    fn a_plan_names_known_points_with_actions_that_they_have() {
        let rules = parse("before-commit=5%kill; send=error;send=delay(5);").unwrap();
        assert_eq!(rules["before-commit"].len(), 1);
        assert_eq!(rules["send"][1].action, Action::Delay(Duration::from_millis(5)));
        assert_eq!(parse("guard.minimum-version=skip").unwrap().len(), 1);
        for wrong in [
            "before-commit",
            "nowhere=kill",
            "parse=error",
            "parse=skip",
            "guard.minimum-version=kill",
            "send=delay",
            "send=delay(x)",
            "send=x%kill",
            "send=explode",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_unique_and_errors_are_for_known_points() {
        let names: Vec<_> = NAMES.iter().chain(GUARDS).map(|(name, _)| *name).collect();
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name), "{name}");
        }
        assert!(RETURN_ERRORS.iter().all(|name| names.contains(name)));
        assert!(super::super::PANIC_REJECTS.iter().all(|name| names.contains(name)));
    }
}
