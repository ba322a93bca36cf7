//! Queries that nobody waits for any more.
//!
//! A server knows a query by the number of its connection, and behind one name (of a cluster's readers, of a proxy) there
//! may be several servers, each of which counts for itself: whose connection has that number there is looked up before it
//! is killed. Each query carries a mark that no other has.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::mysql::{MySqlConnection, MySqlDatabaseError};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Executor, Row};

use super::entrance::Entrance;
use super::rows::{Target, WireConnection, WireError};
use crate::parts::failure::chain;
use crate::parts::farewell::farewell;
use crate::parts::task::TaskHandle;

/// Connections that are opened in search of the server: behind a proxy each may reach another one.
const TRIES: usize = 16;
/// Of those that fail, one after another.
const MOST_FAILURES: usize = 3;
/// Bytes of a query that the list of processes tells.
const LONGEST_TOLD: usize = 65_535;
const TIMEOUT: Duration = Duration::from_secs(20);
/// "No such thread": it ended by itself.
const NO_SUCH_THREAD: u16 = 1094;

/// A query as the server knows it that runs it.
#[derive(Debug, Clone)]
pub struct Running {
    /// The number of its connection.
    pub session: String,
    /// See [`server_sql`]; `None` where the server would not say.
    pub server: Option<String>,
    pub mark: Mark,
}

/// What tells a query from every other one, on whichever server.
#[derive(Debug, Clone)]
pub struct Mark(u64);

impl Mark {
    pub fn new() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    /// The query with its mark, and whose work it is. Behind it, for proxies look at how a query begins.
    pub fn put_on(&self, sql: &str, label: &str) -> String {
        let is_plain = |letter: &char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.' | '/');
        let label: String = label.chars().filter(is_plain).take(100).collect();
        format!("{sql}\n/* millrace {label} {:016x} */", self.0)
    }
}

/// An expression for what tells a server from every other one, copies of it included.
pub fn server_sql(is_mariadb: bool) -> String {
    let uuid = if is_mariadb { "" } else { ", @@server_uuid" };
    format!("CONCAT_WS(' ', CONCAT(@@hostname, ':', @@port), @@server_id, @@datadir{uuid})")
}

/// As hexadecimal digits, which every `sql_mode` reads alike.
fn text_of(text: &str) -> String {
    format!("CONVERT(0x{} USING utf8mb4)", hex::encode(text))
}

/// Ends the query on the server when it is dropped before everything was read. The server would otherwise notice only
/// when it next writes to the closed connection, which may be hours away.
pub struct KillOnDrop {
    pub search: Search,
    pub is_done: Arc<AtomicBool>,
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if self.is_done.load(Ordering::Relaxed) {
            return;
        }
        let search = self.search.clone();
        farewell(async move {
            if let Err(why) = search.kill().await {
                tracing::warn!(reason = why, "a query could not be killed on its server");
                search.task.tell(&why);
            }
        });
    }
}

/// Where a query is looked for, and how.
#[derive(Clone)]
pub struct Search {
    pub entrance: Entrance,
    /// With the address that the query's own connection reached, where it is known.
    pub target: Target,
    pub running: Running,
    pub is_mariadb: bool,
    pub task: TaskHandle,
}

/// What a connection has found.
enum Found {
    /// It is killed, or it had ended before.
    Over,
    /// The connection reached this server, which does not run it.
    Elsewhere(String),
}

