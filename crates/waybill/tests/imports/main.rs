//! The import rules of ARCHITECTURE.md, checked against the sources: imports go in one direction,
//! no files import each other in a cycle, and only the named places know SQL, rdkafka and status
//! codes.
#![allow(clippy::unwrap_used, reason = "a test that cannot continue must fail")]

mod sources;

use std::collections::{BTreeMap, BTreeSet};

use sources::{Source, sources};

/// Each crate of the workspace, and the crates of the workspace that it may import.
const CRATES: [(&str, &[&str]); 10] = [
    ("events", &[]),
    ("chassis", &[]),
    ("local", &[]),
    ("orders", &["chassis", "events"]),
    ("couriers", &["chassis", "events"]),
    ("waybill", &["orders", "couriers", "local", "chassis", "events"]),
    ("testkit", &["orders", "couriers", "local", "chassis", "events"]),
    ("benches", &["testkit", "orders", "couriers", "local", "chassis", "events"]),
    ("fuzz", &["orders", "chassis", "events"]),
    ("chaos", &["testkit", "orders", "couriers", "local", "chassis", "events"]),
];

/// Each part of the order service, and the parts that it may import.
const ORDERS: [(&str, &[&str]); 12] = [
    (
        "run",
        &[
            "config",
            "routes",
            "ingest",
            "status",
            "deliveries",
            "http",
            "pages",
            "lookup",
            "order",
            "flow",
        ],
    ),
    ("routes", &["http", "pages", "lookup"]),
    ("pages", &["http", "status", "lookup", "order", "ingest", "flow"]),
    ("flow", &[]),
    ("http", &["status", "lookup", "order", "ingest"]),
    ("ingest", &["lookup", "order"]),
    ("status", &["lookup", "order"]),
    ("deliveries", &[]),
    ("lookup", &["order"]),
    ("order", &[]),
    ("config", &[]),
    ("migrate", &["config"]),
];

/// Each part of the courier service, and the parts that it may import.
const COURIERS: [(&str, &[&str]); 13] = [
    (
        "run",
        &[
            "config", "routes", "intake", "dispatch", "outbox", "store", "http", "pages",
            "delivery", "flow",
        ],
    ),
    ("routes", &["http", "pages"]),
    ("pages", &["http", "read", "dispatch", "store", "delivery", "flow"]),
    ("flow", &[]),
    ("http", &["read", "dispatch", "store", "delivery"]),
    ("intake", &["dispatch", "store", "delivery"]),
    ("read", &["store", "delivery"]),
    ("store", &["dispatch", "delivery"]),
    ("dispatch", &["delivery"]),
    ("outbox", &["store"]),
    ("delivery", &[]),
    ("config", &["delivery", "dispatch"]),
    ("migrate", &["config"]),
];

/// Each part of the chassis, and the parts that it may import.
const CHASSIS: [(&str, &[&str]); 8] = [
    ("audit", &["rejected", "kafka", "postgres", "process"]),
    ("rejected", &["http", "kafka", "postgres", "process"]),
    ("web", &["rejected", "flow", "http", "process"]),
    ("flow", &["http", "process"]),
    ("http", &["postgres", "process"]),
    ("kafka", &["process"]),
    ("postgres", &["process"]),
    ("process", &[]),
];

#[test]
fn crates_import_in_one_direction() {
    for source in sources() {
        let allowed = allowed(&CRATES, &source.krate);
        for import in &source.imports {
            let is_ours = CRATES.iter().any(|(name, _)| *name == import[0]);
            let is_allowed = import[0] == source.krate || allowed.contains(&import[0].as_str());
            assert!(!is_ours || is_allowed, "{source} imports {}", import.join("::"));
        }
    }
}

#[test]
fn the_parts_of_the_order_service_import_along_the_flow() {
    assert_parts("orders", &ORDERS, &["audit", "fuzzing"]);
}

#[test]
fn the_parts_of_the_courier_service_import_along_the_flow() {
    assert_parts("couriers", &COURIERS, &["audit"]);
}

#[test]
fn the_parts_of_the_chassis_import_in_one_direction() {
    assert_parts("chassis", &CHASSIS, &["fuzzing"]);
}

/// The HTTP layer uses ingest only to publish single events.
#[test]
fn http_and_pages_take_only_publishing_from_ingest() {
    for source in sources().into_iter().filter(|source| source.krate == "orders") {
        let part = source.module.first().map_or("", String::as_str);
        for import in source.imports.iter().filter(|_| ["http", "pages"].contains(&part)) {
            let is_ingest =
                import[0] == "orders" && import.get(1).is_some_and(|one| one == "ingest");
            let is_publish = import.get(2).is_some_and(|one| one == "publish");
            assert!(!is_ingest || is_publish, "{source} imports {}", import.join("::"));
        }
    }
}

#[test]
fn the_order_is_pure() {
    let impure = ["sqlx", "axum", "rdkafka"];
    for source in sources().iter().filter(|source| source.is_in("orders", "order")) {
        for import in &source.imports {
            let is_postgres =
                import[0] == "chassis" && import.get(1).is_some_and(|one| one == "postgres");
            let is_impure = is_postgres || impure.contains(&import[0].as_str());
            assert!(!is_impure, "{source} imports {}", import.join("::"));
        }
    }
}

