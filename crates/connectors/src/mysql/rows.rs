//! The rows of one query, straight off the wire.
//!
//! sqlx makes an object of every row and hands it through several streams; for a long, narrow table that is half of what
//! an extract costs. Here the rows of the text protocol go from the socket's buffer into a batch. It knows the ways to
//! sign in that MySQL and MariaDB use by default; whoever needs another is served by sqlx.

mod sign_in;

use std::net::SocketAddr;

use millrace_operator_api::ports::RowBatch;
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::cells::{CellForm, push};
use crate::parts::wire::tls::Check;
use sign_in::Greeting;

/// What is read at once.
const BUFFER: usize = 128 * 1024;
/// A packet of this size goes on in the next one.
const LONGEST_PACKET: usize = 0xFF_FFFF;
/// Where to sign in, and as whom.
#[derive(Debug, Clone)]
pub struct Target {
    pub host: String,
    pub port: u16,
    /// Which of those that the host's name means; any where it is not said.
    pub address: Option<SocketAddr>,
    pub login: String,
    pub password: Option<SecretString>,
    pub database: Option<String>,
    pub encryption: Encryption,
    /// A PEM file of certificate authorities.
    pub authorities: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    Never,
    /// Where the server offers it; nobody is asked who the server is.
    Preferred,
    Required(Check),
}

