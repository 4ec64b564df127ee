//! Where the spans of a measured replica go: an OTLP/HTTP endpoint that takes everything and counts it.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use poem::http::{StatusCode, header};
use poem::listener::TcpAcceptor;
use poem::web::Data;
use poem::{EndpointExt, Response, Route, Server, handler, post};

use crate::Fallible;

/// The name of the one span that every sampled publish has, as it stands in the protobuf.
const PUBLISH: &[u8] = b"send room";

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    bytes: AtomicU64,
    publishes: AtomicU64,
}

/// Listens until the process ends.
pub struct Sink {
    address: SocketAddr,
    counts: Arc<Counts>,
}

/// What has come so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Received {
    pub requests: u64,
    pub bytes: u64,
    pub publishes: u64,
}

impl Sink {
    /// On a thread of its own, so that a replica never waits for the clients.
    pub fn start() -> Fallible<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let app = Route::new().at("/v1/traces", post(take)).data(counts.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::spawn(move || {
            runtime.block_on(async move {
                // Should it fail, nothing arrives, and that is an error of the run.
                if let Ok(acceptor) = TcpAcceptor::from_std(listener) {
                    let _ = Server::new_with_acceptor(acceptor).run(app).await;
                }
            });
        });
        Ok(Self { address, counts })
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn received(&self) -> Received {
        Received {
            requests: self.counts.requests.load(Ordering::Relaxed),
            bytes: self.counts.bytes.load(Ordering::Relaxed),
            publishes: self.counts.publishes.load(Ordering::Relaxed),
        }
    }
}

impl std::ops::Sub for Received {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            bytes: self.bytes - before.bytes,
            publishes: self.publishes - before.publishes,
        }
    }
}

#[handler]
fn take(body: Vec<u8>, Data(counts): Data<&Arc<Counts>>) -> Response {
    let publishes = body
        .windows(PUBLISH.len())
        .filter(|window| *window == PUBLISH)
        .count();
    counts.requests.fetch_add(1, Ordering::Relaxed);
    counts.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
    counts.publishes.fetch_add(publishes as u64, Ordering::Relaxed);
    // An empty body is an empty ExportTraceServiceResponse: all was taken.
    Response::builder()
        .status(StatusCode::OK)
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .finish()
}
