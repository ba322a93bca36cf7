//! The PostgreSQL protocol as Redshift speaks it, for clients that need no more than simple queries. Nothing else is
//! understood: a client that prepares statements is refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlparser::tokenizer::Token;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::answer::SqlError;
use super::engine::{Connection, Done, Engine, Mode, Watcher, Work};
use super::tokens::tokenize;
use super::types::Transport;

const PROTOCOL_3: i32 = 196_608;
const SSL_REQUEST: i32 = 80_877_103;
const GSS_REQUEST: i32 = 80_877_104;
const CANCEL_REQUEST: i32 = 80_877_102;
/// Nobody sends longer statements; whoever does is not speaking this protocol.
const LONGEST_MESSAGE: i32 = 64 << 20;

/// What runs on each connection, by the number that its client may cancel it with.
type Running = Arc<Mutex<HashMap<i32, CancellationToken>>>;

fn lock(running: &Running) -> MutexGuard<'_, HashMap<i32, CancellationToken>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until it is stopped.
pub(super) async fn serve(listener: TcpListener, engine: Arc<Engine>, database: String, stop: CancellationToken) {
    let running = Running::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        let client = Client {
            engine: Arc::clone(&engine),
            database: database.clone(),
            running: Arc::clone(&running),
            stop: stop.clone(),
        };
        tokio::spawn(async move {
            if let Err(error) = client.serve(stream).await {
                tracing::debug!(%error, "a client of the Redshift stand-in is gone");
            }
        });
    }
}

struct Client {
    engine: Arc<Engine>,
    database: String,
    running: Running,
    stop: CancellationToken,
}

impl Client {
    async fn serve(self, stream: TcpStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        let Some(database) = self.greet(&mut read, &mut write).await? else { return Ok(()) };
        if database != self.database {
            return refuse(&mut write, "FATAL", &format!("database \"{database}\" does not exist")).await;
        }
        let mut connection = match self.engine.connect().await {
            Ok(connection) => connection,
            Err(error) => return refuse(&mut write, "FATAL", error.message()).await,
        };
        let pid = connection.pid;
        let mut hello = Vec::new();
        message(&mut hello, b'R', |out| out.extend_from_slice(&0_i32.to_be_bytes()));
        for (name, value) in [("server_version", "8.0.2"), ("client_encoding", "UTF8"), ("TimeZone", "UTC")] {
            message(&mut hello, b'S', |out| {
                text(out, name);
                text(out, value);
            });
        }
        message(&mut hello, b'K', |out| {
            out.extend_from_slice(&pid.to_be_bytes());
            out.extend_from_slice(&0_i32.to_be_bytes());
        });
        ready(&mut hello, &connection, false);
        write.write_all(&hello).await?;
        let result = self.converse(&mut connection, &mut read, &mut write).await;
        lock(&self.running).remove(&pid);
        result
    }

    /// The name of the database; `None` when the client only wanted to cancel.
    async fn greet(
        &self,
        read: &mut (impl AsyncRead + Unpin),
        write: &mut OwnedWriteHalf,
    ) -> std::io::Result<Option<String>> {
        loop {
            let length = read.read_i32().await?;
            let body = body(read, length).await?;
            let number = |at: usize| {
                let bytes = body.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
                bytes.map_or(0, i32::from_be_bytes)
            };
            match number(0) {
                SSL_REQUEST | GSS_REQUEST => write.write_all(b"N").await?,
                CANCEL_REQUEST => {
                    if let Some(token) = lock(&self.running).get(&number(4)) {
                        token.cancel();
                    }
                    return Ok(None);
                }
                PROTOCOL_3 => {
                    let words: Vec<&[u8]> = body[4..].split(|byte| *byte == 0).collect();
                    let found = words.chunks(2).find(|pair| pair[0] == b"database").and_then(|pair| pair.get(1));
                    return Ok(Some(String::from_utf8_lossy(found.copied().unwrap_or_default()).into_owned()));
                }
                _ => return Err(std::io::Error::other("another protocol")),
            }
        }
    }

    async fn converse(
        &self,
        connection: &mut Connection,
        read: &mut (impl AsyncRead + Unpin),
        write: &mut OwnedWriteHalf,
    ) -> std::io::Result<()> {
        loop {
            let kind = tokio::select! {
                kind = read.read_u8() => kind?,
                () = self.stop.cancelled() => return Ok(()),
            };
            let length = read.read_i32().await?;
            let body = body(read, length).await?;
            match kind {
                b'Q' => {
                    let sql = String::from_utf8_lossy(body.strip_suffix(b"\0").unwrap_or(&body)).into_owned();
                    let mut answer = Vec::new();
                    let failed = self.query(connection, &sql, &mut answer).await;
                    ready(&mut answer, connection, failed);
                    write.write_all(&answer).await?;
                }
                b'X' => return Ok(()),
                _ => {
                    return refuse(write, "FATAL", "the Redshift stand-in does not emulate the extended protocol")
                        .await;
                }
            }
        }
    }