impl Search {
    async fn kill(&self) -> Result<(), String> {
        let (mut reached, mut failed) = (BTreeSet::new(), Vec::new());
        for number in 0..TRIES {
            let is_by_address = number == 0 && self.target.address.is_some();
            let tried = tokio::time::timeout(TIMEOUT, self.try_once(is_by_address)).await;
            match tried.unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs()))) {
                Ok(Found::Over) => return Ok(()),
                Ok(Found::Elsewhere(server)) => drop(reached.insert(server)),
                Err(error) => failed.push(error),
            }
            if failed.len() >= MOST_FAILURES {
                break;
            }
        }
        let Running { session, server, .. } = &self.running;
        let server = server.as_deref().unwrap_or("the server that it reached");
        let mut why = format!(
            "the query may go on in the database until it ends by itself, or by the statement_timeout in the extra of the \
             connection: it runs as connection {session} of {server}, where it could not be killed"
        );
        if !reached.is_empty() {
            let reached = reached.into_iter().collect::<Vec<_>>().join(", ");
            why.push_str(&format!(
                "; behind {}:{} other servers were found ({reached}), whose connection {session} is somebody else's",
                self.target.host, self.target.port
            ));
        }
        if let Some(error) = failed.pop() {
            why.push_str(&format!("; {error}"));
        }
        Err(why)
    }

    async fn try_once(&self, is_by_address: bool) -> Result<Found, String> {
        let mut door = if is_by_address {
            Door::Wire(WireConnection::connect(&self.target).await.map_err(|error| chain(&error))?)
        } else {
            let options = self.entrance.options().await.map_err(|error| error.message)?;
            Door::Driver(Box::new(options.connect().await.map_err(|error| chain(&error))?))
        };
        let found = self.look(&mut door).await;
        door.close().await;
        found
    }

    async fn look(&self, door: &mut Door) -> Result<Found, String> {
        let Running { session, server, mark } = &self.running;
        let place = if server.is_some() { server_sql(self.is_mariadb) } else { "''".to_owned() };
        // The end of a long query is not told: there, the server and the number have to do.
        let is_cut = match server {
            Some(server) => format!("LENGTH(info) >= {LONGEST_TOLD} AND {place} = {}", text_of(server)),
            None => "FALSE".to_owned(),
        };
        let query = format!(
            "SELECT {place}, (SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.processlist WHERE id = {session} \
             AND (info LIKE '%{:016x}%' OR ({is_cut})))",
            mark.0
        );
        let (place, count) = door.ask(query).await?;
        if count != "0" {
            door.kill(session).await?;
            return Ok(Found::Over);
        }
        Ok(if server.as_ref() == Some(&place) { Found::Over } else { Found::Elsewhere(place) })
    }
}

/// A connection to whichever server it is.
enum Door {
    Wire(WireConnection),
    Driver(Box<MySqlConnection>),
}

impl Door {
    async fn ask(&mut self, sql: String) -> Result<(String, String), String> {
        let cells = match self {
            Self::Wire(wire) => wire.ask(&sql).await.map_err(|error| chain(&error))?,
            Self::Driver(connection) => {
                let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(sql))).await;
                let row = row.map_err(|error| chain(&error))?;
                (0..row.len()).map(|index| row.try_get_unchecked(index).ok()).collect()
            }
        };
        let mut cells = cells.into_iter().map(Option::unwrap_or_default);
        Ok((cells.next().unwrap_or_default(), cells.next().unwrap_or_default()))
    }

    async fn kill(&mut self, session: &str) -> Result<(), String> {
        let sql = format!("KILL {session}");
        let (number, error) = match self {
            Self::Wire(wire) => match wire.execute(&sql).await {
                Ok(()) => return Ok(()),
                Err(error) => (if let WireError::Server { number, .. } = error { number } else { 0 }, chain(&error)),
            },
            Self::Driver(connection) => match connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await {
                Ok(_) => return Ok(()),
                Err(error) => {
                    let of_server = error.as_database_error().and_then(|error| error.try_downcast_ref());
                    (of_server.map_or(0, MySqlDatabaseError::number), chain(&error))
                }
            },
        };
        if number == NO_SUCH_THREAD { Ok(()) } else { Err(error) }
    }

    /// What closing says changes nothing.
    async fn close(self) {
        match self {
            Self::Wire(wire) => drop(wire.quit().await),
            Self::Driver(connection) => drop(connection.close().await),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stands_behind_the_query_and_ends_no_comment() {
        let mark = Mark(0xab);
        let marked = mark.put_on("SELECT 1 -- one", "shop/read */ ; DROP '");
        assert_eq!(marked, "SELECT 1 -- one\n/* millrace shop/read/DROP 00000000000000ab */");
        assert_ne!(Mark::new().0, Mark::new().0);
    }
}
