//! What this machine can do at best.

use std::process::{Command, Stdio};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Executor};

use crate::home::{Home, timed};

const COMMITS: u32 = 500;

/// Seconds to start the shells of the chain one after another and wait for each.
pub fn shells(count: u32) -> f64 {
    timed(|| {
        for _ in 0..count {
            let mut shell = Command::new("/bin/bash");
            assert!(shell.args(["-c", "true"]).stdin(Stdio::null()).status().unwrap().success());
        }
    })
}

/// Seconds that `xargs` takes for those of the fan-out.
pub fn shells_abreast(count: u32, at_once: u32) -> f64 {
    let script = format!("seq {count} | xargs -P{at_once} -I{{}} /bin/bash -c true");
    timed(|| assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success()))
}

/// Durable transactions of one row in a second, one after another.
pub fn commits(home: &Home) -> f64 {
    home.block_on(async {
        let insert = "INSERT INTO bare_commit (n) VALUES (1)";
        let create = "CREATE TABLE IF NOT EXISTS bare_commit (n BIGINT)";
        let seconds;
        if let Some(path) = home.url.strip_prefix("sqlite://") {
            let options = SqliteConnectOptions::new()
                .filename(format!("{path}.bare"))
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full);
            let mut connection = options.connect().await.unwrap();
            connection.execute(create).await.unwrap();
            let begin = std::time::Instant::now();
            for _ in 0..COMMITS {
                connection.execute(insert).await.unwrap();
            }
            seconds = begin.elapsed();
        } else {
            let mut connection = sqlx::PgConnection::connect(&home.url).await.unwrap();
            connection.execute(create).await.unwrap();
            let begin = std::time::Instant::now();
            for _ in 0..COMMITS {
                connection.execute(insert).await.unwrap();
            }
            seconds = begin.elapsed();
            connection.execute("DROP TABLE bare_commit").await.unwrap();
        }
        f64::from(COMMITS) / seconds.as_secs_f64()
    })
}
