//! The judge finds every planted bug, and nothing in a run without one.

use chaos::{
    finding::Verdict,
    plant::{Planted, built_program, plant_all},
};
use testkit::shared;

#[tokio::test(flavor = "multi_thread")]
async fn the_judge_finds_every_planted_bug_and_no_other() {
    let outcome = plant_all(shared(), &built_program().unwrap()).await.unwrap();

    assert_eq!(outcome.clean.findings(), 0, "{}", Verdict::table(&outcome.clean));
    let not_found = outcome.planted.iter().filter(|planted| !planted.is_found());
    assert_eq!(not_found.collect::<Vec<&Planted>>().len(), 0, "{}", outcome.table());
    assert_eq!(outcome.missing_kinds(), []);
    assert!(outcome.planted.len() >= 20);
}
