//! What the order service needs of its database.

use chassis::postgres::migrate::Schema;
use sqlx::postgres::PgConnectOptions;

use crate::config::DatabaseConfig;

/// Migrates; given an administrator's address, it first makes the database and the service's user.
pub async fn migrate(
    config: &DatabaseConfig,
    administrator: Option<&PgConnectOptions>,
) -> anyhow::Result<()> {
    let schema = Schema {
        name: "orders",
        migrations: sqlx::migrate!(),
        grants: &[
            "SELECT, INSERT, UPDATE ON orders.orders, orders.order_status, orders.rejected_records",
            "SELECT, INSERT ON orders.order_events",
            "SELECT ON orders.order_items",
        ],
    };
    chassis::postgres::migrate::migrate(
        &schema,
        &config.options()?,
        &config.login()?,
        administrator,
    )
    .await
}
