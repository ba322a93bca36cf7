use anyhow::{Context, Result};
use chrono::TimeDelta;
use millrace_store::{
    AuditFilter, AuditRow, ConnectionRow, Granted, NewJob, NewSession, NewToken, PoolRow, SignalKind, StoreError, Told,
    VariableRow,
};
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
    assert!(store.put_connection(&row, Told::default(), "cli", at(0)).await?);
    row.host = None;
    row.sealed_extra = Some("v1:def".to_owned());
    assert!(!store.put_connection(&row, Told::default(), "cli", at(1)).await?);
    assert_eq!(store.connection("mysql_prod").await?.as_ref(), Some(&row));
    assert_eq!(store.connections().await?, [row]);
    assert!(store.delete_connection("mysql_prod", Told::default(), "cli", at(2)).await?);
    assert!(!store.delete_connection("mysql_prod", Told::default(), "cli", at(2)).await?);
    assert_eq!(store.connection("mysql_prod").await?, None);

    let stamp = store.sealed_stamp().await?;
    let mut row = VariableRow { key: "k".to_owned(), sealed_value: "v1:1".to_owned(), description: None };
    assert!(store.put_variable(&row, Told::default(), "cli", at(0)).await?);
    assert_ne!(store.sealed_stamp().await?, stamp, "whoever keeps secrets out of texts reads them again");
    let other = VariableRow { key: "other".to_owned(), ..row.clone() };
    assert!(store.put_variable(&other, Told::default(), "cli", at(30)).await?);
    let stamp = store.sealed_stamp().await?;
    assert!(!store.put_variable(&row, Told::default(), "cli", at(20)).await?);
    assert_ne!(store.sealed_stamp().await?, stamp, "also when the clock of the one who wrote is late");
    assert!(store.delete_variable("other", Told::default(), "cli", at(0)).await?);
    "v1:2".clone_into(&mut row.sealed_value);
    assert!(!store.put_variable(&row, Told::default(), "cli", at(0)).await?);
    assert_eq!(store.variables().await?, [row.clone()]);
    assert_eq!(store.variable("k").await?, Some(row));
    assert!(store.delete_variable("k", Told::default(), "cli", at(0)).await?);

    let log = store.audit_log(&AuditFilter { limit: 100, ..AuditFilter::default() }).await?;
    let actions: Vec<_> = log.rows.iter().rev().map(|it| it.action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "connection_added",
            "connection_changed",
            "connection_deleted",
            "variable_added",
            "variable_added",
            "variable_changed",
            "variable_deleted",
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
    store.add_user("ada", "hash-1", "operator", "cli", at(0)).await?;
    let again = store.add_user("ada", "hash-1", "viewer", "cli", at(0)).await;
    assert!(matches!(again, Err(StoreError::Refused { .. })), "{again:?}");
    store.set_password("ada", "hash-2", "cli", at(1)).await?;
    store.set_role("ada", "viewer", "cli", at(1)).await?;
    let ada = store.user("ada").await?.context("there")?;
    assert_eq!((ada.password_hash.as_str(), ada.role.as_str(), ada.created_at), ("hash-2", "viewer", at(0)));

    let id = store.add_api_token(&token("ada", "digest", Some(100)), at(2)).await?.id;
    assert_eq!(store.use_api_token("other", at(3)).await?, None);
    assert_eq!(store.use_api_token("digest", at(100)).await?, None, "expired");
    let (used, user) = store.use_api_token("digest", at(3)).await?.context("good")?;
    assert_eq!((used.id, used.user_name.as_str(), user.role.as_str()), (id, "ada", "viewer"));
    store.use_api_token("digest", at(5)).await?;
    assert_eq!(store.api_tokens(Some("ada")).await?[0].last_used_at, Some(at(3)), "to the minute");
    assert!(store.delete_api_token(id, "ada", at(6)).await?);
    store.add_api_token(&token("ada", "digest-2", None), at(7)).await?;
    assert!(store.delete_user("ada", "cli", at(8)).await?);
    assert_eq!(store.use_api_token("digest-2", at(9)).await?, None, "its tokens went with it");
    assert!(store.users().await?.is_empty());
    Ok(())
}

fn token(user: &str, digest: &str, ends: Option<i64>) -> NewToken {
    NewToken {
        user_name: user.to_owned(),
        label: "laptop".to_owned(),
        token_hash: digest.to_owned(),
        scope: Some("viewer".to_owned()),
        expires_at: ends.map(at),
        actor: user.to_owned(),
    }
}

