//! Migrating again, and without the rights for it.

use sqlx::{Connection as _, PgConnection};
use testkit::{TestEnvironment, shared};

#[tokio::test(flavor = "multi_thread")]
async fn the_services_own_user_may_migrate_when_there_is_nothing_to_do() {
    let env = TestEnvironment::new(shared()).await;
    orders::migrate(&env.config(&[]).database, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_migrate_is_told_who_may() {
    let env = TestEnvironment::new(shared()).await;
    // As if this version had another migration.
    let server = env.servers.postgres.rsplit_once('/').unwrap().0;
    let mut administrator =
        PgConnection::connect(&format!("{server}/{}_orders", env.name)).await.unwrap();
    sqlx::raw_sql("DELETE FROM orders._sqlx_migrations").execute(&mut administrator).await.unwrap();
    let error = orders::migrate(&env.config(&[]).database, None).await.unwrap_err();
    assert!(error.is::<chassis::postgres::migrate::MissingRights>(), "{error:#}");
    let sentence = error.to_string();
    assert!(sentence.contains(&format!("{}_user", env.name)), "{sentence}");
    assert!(sentence.contains("ADMIN_DATABASE_URL"), "{sentence}");
}
