//! Repeated migrations, and migrations without rights.

use testkit::{TestEnvironment, shared};

use crate::support::run_as_administrator;

#[tokio::test(flavor = "multi_thread")]
async fn the_services_user_may_migrate_if_nothing_is_to_be_done() {
    let env = TestEnvironment::new(shared()).await;
    orders::migrate(&env.config(&[]).database, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_for_missing_rights_names_the_required_setting() {
    let env = TestEnvironment::new(shared()).await;
    // Now the migrations look as if they had never been applied.
    run_as_administrator(&env, "DELETE FROM orders._sqlx_migrations").await;
    let error = orders::migrate(&env.config(&[]).database, None).await.unwrap_err();

    assert!(error.is::<chassis::postgres::migrate::MissingRights>(), "{error:#}");

    let sentence = error.to_string();
    assert!(sentence.contains(&format!("{}_user", env.name)), "{sentence}");
    assert!(sentence.contains("ADMIN_DATABASE_URL"), "{sentence}");
}
