//! The long-running commands: `standalone`, `scheduler`, `server`, `devstack`.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use millrace_connectors::kill_orphans;
use millrace_devstack::{DevstackError, RedshiftConfig, RunningS3, S3Config, serve_faults, serve_redshift, serve_s3};
use millrace_model::change::Report;
use millrace_model::state::RunState;
use millrace_planner::{ManualRun, manual_run};
use millrace_scheduler::{Scheduler, SchedulerOptions};
use millrace_server::Network;
use millrace_settings::home::{create_private_file, create_private_folder, read_if_present};
use millrace_store::{NewJob, RunRequest, Store, StoreError};
use millrace_vault::Vault;
use millrace_worker::{LocalExecutor, LocalExecutorOptions, StoreRuns};
use serde_json::Map;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::app::App;
use crate::args::{DevstackArgs, ServerArgs, StandaloneArgs};
use crate::commands::people::random_password;
use crate::live::{self, Live, LogFilter};
use crate::output::{counted, notice};
use crate::signals::Signals;
use crate::{dag_files, demo, notifier, seclusion, traces, wiring};

pub async fn scheduler(app: &App, migrate: bool) -> anyhow::Result<()> {
    let (live, hangups) = (Live::new(app, begin_log(app)?)?, hangups()?);
    seclusion::close(app.home.root());
    if migrate {
        app.migrate(true).await?;
    }
    let store = app.daemon_store().await?;
    let vault = app.vault(&store)?;
    vault.check_keys().await?;
    let stop = stop_on_signal()?;
    create_private_folder(&app.dags_folder())?;
    notice(format!(
        "scheduler of {} with {}; Ctrl-C stops it",
        app.home.root().display(),
        counted(app.config.core.parallelism, "slot")
    ));
    let result = engine(app, &store, &vault, (&live, hangups), stop).await;
    store.close().await;
    result
}

pub async fn server(app: &App, args: &ServerArgs) -> anyhow::Result<()> {
    let (mut live, hangups) = (Live::new(app, begin_log(app)?)?, hangups()?);
    seclusion::close(app.home.root());
    live.read_certificate()?;
    let store = app.daemon_store().await?;
    let vault = app.vault(&store)?;
    vault.check_keys().await?;
    let stop = stop_on_signal()?;
    ensure_admin(app, &store).await?;
    let listener = listen(app, args.port.unwrap_or(app.config.server.port)).await?;
    let address = listener.local_addr()?;
    notice(format!("serving {}://{address}; Ctrl-C stops it", scheme(&live)));
    let job = NewJob { kind: "server".to_owned(), hostname: wiring::hostname(), pid: std::process::id() };
    let job = store.register_job(&job, app.now()).await?;
    let result = tokio::select! {
        result = serve(app, (&store, &live), &vault, listener, stop) => result,
        () = live.follow(hangups, &store, None, || app.now()) => Ok(()),
        () = beat(app, &store, &job) => Ok(()),
    };
    if let Err(error) = store.end_job(&job, app.now()).await {
        tracing::warn!(%error, "the end of this server could not be noted");
    }
    store.close().await;
    result
}

/// Says now and then that the job lives; never ends.
async fn beat(app: &App, store: &Store, job: &str) {
    let mut beats = tokio::time::interval(Duration::from_secs(app.config.scheduler.heartbeat_interval.max(1)));
    loop {
        beats.tick().await;
        if let Err(error) = store.heartbeat(job, app.now()).await {
            tracing::warn!(%error, "the heartbeat could not be written");
        }
    }
}

