//! The order service's database: rights, indexes, the view for people, and that the manual steps in
//! docs/database.md give the same database as `waybill migrate`.

use std::{path::Path, process::Command};

use local::{LocalServers, LocalServersOptions};
use serde_json::{Value, json};
use sqlx::Row as _;
use testkit::{TestEnvironment, shared};

use crate::support::{Scratch, order, record, run_as_administrator, waybill};

/// SQLSTATE `insufficient_privilege`.
const DENIED: &str = "42501";

#[tokio::test(flavor = "multi_thread")]
async fn the_view_shows_items_and_the_user_has_least_privilege() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;
    let mut order = order("viewed", 1);
    let mut item = order["items"][0].clone();

    item["name"] = json!("Other, \"quoted\" & ünlike");
    item["price"] = json!(i64::MAX);
    item["sale"] = json!(-3);
    order["items"].as_array_mut().unwrap().push(item);
    env.send_all([record(&order)]).await;
    env.wait_until_drained().await;
    let shown: Value = sqlx::query_scalar(
        "SELECT jsonb_agg(to_jsonb(i) - 'order_uid' - 'position' ORDER BY position) \
         FROM orders.order_items AS i WHERE order_uid = 'viewed'",
    )
    .fetch_one(&env.pool)
    .await
    .unwrap();

    assert_eq!(shown, order["items"]);
    service.stop().await.unwrap();

    for table in ["orders", "order_status", "order_events", "order_deliveries", "rejected_records"]
    {
        for statement in [
            format!("DELETE FROM orders.{table}"),
            format!("TRUNCATE orders.{table}"),
            format!("DROP TABLE orders.{table}"),
            format!("ALTER TABLE orders.{table} ADD more text"),
            format!("CREATE INDEX more ON orders.{table} (topic)"),
        ] {
            assert_denied(&env, &statement).await;
        }
    }
    for statement in [
        // Recorded events never change.
        "UPDATE orders.order_events SET ignored = NULL",
        "CREATE TABLE orders.more ()",
        "CREATE SCHEMA more",
        "DROP SCHEMA orders CASCADE",
        "UPDATE orders._sqlx_migrations SET success = false",
        "SET ROLE waybill_owner",
        "CREATE ROLE more",
        "COPY orders.orders TO '/tmp/orders'",
    ] {
        assert_denied(&env, statement).await;
    }
}

async fn assert_denied(env: &TestEnvironment, statement: &str) {
    let text = sqlx::AssertSqlSafe(statement.to_owned());
    let error = sqlx::raw_sql(text).execute(&env.pool).await.expect_err(statement);
    let code = error.as_database_error().and_then(|error| error.code());
    assert_eq!(code.as_deref(), Some(DENIED), "{statement}: {error}");
}

/// Inserts some thousand rows; each customer, track number, reason and history has a few hundred.
const INSERT_MANY: &str = "
INSERT INTO orders.orders SELECT (jsonb_populate_record(o, jsonb_build_object(
    'order_uid', 'uid-' || n, 'customer_id', 'customer-' || n % 20,
    'track_number', 'track-' || n % 21, 'ingested_at', now() - n * interval '1 s'))).*