fn session(user: &str, digest: &str, instead_of: Option<&str>) -> NewSession {
    NewSession {
        user_name: user.to_owned(),
        token_hash: digest.to_owned(),
        expires_at: at(10_000),
        instead_of: instead_of.map(str::to_owned),
        actor: format!("web:{user}"),
    }
}

pub async fn sessions_end_and_get_new_tokens(bench: Bench) -> Result<()> {
    let store = bench.store().await?;
    store.add_user("ada", "hash", "admin", "cli", at(0)).await?;
    store.add_session(&session("ada", "one", None), at(0)).await?;
    let idle = Some(TimeDelta::seconds(600));
    assert!(store.use_session("nothing", idle, at(1)).await?.is_none());
    assert!(store.use_session("one", idle, at(600)).await?.is_none(), "not used for too long");
    assert!(store.use_session("one", None, at(10_000)).await?.is_none(), "its hours are over");
    let (seen, user) = store.use_session("one", idle, at(500)).await?.context("good")?;
    assert_eq!((user.name.as_str(), seen.is_previous), ("ada", false));
    assert!(store.use_session("one", idle, at(1000)).await?.is_some(), "it was used at 500");

    // Of two requests at once, one gives it another token; the one before is good until the new one has arrived.
    assert!(store.rotate_session(&seen, "one", "two", at(1001)).await?);
    assert!(!store.rotate_session(&seen, "one", "lost", at(1001)).await?);
    let (again, _) = store.use_session("one", idle, at(1500)).await?.context("the answer may have been lost")?;
    assert!(again.is_previous && again.form_key == seen.form_key);
    assert!(store.use_session("two", idle, at(1600)).await?.is_some());
    assert!(store.use_session("one", idle, at(1601)).await?.is_none(), "the new one has arrived");

    // Whoever only looks keeps none alive; who uses one does, however short its time is.
    store.add_session(&session("ada", "short", None), at(1602)).await?;
    let short = Some(TimeDelta::seconds(60));
    for second in (1610..1700).step_by(8) {
        assert!(store.use_session("short", short, at(second)).await?.is_some(), "used at {second}");
    }
    assert!(store.see_session("short", short, at(1750)).await?.is_some(), "used less than a minute ago");
    assert!(store.see_session("short", short, at(1760)).await?.is_none(), "it was not used since");
    assert!(
        store
            .delete_session(
                store.see_session("short", None, at(1760)).await?.context("there")?.0.id,
                "web:ada",
                at(1760)
            )
            .await?
    );

    store.add_session(&session("ada", "three", Some("two")), at(1602)).await?;
    assert!(store.use_session("two", idle, at(1603)).await?.is_none(), "the browser has another one now");
    assert_eq!(store.purge_access(idle, at(0), at(1700)).await?, 0);
    assert_eq!(store.purge_access(idle, at(0), at(2202)).await?, 1);
    assert_eq!(bench.number("SELECT COUNT(*) FROM session").await?, 0);
    Ok(())
}

