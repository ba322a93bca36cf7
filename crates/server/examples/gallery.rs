//! Pages to look at: a store with plausible runs, served on 127.0.0.1, and a door that signs in without a form.
//!
//! `cargo run -p millrace-server --example gallery -- 8098` serves pages on port 8098 and the door on 8099:
//! `http://127.0.0.1:8099/?to=/dags/nps_full_refresh&theme=dark`.

#[path = "../tests/http/plant.rs"]
#[expect(clippy::unwrap_used, dead_code, reason = "made for tests")]
mod plant;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::Query;
use axum::response::{AppendHeaders, IntoResponse, Redirect};
use axum::routing::get;
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use millrace_logs::Level;
use millrace_model::ledger::Checkpoint;
use millrace_model::state::{RunState, TaskState};
use millrace_operator_api::context::Clock;
use millrace_server::{ServerOptions, hash_password};
use millrace_settings::{ConnectionForm, Home, Keyring, Masker};
use millrace_vault::Vault;
use plant::{Part, Plant, dag};
use serde_json::json;
use tokio::net::TcpListener;

struct Now;

impl Clock for Now {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let port: u16 = std::env::args().nth(1).as_deref().unwrap_or("8098").parse()?;
    let folder = tempfile::tempdir()?;
    let now = Utc::now().duration_trunc(TimeDelta::seconds(1))?;
    let plant = Plant::new(folder.path(), now - TimeDelta::days(40), now).await;
    fill(&plant, now).await;

    let home = Home::at(folder.path())?;
    let vault = Vault::new(
        Some(plant.store.clone()),
        Some(Arc::new(Keyring::open_or_create(&home)?)),
        Masker::new(),
        BTreeMap::from([(
            "MILLRACE_CONN_REDSHIFT_DEV".to_owned(),
            "redshift://loader:hunter22@dev.internal:5439/dev".to_owned(),
        )]),
    );
    for (name, form) in [
        (
            "mysql_prod",
            json!({"conn_type": "mysql", "host": "orders-replica.internal", "port": 3306, "login": "etl", "password": "correct horse", "schema": "prod", "description": "Read replica of the shop"}),
        ),
        (
            "aws_default",
            json!({"conn_type": "aws", "login": "AKIAEXAMPLE", "password": "staple battery", "extra": {"region_name": "ap-northeast-2"}}),
        ),
        ("demo_warehouse", json!({"conn_type": "sqlite", "schema": "/var/lib/millrace/warehouse.db"})),
    ] {
        vault.put_connection(name, ConnectionForm::from_value(form)?, "gallery", now).await?;
    }
    plant.store.put_user("admin", &hash_password("gallery")?, "admin", "gallery", now).await?;
    let job = millrace_store::NewJob { kind: "scheduler".to_owned(), hostname: "gallery".to_owned(), pid: 1 };
    let job = plant.store.register_job(&job, now).await?;
    let store = plant.store.clone();
    tokio::spawn(async move {
        loop {
            let now = Utc::now();
            let _ = store.heartbeat(&job, now, now + TimeDelta::hours(1)).await;
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        }
    });

    let options = ServerOptions {
        store: plant.store.clone(),
        vault,
        logs: plant.logs.clone(),
        clock: Arc::new(Now),
        session_hours: 12,
        surroundings: tokio::sync::watch::channel(millrace_situation::Surroundings {
            parallelism: 32,
            maintenance: Default::default(),
        })
        .1,
        session_idle_minutes: 0,
        trusted_proxies: Vec::new(),
        oidc: None,
        tls: None,
        patience: millrace_server::Patience::default(),
        operators: &[],
        configuration: vec![("server.port".to_owned(), port.to_string())],
        test_connection: Arc::new(|connection| {
            Box::pin(async move {
                match connection.conn_type.as_str() {
                    "mysql" => Err("could not connect to orders-replica.internal:3306: name not known".to_owned()),
                    other => Ok(format!("{other} answers")),
                }
            })
        }),
    };
    let door = TcpListener::bind(("127.0.0.1", port + 1)).await?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    tokio::spawn(async move { axum::serve(door, Router::new().route("/", get(move |query| open(port, query)))).await });
    millrace_server::serve(listener, options, std::future::pending()).await?;
    Ok(())
}