pub async fn standalone(app: &App, args: &StandaloneArgs) -> anyhow::Result<()> {
    let (mut live, hangups) = (Live::new(app, begin_log(app)?)?, hangups()?);
    seclusion::close(app.home.root());
    live.read_certificate()?;
    let applied = app.migrate(true).await?;
    if !applied.is_empty() {
        notice(format!("made the metadata database ({} migrations)", applied.len()));
    }
    let store = app.daemon_store().await?;
    let vault = app.vault(&store)?;
    vault.check_keys().await?;
    let stop = stop_on_signal()?;
    create_private_folder(&app.dags_folder())?;
    ensure_admin(app, &store).await?;

    let any_port = args.port == Some(0);
    let listener = listen(app, args.port.unwrap_or(app.config.server.port)).await?;
    let address = listener.local_addr()?;
    let (s3_port, taken) = if any_port { (0, None) } else { free_or_any(app.config.devstack.s3_port).await };
    let (access_key, secret_key) = s3_keys(app)?;
    let mut buckets = vec![demo::BUCKET.to_owned(), "warehouse-landing".to_owned()];
    buckets.extend(args.bucket.iter().cloned());
    let s3 = match start_s3(app, s3_port, (&access_key, &secret_key), buckets).await {
        Err(error) if is_in_use(&error) => bail!(second(app, &store).await?),
        other => other?,
    };
    if let Some(taken) = taken {
        notice(taken);
    }
    if args.demo {
        demo::prepare(app, &vault, &s3.endpoint_url(), (&access_key, &secret_key)).await?;
    }

    let (engine_stop, server_stop) = (stop.child_token(), stop.child_token());
    let engine = engine(app, &store, &vault, (&live, hangups), engine_stop);
    let server = serve(app, (&store, &live), &vault, listener, server_stop);
    let welcome = async {
        let demo = if args.demo { Some(start_demo(app, &store).await?) } else { None };
        say_welcome(app, &s3, &format!("{}://{address}", scheme(&live)), demo);
        Ok::<(), anyhow::Error>(())
    };
    // Whichever of them fails, the others are stopped in order, not dropped.
    let ended_by = |result: anyhow::Result<()>| {
        stop.cancel();
        result
    };
    let (engine, server, welcome) =
        tokio::join!(async { ended_by(engine.await) }, async { ended_by(server.await) }, async {
            welcome.await.inspect_err(|_| stop.cancel())
        },);
    s3.shutdown().await;
    store.close().await;
    engine.and(server).and(welcome)
}

pub async fn devstack(app: &App, args: DevstackArgs) -> anyhow::Result<()> {
    begin_log(app)?;
    seclusion::close(app.home.root());
    app.home.create()?;
    let stop = stop_on_signal()?;
    let (access_key, secret_key) = s3_keys(app)?;
    let s3 = start_s3(app, args.s3_port, (&access_key, &secret_key), args.bucket.clone()).await?;
    notice(format!(
        "S3 at {} (region us-east-1), access key {access_key}; its secret is in {}",
        s3.endpoint_url(),
        app.home.root().join(S3_KEY_FILE).display()
    ));
    let redshift = match &args.redshift_over {
        None => {
            notice("no Redshift: give --redshift-over postgres://… for one");
            None
        }
        Some(url) => {
            let running = serve_redshift(RedshiftConfig {
                listen: SocketAddr::from(([127, 0, 0, 1], args.redshift_port)),
                postgres_url: url.clone(),
                database: "dev".to_owned(),
                objects: s3.storage(),
                access_key: access_key.clone(),
            })
            .await?;
            notice(format!("Redshift Data API at {} (database dev, any workgroup)", running.endpoint_url()));
            Some(running)
        }
    };
    // Listens until it is dropped.
    let _faults_port = match args.faults_port {
        None => None,
        Some(port) => {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let of_redshift = redshift.as_ref().map(|running| running.faults().clone());
            let port = serve_faults(address, s3.faults().clone(), of_redshift).await?;
            notice(format!("failures to come are taken at {}", port.url()));
            Some(port)
        }
    };
    stop.cancelled().await;
    if let Some(redshift) = redshift {
        redshift.shutdown().await;
    }
    s3.shutdown().await;
    Ok(())
}

