//! The composition root: builds the parts from the configuration, and runs them until told to stop.

mod build;
mod foundation;
mod gauges;
mod periodic;
mod run;

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{HashError, Hasher};
use crate::config::{ConfigError, Settings};
use crate::http;
use crate::replica::Replica;
use crate::store::SchemaError;
use crate::telemetry::Telemetry;

/// Why the process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("the SQLite file cannot be opened: {0}")]
    Sqlite(#[from] sea_orm::DbErr),
    #[error("the pool to Redis cannot be set up: {0}")]
    Pool(#[from] deadpool_redis::CreatePoolError),
    #[error("{0} cannot be listened on: {1}; LISTEN_ADDR and OPS_LISTEN_ADDR name the addresses")]
    Listen(SocketAddr, io::Error),
    #[error(transparent)]
    Hash(#[from] HashError),
}

/// A replica, bound and ready to run.
pub struct App {
    settings: Settings,
    telemetry: Telemetry,
    listener: TcpListener,
    ops_listener: TcpListener,
    replica: Arc<Replica>,
    hasher: Hasher,
    surface: http::Surface,
    /// Places for clients' connections.
    connections: Arc<Semaphore>,
    /// Connections and sessions.
    clients: TaskTracker,
    stop_workers: CancellationToken,
    /// The data folder's lock of an embedded gateway; a replica of a cluster has none.
    lock: Option<File>,
}

impl App {
    /// Where a person opens the page.
    pub fn url(&self) -> String {
        let port = self
            .listener
            .local_addr()
            .map_or(self.settings.listen_addr.port(), |address| address.port());
        match self.settings.listen_addr.ip() {
            ip if ip.is_unspecified() => format!("http://127.0.0.1:{port}/"),
            ip => format!("http://{}/", SocketAddr::new(ip, port)),
        }
    }
}