/// Signs in, sets the theme, and sends on; cookies don't mind the port.
async fn open(port: u16, Query(query): Query<BTreeMap<String, String>>) -> impl IntoResponse {
    let session = tokio::task::spawn_blocking(move || sign_in(port)).await.unwrap_or_default();
    let theme = query.get("theme").cloned().unwrap_or_else(|| "light".to_owned());
    let to = query.get("to").cloned().unwrap_or_else(|| "/".to_owned());
    let cookies = [("set-cookie", session), ("set-cookie", format!("millrace_theme={theme}; Path=/"))];
    (AppendHeaders(cookies), Redirect::to(&format!("http://127.0.0.1:{port}{to}")))
}

fn sign_in(port: u16) -> String {
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().max_redirects(0).build());
    let answer = agent
        .post(format!("http://127.0.0.1:{port}/sign-in"))
        .send_form([("username", "admin"), ("password", "gallery")]);
    answer
        .ok()
        .and_then(|answer| answer.headers().get("set-cookie")?.to_str().ok().map(str::to_owned))
        .unwrap_or_default()
}

const NPS_ERROR: &str = "could not copy s3://warehouse-landing/nps/2026-11-20.csv into analytics.nps: line 18231, column score: value 'n/a' is not an INTEGER (error 1207)\n  statement: COPY analytics.nps__staging FROM 's3://warehouse-landing/nps/manifest.json' …\n  mend it in the source, or load it with max_errors: 1";

