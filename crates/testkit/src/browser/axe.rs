//! The rules of axe-core, which `scripts/setup --tests` downloads.

use std::{env, fs, path::PathBuf, sync::LazyLock};

use serde_json::json;

use super::Page;

/// Names the version.
const POM: &str = include_str!("../../axe/pom.xml");

/// Runs all rules of axe-core, and an experimental one: a person who speaks the text of a control
/// must reach it by that name. Returns each violation with its elements.
const RUN: &str = "async () => {
    const rules = { 'label-content-name-mismatch': { enabled: true } };
    const { violations } = await axe.run(document, { resultTypes: ['violations'], rules });
    return violations.map(({ impact, id, help, nodes }) => {
        const elements = nodes.map(({ html }) => html.slice(0, 120));
        return `${impact}: ${id}, ${help}: ${elements.join(' ')}`;
    });
}";

static AXE: LazyLock<String> = LazyLock::new(|| {
    let script = folder().join("axe.min.js");
    fs::read_to_string(&script).unwrap_or_else(|error| {
        panic!("{}: {error}; scripts/setup --tests downloads it", script.display())
    })
});

/// Returns the folder in the user's data that `scripts/setup` fills.
fn folder() -> PathBuf {
    let data = env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let data = data.or_else(|| Some(env::home_dir()?.join(".local/share")));
    let (_, version) = POM.split_once("<axe.version>").expect("the pom names the version");
    let (version, _) = version.split_once('<').expect("the tag is closed");
    data.expect("the user has a home").join("waybill").join(format!("axe-{version}"))
}

impl Page {
    /// Finds violations of the rules of axe-core, of any impact.
    pub(super) async fn axe_violations(&self) -> Vec<String> {
        self.call("Runtime.evaluate", json!({ "expression": *AXE })).await;
        self.run(RUN, json!([])).await
    }
}