/// Scheduler and local workers, until `stop`.
async fn engine(
    app: &App,
    store: &Store,
    vault: &Vault,
    (live, hangups): (&Live, Signal),
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let installation = store.installation_id().await?;
    let (sender, completions) = mpsc::unbounded_channel::<Report>();
    let executor = Arc::new(LocalExecutor::new(LocalExecutorOptions {
        equipment: Arc::new(wiring::equipment(app, vault, Some(store.clone()), installation.clone())),
        store: store.clone(),
        logs: app.logs_of(&installation),
        runs: Arc::new(StoreRuns { store: store.clone() }),
        slots: app.config.core.parallelism,
        completions: sender,
    }));
    let settings = &app.config.scheduler;
    let options = SchedulerOptions {
        folder: dag_files::folder_options(app)?,
        heartbeat_interval: Duration::from_secs(settings.heartbeat_interval),
        lease_timeout: Duration::from_secs(settings.lease_timeout),
        leader_timeout: Duration::from_secs(settings.leader_timeout.max(1)),
        tuning: live.tuning.subscribe(),
        maintenance: live.maintenance.subscribe(),
        hostname: wiring::hostname(),
        clock: app.clock(),
        end_leftovers: Arc::new(move |given_up| {
            let killed = kill_orphans(&installation, given_up);
            if killed > 0 {
                tracing::warn!(killed, "stopped processes that an earlier daemon left behind");
            }
        }),
    };
    let sweeping = tokio::spawn(sweep_scratch(app.home.scratch_folder(), store.clone()));
    // A task of the runtime, not part of the main thread's work: from the end of a try to the turn that it sets off and to
    // the try that begins, nothing need change threads.
    let scheduler = tokio::spawn(Scheduler::new(store.clone(), executor.clone(), completions, options).run(stop));
    // These end with the scheduler only.
    let beside = async {
        tokio::join!(
            live.follow(hangups, store, Some(&executor), || app.now()),
            live::retain(app, live.config.subscribe(), store),
            notifier::run(app, store, vault),
            write_counts(app, store),
            traces::follow_runs(store)
        )
    };
    let result = tokio::select! {
        result = scheduler => result.context("the scheduler broke down"),
        _ = beside => Ok(Ok(())),
    };
    sweeping.abort();
    live.unsay(store).await;
    if let Err(error) = store.write_counts().await {
        tracing::warn!(%error, "the last counts for the metrics could not be written");
    }
    result?.context("the scheduler stopped")
}

/// Adds what was counted to what all processes have counted; never ends.
async fn write_counts(app: &App, store: &Store) {
    let mut beats = tokio::time::interval(Duration::from_secs(app.config.scheduler.heartbeat_interval.max(1)));
    loop {
        beats.tick().await;
        if let Err(error) = store.write_counts().await {
            tracing::warn!(%error, "what was counted for the metrics could not be written; it is kept until it can");
        }
    }
}

