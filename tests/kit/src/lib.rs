//! Starts the real thing for tests: Postgres, Redis and replicas of the binary on free ports, and talks to them
//! over the real wire.
//!
//! [`Cluster::start`] gives a test its own database, its own Redis and its replicas; [`Replica`] is one process
//! that can be killed and started again; [`Client`] is one WebSocket; [`ResumingClient`] reconnects for ever, as
//! the API tells client developers to; [`Proxy`] stands between any two of them and breaks the network. Whatever is started ends with the test process, however that ends.
//!
//! Everything here panics with an explanation when it cannot do its work: the caller is a test.

mod authority;
mod balancer;
mod client;
mod cluster;
mod companion;
mod overdue;
mod paper;
mod pooler;
mod postgres;
mod process;
mod proxy;
mod redis;
mod replica;
mod resuming;
mod sql;
mod watching;

pub use authority::Authority;
pub use balancer::Balancer;
pub use client::{Client, ConnectError, Ended, Event};
pub use cluster::{Backend, Cluster, Options};
pub use companion::Companion;
pub use paper::{block, shell};
pub use pooler::Pooler;
pub use postgres::{OlderCopy, PostgresServer};
pub use process::{command, ended, free_port, http, until};
pub use proxy::Proxy;
pub use redis::RedisServer;
pub use replica::{Account, Answer, Replica, Target};
pub use resuming::{ResumingClient, Seen};
pub use sql::SqlSession;
pub use watching::{Prometheus, collector_binary, skipped};
