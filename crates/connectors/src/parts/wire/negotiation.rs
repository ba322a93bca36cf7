//! What a connection's bytes go through: TLS where `sslmode` wants it and the server has it, and above it the merging of
//! COPY's rows.
//!
//! tokio-postgres has no place for a stream of one's own above TLS. It is told that encryption begins at once, and what it
//! calls for that beginning asks the server here, as it would have done itself.

use std::error::Error;

use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::Socket;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::either::Either;

use super::merging::Merging;

/// SSLRequest: its length and its code.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

type Rustls = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;
type RustlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
type Negotiated = Merging<Either<Socket, RustlsStream>>;

#[derive(Clone)]
pub struct Negotiation {
    pub tls: MakeRustlsConnect,
    pub mode: SslMode,
}

pub struct Negotiating {
    tls: Rustls,
    mode: SslMode,
}

impl MakeTlsConnect<Socket> for Negotiation {
    type Stream = Negotiated;
    type TlsConnect = Negotiating;
    type Error = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<Negotiating, Self::Error> {
        let tls = MakeTlsConnect::<Socket>::make_tls_connect(&mut self.tls, host)?;
        Ok(Negotiating { tls, mode: self.mode })
    }
}

impl TlsConnect<Socket> for Negotiating {
    type Stream = Negotiated;
    type Error = Box<dyn Error + Sync + Send>;
    type Future = BoxFuture<'static, Result<Negotiated, Self::Error>>;

    fn connect(self, mut socket: Socket) -> Self::Future {
        Box::pin(async move {
            if self.mode != SslMode::Disable {
                socket.write_all(&SSL_REQUEST).await?;
                if socket.read_u8().await? == b'S' {
                    return Ok(Merging::of(Either::Right(self.tls.connect(socket).await?)));
                }
                if self.mode == SslMode::Require {
                    return Err("server does not support TLS".into());
                }
            }
            Ok(Merging::of(Either::Left(socket)))
        })
    }
}

impl TlsStream for Negotiated {
    fn channel_binding(&self) -> ChannelBinding {
        match self.get_ref() {
            Either::Left(_) => ChannelBinding::none(),
            Either::Right(encrypted) => encrypted.channel_binding(),
        }
    }
}
