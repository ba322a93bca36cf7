//! Looks after the shared test servers by hand: `testkit-servers start|stop`.

use std::io::{Write, stdout};

use anyhow::{Result, bail};
use millrace_testkit::{MariaDb, Postgres, Stopped};

fn main() -> Result<()> {
    let mut out = stdout();
    match std::env::args().nth(1).as_deref() {
        Some("start") => {
            writeln!(out, "{}", Postgres::shared()?.url("postgres"))?;
            writeln!(out, "{}", MariaDb::shared()?.url("mysql"))?;
            writeln!(out, "They end by themselves when no test has used them for a quarter of an hour.")?;
        }
        Some("stop") => {
            for (name, stopped) in [("PostgreSQL", Postgres::stop_shared()?), ("MariaDB", MariaDb::stop_shared()?)] {
                let message = match stopped {
                    Stopped::Now => "stopped",
                    Stopped::NotRunning => "did not run",
                    Stopped::InUse => "is used by another process and ends by itself when idle",
                };
                writeln!(out, "test {name}: {message}")?;
            }
        }
        _ => bail!("usage: testkit-servers start|stop"),
    }
    Ok(())
}