    /// Every statement of a text, until one fails.
    async fn query(&self, connection: &mut Connection, sql: &str, answer: &mut Vec<u8>) -> bool {
        let statements = match split(sql) {
            Ok(statements) => statements,
            Err(error) => {
                failure(answer, "ERROR", error.message());
                return true;
            }
        };
        if statements.is_empty() {
            message(answer, b'I', |_| {});
        }
        for statement in statements {
            let cancel = self.stop.child_token();
            lock(&self.running).insert(connection.pid, cancel.clone());
            let seen = Seen::default();
            let sqls = [statement];
            let work = Work {
                sqls: &sqls,
                parameters: &[],
                mode: Mode::Single,
                in_session: true,
                serverless: false,
                cancel: &cancel,
            };
            if let Err(error) = self.engine.run(connection, &work, &seen).await {
                failure(answer, "ERROR", error.message());
                return true;
            }
            if let Some(done) = seen.take() {
                success(answer, &sqls[0], &done);
            }
        }
        false
    }
}

#[derive(Default)]
struct Seen(Mutex<Option<Done>>);

impl Seen {
    fn take(&self) -> Option<Done> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Watcher for Seen {
    fn started(&self, _: usize, _: i64) {}

    fn finished(&self, _: usize, result: Result<Done, SqlError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = result.ok();
    }
}

/// The statements of a text, which are between semicolons.
fn split(sql: &str) -> Result<Vec<String>, SqlError> {
    let (mut statements, mut start, mut is_empty) = (Vec::new(), 0, true);
    for piece in tokenize(sql)? {
        if piece.token == Token::SemiColon {
            if !is_empty {
                statements.push(sql[start..piece.start].to_owned());
            }
            (start, is_empty) = (piece.end, true);
        } else if !matches!(piece.token, Token::Whitespace(_)) {
            is_empty = false;
        }
    }
    if !is_empty {
        statements.push(sql[start..].to_owned());
    }
    Ok(statements)
}

async fn body(read: &mut (impl AsyncRead + Unpin), length: i32) -> std::io::Result<Vec<u8>> {
    if !(4..LONGEST_MESSAGE).contains(&length) {
        return Err(std::io::Error::other("a message of an impossible length"));
    }
    let mut body = vec![0; usize::try_from(length - 4).unwrap_or(0)];
    read.read_exact(&mut body).await?;
    Ok(body)
}

/// Its kind, its length, and what is written by `fill`.
fn message(out: &mut Vec<u8>, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn ready(out: &mut Vec<u8>, connection: &Connection, failed: bool) {
    let state = match (connection.is_in_transaction(), failed) {
        (false, _) => b'I',
        (true, false) => b'T',
        (true, true) => b'E',
    };
    message(out, b'Z', |out| out.push(state));
}

fn failure(out: &mut Vec<u8>, severity: &str, error: &str) {
    let error = error.strip_prefix("ERROR: ").unwrap_or(error);
    message(out, b'E', |out| {
        for (field, value) in [(b'S', severity), (b'V', severity), (b'C', "XX000"), (b'M', error)] {
            out.push(field);
            text(out, value);
        }
        out.push(0);
    });
}

async fn refuse(write: &mut OwnedWriteHalf, severity: &str, error: &str) -> std::io::Result<()> {
    let mut out = Vec::new();
    failure(&mut out, severity, error);
    write.write_all(&out).await
}

fn success(out: &mut Vec<u8>, sql: &str, done: &Done) {
    if let Some(result) = &done.result {
        message(out, b'T', |out| {
            out.extend_from_slice(&count(result.columns.len()));
            for column in &result.columns {
                text(out, &column.name);
                out.extend_from_slice(&[0; 6]);
                let (oid, size): (i32, i16) = match column.transport {
                    Transport::Boolean => (16, 1),
                    Transport::Long => (20, 8),
                    Transport::Double => (701, 8),
                    Transport::Text => (25, -1),
                };
                out.extend_from_slice(&oid.to_be_bytes());
                out.extend_from_slice(&size.to_be_bytes());
                out.extend_from_slice(&(-1_i32).to_be_bytes());
                out.extend_from_slice(&0_i16.to_be_bytes());
            }
        });
        for row in &result.rows {
            message(out, b'D', |out| {
                out.extend_from_slice(&count(row.len()));
                for cell in row {
                    match cell {
                        None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
                        Some(cell) => {
                            out.extend_from_slice(&u32::try_from(cell.len()).unwrap_or(u32::MAX).to_be_bytes());
                            out.extend_from_slice(cell.as_bytes());
                        }
                    }
                }
            });
        }
    }
    let verb = sql.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    message(out, b'C', |out| text(out, &format!("{verb} {}", done.rows)));
}

fn count(items: usize) -> [u8; 2] {
    u16::try_from(items).unwrap_or(u16::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_text_is_split_between_statements_only() {
        let found = split("SET a TO 'x;y'; -- a; comment\nSELECT ';' ;; ").unwrap();
        let found: Vec<&str> = found.iter().map(|text| text.trim()).collect();
        assert_eq!(found, ["SET a TO 'x;y'", "-- a; comment\nSELECT ';'"]);
        assert!(split(" ; ").unwrap().is_empty());
    }
}