/// Removes the scratch files of runs that succeeded; those of failed runs stay for the next try.
async fn sweep_scratch(root: std::path::PathBuf, store: Store) {
    let scratch = millrace_connectors::FolderScratch::new(root);
    let mut changes = store.run_changes();
    loop {
        match changes.recv().await {
            Ok(change) if change.state == RunState::Success.as_str() => {
                if let Some(run_id) = &change.run_id
                    && let Err(error) = scratch.remove_run(change.dag_id.as_str(), run_id.as_str()).await
                {
                    tracing::warn!(dag = %change.dag_id, run = %run_id, %error, "the run's scratch files could not be removed");
                }
            }
            Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
            Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// What the daemon itself prints goes to standard error. `None` when somebody else has set that up already.
fn begin_log(app: &App) -> anyhow::Result<Option<LogFilter>> {
    let (filter, handle) = reload::Layer::new(live::log_filter(&app.config));
    let printed = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_filter(filter_fn(|metadata| !traces::is_span(metadata.target())));
    let (spans, exporter) = traces::exporter(app)?.unzip();
    // Set once; a second daemon in one process does not exist.
    let begun = tracing_subscriber::registry().with(filter).with(printed).with(spans).try_init();
    if let Some(exporter) = exporter.filter(|_| begun.is_ok()) {
        exporter.begin();
    }
    Ok(begun.ok().map(|()| handle))
}

/// Reads the configuration again with each SIGHUP.
fn hangups() -> anyhow::Result<Signal> {
    Ok(signal(SignalKind::hangup())?)
}

/// Fires with SIGTERM or Ctrl-C; the second one ends the process at once.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut signals = Signals::listen()?;
    let stop = CancellationToken::new();
    let fired = stop.clone();
    tokio::spawn(async move {
        loop {
            signals.next().await;
            if fired.is_cancelled() {
                notice("stopped at once; running tasks are taken up at the next start");
                std::process::exit(1);
            }
            notice("stopping; once more stops at once");
            fired.cancel();
        }
    });
    Ok(stop)
}

async fn listen(app: &App, port: u16) -> anyhow::Result<TcpListener> {
    let host = &app.config.server.host;
    TcpListener::bind((host.as_str(), port)).await.with_context(|| {
        format!("could not listen on {host}:{port}; is another Millrace running? --port takes another")
    })
}

fn scheme(live: &Live) -> &'static str {
    if live.tls().is_some() { "https" } else { "http" }
}

const ADMIN: &str = "admin";

/// A metadata database without users gets the user `admin`, with a password that is made once and kept in the home. One
/// that has users is left as it is: passwords that were changed, and people who were taken away, stay so.
async fn ensure_admin(app: &App, store: &Store) -> anyhow::Result<()> {
    let path = app.home.admin_password_file();
    if let Some(password) = read_if_present(&path)? {
        app.masker.add(password.trim());
    }
    if !store.users().await?.is_empty() {
        return Ok(());
    }
    if read_if_present(&path)?.is_none() {
        app.home.create()?;
        create_private_file(&path, random_password()?.as_bytes())?;
    }
    let password = read_if_present(&path)?.unwrap_or_default();
    app.masker.add(password.trim());
    let hash = millrace_server::hash_password(password.trim())?;
    match store.add_user(ADMIN, &hash, "admin", "standalone", app.now()).await {
        // Another process of this home was faster.
        Err(StoreError::Refused { .. }) => Ok(()),
        added => Ok(added.map(|_| ())?),
    }
}

/// Processes among which the one that serves the home is looked for.
const SECOND_LOOKS_AT: u64 = 100;
const S3_KEY_FILE: &str = "s3_keys";

/// Access key and secret of the S3 stand-in, made once and kept in the home.
fn s3_keys(app: &App) -> anyhow::Result<(String, String)> {
    let path = app.home.root().join(S3_KEY_FILE);
    if read_if_present(&path)?.is_none() {
        create_private_file(&path, format!("millrace:{}\n", random_password()?).as_bytes())?;
    }
    let text = read_if_present(&path)?.unwrap_or_default();
    let (access, secret) =
        text.trim().split_once(':').with_context(|| format!("{} is damaged; delete it", path.display()))?;
    app.masker.add(secret);
    Ok((access.to_owned(), secret.to_owned()))
}

/// The wanted port of the S3 stand-in, or 0 (any) when something else has it: 9000 is a popular number, and the demo's
/// connection is told the address at every start.
async fn free_or_any(port: u16) -> (u16, Option<String>) {
    match TcpListener::bind(("127.0.0.1", port)).await {
        Ok(_) => (port, None),
        Err(error) => (
            0,
            Some(format!(
                "the S3 stand-in takes another port than {port}, which is in use ({error}); devstack.s3_port sets one"
            )),
        ),
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(DevstackError::InUse { .. })))
}

