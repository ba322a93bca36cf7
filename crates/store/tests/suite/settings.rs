use anyhow::{Context, Result};
use millrace_store::{AuditFilter, AuditRow, ConnectionRow, PoolRow, SignalKind, StoreError, VariableRow};
use serde_json::json;

use crate::bench::{Bench, at};

pub async fn connections_and_variables(bench: Bench) -> Result<()> {
    let store = bench.store().await?;
    let mut row = ConnectionRow {
        conn_id: "mysql_prod".to_owned(),
        conn_type: "mysql".to_owned(),
        description: None,
        host: Some("db.example".to_owned()),
        login: Some("reader".to_owned()),
        schema: Some("prod".to_owned()),
        port: Some(65_535),
        sealed_password: Some("v1:abc".to_owned()),
        sealed_extra: None,
    };
    assert!(store.put_connection(&row, "cli", at(0)).await?);
    row.host = None;
    row.sealed_extra = Some("v1:def".to_owned());
    assert!(!store.put_connection(&row, "cli", at(1)).await?);
    assert_eq!(store.connection("mysql_prod").await?.as_ref(), Some(&row));
    assert_eq!(store.connections().await?, [row]);
    assert!(store.delete_connection("mysql_prod", "cli", at(2)).await?);
    assert!(!store.delete_connection("mysql_prod", "cli", at(2)).await?);
    assert_eq!(store.connection("mysql_prod").await?, None);

    let mut row = VariableRow { key: "k".to_owned(), sealed_value: "v1:1".to_owned(), description: None };
    assert!(store.put_variable(&row, "cli", at(0)).await?);
    "v1:2".clone_into(&mut row.sealed_value);
    assert!(!store.put_variable(&row, "cli", at(0)).await?);
    assert_eq!(store.variables().await?, [row.clone()]);
    assert_eq!(store.variable("k").await?, Some(row));
    assert!(store.delete_variable("k", "cli", at(0)).await?);

    let log = store.audit_log(&AuditFilter { limit: 100, ..AuditFilter::default() }).await?;
    let actions: Vec<_> = log.rows.iter().rev().map(|it| it.action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "connection_added",
            "connection_changed",
            "connection_deleted",
            "variable_added",
            "variable_changed",
            "variable_deleted"
        ]
    );
    assert!(!log.rows.iter().any(|it| it.details.to_string().contains("v1:")), "no ciphertext in the log");
    Ok(())
}

pub async fn pools(bench: Bench) -> Result<()> {
    let store = bench.store().await?;
    let small = PoolRow { name: "small".to_owned(), slots: 2, description: None, include_deferred: true };
    assert!(store.put_pool(&small, "cli", at(0)).await?);
    let names: Vec<_> = store.pools().await?.into_iter().map(|it| (it.name, it.slots)).collect();
    assert_eq!(names, [("default_pool".to_owned(), 128), ("small".to_owned(), 2)]);
    assert_eq!(store.signals().await?[0].kind, SignalKind::PoolChanged);
    let refused = store.delete_pool("default_pool", "cli", at(1)).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })));
    let refused = store.put_pool(&PoolRow { slots: -2, ..small }, "cli", at(1)).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })));
    assert!(store.delete_pool("small", "cli", at(1)).await?);
    Ok(())
}

pub async fn users_and_tokens(bench: Bench) -> Result<()> {
    let store = bench.store().await?;
    assert!(store.put_user("ada", "hash-1", "admin", "cli", at(0)).await?);
    assert!(!store.put_user("ada", "hash-2", "viewer", "cli", at(1)).await?);
    let ada = store.user("ada").await?.context("there")?;
    assert_eq!((ada.password_hash.as_str(), ada.role.as_str(), ada.created_at), ("hash-2", "viewer", at(0)));

    let id = store.add_api_token("ada", "laptop", "digest", Some(at(100)), at(2)).await?;
    assert_eq!(store.use_api_token("other", at(3)).await?, None);
    assert_eq!(store.use_api_token("digest", at(100)).await?, None, "expired");
    let used = store.use_api_token("digest", at(3)).await?.context("good")?;
    assert_eq!((used.id, used.user_name.as_str()), (id, "ada"));
    store.use_api_token("digest", at(5)).await?;
    assert_eq!(store.api_tokens("ada").await?[0].last_used_at, Some(at(3)), "to the minute");
    assert!(store.delete_api_token(id, "ada", at(6)).await?);
    store.add_api_token("ada", "again", "digest-2", None, at(7)).await?;
    assert!(store.delete_user("ada", "cli", at(8)).await?);
    assert_eq!(store.use_api_token("digest-2", at(9)).await?, None, "its tokens went with it");
    assert!(store.users().await?.is_empty());
    Ok(())
}

pub async fn the_audit_log(bench: Bench) -> Result<()> {
    let store = bench.store().await?;
    for number in 0..5 {
        let row = AuditRow::new("ada", "looked", json!({ "number": number }), at(number));
        let row = if number % 2 == 0 { row.on_run("daily", "r1") } else { row.on_dag("other") };
        store.record_audit(&row).await?;
    }
    let filter = AuditFilter { dag_id: Some("daily".to_owned()), limit: 2, ..AuditFilter::default() };
    let page = store.audit_log(&filter).await?;
    assert_eq!((page.total, page.rows.len()), (3, 2));
    assert_eq!(page.rows[0].details, json!({ "number": 4 }), "newest first");
    let filter = AuditFilter { run_id: Some("r1".to_owned()), offset: 2, limit: 9, ..AuditFilter::default() };
    assert_eq!(store.audit_log(&filter).await?.rows.len(), 1);
    Ok(())
}
