//! The binary `millrace`: reads the command line, wires the rooms together, and turns errors into exit codes
//! (0 done, 1 failed, 2 usage).

mod app;
mod args;
mod commands;
mod daemon;
mod dag_files;
mod demo;
mod failure;
mod live;
mod lookup;
mod notifier;
mod output;
mod provider;
mod seclusion;
mod signals;
mod traces;
mod trying;
mod wiring;

use std::process::ExitCode;
use std::time::Duration;

use clap::FromArgMatches;
use clap::error::ErrorKind;
use millrace_settings::Masker;

use crate::app::App;
use crate::args::{Cli, Command, ConfigCommand, DevstackCommand, command};
use crate::output::{Format, notice, print_one, print_text};

/// A database that does not answer must not keep the process.
const FAREWELLS: Duration = Duration::from_secs(5);
/// How soon a daemon is as small as it can be after it has worked.
const GIVES_BACK_EVERY: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let asked = command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match asked {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is all that can go wrong here.
            let _ = error.print();
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if asked_for { ExitCode::SUCCESS } else { ExitCode::from(2) };
        }
    };
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err((error, code)) => {
            notice(format!("error: {error}"));
            ExitCode::from(code)
        }
    }
}

/// The error and its causes on one line; a cause that the text before it says already is left out.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text
}

/// The error's text, masked, and the exit code.
fn start(cli: Cli) -> Result<(), (String, u8)> {
    let masker = Masker::new();
    run(cli, &masker).map_err(|error| (masker.mask(&chain(&error)), failure::exit_code(&error)))
}

fn version(format: Format) -> anyhow::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    match format {
        Format::Table | Format::Plain => print_text(version),
        Format::Json | Format::Yaml => print_one(format, &serde_json::json!({ "version": version })),
    }
}

fn run(cli: Cli, masker: &Masker) -> anyhow::Result<()> {
    match &cli.command {
        Command::Version => return version(cli.global.output),
        Command::Runs { .. } => {
            let say = "the runs of a DAG are among the commands of DAGs: `millrace dags list-runs DAG`, `dags trigger`, `dags state`";
            return Err(failure::usage(say));
        }
        Command::Completions { shell } => return commands::reference::completions(*shell),
        Command::Schema => return commands::validate::schema(),
        _ => {}
    }
    let app = match (App::new(&cli.global, masker.clone()), &cli.command) {
        // What is wrong with the configuration is a finding like any other.
        (Err(error), Command::Doctor(_)) => return commands::doctor::unconfigured(cli.global.output, &chain(&error)),
        (app, _) => app?,
    };
    let runtime = runtime(&cli.command)?;
    let result = runtime.block_on(async {
        let result = dispatch(&app, cli.command).await;
        if !millrace_connectors::farewells(FAREWELLS).await {
            notice("a database or a store did not answer when it was told to stop: what was begun there may go on");
        }
        result
    });
    // A task that ignores its stop must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Commands need one thread; daemons have the machine, and give back what they do not need of it.
fn runtime(command: &Command) -> std::io::Result<tokio::runtime::Runtime> {
    if !matches!(
        command,
        Command::Standalone(_) | Command::Scheduler { .. } | Command::Server(_) | Command::Devstack(_)
    ) {
        return tokio::runtime::Builder::new_current_thread().enable_all().build();
    }
    millrace_memory::share_arenas();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.spawn(async {
        let mut beats = tokio::time::interval(GIVES_BACK_EVERY);
        loop {
            beats.tick().await;
            // Not on a thread that others wait for.
            let _ = tokio::task::spawn_blocking(millrace_memory::give_back).await;
        }
    });
    Ok(runtime)
}

async fn dispatch(app: &App, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Standalone(args) => Box::pin(daemon::standalone(app, &args)).await,
        Command::Scheduler { migrate } => Box::pin(daemon::scheduler(app, migrate)).await,
        Command::Server(args) => daemon::server(app, &args).await,
        Command::Devstack(args) => match args.command {
            Some(DevstackCommand::Conformance(args)) => commands::conformance::run(app, args).await,
            None => daemon::devstack(app, args).await,
        },
        Command::Dags(command) => commands::dags::run(app, command).await,
        Command::Tasks(command) => commands::tasks::run(app, command).await,
        Command::Backfills(command) => commands::backfills::run(app, command).await,
        Command::Connections(command) => commands::connections::run(app, command).await,
        Command::Assets(command) => commands::assets::run(app, command).await,
        Command::Alerts(command) => commands::alerts::run(app, command).await,
        Command::Variables(command) => commands::variables::run(app, command).await,
        Command::Users(command) => commands::people::users(app, command).await,
        Command::Roles(command) => commands::people::roles(app, &command),
        Command::Tokens(command) => commands::people::tokens(app, command).await,
        Command::Webhooks(command) => commands::webhooks::run(app, command).await,
        Command::Grants(command) => commands::people::grants(app, command).await,
        Command::Pools(command) => commands::pools::run(app, command).await,
        Command::Calendars(command) => commands::calendars::run(app, command).await,
        Command::Jobs(command) => commands::jobs::run(app, command).await,
        Command::Data(command) => Box::pin(commands::data::run(app, command)).await,
        Command::Db(command) => commands::db::run(app, command).await,
        Command::Initdb | Command::Upgradedb => commands::db::migrate(app, true).await,
        Command::Config(ConfigCommand::Reload) => commands::reload::run(app).await,
        Command::Config(command) => commands::reference::config(app, command),
        Command::Validate(args) => commands::validate::validate(app, &args).await,
        Command::Doctor(args) => Box::pin(commands::doctor::run(app, &args)).await,
        Command::Operators { name } => commands::validate::operators(app, name.as_deref()),
        Command::RotateKey => commands::keys::rotate_key(app).await,
        Command::Explain { code } => commands::reference::explain(app, code.as_deref()),
        Command::Version | Command::Schema | Command::Completions { .. } | Command::Runs { .. } => Ok(()),
    }
}
