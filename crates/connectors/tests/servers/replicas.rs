//! How far replicas are behind, of servers that really copy each other.

use std::time::Duration;

use anyhow::{Context, Result};
use chrono::TimeDelta;
use millrace_operator_api::PortError;
use millrace_operator_api::ports::Ports;
use millrace_testkit::{MariaDb, Postgres, wait_for};

use crate::world::World;

const PATIENCE: Duration = Duration::from_mins(1);

/// Asks until the answer is what is waited for; what an error says, or nothing.
async fn ask(
    world: &World,
    what: &str,
    is_wanted: impl Fn(&Result<Option<TimeDelta>, PortError>) -> bool,
) -> Result<String> {
    let source = world.connectors.source(&world.context(1), "replica").await?;
    let answer =
        wait_for(what, PATIENCE, async || Some(source.replica_lag().await).filter(|answer| is_wanted(answer))).await?;
    Ok(answer.err().map(|error| error.to_string()).unwrap_or_default())
}

fn is_level(answer: &Result<Option<TimeDelta>, PortError>) -> bool {
    matches!(answer, Ok(Some(lag)) if lag.is_zero())
}

fn is_behind(answer: &Result<Option<TimeDelta>, PortError>) -> bool {
    matches!(answer, Ok(Some(lag)) if *lag >= TimeDelta::seconds(1))
}

#[tokio::test]
async fn a_standby_that_nobody_sends_anything_is_behind() -> Result<()> {
    let world = World::start().await?;
    let (mut primary, mut standby) = tokio::task::spawn_blocking(|| {
        let primary = Postgres::durable()?;
        let standby = primary.standby()?;
        anyhow::Ok((primary, standby))
    })
    .await??;
    world.add_url("replica", "postgres", &standby.url("postgres"))?;
    ask(&world, "a quiet primary's standby is level with it", is_level).await?;
    primary.kill()?;
    let text = ask(&world, "a standby that was cut off before it replayed anything says so", Result::is_err).await?;
    assert!(text.contains("receives nothing from its primary"), "{text}");
    let primary = tokio::task::spawn_blocking(move || primary.start().map(|()| primary)).await??;
    let written = primary.create_database()?;
    written.execute("CREATE TABLE t (id int)")?;
    ask(&world, "the standby is level again", is_level).await?;
    drop((written, primary));
    ask(&world, "a standby that was cut off is as old as what it replayed last", is_behind).await?;
    standby.kill()
}

#[tokio::test]
async fn a_replica_is_as_far_behind_as_the_worst_of_its_connections() -> Result<()> {
    let world = World::start().await?;
    let (first, second, replica) =
        tokio::task::spawn_blocking(|| anyhow::Ok((MariaDb::primary()?, MariaDb::primary()?, MariaDb::private()?)))
            .await??;
    let (written, here) = (second.create_database()?, replica.create_database()?);
    world.add_url("replica", "mysql", &replica.url(here.name()))?;
    here.execute("SET GLOBAL server_id = 2")?;
    let follow = |name: &str, primary: &MariaDb, more: &str| -> Result<()> {
        let database = primary.create_database()?;
        let position = database.query("SHOW MASTER STATUS")?;
        let [file, position, ..] = position.first().context("a position")?.as_slice() else {
            anyhow::bail!("no position")
        };
        here.execute(&format!(
            "CREATE DATABASE {}; CHANGE MASTER '{name}' TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, \
             MASTER_USER = '{}', MASTER_PASSWORD = '{}', MASTER_LOG_FILE = '{file}', MASTER_LOG_POS = {position}{more}; \
             START SLAVE '{name}'",
            database.name(),
            primary.port(),
            primary.user(),
            primary.password(),
        ))
    };
    follow("prompt", &first, "")?;
    ask(&world, "a named connection is level", is_level).await?;
    follow("late", &second, ", MASTER_DELAY = 3600")?;
    written.execute("CREATE TABLE mysql.told (id int); DROP TABLE mysql.told")?;
    ask(&world, "the worst connection counts", is_behind).await?;
    here.execute("STOP SLAVE 'prompt'")?;
    let text = ask(&world, "one that has stopped is told", Result::is_err).await?;
    assert!(text.contains("replication of \"prompt\" has stopped"), "{text}");
    Ok(())
}
