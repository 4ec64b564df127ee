//! Every row of both contracts, and every kind of bad input, against real replicas of both backends.
//!
//! Checks of a suite share one replica and run at the same time; each uses accounts and rooms of its own.
#![cfg(test)]

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use testkit::{Backend, Cluster, Replica};
use tokio::task::JoinSet;

/// One replica on the embedded and then on the clustered backend: `suite!(name, [settings], [checks])`.
macro_rules! suite {
    ($name:ident, [$($setting:expr),*], [$($check:path),* $(,)?]) => {
        mod $name {
            use super::*;
            use testkit::Backend;

            #[tokio::test(flavor = "multi_thread")]
            async fn embedded() {
                crate::run(Backend::Embedded, &[$($setting),*], vec![$((stringify!($check), crate::check($check))),*]).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn clustered() {
                crate::run(Backend::Clustered, &[$($setting),*], vec![$((stringify!($check), crate::check($check))),*]).await;
            }
        }
    };
}

mod contract {
    pub mod accounts;
    pub mod admission;
    pub mod assets;
    pub mod bodies;
    pub mod commandline;
    pub mod commands;
    pub mod connections;
    pub mod docs;
    pub mod embedded;
    pub mod frames;
    pub mod handshake;
    pub mod history;
    pub mod http;
    pub mod jwt;
    pub mod limits;
    pub mod lists;
    pub mod names;
    pub mod newcomers;
    pub mod openapi;
    pub mod origins;
    pub mod outage;
    pub mod pace;
    pub mod passwords;
    pub mod position;
    pub mod proxies;
    pub mod publish;
    pub mod raw;
    pub mod routes;
    pub mod status;
    pub mod tokens;
}

pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_chat-gateway"))
}

/// What the replicas of the suites sign with, so that a check can sign, too.
pub const SECRET: &str = "the key of these tests, long enough for a replica to take it";

/// What a check gets: a cluster of one replica.
#[derive(Clone)]
pub struct Site {
    cluster: Arc<Cluster>,
    pub backend: Backend,
}

impl Site {
    pub fn replica(&self) -> &Replica {
        self.cluster.replica(0)
    }

    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

/// Numbers that look random and are the same in each run (xorshift).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

type Check = Box<dyn FnOnce(Site) -> Pin<Box<dyn Future<Output = ()> + Send>>>;

fn check<F: Future<Output = ()> + Send + 'static>(check: impl FnOnce(Site) -> F + 'static) -> Check {
    Box::new(|site| Box::pin(check(site)))
}

/// Runs the checks on one replica; then the replica must still be well, and must not have panicked.
async fn run(backend: Backend, settings: &[(&str, &str)], checks: Vec<(&'static str, Check)>) {
    let settings = [settings, &[("JWT_SECRET", SECRET)]].concat();
    let cluster = Arc::new(Cluster::start(binary(), backend, 1, &settings).await);
    let site = Site { cluster, backend };
    let mut running = JoinSet::new();
    let mut names = HashMap::new();
    for (name, check) in checks {
        names.insert(running.spawn(check(site.clone())).id(), name);
    }
    while let Some(ended) = running.join_next_with_id().await {
        if let Ok((id, ())) = ended {
            names.remove(&id);
        }
    }
    let failed: Vec<_> = names.into_values().collect();
    let healthy = contract::http::Api::of(site.replica())
        .get("/rooms/is-it-well/messages")
        .await;
    assert!(
        [200, 429].contains(&healthy.status),
        "the replica is well afterwards: {healthy:?}"
    );
    let log = site.replica().log();
    assert!(!log.contains("panicked"), "the replica panicked: {log}");
    assert!(
        failed.is_empty(),
        "failed: {failed:?} (above: what each expected)"
    );
}
