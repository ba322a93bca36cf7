//! The life of connections: how many there may be, how long one may be silent, how they end.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::attempts::network_of;
use crate::access::client::Network;
use crate::server::Server;
use crate::tls::Tls;

/// A connection costs a few tens of KiB.
const MOST_CONNECTIONS: usize = 2048;
/// Of one address that is no proxy of ours.
const MOST_OF_ONE: usize = 512;

/// How long the other end may be silent.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From the opening, or the last answer, to the end of a request's head.
    pub head: Duration,
    /// Who takes nothing of what is sent for so long is gone.
    pub take: Duration,
    /// A stream of events ends after so long: whoever comes again, as browsers do by themselves, shows anew who they are
    /// and misses nothing.
    pub stream: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { head: Duration::from_secs(20), take: Duration::from_mins(1), stream: Duration::from_mins(2) }
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub address: SocketAddr,
    pub is_tls: bool,
}

/// How long open connections may go on after the stop was asked for.
const GRACE: Duration = Duration::from_secs(3);

/// Until the server stops.
pub(crate) async fn serve(listener: TcpListener, app: Router, server: &Server) {
    let (stop, open) = (&server.stop, Open::default());
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Of this connection only, or there are no descriptors left: it may get better, and must not spin.
                tracing::warn!(error = &error as &dyn std::error::Error, "a connection was not accepted");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = sleep(Duration::from_millis(200)) => continue,
                }
            }
        };
        let Some(place) = open.enter(peer.ip(), &server.options.trusted_proxies) else {
            tracing::debug!(%peer, "too many connections; this one was closed");
            continue;
        };
        let (app, stop, patience) = (app.clone(), stop.clone(), server.options.patience);
        let tls = server.options.tls.as_ref().map(|tls| tls.borrow().clone());
        // A handshake is part of the connection's own work: whoever is slow at it holds nobody else up.
        connections.spawn(async move {
            begin((stream, peer), tls, app, patience, stop).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    tokio::select! {
        () = connections.wait() => {}
        () = sleep(GRACE) => {}
    }
}

async fn begin(
    (stream, peer): (TcpStream, SocketAddr),
    tls: Option<Tls>,
    app: Router,
    patience: Patience,
    stop: CancellationToken,
) {
    // Small answers go at once. Where the system can't, they only go later.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return connection((Patient::new(stream, patience.take), peer), false, app, patience, stop).await;
    };
    let accepted = tokio::select! {
        accepted = tls.accept(stream, peer, (patience.head, patience.take)) => accepted,
        () = stop.cancelled() => return,
    };
    if let Some(stream) = accepted {
        connection((stream, peer), true, app, patience, stop).await;
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    (stream, peer): (S, SocketAddr),
    is_tls: bool,
    app: Router,
    patience: Patience,
    stop: CancellationToken,
) {
    let app = TowerToHyperService::new(app);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(Peer { address: peer, is_tls }));
        app.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience.head);
    let mut served = pin!(http.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, error = &error as &dyn std::error::Error, "a connection ended early");
    }
}

/// How many connections each address has; of IPv6, each network.
#[derive(Default, Clone)]
struct Open {
    count: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

struct Place {
    open: Open,
    address: IpAddr,
}

impl Open {
    fn enter(&self, address: IpAddr, proxies: &[Network]) -> Option<Place> {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = count.values().sum();
        let is_proxy = proxies.iter().any(|network| network.contains(address));
        let address = network_of(address);
        let mine = count.get(&address).copied().unwrap_or_default();
        if all >= MOST_CONNECTIONS || (mine >= MOST_OF_ONE && !is_proxy) {
            return None;
        }
        count.insert(address, mine + 1);
        Some(Place { open: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut count = self.open.count.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mine) = count.get_mut(&self.address) {
            *mine -= 1;
            if *mine == 0 {
                count.remove(&self.address);
            }
        }
    }
}

/// A stream that fails once its other end has taken nothing for a while.
pub(crate) struct Patient<S> {
    inner: S,
    patience: Duration,
    /// While something waits to be taken.
    gives_up: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub fn new(inner: S, patience: Duration) -> Self {
        Self { inner, patience, gives_up: None }
    }

    fn watched<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.gives_up = None;
            return poll;
        }
        let patience = self.patience;
        let gives_up = self.gives_up.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(gives_up.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other end takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watched(context, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_flush(context);
        self.watched(context, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.watched(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn one_address_does_not_take_all_places() {
        let (open, address) = (Open::default(), IpAddr::from([10, 0, 0, 1]));
        let mut places: Vec<_> = (0..MOST_OF_ONE).map(|_| open.enter(address, &[]).unwrap()).collect();
        assert!(open.enter(address, &[]).is_none());
        assert!(open.enter(address, &["10.0.0.1".parse().unwrap()]).is_some(), "a proxy speaks for many");
        assert!(open.enter(IpAddr::from([10, 0, 0, 2]), &[]).is_some());
        places.pop();
        assert!(open.enter(address, &[]).is_some());
        drop(places);
        assert!(open.count.lock().unwrap().is_empty());
    }

    #[test]
    fn the_neighbours_of_an_address_are_one_and_nobody_is_remembered_who_was_refused() {
        let open = Open::default();
        let at = |network: u16, last: u16| IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, last]);
        let mine: Vec<_> = (0..).map_while(|last| open.enter(at(1, last), &[])).collect();
        assert_eq!(mine.len(), MOST_OF_ONE);
        let others: Vec<_> = (2..).map_while(|network| open.enter(at(network, 1), &[])).collect();
        assert_eq!(mine.len() + others.len(), MOST_CONNECTIONS);
        assert_eq!(open.count.lock().unwrap().len(), 1 + others.len());
        drop((mine, others));
        assert!(open.count.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_takes_nothing_is_left() {
        let (ours, _theirs) = tokio::io::duplex(8);
        let mut patient = Patient::new(ours, Duration::from_millis(1));
        let error = patient.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
