//! Our accept loop. poem's own sets no TCP_NODELAY, has no time limit for headers, spins when the process is out
//! of descriptors, and cannot hand over the socket.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use poem::endpoint::DynEndpoint;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::{Admission, Connection};
use super::patience::Watched;
use crate::metrics::Metrics;

/// The most bytes of headers.
const HEADER_BYTES: usize = 16 * 1024;
/// Descriptors that connections leave to the database, Redis, files and operators.
const RESERVED_DESCRIPTORS: u64 = 128;
/// How long to wait when the process is out of descriptors.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);
/// What the kernel holds for a client that does not read, in bytes (Linux doubles it for its own book-keeping).
const SEND_BUFFER: usize = 128 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;

/// An endpoint that answers every request.
pub type Surface = Arc<dyn DynEndpoint<Output = Response>>;

/// How many connections there may be: `wanted`, or with 0 as many as the process may have descriptors, less what it
/// needs itself.
pub fn most_connections(wanted: u32) -> usize {
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|e| {
        tracing::warn!(error = %e, "the limit of open files could not be raised");
        1024
    });
    let possible = descriptors
        .saturating_sub(RESERVED_DESCRIPTORS)
        .clamp(1, Semaphore::MAX_PERMITS as u64);
    let most = match u64::from(wanted) {
        0 => possible,
        wanted if wanted > possible => {
            tracing::warn!(
                wanted,
                possible,
                "MAX_CONNECTIONS is more than there are descriptors for"
            );
            possible
        }
        wanted => wanted,
    };
    tracing::info!(connections = most, "room for connections");
    most as usize
}

/// A listener with the socket options that accepted connections inherit. `[::]` takes IPv4 too, and is `0.0.0.0` where
/// the machine has no IPv6.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match listen(address) {
        Err(e) if address.is_ipv6() && address.ip().is_unspecified() && has_no_ipv6(&e) => {
            tracing::info!("there is no IPv6 here, listening on IPv4 alone");
            listen((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        other => other,
    }
}

/// Linux without the module says the first, with `disable_ipv6` the second.
fn has_no_ipv6(e: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    e.raw_os_error() == Some(EAFNOSUPPORT) || e.kind() == io::ErrorKind::AddrNotAvailable
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Whatever the machine's default is.
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG as i32)?;
    TcpListener::from_std(socket.into())
}

/// What one listener serves.
pub struct Server {
    pub surface: Surface,
    pub tracker: TaskTracker,
    pub metrics: Metrics,
    pub admission: Admission,
    pub stop: CancellationToken,
}

impl Server {
    /// Accepts until told to stop, then lets the requests under way finish.
    pub async fn run(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&listener) => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok(Some((stream, connection))) => {
                    let patience = connection.patience();
                    let stream = Watched { stream, patience };
                    let (surface, metrics, stop) =
                        (self.surface.clone(), self.metrics.clone(), self.stop.clone());
                    self.tracker
                        .spawn(serve(stream, connection, surface, metrics, stop));
                }
                Ok(None) => {}
                Err(e) => {
                    self.metrics.connection_refused();
                    tracing::warn!(error = %e, "a connection could not be accepted");
                    tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                }
            }
        }
    }

    /// `None`: there was no place for it.
    async fn accept(&self, listener: &TcpListener) -> io::Result<Option<(TcpStream, Connection)>> {
        let (stream, peer) = listener.accept().await?;
        let Some(connection) = self.admission.admit(peer).await else {
            return Ok(None);
        };
        if let Err(e) = stream.set_nodelay(true) {
            tracing::debug!(error = %e, "a connection was gone before it began");
        }
        Ok(Some((stream, connection)))
    }
}

async fn serve(
    stream: Watched,
    connection: Connection,
    surface: Surface,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let local = stream.stream.local_addr().unwrap_or(connection.peer);
    let patience = stream.patience.clone();
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        patience.asked();
        let (surface, patience) = (surface.clone(), patience.clone());
        // poem's own upgrade would hide the socket: keep hyper's handle for ours.
        if let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() {
            request.extensions_mut().insert(Handle(upgrade));
        }
        request.extensions_mut().insert(connection.clone());
        let (local, peer) = (
            LocalAddr(Addr::SocketAddr(local)),
            RemoteAddr(Addr::SocketAddr(connection.peer)),
        );
        let mut request = poem::Request::from((request, local, peer, Scheme::HTTP));
        if let Some(Handle(upgrade)) = request.extensions_mut().remove::<Handle>() {
            request.extensions_mut().insert(upgrade);
        }
        async move {
            let response = surface.get_response(request).await;
            patience.answered();
            Ok::<_, Infallible>(hyper::Response::from(response))
        }
    });
    let mut http = pin!(
        http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    let mut lost = pin!(patience.lost());
    let mut leaving = false;
    let late = loop {
        tokio::select! {
            biased;
            result = http.as_mut() => {
                if let Err(e) = result {
                    tracing::debug!(error = %e, "a connection ended early");
                }
                return;
            }
            late = lost.as_mut() => break late,
            () = connection.cut() => return,
            () = stop.cancelled(), if !leaving => {
                leaving = true;
                http.as_mut().graceful_shutdown();
            }
        }
    };
    metrics.connection_cut(late);
}

/// hyper's upgrade on its way around poem's.
#[derive(Clone)]
struct Handle(OnUpgrade);
