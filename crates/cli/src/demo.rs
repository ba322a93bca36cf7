//! The demo: two DAGs, a shop's database, and the connections between them. Needs no server.

use std::path::Path;

use anyhow::Context;
use millrace_settings::ConnectionForm;
use millrace_settings::home::create_private_folder;
use millrace_vault::Vault;
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Executor};

use crate::app::App;

pub const PIPELINE: &str = "demo_orders";
/// Has no schedule; waits to be triggered by hand.
pub const FAILURE: &str = "demo_failure";
pub const BUCKET: &str = "demo";

const FILES: [(&str, &str); 2] = [
    ("demo_orders.yaml", include_str!("../demo/demo_orders.yaml")),
    ("demo_failure.yaml", include_str!("../demo/demo_failure.yaml")),
];

/// 20,000 orders over two months, the same in every home.
const ORDERS: &str = "
    CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, country TEXT, amount NUMERIC NOT NULL, ordered_at TEXT NOT NULL);
    WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 20000)
    INSERT INTO orders
    SELECT n,
           CASE n % 11 WHEN 0 THEN NULL WHEN 5 THEN '' ELSE 'Customer ' || (n * 7919 % 997) END,
           CASE n % 5 WHEN 0 THEN 'Korea' WHEN 1 THEN 'Sweden' WHEN 2 THEN 'Brazil' WHEN 3 THEN 'Côte d''Ivoire' ELSE '日本' END,
           (n * 37 % 10000) / 100.0,
           strftime('%Y-%m-%d %H:%M:%S', '2024-01-01', '+' || (n * 263) || ' seconds')
    FROM number;
";

/// Writes what is missing of the demo's files and data, and points its connections at this process's S3 stand-in.
pub async fn prepare(app: &App, vault: &Vault, s3_endpoint: &str, s3_keys: (&str, &str)) -> anyhow::Result<()> {
    let dags = app.dags_folder();
    create_private_folder(&dags)?;
    for (name, text) in FILES {
        let path = dags.join(name);
        // A file that was changed by its owner stays.
        if !path.exists() {
            std::fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))?;
        }
    }
    let folder = app.home.demo_folder();
    create_private_folder(&folder)?;
    let (source, warehouse) = (folder.join("shop.db"), folder.join("warehouse.db"));
    if !source.exists() {
        fill(&source).await.with_context(|| format!("could not write the demo data to {}", source.display()))?;
    }
    // An empty file is an empty database; the connection would refuse a file that is not there.
    std::fs::OpenOptions::new().append(true).create(true).open(&warehouse)?;
    for (conn_id, form) in [
        ("demo_source", json!({"conn_type": "sqlite", "schema": source, "description": "The demo shop's database"})),
        ("demo_warehouse", json!({"conn_type": "sqlite", "schema": warehouse, "description": "The demo warehouse"})),
        (
            "demo_s3",
            json!({"conn_type": "aws", "login": s3_keys.0, "password": s3_keys.1, "description": "The S3 stand-in",
                   "extra": {"endpoint_url": s3_endpoint, "region_name": "us-east-1"}}),
        ),
    ] {
        vault.put_connection(conn_id, ConnectionForm::from_value(form)?, "standalone", app.now()).await?;
    }
    Ok(())
}

/// Under another name first, so that a half-filled database is never taken for a whole one.
async fn fill(path: &Path) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    let _ = std::fs::remove_file(&temporary);
    let mut database: SqliteConnection =
        SqliteConnectOptions::new().filename(&temporary).create_if_missing(true).connect().await?;
    database.execute(sqlx::raw_sql(ORDERS)).await?;
    sqlx::Connection::close(database).await?;
    std::fs::rename(&temporary, path)?;
    Ok(())
}
