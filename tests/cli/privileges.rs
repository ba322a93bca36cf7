//! What the accounts of source and target need, as docs/connections.md says it: each is granted exactly that.

use millrace_testkit::{MariaDb, Postgres};
use serde_json::json;

use crate::support::TestHome;

const DAG: &str = "
schedule: none
default_args:
  warehouse_conn_id: target
  sql_conn_id: source
  query: SELECT id, v FROM orders
  schema: dw
  table: orders
tasks:
  append: {operator: copy}
  upsert: {operator: upsert, upsert_keys: id, depends_on: append}
  replace: {operator: replace, depends_on: upsert}
";

const SWAP: &str = "
schedule: none
tasks:
  swap: {operator: swap, warehouse_conn_id: target, sql_conn_id: source, query: 'SELECT id, v FROM orders', schema: dw, table: orders}
";

const COPY: &str = "
schedule: none
tasks:
  copy:
    operator: table_copy
    source_conn_id: source
    target_conn_id: target
    tables:
      - {source: SOURCE.orders, target: dw.orders}
      - {source: SOURCE.orders, target: dw.fresh, primary_key: id, sync_mode: incremental_sync, incremental_field: id, incremental_field_type: integer, watermark: stored}
";

#[test]
fn loads_need_what_the_page_of_connections_says_and_no_more() {
    let source = MariaDb::shared().unwrap().create_database().unwrap();
    let target = Postgres::shared().unwrap().create_database().unwrap();
    let (reader, loader) = (source.name(), target.name());
    source
        .execute(&format!(
            "CREATE TABLE orders (id INT PRIMARY KEY, v VARCHAR(9)); INSERT INTO orders VALUES (1, 'a'), (2, NULL);
             CREATE USER '{reader}'@'%' IDENTIFIED BY 'pass-of-the-reader'; GRANT SELECT ON {reader}.* TO '{reader}'@'%'"
        ))
        .unwrap();
    target
        .execute(&format!(
            "CREATE ROLE {loader} LOGIN PASSWORD 'pass-of-the-loader';
             CREATE SCHEMA dw; CREATE TABLE dw.orders (id int PRIMARY KEY, v text);
             GRANT USAGE, CREATE ON SCHEMA dw TO {loader};
             GRANT SELECT, INSERT, UPDATE, DELETE ON dw.orders TO {loader}"
        ))
        .unwrap();
    let connection = |kind: &str, port: u16, login: &str, password: &str| {
        json!({"conn_type": kind, "host": "127.0.0.1", "port": port, "schema": login, "login": login, "password": password})
            .to_string()
    };
    let mut home = TestHome::new();
    home.set("MILLRACE_CONN_SOURCE", connection("mysql", source.server().port(), reader, "pass-of-the-reader"));
    home.set("MILLRACE_CONN_TARGET", connection("postgres", target.server().port(), loader, "pass-of-the-loader"));
    home.write_dag("loads.yaml", DAG);
    home.write_dag("swap.yaml", SWAP);
    home.write_dag("copy.yaml", &COPY.replace("SOURCE", reader));
    home.ok(&["dags", "test", "loads"]);
    home.ok(&["dags", "test", "copy"]);
    let count = |table: &str| target.query(&format!("SELECT COUNT(*) FROM dw.{table}")).unwrap()[0][0].clone();
    assert_eq!([count("orders"), count("fresh")].map(Option::unwrap_or_default), ["2", "2"]);
    let beside = "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'dw'";
    let tables = target.query(beside).unwrap()[0][0].clone();
    assert_eq!(tables.as_deref(), Some("fresh millrace_load_marker millrace_watermark orders"), "nothing else stays");

    let refused = home.run(&["dags", "test", "swap"]).exits(1);
    assert!(refused.stdout.contains("OWNER TO"), "{}\n{}", refused.stdout, refused.stderr);
    target.execute(&format!("ALTER TABLE dw.orders OWNER TO {loader}")).unwrap();
    home.ok(&["dags", "test", "swap"]);
}
