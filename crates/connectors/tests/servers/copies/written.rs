//! Incremental fields that are texts: newer rows come, or the copy is refused.

use anyhow::Result;
use serde_json::json;

use super::databases::{Database, Kind, run};
use crate::world::World;

/// A column, what it holds, what comes next, and the parameters of the field.
struct Case {
    source: Kind,
    column: &'static str,
    first: &'static str,
    next: &'static str,
    /// Of the target.
    becomes: &'static str,
    kind: &'static str,
    refusal: Option<&'static str>,
}

const CASES: &[Case] = &[
    Case {
        source: Kind::Maria,
        column: "varchar(40)",
        first: "'2024-01-31T21:00:00-08:00'",
        next: "'2024-01-31T22:00:00-08:00'",
        becomes: "timestamptz",
        kind: "timestamp",
        refusal: Some("STR_TO_DATE(m"),
    },
    Case {
        source: Kind::Maria,
        column: "varchar(40)",
        first: "'01.02.2024'",
        next: "'03.02.2024'",
        becomes: "date",
        kind: "timestamp",
        refusal: Some("'99.99.9999'"),
    },
    Case {
        source: Kind::Postgres,
        column: "text",
        first: "'2024-01-31 10:00'",
        next: "'2024-01-31 10:00'",
        becomes: "timestamp",
        kind: "datetime",
        refusal: Some("CAST(m AS timestamp)"),
    },
    Case {
        source: Kind::Postgres,
        column: "varchar(10)",
        first: "'20240131'",
        next: "'2024-02-01'",
        becomes: "text",
        kind: "yyyymmdd",
        refusal: Some("is not written as 20240131"),
    },
    Case {
        source: Kind::Lite,
        column: "timestamp",
        first: "'2024-01-31 10:00:00'",
        next: "1706749200",
        becomes: "text",
        kind: "timestamp",
        refusal: Some("datetime(m, 'unixepoch')"),
    },
    Case {
        source: Kind::Lite,
        column: "timestamp",
        first: "'2024-02-01'",
        next: "'2024-02-01'",
        becomes: "timestamp",
        kind: "timestamp",
        refusal: None,
    },
    Case {
        source: Kind::Lite,
        column: "date",
        first: "'2024-02-01'",
        next: "'2024-02-01'",
        becomes: "date",
        kind: "timestamp",
        refusal: None,
    },
    Case {
        source: Kind::Lite,
        column: "text",
        first: "'2024-02-01T10:00:00.5'",
        next: "'2024-02-01T11:00:00'",
        becomes: "timestamp",
        kind: "timestamp",
        refusal: None,
    },
    Case {
        source: Kind::Maria,
        column: "varchar(40)",
        first: "'2024-01-31T10:00:00.123456Z'",
        next: "'2024-01-31 10:00:01+00:00'",
        becomes: "timestamptz",
        kind: "timestamp",
        refusal: None,
    },
    Case {
        source: Kind::Postgres,
        column: "char(12)",
        first: "'20240131'",
        next: "'20240131'",
        becomes: "date",
        kind: "yyyymmdd",
        refusal: None,
    },
];

#[tokio::test]
async fn newer_texts_are_read_or_refused() -> Result<()> {
    let world = World::start().await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    let sources = [Kind::Maria, Kind::Postgres, Kind::Lite];
    let sources = futures::future::try_join_all(sources.map(|kind| Database::start(&world, kind, "source"))).await?;
    let mut generation = 0;
    for (number, case) in CASES.iter().enumerate() {
        let Some(source) = sources.iter().find(|source| source.kind == case.source) else { continue };
        let place = format!("{number}: {} {}", case.column, case.first);
        source.run(&format!("CREATE TABLE t{number} (id int PRIMARY KEY, m {})", case.column)).await?;
        source.run(&format!("INSERT INTO t{number} VALUES (1, {}), (2, NULL)", case.first)).await?;
        target.run(&format!("CREATE TABLE dw.t{number} (id int PRIMARY KEY, m {})", case.becomes)).await?;
        for watermark in ["from_target", "stored"] {
            target.run(&format!("DELETE FROM dw.t{number}")).await?;
            source.run(&format!("DELETE FROM t{number} WHERE id = 3")).await?;
            let mut parameters = json!({
                "source_conn_id": source.conn_id, "target_conn_id": target.conn_id,
                "tables": {"source": format!("{}.t{number}", source.schema), "target": format!("dw.t{number}"),
                           "primary_key": "id", "sync_mode": "incremental_sync", "incremental_field": "m",
                           "incremental_field_type": case.kind, "watermark": watermark},
            });
            if case.first.contains('.') && case.becomes == "date" {
                parameters["tables"]["timestamp_formats"] = json!(["%d.%m.%Y"]);
            }
            let mut copy = async || {
                generation += 1;
                run(&world, generation, parameters.clone())
                    .await
                    .map(|found| found["tables"][0]["rows_inserted"].clone())
            };
            let first = copy().await;
            source.run(&format!("INSERT INTO t{number} VALUES (3, {})", case.next)).await?;
            let second = copy().await;
            match case.refusal {
                Some(words) => {
                    let error = second.err().map(|error| error.to_string()).unwrap_or_default();
                    assert!(error.contains("newer rows would be passed over"), "{place}: {error}");
                    assert!(error.contains(words), "{place}: {error}");
                }
                None => {
                    assert_eq!(first.map_err(|error| anyhow::anyhow!("{place}: {error}"))?, 2, "{place}");
                    assert_eq!(second.map_err(|error| anyhow::anyhow!("{place}: {error}"))?, 1, "{place} {watermark}");
                }
            }
        }
    }
    Ok(())
}