#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("{message} (error {number}, SQLSTATE {state})")]
    Server { number: u16, state: String, message: String },
    #[error("the connection failed")]
    Connection(#[from] std::io::Error),
    #[error("the server sent something unexpected: {0}")]
    Protocol(&'static str),
    /// Not an error of the server: it is to be asked in another way.
    #[error("signing in by {0} is left to others")]
    OtherPlugin(String),
    #[error("{0}")]
    Tls(String),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection that was signed in.
pub struct WireConnection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    /// What of the buffer is not read yet.
    unread: std::ops::Range<usize>,
    /// Of the next packet that is sent.
    sequence: u8,
    /// The server's number of this connection.
    pub session: u32,
    /// What it is connected to: a server, or what stands before several.
    pub address: Option<SocketAddr>,
}

impl WireConnection {
    pub async fn connect(target: &Target) -> Result<Self, WireError> {
        let tcp = match target.address {
            Some(address) => TcpStream::connect(address).await?,
            None => TcpStream::connect((target.host.as_str(), target.port)).await?,
        };
        tcp.set_nodelay(true)?;
        let address = tcp.peer_addr().ok();
        let (stream, buffer) = (Box::new(tcp), Vec::new());
        let mut connection = Self { stream, buffer, unread: 0..0, sequence: 0, session: 0, address };
        let greeting = Greeting::read(&connection.packet().await?)?;
        connection.session = greeting.session;
        let encrypts = connection.encrypt(target, &greeting).await?;
        connection.sign_in(target, greeting, encrypts).await?;
        Ok(connection)
    }

    /// A statement without rows.
    pub async fn execute(&mut self, sql: &str) -> Result<(), WireError> {
        self.command(sql).await?;
        match self.packet().await?.first() {
            Some(0x00) => Ok(()),
            _ => Err(WireError::Protocol("rows of a statement that has none")),
        }
    }

    /// The first row of a short answer.
    pub async fn ask(&mut self, sql: &str) -> Result<Vec<Option<String>>, WireError> {
        let columns =
            usize::try_from(self.query(sql).await?).map_err(|_| WireError::Protocol("columns without end"))?;
        let (mut batch, forms) = (RowBatch::new(columns), vec![CellForm::AsItIs; columns]);
        while self.fill(&mut batch, &forms, (usize::MAX, usize::MAX)).await? {}
        if batch.is_empty() {
            return Err(WireError::Protocol("no row where there is always one"));
        }
        let text = |column| batch.cell(0, column).map(|cell| String::from_utf8_lossy(cell).into_owned());
        Ok((0..columns).map(text).collect())
    }

    /// Begins to read the rows of a query. Returns how many columns they have.
    pub async fn query(&mut self, sql: &str) -> Result<u64, WireError> {
        self.command(sql).await?;
        let head = self.packet().await?;
        let mut rest = head.as_slice();
        let columns = match head.first() {
            Some(0x00) => return Ok(0),
            Some(0xFB) => return Err(WireError::Protocol("a request for a file")),
            _ => length(&mut rest)?.ok_or(WireError::Protocol("no number of columns"))?,
        };
        for _ in 0..columns {
            self.packet().await?;
        }
        if !is_end(&self.packet().await?) {
            return Err(WireError::Protocol("more columns than it said"));
        }
        Ok(columns)
    }

    /// Fills the batch up to `bytes` or `cells`. False: that was all.
    pub async fn fill(
        &mut self,
        batch: &mut RowBatch,
        forms: &[CellForm],
        (bytes, cells): (usize, usize),
    ) -> Result<bool, WireError> {
        let is_enough = |batch: &RowBatch| batch.byte_len() >= bytes || batch.len() * forms.len() >= cells;
        loop {
            while let Some(packet) = self.buffered() {
                self.unread.start = packet.end;
                let payload = &self.buffer[packet];
                match payload.first() {
                    Some(0xFF) => return Err(refusal(payload)),
                    _ if is_end(payload) => return Ok(false),
                    _ => read_row(payload, forms, batch)?,
                }
                if is_enough(batch) {
                    return Ok(true);
                }
            }
            if self.is_continued() {
                let payload = self.packet().await?;
                read_row(&payload, forms, batch)?;
                if is_enough(batch) {
                    return Ok(true);
                }
            } else {
                self.read_more().await?;
            }
        }
    }

    /// Says goodbye, so that the server need not wonder what became of the client.
    pub async fn quit(mut self) -> Result<(), WireError> {
        self.sequence = 0;
        self.send(&[1]).await
    }

    async fn command(&mut self, sql: &str) -> Result<(), WireError> {
        self.sequence = 0;
        let mut command = Vec::with_capacity(sql.len() + 1);
        command.push(3);
        command.extend_from_slice(sql.as_bytes());
        self.send(&command).await
    }

    async fn send(&mut self, payload: &[u8]) -> Result<(), WireError> {
        if payload.len() >= LONGEST_PACKET {
            return Err(WireError::Protocol("a statement of 16 MiB is left to others"));
        }
        let mut packet = Vec::with_capacity(payload.len() + 4);
        packet.extend_from_slice(&(payload.len() as u32).to_le_bytes()[..3]);
        packet.push(self.sequence);
        packet.extend_from_slice(payload);
        self.stream.write_all(&packet).await?;
        self.stream.flush().await?;
        self.sequence = self.sequence.wrapping_add(1);
        Ok(())
    }

    /// The length that the packet at hand says it has.
    fn announced(&self) -> Option<usize> {
        let head = self.buffer.get(self.unread.clone())?.get(..4)?;
        Some(usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16)
    }

    /// Where the payload of the next packet is, if the whole of it was read and it is not continued.
    fn buffered(&self) -> Option<std::ops::Range<usize>> {
        let length = self.announced().filter(|length| *length < LONGEST_PACKET)?;
        let start = self.unread.start + 4;
        (start + length <= self.unread.end).then_some(start..start + length)
    }

    fn is_continued(&self) -> bool {
        self.announced() == Some(LONGEST_PACKET)
    }

    /// The next packet, put together where it was cut.
    async fn packet(&mut self) -> Result<Vec<u8>, WireError> {
        let mut whole = Vec::new();
        loop {
            let length = loop {
                match self.announced() {
                    Some(length) if self.unread.len() >= length + 4 => break length,
                    _ => self.read_more().await?,
                }
            };
            let start = self.unread.start + 4;
            self.sequence = self.buffer[start - 1].wrapping_add(1);
            whole.extend_from_slice(&self.buffer[start..start + length]);
            self.unread.start = start + length;
            if length < LONGEST_PACKET {
                break;
            }
        }
        match whole.first() {
            Some(0xFF) => Err(refusal(&whole)),
            Some(_) => Ok(whole),
            None => Err(WireError::Protocol("an empty packet")),
        }
    }

    async fn read_more(&mut self) -> Result<(), WireError> {
        if self.unread.start > 0 {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        let needed = self.announced().map_or(0, |length| length + 4).max(BUFFER);
        if self.buffer.len() < needed {
            self.buffer.resize(needed, 0);
        } else if self.buffer.len() > needed * 4 {
            // One huge row is not the rule.
            self.buffer.truncate(needed);
            self.buffer.shrink_to_fit();
        }
        let read = self.stream.read(&mut self.buffer[self.unread.end..]).await?;
        if read == 0 {
            return Err(WireError::Connection(std::io::ErrorKind::UnexpectedEof.into()));
        }
        self.unread.end += read;
        Ok(())
    }
}

fn is_end(payload: &[u8]) -> bool {
    payload.first() == Some(&0xFE) && payload.len() < 9
}

fn refusal(payload: &[u8]) -> WireError {
    let number = payload.get(1..3).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    let rest = payload.get(3..).unwrap_or_default();
    // Before the sign-in there is no SQLSTATE.
    let (state, message) = match rest.split_first() {
        Some((b'#', rest)) if rest.len() >= 5 => rest.split_at(5),
        _ => (&b"HY000"[..], rest),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    WireError::Server { number, state: text(state), message: text(message) }
}

/// A length, which comes before what it is the length of; None is NULL.
#[inline]
fn length(rest: &mut &[u8]) -> Result<Option<u64>, WireError> {
    const CUT: WireError = WireError::Protocol("a row that is cut off");
    let (first, after) = rest.split_first().ok_or(CUT)?;
    let width = match first {
        0xFB => {
            *rest = after;
            return Ok(None);
        }
        0xFC => 2,
        0xFD => 3,
        0xFE => 8,
        0xFF => return Err(WireError::Protocol("a length")),
        short => {
            *rest = after;
            return Ok(Some(u64::from(*short)));
        }
    };
    let (bytes, after) = after.split_at_checked(width).ok_or(CUT)?;
    *rest = after;
    Ok(Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))))
}

