//! The database schema of the order service and the rights of its user. Only `waybill migrate` and
//! `waybill up` run this: the service itself never migrates.

use chassis::postgres::migrate::Schema;
use sqlx::postgres::PgConnectOptions;

use crate::config::DatabaseConfig;

/// Migrates the schema. Given an administrator's address, it first creates the database and the
/// service's user.
pub async fn migrate(
    config: &DatabaseConfig,
    administrator: Option<&PgConnectOptions>,
) -> anyhow::Result<()> {
    let schema = Schema {
        name: "orders",
        migrations: sqlx::migrate!(),
        // No DELETE: the service removes no row. A recorded event is never changed either.
        grants: &[
            "SELECT, INSERT, UPDATE ON orders.orders, orders.order_status, \
             orders.order_deliveries, orders.rejected_records",
            "SELECT, INSERT ON orders.order_events",
            "SELECT ON orders.order_items",
        ],
    };
    let address = config.address()?;
    let (service, login) = (address.options(), address.login());
    chassis::postgres::migrate::migrate(&schema, &service, &login, administrator).await
}