pub async fn a_new_password_and_a_shut_door_end_everything(bench: Bench) -> Result<()> {
    let store = bench.store().await?;
    store.add_user("ada", "hash", "admin", "cli", at(0)).await?;
    store.add_user("bob", "hash", "viewer", "cli", at(0)).await?;
    assert!(matches!(store.add_user("bob", "x", "admin", "cli", at(0)).await, Err(StoreError::Refused { .. })));
    for alike in ["Bob", "ＢＯＢ", "BOB"] {
        let refused = store.add_user(alike, "x", "viewer", "cli", at(0)).await;
        assert!(matches!(refused, Err(StoreError::Refused { .. })), "{alike}");
    }
    for name in ["ada", "bob"] {
        store.add_session(&session(name, &format!("session of {name}"), None), at(1)).await?;
        store.add_api_token(&token(name, &format!("token of {name}"), None), at(1)).await?;
    }
    store.set_password("bob", "another", "cli", at(2)).await?;
    assert!(store.use_session("session of bob", None, at(3)).await?.is_none());
    assert!(store.use_api_token("token of bob", at(3)).await?.is_none());
    assert!(store.use_session("session of ada", None, at(3)).await?.is_some(), "nobody else's");

    store.add_api_token(&token("bob", "again", None), at(4)).await?;
    assert!(store.set_disabled("bob", true, "cli", at(5)).await?.is_disabled());
    assert!(store.use_api_token("again", at(6)).await?.is_none());
    assert!(!store.set_disabled("bob", false, "cli", at(7)).await?.is_disabled());
    assert!(store.use_api_token("again", at(8)).await?.is_none(), "and it stays ended");

    for refused in [
        store.set_role("ada", "editor", "cli", at(9)).await.map(|_| ()),
        store.set_disabled("ada", true, "cli", at(9)).await.map(|_| ()),
        store.delete_user("ada", "cli", at(9)).await.map(|_| ()),
    ] {
        assert!(
            matches!(&refused, Err(StoreError::Refused { reason, .. }) if reason.contains("last admin")),
            "{refused:?}"
        );
    }
    store.set_role("bob", "admin", "cli", at(10)).await?;
    assert!(store.delete_user("ada", "cli", at(11)).await?);
    assert!(matches!(store.set_password("ada", "x", "cli", at(12)).await, Err(StoreError::NotFound { .. })));
    let filter = AuditFilter { action: Some("user_changed".to_owned()), limit: 9, ..AuditFilter::default() };
    let rows = store.audit_log(&filter).await?.rows;
    assert_eq!(rows[0].before.as_ref().context("kept")?["role"], "viewer");
    assert_eq!(rows[0].after.as_ref().context("kept")?["role"], "admin");
    Ok(())
}

pub async fn grants_are_one_for_each_dag_or_tag(bench: Bench) -> Result<()> {
    let store = bench.store().await?;
    store.add_user("ada", "hash", "viewer", "cli", at(0)).await?;
    let of = Granted::Tag("finance".to_owned());
    let first = store.put_grant("ada", &of, "operator", "cli", at(1)).await?;
    let second = store.put_grant("ada", &of, "editor", "cli", at(2)).await?;
    assert_eq!((first.id, second.role.as_str()), (second.id, "editor"));
    store.put_grant("ada", &Granted::Dag("daily".to_owned()), "operator", "cli", at(3)).await?;
    assert_eq!(store.grants(Some("ada")).await?.len(), 2);
    assert!(matches!(store.put_grant("bob", &of, "viewer", "cli", at(4)).await, Err(StoreError::NotFound { .. })));
    assert!(store.delete_grant(first.id, "cli", at(5)).await? && !store.delete_grant(first.id, "cli", at(5)).await?);
    // Whoever looks for the old one later must not find a new one.
    let last = store.put_grant("ada", &Granted::Dag("last".to_owned()), "viewer", "cli", at(5)).await?;
    assert!(store.delete_grant(last.id, "cli", at(5)).await?);
    let next = store.put_grant("ada", &Granted::Dag("next".to_owned()), "viewer", "cli", at(5)).await?;
    assert!(next.id > last.id, "{} after {}", next.id, last.id);
    assert!(store.delete_user("ada", "cli", at(6)).await?);
    assert!(store.grants(None).await?.is_empty(), "they went with the person");
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

pub async fn words_of_the_dead_are_taken_away(bench: Bench) -> Result<()> {
    let store = bench.store().await?;
    let job = |pid| NewJob { kind: "scheduler".to_owned(), hostname: "h_st".to_owned(), pid };
    // Lives; was killed; ended; another word of the killed one; and one of a host whose name only looks alike.
    store.register_job(&job(1), at(1000)).await?;
    store.register_job(&job(2), at(10)).await?;
    let ended = store.register_job(&job(3), at(1000)).await?;
    store.end_job(&ended, at(1001)).await?;
    for key in ["said/h_st/1", "said/h_st/2", "said/h_st/3", "said/hxst/1", "said_more/h_st/2", "other/h_st/2"] {
        store.put_setting(key, "x").await?;
    }
    store.drop_settings_of_the_dead("said", at(500)).await?;
    for (key, is_there) in [
        ("said/h_st/1", true),
        ("said/h_st/2", false),
        ("said/h_st/3", false),
        ("said/hxst/1", false),
        ("said_more/h_st/2", true),
        ("other/h_st/2", true),
    ] {
        assert_eq!(store.setting(key).await?.is_some(), is_there, "{key}");
    }
    Ok(())
}
