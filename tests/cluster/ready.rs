//! What `/readyz` tells the balancer: this replica's own state, and not that of what all replicas share.

use std::time::{Duration, Instant};

use testkit::{Backend, Client, Cluster, Replica, until};

use crate::{PATIENCE, binary};

async fn is(replica: &Replica, state: &str) -> bool {
    replica.ops_text("/readyz").await.trim_end() == state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_starts_until_it_hears_redis_and_no_longer_than_others_would_wait() {
    let mut cluster = Cluster::start(binary(), Backend::Clustered, 1, &[]).await;
    assert!(cluster.replica(0).hears_redis().await, "ready, so it hears Redis");

    cluster.redis().stop();
    let began = Instant::now();
    let late = cluster.launch_replica(&[]);
    let late = cluster.replica(late);
    until("it is starting", PATIENCE, async || is(late, "starting").await).await;
    assert_eq!(late.ops_status("/readyz").await, Some(503));
    assert_eq!(late.ops_status("/healthz").await, Some(200), "and alive");
    until("it does without Redis", PATIENCE, async || {
        is(late, "ready").await
    })
    .await;
    let took = began.elapsed();
    assert!(took > Duration::from_secs(4), "it waited for Redis only {took:?}");
    assert!(!late.hears_redis().await);
    assert!(is(cluster.replica(0), "ready").await, "whoever runs goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_full_says_so_until_somebody_leaves() {
    let settings = [("MAX_CONNECTIONS", "2")];
    let cluster = Cluster::start(binary(), Backend::Clustered, 1, &settings).await;
    let replica = cluster.replica(0);
    assert!(replica.metrics().await.contains("\nchat_connections_limit 2\n"));
    let first = Client::connect(replica, "hall", None, "").await.unwrap();
    assert!(is(replica, "ready").await);
    let second = Client::connect(replica, "hall", None, "").await.unwrap();
    until("it is full", PATIENCE, async || is(replica, "overloaded").await).await;
    assert_eq!(replica.ops_status("/readyz").await, Some(503));
    // Those who are there go on; the third is cut off at once, and may come when there is a place.
    assert!(Client::connect(replica, "hall", None, "").await.is_err());
    first.leave().await;
    until("there is a place", PATIENCE, async || is(replica, "ready").await).await;
    let third = Client::connect(replica, "hall", None, "").await.unwrap();
    second.leave().await;
    until("there is a place", PATIENCE, async || is(replica, "ready").await).await;
    drop(third);
}
