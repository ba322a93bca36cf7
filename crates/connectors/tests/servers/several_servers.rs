//! Several servers behind one name, as a proxy or a cluster's name for its readers has them: each connection may reach
//! another one, and each server numbers its connections by itself.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use millrace_model::ledger::{Checkpoint, LedgerEntry};
use millrace_operator_api::TaskContext;
use millrace_operator_api::context::{LogLevel, Reporter};
use millrace_operator_api::ports::{Ports, RowStream};
use millrace_testkit::{MariaDb, PrivateMariaDb, wait_for, wait_until};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{ConnectOptions, Connection, Executor, Row};

use crate::tasks::PATIENCE;
use crate::world::{World, lock};

/// Hands each connection to the server after the last one's.
struct Proxy {
    port: u16,
    servers: Arc<Mutex<Vec<u16>>>,
}

impl Proxy {
    fn to(servers: &[u16]) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let servers = Arc::new(Mutex::new(servers.to_vec()));
        let shared = Arc::clone(&servers);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let next = {
                    let mut servers = lock(&shared);
                    servers.rotate_left(1);
                    servers.last().copied().unwrap_or_default()
                };
                let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, next)) else { continue };
                for (from, to) in [(near.try_clone(), far.try_clone()), (far.try_clone(), near.try_clone())] {
                    let (Ok(mut from), Ok(mut to)) = (from, to) else { continue };
                    thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        Ok(Self { port, servers })
    }

    fn lead_to(&self, servers: &[u16]) {
        *lock(&self.servers) = servers.to_vec();
    }
}

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Reporter for Lines {
    fn log(&self, _: LogLevel, line: &str) {
        lock(&self.0).push(line.to_owned());
    }

    fn checkpoint(&self, _: Checkpoint) {}
    fn ledger(&self, _: LedgerEntry) {}
}

/// Two servers with a database of one name each, and the connection `shop` to both.
struct Pair {
    world: World,
    context: TaskContext,
    lines: Arc<Lines>,
    proxy: Proxy,
    ports: [u16; 2],
    servers: [MySqlConnectOptions; 2],
    /// One connection to each, that the number of connections does not grow with every look.
    watchers: [tokio::sync::Mutex<MySqlConnection>; 2],
    _processes: [PrivateMariaDb; 2],
}

impl Pair {
    async fn start() -> Result<Self> {
        let world = World::start().await?;
        let start = || -> Result<_> { Ok([MariaDb::private()?, MariaDb::private()?]) };
        let processes = tokio::task::spawn_blocking(start).await??;
        let ports = [processes[0].port(), processes[1].port()];
        let servers = [processes[0].url("").parse()?, processes[1].url("").parse()?];
        let mut watchers = Vec::new();
        for server in &servers {
            let mut connection = MySqlConnectOptions::connect(server).await?;
            // One user and one password, as copies of one server have them.
            for statement in [
                "CREATE USER app@'%' IDENTIFIED BY 'app'",
                "GRANT ALL ON *.* TO app@'%'",
                "CREATE DATABASE shop",
                "CREATE TABLE shop.floats (f float)",
                "INSERT INTO shop.floats VALUES (0.5)",
            ] {
                connection.execute(sqlx::raw_sql(statement)).await?;
            }
            watchers.push(tokio::sync::Mutex::new(connection));
        }
        let Ok(watchers) = watchers.try_into() else { bail!("two watchers") };
        let proxy = Proxy::to(&ports)?;
        world.add_url("shop", "mysql", &format!("mysql://app:app@127.0.0.1:{}/shop", proxy.port))?;
        let lines = Arc::new(Lines::default());
        let context = TaskContext { reporter: Arc::clone(&lines) as Arc<dyn Reporter>, ..world.context(1) };
        Ok(Self { world, context, lines, proxy, ports, servers, watchers, _processes: processes })
    }

    async fn ask(&self, server: usize, sql: &'static str) -> Result<Vec<u64>> {
        let mut connection = self.watchers[server].lock().await;
        let rows = connection.fetch_all(sqlx::raw_sql(sql)).await?;
        rows.iter().map(|row| Ok(row.try_get_unchecked::<u64, _>(0)?)).collect()
    }

