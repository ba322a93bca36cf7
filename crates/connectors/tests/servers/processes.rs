//! Processes of tasks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use millrace_connectors::{LocalProcesses, ProcessSettings, kill_orphans, owner_mark};
use millrace_operator_api::PortErrorKind;
use millrace_operator_api::context::{CancelSignal, LogLevel};
use millrace_operator_api::ports::{LineSink, ProcessSpec, Processes};
use millrace_testkit::wait_until;
use tokio_util::sync::CancellationToken;

use crate::world::{lock, refused};

#[derive(Default)]
struct Lines(Mutex<Vec<(LogLevel, String)>>);

impl LineSink for Lines {
    fn line(&self, level: LogLevel, line: &str) {
        lock(&self.0).push((level, line.to_owned()));
    }
}

/// Keeps `secret` whole, as the log's masker does.
#[derive(Default)]
struct Keeping(Lines);

impl LineSink for Keeping {
    fn line(&self, level: LogLevel, line: &str) {
        self.0.line(level, line);
    }

    fn cut(&self, line: &str, at: usize) -> usize {
        line.find("secret").filter(|from| *from < at && at < from + 6).unwrap_or(at)
    }
}

struct Switch(CancellationToken);

impl CancelSignal for Switch {
    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    fn cancelled(&self) -> BoxFuture<'_, String> {
        Box::pin(async {
            self.0.cancelled().await;
            "somebody asked".to_owned()
        })
    }
}

fn bash(script: &str) -> ProcessSpec {
    ProcessSpec {
        program: "bash".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![("GREETING".into(), "hello".into())],
        inherit_env: false,
        cwd: None,
        stdin: None,
    }
}

fn processes(installation: &str, owner: &str, grace: Duration) -> LocalProcesses {
    LocalProcesses::new(ProcessSettings {
        grace,
        installation: installation.into(),
        owner: owner.into(),
        home: "/srv/millrace".into(),
    })
}

fn is_alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn lines_exit_code_and_result_are_told() -> Result<()> {
    let lines = Arc::new(Lines::default());
    let runner = processes("h1", "me", Duration::from_secs(5));
    let script = "echo \"$GREETING ${CARGO_PKG_NAME:-nothing} $MILLRACE_HOME\"; echo oops >&2; printf 'last\\n\\n'; cat; exit 99";
    let mut spec = bash(script);
    spec.stdin = Some("in".into());
    let exit =
        runner.run(spec, Arc::clone(&lines) as Arc<dyn LineSink>, Arc::new(Switch(CancellationToken::new()))).await?;
    assert_eq!((exit.code, exit.signal, exit.last_line.as_deref()), (Some(99), None, Some("in")));
    let said = lock(&lines.0).clone();
    assert!(
        said.contains(&(LogLevel::Info, "hello nothing /srv/millrace".into())),
        "the daemon's environment stays here: {said:?}"
    );
    assert!(said.contains(&(LogLevel::Warning, "oops".into())), "{said:?}");

    let exit =
        runner.run(bash("kill -9 $$"), Arc::new(Lines::default()), Arc::new(Switch(CancellationToken::new()))).await?;
    assert_eq!((exit.code, exit.signal), (None, Some(9)));
    let long = Arc::new(Lines::default());
    runner
        .run(
            bash("head -c 200000 /dev/zero | tr '\\0' x"),
            Arc::clone(&long) as Arc<dyn LineSink>,
            Arc::new(Switch(CancellationToken::new())),
        )
        .await?;
    assert!(lock(&long.0).iter().all(|(_, line)| line.len() <= 64 * 1024));
    assert_eq!(lock(&long.0).iter().map(|(_, line)| line.len()).sum::<usize>(), 200_000);
    let result = async |script: &str| {
        runner.run(bash(script), Arc::new(Lines::default()), Arc::new(Switch(CancellationToken::new()))).await
    };
    // The log has it in pieces, and the result is whole.
    let numbers = result("echo first; seq -s, 1 20000; echo").await?.last_line.unwrap_or_default();
    assert!(numbers.starts_with("1,2,3,") && numbers.ends_with(",20000"), "{} letters", numbers.len());
    let many = "head -c 5000000 /dev/zero | tr '\\0' x";
    assert!(refused(result(many).await)?.message.contains("longer than 4 MiB"));
    assert_eq!(result(&format!("{many}; exit 3")).await?.code, Some(3), "the fault itself is told first");
    assert_eq!(result(&format!("{many}; echo; echo ok")).await?.last_line.as_deref(), Some("ok"));
    let mut missing = bash("");
    missing.program = "no-such-program-here".into();
    let error =
        refused(runner.run(missing, Arc::new(Lines::default()), Arc::new(Switch(CancellationToken::new()))).await)?;
    assert!(error.kind == PortErrorKind::NotFound && error.message.contains("no-such-program-here"));
    Ok(())
}