#[test]
fn only_kafka_of_the_chassis_refers_to_rdkafka() {
    assert_only(&["chassis::kafka", "testkit", "benches", "chaos"], |source| {
        source.imports_crate("rdkafka")
    });
}

#[test]
fn only_the_named_places_contain_sql() {
    let places = [
        "orders::ingest",
        "orders::status",
        "orders::deliveries",
        "orders::lookup::queries",
        "orders::audit",
        "couriers::store",
        "couriers::dispatch",
        "couriers::outbox",
        "couriers::read",
        "couriers::audit",
        "chassis::postgres",
        "chassis::rejected",
        "chassis::audit",
        "testkit",
        "benches",
        "chaos",
    ];

    assert_only(&places, Source::contains_sql);
}

#[test]
fn only_http_and_pages_know_status_codes() {
    let places = [
        "orders::http",
        "orders::pages",
        "orders::routes",
        "couriers::http",
        "couriers::pages",
        "couriers::routes",
        "chassis::http",
        "chassis::web",
        "chassis::rejected::calls",
        // Clients of the services.
        "waybill::http",
        "waybill::load",
        "waybill::tools",
        "testkit",
        "benches",
        "chaos",
    ];

    assert_only(&places, |source| source.names("StatusCode"));
}

#[test]
fn no_files_import_each_other_in_a_cycle() {
    let sources = sources();
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in &sources {
        let from = source.to_string();
        let targets = source.imports.iter().filter_map(|import| file_of(&sources, import));
        // A module and its children count as one file.
        let others = targets.filter(|to| !is_within(&from, to) && !is_within(to, &from));
        imports.entry(from.clone()).or_default().extend(others);
    }

    assert_eq!(cycle(&imports), None);
}

#[test]
fn a_cycle_is_found() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    };

    assert_eq!(cycle(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    let found = cycle(&graph(&[("a", "b"), ("b", "c"), ("c", "b")]));
    assert_eq!(found, Some(vec!["b".to_owned(), "c".to_owned(), "b".to_owned()]));
}

#[test]
fn the_paths_that_architecture_names_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let names =
        text.split('`').skip(1).step_by(2).filter(|name| !name.contains(char::is_whitespace));
    let is_file =
        |path: &str| path.ends_with('/') || path.rsplit('/').next().unwrap().contains('.');
    let paths = names.flat_map(alternatives).filter(|path| path.contains('/') && is_file(path));

    let missing: Vec<_> = paths
        .filter(|path| !path.starts_with('/') && !path.contains('<'))
        .filter(|path| !root.join(path).exists() && !root.join("crates").join(path).exists())
        .filter(|path| !root.join("crates/orders").join(path).exists())
        .filter(|path| !root.join("crates/orders/src").join(path).exists())
        .collect();

    assert_eq!(missing, Vec::<String>::new());
}

/// Returns the paths that the pattern `a/{b,c}/d` matches.
fn alternatives(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let Some((names, after)) = rest.split_once('}') else { return vec![path.to_owned()] };
    names.split(',').flat_map(|name| alternatives(&format!("{before}{name}{after}"))).collect()
}

/// Asserts that each part of a crate imports only parts that the table allows. The parts in `free`
/// may import all parts.
fn assert_parts(krate: &str, table: &[(&str, &[&str])], free: &[&str]) {
    for source in sources().iter().filter(|source| source.krate == krate) {
        let Some(part) = source.module.first() else { continue };
        if free.contains(&part.as_str()) {
            continue;
        }
        let allowed = allowed(table, part);
        for import in source.imports.iter().filter(|import| import[0] == krate && import.len() > 1)
        {
            let is_part = table.iter().any(|(name, _)| *name == import[1]);
            let is_allowed = import[1] == *part || allowed.contains(&import[1].as_str());
            assert!(!is_part || is_allowed, "{source} imports {}", import.join("::"));
        }
    }
}

/// Asserts that `does` is true only for sources below one of `places`.
fn assert_only(places: &[&str], does: impl Fn(&Source) -> bool) {
    for source in sources().iter().filter(|source| does(source)) {
        let path = source.to_string();
        assert!(
            places.iter().any(|place| is_within(&path, place)),
            "{path} is not one of the allowed places"
        );
    }
}

fn allowed<'a>(table: &[(&str, &'a [&'a str])], name: &str) -> &'a [&'a str] {
    let row = table.iter().find(|(part, _)| *part == name);
    row.unwrap_or_else(|| panic!("{name} is missing in the table of this test")).1
}

/// Returns the file that contains an imported path.
fn file_of(sources: &[Source], import: &[String]) -> Option<String> {
    let paths = (1..=import.len()).rev().map(|length| import[..length].join("::"));
    let mut files = paths.filter(|path| sources.iter().any(|source| source.to_string() == *path));
    files.next()
}

fn is_within(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Returns a cycle of the graph, with its first node repeated at the end.
fn cycle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    graph.keys().find_map(|start| {
        let mut paths = vec![vec![start.clone()]];
        let mut seen = BTreeSet::new();
        while let Some(path) = paths.pop() {
            for next in graph.get(path.last()?).into_iter().flatten() {
                let longer = [path.as_slice(), std::slice::from_ref(next)].concat();
                if next == start {
                    return Some(longer);
                }
                if seen.insert(next.clone()) {
                    paths.push(longer);
                }
            }
        }
        None
    })
}
