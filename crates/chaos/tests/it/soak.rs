//! A short soak: the real program as two replicas of each service, under faults.

use std::path::PathBuf;

use chaos::soak::{SoakArgs, soak};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_repeated_under_faults() {
    let folder = std::env::temp_dir().join(format!("waybill-soak-test-{}", std::process::id()));
    let args = SoakArgs {
        minutes: 5.0,
        orders: 100_000,
        events: 100_000,
        faults: 40,
        seed: 1,
        waybill: None,
        report: PathBuf::new(),
        folder: None,
        replicas: 2,
        couriers: 200,
        firings: 1,
        plan: false,
        again: None,
    };

    let report = soak(&args, &folder).await.unwrap();

    let summary = report.summary();
    let page = folder.join("report.html");
    report.write(&page).unwrap();
    assert!(report.holds(), "{summary}\nThe report is {}.", page.display());
    for action in ["moved", "held", "queued again", "assigned", "paused", "resumed"] {
        assert!(report.actions.0.contains_key(action), "no action was {action}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
