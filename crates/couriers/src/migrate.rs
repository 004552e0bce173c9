//! The database schema of the courier service, and the rights of the service's user.

use chassis::postgres::{migrate::Schema, pool::PostgresConfig};
use sqlx::postgres::PgConnectOptions;

use crate::config::DatabaseConfig;

/// Migrates the database. With an administrator's address, it first creates the database and the
/// service's user.
pub async fn migrate(
    config: &DatabaseConfig,
    postgres: &PostgresConfig,
    administrator: Option<&PgConnectOptions>,
) -> anyhow::Result<()> {
    let schema = Schema {
        name: "couriers",
        migrations: sqlx::migrate!(),
        grants: &[
            "SELECT, INSERT, UPDATE ON couriers.couriers, couriers.order_states, couriers.rejected_records",
            "SELECT, INSERT, UPDATE, DELETE ON couriers.courier_orders",
            "SELECT, UPDATE ON couriers.active_deliveries",
            "SELECT ON couriers.courier_figures",
            "SELECT ON couriers.courier_words, couriers.courier_phones",
            "SELECT, INSERT ON couriers.delivery_log",
            "SELECT, INSERT, DELETE ON couriers.delivery_outbox",
            "SELECT, UPDATE ON couriers.outbox_lease",
            "SELECT, INSERT, UPDATE, DELETE ON couriers.totals",
            "SELECT, UPDATE ON SEQUENCE couriers.waiting_front, couriers.available_front",
        ],
    };
    let address = config.address(postgres)?;
    let (service, login) = (address.options(), address.login());
    chassis::postgres::migrate::migrate(&schema, &service, &login, administrator).await
}