FROM orders.orders AS o, generate_series(1, 6000) AS n;
INSERT INTO orders.rejected_records
    (topic, \"partition\", \"offset\", record_timestamp, key, reason, violations, rejected_at)
SELECT 'topic', n % 8, n, now(), convert_to('key-' || n % 300, 'UTF8'), 'reason-' || n % 22, '[]',
    now() - n * interval '1 s'
FROM generate_series(1, 6000) AS n;
INSERT INTO orders.order_events (order_uid, record_timestamp, \"partition\", \"offset\", topic, word)
SELECT 'uid-' || n % 23, now() - n * interval '1 s', n % 8, n, 'topic', 'created'
FROM generate_series(1, 6000) AS n;
ANALYZE";

#[tokio::test(flavor = "multi_thread")]
async fn every_list_is_read_through_its_index() {
    let env = TestEnvironment::new(shared()).await;
    let service = env.start(&[]).await;

    env.send_all([record(&order("first", 1))]).await;
    env.wait_until_drained().await;
    service.stop().await.unwrap();
    run_as_administrator(&env, INSERT_MANY).await;
    let mut connection = env.pool.acquire().await.unwrap();
    let mut query_texts = async |statement: String| -> Vec<String> {
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).fetch_all(&mut *connection);
        rows.await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    query_texts("SET search_path = orders".to_owned()).await;

    // The service's own statements, as they were when it was compiled.
    let mut seen = 0;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.sqlx");
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let query: Value = serde_json::from_str(&text).unwrap();
        let statement = query["query"].as_str().unwrap();
        let (name, _) = statement.split_once('\n').unwrap_or((statement, ""));
        let (wanted, first, later) = match name {
            "-- list_orders" => {
                let index = match (
                    statement.contains("customer_id ="),
                    statement.contains("track_number ="),
                ) {
                    (false, false) => "orders_newest",
                    (true, false) => "orders_by_customer",
                    (false, true) => "orders_by_track_number",
                    (true, true) => "orders_by_",
                };
                (index, "NULL, NULL, 51", "now() - interval '5 min', 'uid-300', 51")
            }
            "-- list_rejected" => {
                let (_, source) = statement.split_once("FROM rejected_records WHERE ").unwrap();
                let index = match source.split_once("(rejected_at").unwrap().0 {
                    "key = $9 AND " => "rejected_by_key",
                    "reason = $8 AND " => "rejected_by_reason",
                    "reason = $8 AND settled_at IS NULL AND " => "rejected_left_by_reason",
                    "settled_at IS NULL AND " => "rejected_left",
                    "settled_at IS NOT NULL AND " => "rejected_settled",
                    "" => "rejected_newest",
                    other => panic!("{other}"),
                };
                (
                    index,
                    "NULL, NULL, NULL, NULL, 51, NULL, true",
                    "now() - interval '5 min', 'topic', 1, 9, 51, NULL, true",
                )
            }
            "-- newest_orders" => ("orders_newest", "21", "21"),
            "-- newest_orders_by_track_number" => {
                ("orders_by_track_number", "'track-7', 21", "'track-8', 21")
            }
            "-- order_history" => (
                "order_events_pkey",
                "'uid-7', NULL, NULL, NULL, NULL, 51",
                "'uid-7', now(), 1, 9, 'topic', 51",
            ),
            _ => continue,
        };
        seen += 1;
        query_texts(format!("PREPARE list AS {statement}")).await;
        let parameters = query["describe"]["parameters"]["Left"].as_array().unwrap().len();
        let filters = ["'customer-7'", "'track-7'"];
        let filters = match wanted {
            _ if name != "-- list_orders" && wanted.starts_with("orders_") => &[],
            "orders_by_customer" => &filters[..1],
            "orders_by_track_number" => &filters[1..],
            "orders_by_" => &filters[..],
            "rejected_by_reason" | "rejected_left_by_reason" => {
                &["'reason-7'", "NULL", "NULL", "NULL", "NULL", "NULL"]
            }
            "rejected_by_key" => &["NULL", "'key-7'", "NULL", "NULL", "NULL", "NULL"],
            _ if name == "-- list_rejected" => &["NULL"; 6],
            _ => &[],
        };
        for arguments in [first, later] {
            let all = std::iter::once(arguments).chain(filters.iter().copied());
            let all = all.collect::<Vec<_>>().join(", ");
            assert_eq!(all.split(", ").count(), parameters, "{statement}");
            // Planned for these arguments, and for any arguments, as after many calls.
            for mode in ["force_custom_plan", "force_generic_plan"] {
                query_texts(format!("SET plan_cache_mode = {mode}")).await;
                let plan = query_texts(format!("EXPLAIN EXECUTE list({all})")).await.join("\n");
                assert!(plan.contains(wanted), "{name}, {mode}, {all}:\n{plan}");
                assert!(!plan.contains("Seq Scan"), "{name}, {mode}, {all}:\n{plan}");
                // The rows of one page may be sorted, above the limit of their scan, and so may few
                // rows: those that match both filters or have one key.
                let is_small = ["orders_by_", "rejected_by_key"].contains(&wanted);
                let (_, scan) = plan.rsplit_once("Limit").unwrap();
                let sorted = scan.contains("Sort") && !is_small;
                assert!(!sorted, "{name}, {mode}, {all}:\n{plan}");
            }
        }
        query_texts("DEALLOCATE list".to_owned()).await;
    }
    assert_eq!(seen, 13, "six lists of orders, six of rejected records, a history");
}

/// Returns the SQL blocks of a section of docs/database.md.
fn sql_blocks(section: &str) -> Vec<&'static str> {
    const PAGE: &str = include_str!("../../../../../docs/database.md");
    let start = PAGE.find(&format!("## {section}\n")).expect("the page has this section");
    let text = &PAGE[start + 3..];
    let text = &text[..text.find("\n## ").unwrap_or(text.len())];
    text.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// Runs SQL as a person would, in the root of the repository, and returns one line for each row.
fn psql(url: &str, text: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let flags = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-v", "ON_ERROR_STOP=1"];
    let folder = Scratch::new();
    let file = folder.0.join("text.sql");
    std::fs::write(&file, text).unwrap();
    let mut psql = Command::new("psql");
    psql.args(flags).arg("--file").arg(&file).arg(url).current_dir(root);
    let output = psql.output().unwrap();
    assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Lists everything in the schema `orders`, with its owner and the rights of the service.
const DESCRIBE_SCHEMA: &str = "
SELECT relkind, relname, relowner::regrole, relacl, pg_get_viewdef(oid) FROM pg_class
WHERE relnamespace = 'orders'::regnamespace AND relkind IN ('r', 'v', 'S') ORDER BY relname;
SELECT indexdef FROM pg_indexes WHERE schemaname = 'orders' ORDER BY 1;
SELECT table_name, column_name, data_type, is_nullable, column_default
FROM information_schema.columns WHERE table_schema = 'orders' ORDER BY 1, ordinal_position;
SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'orders'::regnamespace ORDER BY conrelid::regclass::text, conname;
SELECT table_name, privilege_type FROM information_schema.role_table_grants
WHERE grantee = 'waybill_orders' ORDER BY 1, 2;
SELECT has_schema_privilege('waybill_orders', 'orders', 'USAGE'),
       has_schema_privilege('waybill_orders', 'orders', 'CREATE'),
       has_database_privilege('waybill_orders', current_database(), 'CREATE');
SELECT version, description, success, encode(checksum, 'hex') FROM orders._sqlx_migrations
ORDER BY version;";

#[tokio::test(flavor = "multi_thread")]
async fn manual_steps_and_migrate_make_the_same_database() {
    let folder = Scratch::new();
    let options = LocalServersOptions {
        data_dir: folder.0.join("data"),
        postgres_port: Some(0),
        kafka_port: None,
    };
    let mut servers = LocalServers::start(&options, &|_| {}).await.unwrap();
    let administrator = servers.postgres.as_ref().unwrap().url();
    let server = administrator.rsplit_once('/').unwrap().0;
    let host = server.rsplit_once('@').unwrap().1;
    let orders = |database: &str| format!("postgres://waybill_orders:choose-one@{host}/{database}");
    let couriers =
        |database: &str| format!("postgres://waybill_couriers:choose-another@{host}/{database}");

    psql(&administrator, &sql_blocks("Manual setup").concat());
    let (manual_orders, manual_couriers) = (orders("waybill_orders"), couriers("waybill_couriers"));
    // The services' own users may migrate, because there is nothing to do.
    assert_migrates(&[
        ("ORDERS_DATABASE_URL", &manual_orders),
        ("COURIERS_DATABASE_URL", &manual_couriers),
    ])
    .await;

    let variables = [
        ("ADMIN_DATABASE_URL", &*administrator),
        ("ORDERS_DATABASE_URL", &orders("by_migrate")),
        ("COURIERS_DATABASE_URL", &couriers("couriers_by_migrate")),
    ];
    assert_migrates(&variables).await;

    let describe = |databases: [&str; 2]| {
        let of_couriers = DESCRIBE_SCHEMA.replace("orders", "couriers");
        [(databases[0], DESCRIBE_SCHEMA), (databases[1], &of_couriers)]
            .map(|(database, query)| psql(&format!("{server}/{database}"), query))
    };
    let once = describe(["by_migrate", "couriers_by_migrate"]);
    assert_migrates(&variables).await;

    let twice = describe(["by_migrate", "couriers_by_migrate"]);
    assert_eq!(twice, once, "the second run changes nothing");
    // The table of migrations is sqlx's own; everything else is equal.
    assert_eq!(describe(["waybill_orders", "waybill_couriers"]), once);

    // The queries of the page work for the services' own users.
    let queries = sql_blocks("Useful queries");
    assert!(queries.len() > 5, "{queries:?}");

    for query in queries {
        psql(&manual_orders, query);
    }
    for query in sql_blocks("The courier service's tables") {
        psql(&manual_couriers, query);
    }
    servers.stop().await.unwrap();
}

async fn assert_migrates(variables: &[(&str, &str)]) {
    let output = waybill(&["migrate"], variables).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0), "{error}");
}