/// What is said to a daemon whose home another one serves.
async fn second(app: &App, store: &Store) -> anyhow::Result<String> {
    let jobs = store.jobs(SECOND_LOOKS_AT).await?;
    let first = jobs.iter().find(|job| job.kind == "scheduler" && job.ended_at.is_none());
    let pid = first.map(|job| format!(" (pid {})", job.pid)).unwrap_or_default();
    Ok(format!(
        "another Millrace{pid} serves the home {}; stop it, or give this one a home of its own with --home",
        app.home.root().display()
    ))
}

async fn start_s3(app: &App, port: u16, keys: (&str, &str), buckets: Vec<String>) -> anyhow::Result<RunningS3> {
    let config = S3Config {
        root: app.home.s3_folder(),
        access_key: keys.0.to_owned(),
        secret_key: keys.1.to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], port)),
        buckets,
    };
    serve_s3(config).await.with_context(|| format!("could not start the S3 stand-in on port {port}"))
}

async fn serve(
    app: &App,
    (store, live): (&Store, &Live),
    vault: &Vault,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    live.listens_on(listener.local_addr()?.port());
    let options = millrace_server::ServerOptions {
        store: store.clone(),
        vault: vault.clone(),
        logs: app.logs(),
        clock: app.clock(),
        session_hours: app.config.server.session_hours,
        surroundings: live.surroundings.subscribe(),
        session_idle_minutes: app.config.server.session_idle_minutes,
        trusted_proxies: Network::list(&app.config.server.trusted_proxies).context("server.trusted_proxies")?,
        patience: millrace_server::Patience::default(),
        tls: live.tls(),
        oidc: crate::provider::provider(app, vault).await?,
        operators: millrace_operators::catalogue(),
        configuration: live.configuration.subscribe(),
        test_connection: crate::trying::connection_test(&app.home),
    };
    millrace_server::serve(listener, options, stop.cancelled_owned()).await.context("the web server stopped")
}

/// Unpauses the demo pipeline and runs it once for now, so that there is something to see; whether that was done now.
async fn start_demo(app: &App, store: &Store) -> anyhow::Result<bool> {
    dag_files::sync(app, store).await?;
    let Some(row) = store.dag(demo::PIPELINE, 1).await? else {
        anyhow::bail!("the demo DAG can't be read: `millrace dags list-import-errors` says why");
    };
    let is_new = row.last_runs.is_empty();
    if is_new {
        let version = crate::lookup::version(&row)?;
        let new = manual_run(
            ManualRun {
                version: &version,
                run_id: None,
                logical_date: None,
                conf: Map::new(),
                triggered_by: "demo".to_owned(),
            },
            app.now(),
        )?;
        store.create_run(&RunRequest { run: new, note: None, actor: "demo".to_owned() }, app.now()).await?;
        store.set_paused(&row.dag_id, false, "demo", app.now()).await?;
        if let Some(failure) = store.dag(demo::FAILURE, 0).await? {
            store.set_paused(&failure.dag_id, false, "demo", app.now()).await?;
        }
    }
    Ok(is_new)
}

/// `demo`: whether it was started now, if it was asked for.
fn say_welcome(app: &App, s3: &RunningS3, address: &str, demo: Option<bool>) {
    let demo = demo.map(|is_new| {
        let (dag, failure) = (demo::PIPELINE, "millrace dags trigger demo_failure");
        let is_here = if is_new { "is running now" } else { "is here from before" };
        format!("\n  demo      the DAG {dag} {is_here}; `{failure}` shows how a failure looks")
    });
    let demo = demo.unwrap_or_default();
    notice(format!(
        "\nMillrace is ready\n  address   {address}\n  sign in   {ADMIN}, with the password in {}\n  home      {}\n  dags      {}\n  s3        {}{demo}\nCtrl-C stops it.\n",
        app.home.admin_password_file().display(),
        app.home.root().display(),
        app.dags_folder().display(),
        s3.endpoint_url(),
    ));
}
