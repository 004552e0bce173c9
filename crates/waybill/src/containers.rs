//! Tests of `compose.yaml` that need no engine; `scripts/containers` runs it on a real one.

use std::{collections::BTreeMap, time::Duration};

const COMPOSE: &str = include_str!("../../../compose.yaml");
const KAFKA: &str = include_str!("../../local/kafka/server.properties");

/// Returns the blocks of the file by their names: the anchors `x-…`, and the services.
fn blocks() -> BTreeMap<&'static str, Vec<&'static str>> {
    let (blocks, _volumes) = COMPOSE.split_once("\nvolumes:").expect("it ends with the volumes");
    let mut found = BTreeMap::new();
    for block in blocks.split("\n\n") {
        let is_code = |line: &&str| !line.trim_start().starts_with('#') && *line != "services:";
        let mut lines = block.lines().filter(is_code);
        let Some((name, _)) = lines.next().and_then(|line| line.split_once(':')) else { continue };
        found.insert(name.trim(), lines.map(str::trim).collect());
    }
    found
}

fn services() -> BTreeMap<&'static str, Vec<&'static str>> {
    let is_service = |name: &&str| !name.starts_with("x-") && *name != "name";
    blocks().into_iter().filter(|(name, _)| is_service(name)).collect()
}

fn value<'a>(lines: &[&'a str], key: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
}

fn is_waybill(lines: &[&str]) -> bool {
    lines.contains(&"<<: *waybill")
}

#[test]
fn every_service_runs_without_capabilities() {
    let (blocks, services) = (blocks(), services());
    let (restricted, waybill) = (&blocks["x-restricted"], &blocks["x-waybill"]);
    assert_eq!(value(restricted, "cap_drop"), Some("[ALL]"));
    assert_eq!(value(restricted, "security_opt"), Some("[\"no-new-privileges:true\"]"));
    assert!(waybill.contains(&"<<: *restricted"));

    assert!(services.len() >= 9, "{:?}", services.keys());
    for (name, lines) in services {
        let is_restricted = lines.contains(&"<<: *restricted") || is_waybill(&lines);
        assert!(is_restricted && value(&lines, "cap_add").is_none(), "{name}");
        assert_eq!(value(&lines, "user") == Some("root"), name == "secrets", "{name}");
    }
}

#[test]
fn the_images_are_named_with_their_patch_versions() {
    for (name, lines) in services().into_iter().filter(|(_, lines)| !is_waybill(lines)) {
        let image = value(&lines, "image").unwrap_or_else(|| panic!("{name} has no image"));
        let (repository, tag) = image.split_once(':').expect("an image has a tag");
        let version = tag.split('-').next().expect("split gives one");
        // A version of PostgreSQL has two numbers.
        let numbers = if repository == "postgres" { 2 } else { 3 };
        assert_eq!(version.split('.').filter(|part| part.parse::<u32>().is_ok()).count(), numbers);
    }
}

#[test]
fn one_service_builds_the_image_and_none_pulls_it() {
    assert_eq!(value(&blocks()["x-waybill"], "pull_policy"), Some("never"));
    let builds = |lines: &Vec<&str>| value(lines, "build").is_some();
    assert_eq!(services().values().filter(|lines| builds(lines)).count(), 1);
    assert!(!is_waybill(&services()["secrets"]), "a new image would re-create PostgreSQL");
}

#[test]
fn a_container_is_not_killed_before_its_program_ends() {
    let (blocks, services) = (blocks(), services());
    let seconds = value(&blocks["x-waybill"], "stop_grace_period")
        .and_then(|text| Some(Duration::from_secs(text.strip_suffix('s')?.parse().ok()?)));
    assert!(seconds.expect("it is in seconds") >= 2 * crate::serve::SHUTDOWN_TIMEOUT);
    for server in ["postgres", "kafka"] {
        assert_eq!(value(&services[server], "stop_grace_period"), Some("1m"), "{server}");
    }
}

#[test]
fn kafka_keeps_the_records_that_it_keeps_under_up() {
    let services = services();
    let given: BTreeMap<String, &str> = services["kafka"]
        .iter()
        .filter_map(|line| line.strip_prefix("KAFKA_")?.split_once(": "))
        .map(|(name, value)| (name.to_lowercase().replace('_', "."), value.trim_matches('"')))
        .collect();
    let settings = KAFKA.lines().filter(|line| !line.starts_with('#'));
    let settings: BTreeMap<&str, &str> = settings.filter_map(|line| line.split_once('=')).collect();

    let kept = ["log.retention.", "log.segment.", "offsets.retention."];
    for (name, value) in &settings {
        if kept.iter().any(|kept| name.starts_with(kept)) {
            assert_eq!(given.get(*name), Some(value), "{name}");
        }
    }
    // These depend on the network and on the folders.
    let own = ["listener", "log.dirs", "controller.quorum", "inter.broker"];
    for (name, value) in given {
        if !own.iter().any(|own| name.contains(own)) {
            assert!(settings.get(&*name).is_none_or(|setting| *setting == value), "{name}");
        }
    }
}

#[test]
fn the_tools_use_addresses_that_work_between_containers() {
    let services = services();
    let tools = &services["tools"];
    for (variable, service, port) in
        [("ORDERS_URL", "orders", 8081), ("COURIERS_URL", "couriers", 8082)]
    {
        assert_eq!(value(tools, variable), Some(&*format!("http://{service}:{port}")));
        // The address of a service is for the browsers of this machine.
        let published = format!("ports: [\"127.0.0.1:{port}:{port}\"]");
        assert!(services[service].contains(&&*published), "{service}");
    }
}