    /// Which queries of that many seconds run: on which server, and as which connection.
    async fn running(&self, sleeping: Sleeping) -> Result<Vec<(usize, u64)>> {
        let sql = match sleeping {
            Sleeping::Ours => {
                "SELECT id FROM information_schema.processlist WHERE info LIKE '%SLEEP(36_0)%' AND db = 'shop'"
            }
            Sleeping::Theirs => "SELECT id FROM information_schema.processlist WHERE info = 'SELECT SLEEP(7200)'",
        };
        let (first, second) = (self.ask(0, sql).await?, self.ask(1, sql).await?);
        Ok(first.into_iter().map(|id| (0, id)).chain(second.into_iter().map(|id| (1, id))).collect())
    }

    async fn number_of(&self, connection: &mut MySqlConnection) -> Result<u64> {
        Ok(connection.fetch_one(sqlx::raw_sql("SELECT CONNECTION_ID()")).await?.try_get_unchecked(0)?)
    }

    /// A new connection to the server, the first one whose number is at least this.
    async fn connect(&self, server: usize, number: u64) -> Result<(MySqlConnection, u64)> {
        loop {
            let mut connection = self.servers[server].connect().await?;
            let found = self.number_of(&mut connection).await?;
            if found >= number {
                return Ok((connection, found));
            }
            connection.close().await?;
        }
    }

    /// Begins to read what takes an hour; gives its rows, and the server and the connection that it has there. On the other
    /// server somebody else's query has a connection of that number.
    async fn begin(&self, query: &str, server: usize) -> Result<(RowStream, u64)> {
        let other = 1 - server;
        let (_, highest) = self.connect(other, 0).await?;
        drop(self.connect(server, highest + 20).await?);
        let source = self.world.connectors.source(&self.context, "shop").await?;
        let rows = source.query(query).await?;
        let runs = async || self.running(Sleeping::Ours).await.ok().filter(|found| !found.is_empty());
        let found = wait_for("the query runs", PATIENCE, runs).await?;
        let [(on, number)] = found[..] else { bail!("it runs once: {found:?}") };
        ensure!(on == server, "it runs on the server {on}");
        let (mut stranger, has) = self.connect(other, number).await?;
        ensure!(has == number, "the stranger's connection is {has} and not {number}");
        tokio::spawn(async move {
            let _ = stranger.execute(sqlx::raw_sql("SELECT SLEEP(7200)")).await;
        });
        let is_there = async || self.running(Sleeping::Theirs).await.is_ok_and(|all| all.contains(&(other, number)));
        wait_until("the stranger's query runs", PATIENCE, is_there).await?;
        Ok((rows, number))
    }
}

#[derive(Clone, Copy)]
enum Sleeping {
    Ours,
    Theirs,
}

/// Rows that go straight off the wire, and those that the driver reads, each by the connection that it has on its server.
const QUERIES: [(&str, usize); 2] =
    [("SELECT 1 AS id, SLEEP(3600) AS slept", 1), ("SELECT f, SLEEP(3610) AS slept FROM floats", 0)];

#[tokio::test]
async fn only_the_query_that_is_stopped_is_killed_and_that_where_it_runs() -> Result<()> {
    for (query, server) in QUERIES {
        let pair = Pair::start().await?;
        let (rows, number) = pair.begin(query, server).await?;
        drop(rows);
        let is_over = async || pair.running(Sleeping::Ours).await.is_ok_and(|all| all.is_empty());
        wait_until("the query is killed", PATIENCE, is_over).await.context(query)?;
        assert_eq!(pair.running(Sleeping::Theirs).await?, [(1 - server, number)], "{query}");
        assert!(lock(&pair.lines.0).is_empty(), "{:?}", lock(&pair.lines.0));
    }
    Ok(())
}

#[tokio::test]
async fn a_query_whose_server_is_not_reached_again_is_told_of_and_no_other_is_killed() -> Result<()> {
    let pair = Pair::start().await?;
    let (query, server) = QUERIES[0];
    let (rows, number) = pair.begin(query, server).await?;
    pair.proxy.lead_to(&[pair.ports[1 - server]]);
    drop(rows);
    let is_told = async || lock(&pair.lines.0).first().cloned();
    let line = wait_for("a line of the log", PATIENCE, is_told).await?;
    for words in [&format!("connection {number} of "), "statement_timeout", "somebody else's"] {
        assert!(line.contains(words), "{words:?} is missing in {line}");
    }
    assert_eq!(pair.running(Sleeping::Ours).await?, [(server, number)]);
    assert_eq!(pair.running(Sleeping::Theirs).await?, [(1 - server, number)]);
    Ok(())
}