async fn fill(plant: &Plant, now: DateTime<Utc>) {
    use TaskState::{Failed, None as Waiting, Running, Skipped, Success, UpForRetry, UpstreamFailed};
    let long_ago = now - TimeDelta::days(40);
    let mut nps = dag(
        "nps_full_refresh",
        "0 2 * * *",
        "Asia/Seoul",
        &["nps", "redshift"],
        &[
            ("s3_folder_cleanup", "s3_cleanup", &[], 0),
            ("mysql_to_s3_nps", "sql_to_s3", &["s3_folder_cleanup"], 2),
            ("s3_to_redshift_nps", "copy", &["mysql_to_s3_nps"], 1),
            ("nps_summary_table", "summary_table", &["s3_to_redshift_nps"], 0),
            ("notify", "bash", &["nps_summary_table"], 0),
        ],
    );
    nps.description = Some("prod.nps into the warehouse, every night".to_owned());
    nps.params = json!({"s3_bucket": "warehouse-landing"}).as_object().cloned().unwrap_or_default();
    let nps = plant.sync(nps, false, long_ago).await;
    let today = now.duration_trunc(TimeDelta::days(1)).unwrap_or(now) - TimeDelta::hours(7);
    for back in (0..26).rev() {
        let logical = today - TimeDelta::days(back + 1);
        let start = logical + TimeDelta::days(1);
        let base = |s: i64| s + (back * 7 % 11) * s / 12;
        let done = [
            Part::new("s3_folder_cleanup", Success, 3).line(Level::Info, "deleted 1 object under nps/"),
            Part::new("mysql_to_s3_nps", Success, base(64)).rows(203_114 - back as u64 * 611),
            Part::new("s3_to_redshift_nps", Success, base(41)).rows(203_114 - back as u64 * 611),
            Part::new("nps_summary_table", Success, base(22)),
            Part::new("notify", if back % 6 == 1 { Skipped } else { Success }, 1),
        ];
        match back {
            0 => {
                let mut copy = Part::new("s3_to_redshift_nps", Failed, 47).error(NPS_ERROR);
                for n in 0..60 {
                    copy = copy.line(
                        if n % 17 == 9 { Level::Warning } else { Level::Info },
                        format!("slice {n}: {} rows staged", 3385 + n),
                    );
                }
                copy = copy.line(Level::Error, NPS_ERROR).line(Level::Debug, "staging table dropped");
                let parts = [
                    done[0].clone(),
                    done[1].clone(),
                    copy,
                    Part::new("nps_summary_table", UpstreamFailed, 0),
                    Part::new("notify", UpstreamFailed, 0),
                ];
                plant.run(&nps, logical, start, Some(RunState::Failed), &parts).await;
            }
            9 | 17 => {
                let parts = [
                    done[0].clone(),
                    Part::new("mysql_to_s3_nps", Failed, 12).error("lost connection to MySQL server during query"),
                    Part::new("s3_to_redshift_nps", UpstreamFailed, 0),
                    Part::new("nps_summary_table", UpstreamFailed, 0),
                    Part::new("notify", UpstreamFailed, 0),
                ];
                plant.run(&nps, logical, start, Some(RunState::Failed), &parts).await;
            }
            _ => {
                plant.run(&nps, logical, start, Some(RunState::Success), &done).await;
            }
        }
    }
    let orders = plant
        .sync(
            dag(
                "orders_incremental",
                "0 * * * *",
                "UTC",
                &["orders"],
                &[
                    ("extract_orders", "extract", &[], 3),
                    ("upload_orders", "upload", &["extract_orders"], 3),
                    ("load_orders", "upsert", &["upload_orders"], 3),
                    ("check_orders", "summary_check", &["load_orders"], 0),
                ],
            ),
            false,
            long_ago,
        )
        .await;
    let hour = now.duration_trunc(TimeDelta::hours(1)).unwrap_or(now);
    for back in (1..20).rev() {
        let logical = hour - TimeDelta::hours(back + 1);
        let parts = ["extract_orders", "upload_orders", "load_orders", "check_orders"]
            .map(|task| Part::new(task, Success, 20 + back * 13 % 40).rows(1_204 + back as u64 * 31));
        plant.run(&orders, logical, logical + TimeDelta::hours(1), Some(RunState::Success), &parts).await;
    }
    let start = now - TimeDelta::seconds(95);
    let mut load = Part::new("load_orders", Running, 60);
    for n in 0..14 {
        load = load.line(Level::Info, format!("batch {n} of 20 merged"));
    }
    let key = plant
        .run(
            &orders,
            hour - TimeDelta::hours(1),
            start,
            Option::None,
            &[
                Part::new("extract_orders", Success, 21).rows(1_311),
                Part::new("upload_orders", Success, 9).rows(1_311),
                load,
                Part::new("check_orders", Waiting, 0),
            ],
        )
        .await;
    if let Ok(Some(instance)) = plant.store.instance(key, "load_orders", -1).await {
        for (rows, seconds) in [(400, 30), (903, 20)] {
            let at = now - TimeDelta::seconds(seconds);
            let point = Checkpoint {
                name: "merge".to_owned(),
                message: "into analytics.orders".to_owned(),
                rows: Some(rows),
                bytes: Some(rows * 211),
                total_rows: Some(1_311),
                at,
            };
            let _ = plant.store.record_checkpoint(instance.key, 1, &point, at).await;
        }
    }
    let events = plant
        .sync(
            dag(
                "clickstream_sessions",
                "*/15 * * * *",
                "UTC",
                &["events", "beta"],
                &[
                    ("fetch", "sql_to_s3", &[], 2),
                    ("sessionize", "sql", &["fetch"], 2),
                    ("publish", "copy", &["sessionize"], 2),
                ],
            ),
            false,
            long_ago,
        )
        .await;
    for back in (1..9).rev() {
        let logical = hour - TimeDelta::minutes(15 * (back + 1));
        plant
            .run(
                &events,
                logical,
                logical + TimeDelta::minutes(15),
                Some(RunState::Success),
                &["fetch", "sessionize", "publish"].map(|task| Part::new(task, Success, 30 + back * 9)),
            )
            .await;
    }
    plant
        .run(
            &events,
            hour - TimeDelta::minutes(15),
            now - TimeDelta::minutes(2),
            Option::None,
            &[
                Part::new("fetch", Success, 31),
                Part::new("sessionize", UpForRetry, 15)
                    .error("deadlock detected; the other transaction went on")
                    .line(Level::Error, "deadlock detected"),
                Part::new("publish", Waiting, 0),
            ],
        )
        .await;
    plant
        .sync(
            dag("매출_일별_요약", "@daily", "Asia/Seoul", &["finance"], &[("summary", "summary_table", &[], 0)]),
            true,
            long_ago,
        )
        .await;
    plant.sync(dag("one_off_cleanup", "none", "UTC", &[], &[("clean", "bash", &[], 0)]), false, long_ago).await;
    let diagnostic = json!({"severity": "error", "code": "unknown-key", "message": "unknown key 'shedule'", "line": 3, "column": 1, "length": 7, "text": "shedule", "hint": "did you mean 'schedule'?"});
    let _ =
        plant.store.set_import_error("marketing/attribution.yaml", &[diagnostic], now - TimeDelta::minutes(12)).await;
}