fn read_row(mut rest: &[u8], forms: &[CellForm], batch: &mut RowBatch) -> Result<(), WireError> {
    for form in forms {
        let cell = match length(&mut rest)? {
            None => None,
            Some(length) => {
                let length = usize::try_from(length).map_err(|_| WireError::Protocol("a length"))?;
                let (cell, after) =
                    rest.split_at_checked(length).ok_or(WireError::Protocol("a row that is cut off"))?;
                rest = after;
                Some(cell)
            }
        };
        push(batch, cell, *form);
    }
    if rest.is_empty() { Ok(()) } else { Err(WireError::Protocol("more cells than columns")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_in_all_their_forms() {
        let mut bytes: &[u8] = &[250, 0xFB, 0xFC, 1, 2, 0xFD, 1, 2, 3, 0xFE, 1, 0, 0, 0, 0, 0, 0, 0];
        let mut read = || length(&mut bytes).unwrap();
        assert_eq!([read(), read(), read(), read(), read()], [Some(250), None, Some(513), Some(197_121), Some(1)]);
        for cut in [&[][..], &[0xFC, 1], &[0xFF]] {
            assert!(length(&mut &*cut).is_err(), "{cut:?}");
        }
    }

    #[test]
    fn a_row_must_be_as_wide_as_its_columns() {
        let forms = [CellForm::AsItIs, CellForm::AsItIs];
        let mut batch = RowBatch::new(2);
        read_row(&[1, b'a', 0xFB], &forms, &mut batch).unwrap();
        assert_eq!((batch.cell(0, 0), batch.cell(0, 1)), (Some(&b"a"[..]), None));
        for wrong in [&[1, b'a'][..], &[1, b'a', 5, b'b'], &[0, 0, 0]] {
            assert!(read_row(wrong, &forms, &mut RowBatch::new(2)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_refusal_says_its_number_and_state() {
        let error = refusal(b"\xff\x15\x04#28000Access denied");
        assert_eq!(error.to_string(), "Access denied (error 1045, SQLSTATE 28000)");
        assert_eq!(
            refusal(b"\xff\x10\x04Too many connections").to_string(),
            "Too many connections (error 1040, SQLSTATE HY000)"
        );
    }

    #[tokio::test]
    async fn a_real_server_is_read_row_by_row() {
        let server = millrace_testkit::MariaDb::shared().unwrap();
        let mut target = Target {
            host: "127.0.0.1".to_owned(),
            port: server.port(),
            address: None,
            login: server.user().to_owned(),
            password: Some(server.password().to_owned().into()),
            database: Some("mysql".to_owned()),
            encryption: Encryption::Preferred,
            authorities: None,
        };
        let mut wire = WireConnection::connect(&target).await.unwrap();
        wire.execute("SET SESSION time_zone = '+00:00'").await.unwrap();
        let forms = [CellForm::AsItIs; 3];
        // The long one is larger than what is read at once.
        let sql = "SELECT seq, IF(seq % 2, NULL, ''), REPEAT('x', IF(seq = 3, 400000, 1)) FROM seq_1_to_20000";
        assert_eq!(wire.query(sql).await.unwrap(), 3);
        let mut rows = 0_usize;
        loop {
            let mut batch = RowBatch::new(3);
            let has_more = wire.fill(&mut batch, &forms, (1_000, 1_000)).await.unwrap();
            for row in 0..batch.len() {
                rows += 1;
                assert_eq!(batch.cell(row, 0), Some(rows.to_string().as_bytes()));
                assert_eq!(batch.cell(row, 1), rows.is_multiple_of(2).then_some(&b""[..]));
                assert_eq!(batch.cell(row, 2).map(<[u8]>::len), Some(if rows == 3 { 400_000 } else { 1 }));
            }
            if !has_more {
                break;
            }
        }
        assert_eq!(rows, 20_000);
        let refused = wire.query("SELECT nothing FROM nowhere").await.unwrap_err();
        assert!(matches!(&refused, WireError::Server { number: 1146, state, .. } if state == "42S02"), "{refused}");
        assert!(wire.query("SELECT 1").await.is_ok(), "a refused query ends nothing");
        target.password = Some("another".to_owned().into());
        let refused = WireConnection::connect(&target).await.err();
        assert!(matches!(refused, Some(WireError::Server { number: 1045, .. })), "{refused:?}");
    }
}