/// Half of a secret is known to nobody: it is not masked.
#[tokio::test]
async fn a_long_line_is_cut_where_its_reader_says() -> Result<()> {
    let runner = processes("h1", "me", Duration::from_secs(5));
    let letters = |count: usize, rest: &str| format!("head -c {count} /dev/zero | tr '\\0' x; printf '{rest}'");
    let end = "head -c 90000 /dev/zero | tr '\\0' y";
    for script in [
        letters(64 * 1024 - 3, "secret\\n"),
        format!("{}; {end}", letters(64 * 1024 - 3, "secret")),
        format!("{}; {end}", letters(64 * 1024 - 3, "\\303\\377secret")),
        // Its second half comes later.
        format!("{}; sleep 0.2; printf 'cret'; {end}", letters(64 * 1024 - 3, "se")),
    ] {
        let lines = Arc::new(Keeping::default());
        let sink = Arc::clone(&lines) as Arc<dyn LineSink>;
        runner.run(bash(&script), sink, Arc::new(Switch(CancellationToken::new()))).await?;
        let said = lock(&lines.0.0).clone();
        assert!(said.len() > 1 && said.iter().any(|(_, line)| line.contains("secret")), "{script}: {}", said.len());
    }
    Ok(())
}

/// Starts `script`, which must print the pid of a grandchild, and returns it with the running future's lines.
async fn pid_of(lines: &Lines) -> Result<String> {
    let mut pid = None;
    wait_until("the pid was printed", Duration::from_secs(20), async || {
        lock(&lines.0).iter().any(|(_, line)| line.parse::<u32>().is_ok())
    })
    .await?;
    for (_, line) in lock(&lines.0).iter() {
        if line.parse::<u32>().is_ok() {
            pid = Some(line.clone());
        }
    }
    pid.ok_or_else(|| anyhow::anyhow!("no pid"))
}

#[tokio::test]
async fn a_cancelled_group_ends_politely_or_not() -> Result<()> {
    for (trap, grace) in
        [("trap 'echo bye; exit 0' TERM;", Duration::from_mins(1)), ("trap '' TERM;", Duration::from_millis(100))]
    {
        let (lines, cancel) = (Arc::new(Lines::default()), CancellationToken::new());
        let runner = processes("h2", "me", grace);
        let script = format!("{trap} sleep 600 & echo $!; while true; do wait; sleep 0.05; done");
        let run = tokio::spawn({
            let (lines, cancel) = (Arc::clone(&lines), cancel.clone());
            async move { runner.run(bash(&script), lines, Arc::new(Switch(cancel))).await }
        });
        let pid = pid_of(&lines).await?;
        cancel.cancel();
        assert_eq!(refused(run.await?)?.kind, PortErrorKind::Cancelled);
        wait_until("the grandchild is gone", Duration::from_secs(20), async || !is_alive(&pid)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_dropped_run_takes_its_group_along() -> Result<()> {
    let lines = Arc::new(Lines::default());
    let runner = processes("h3", "me", Duration::from_secs(5));
    let run = tokio::spawn({
        let lines = Arc::clone(&lines);
        async move { runner.run(bash("sleep 600 & echo $!; wait"), lines, Arc::new(Switch(CancellationToken::new()))).await }
    });
    let pid = pid_of(&lines).await?;
    run.abort();
    wait_until("the grandchild is gone", Duration::from_secs(20), async || !is_alive(&pid)).await?;
    Ok(())
}

#[tokio::test]
async fn orphans_of_a_dead_daemon_are_found_and_killed() -> Result<()> {
    let installation = format!("orphans-{}", std::process::id());
    let start = |owner: &str| {
        let (lines, runner) = (Arc::new(Lines::default()), processes(&installation, owner, Duration::from_secs(5)));
        let told = Arc::clone(&lines);
        let run = tokio::spawn(async move {
            runner.run(bash("sleep 600 & echo $!; wait"), told, Arc::new(Switch(CancellationToken::new()))).await
        });
        (lines, run)
    };
    let ((old_lines, old_run), (new_lines, new_run)) = (start("old"), start(&owner_mark()));
    let (old, new) = (pid_of(&old_lines).await?, pid_of(&new_lines).await?);
    let wanted = installation.clone();
    assert_eq!(tokio::task::spawn_blocking(move || kill_orphans(&wanted, &[])).await?, 1);
    assert!(!is_alive(&old), "it is gone at once: what it held is free");
    assert!(is_alive(&new), "its owner lives");
    assert_eq!(old_run.await??.signal, Some(9));
    new_run.abort();
    Ok(())
}

/// One that hangs, say. A process stands for it that does nothing.
#[tokio::test]
async fn what_a_living_daemon_started_ends_once_it_is_given_up() -> Result<()> {
    let installation = format!("given-up-{}", std::process::id());
    let mut daemon = std::process::Command::new("sleep").arg("600").spawn()?;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.id()))?;
    let started = stat.rsplit_once(')').and_then(|(_, facts)| facts.split_ascii_whitespace().nth(19));
    let owner = format!("{}-{}", daemon.id(), started.unwrap_or_default());
    let (lines, runner) = (Arc::new(Lines::default()), processes(&installation, &owner, Duration::from_secs(5)));
    let told = Arc::clone(&lines);
    let run = tokio::spawn(async move {
        runner.run(bash("sleep 600 & echo $!; wait"), told, Arc::new(Switch(CancellationToken::new()))).await
    });
    let pid = pid_of(&lines).await?;
    let kill = |given_up: Vec<u32>| {
        let installation = installation.clone();
        tokio::task::spawn_blocking(move || kill_orphans(&installation, &given_up))
    };
    assert_eq!(kill(vec![]).await?, 0);
    assert!(is_alive(&pid));
    assert_eq!(kill(vec![daemon.id()]).await?, 1);
    assert_eq!(run.await??.signal, Some(9));
    daemon.kill()?;
    daemon.wait()?;
    Ok(())
}
