//! A Redis that hears and does not count: each replica's own count decides, and operators hear of it.

use std::sync::Arc;

use serde_json::json;
use testkit::{Backend, Cluster, Options, RedisServer, until};

use crate::{PATIENCE, binary};

/// Tries to log in ten times on each of two replicas, and wants it counted under this cause and told once a replica.
async fn guess(cluster: &Cluster, cause: &str) {
    let account = cluster.replica(0).account("ann").await;
    let guess = json!({"username": account.username, "secret": "a guess"});
    for replica in cluster.replicas() {
        let mut refused = 0;
        for _ in 0..10 {
            let answer = replica.post("/api/v1/login", None, &guess).await;
            refused += usize::from(answer.status == 429);
        }
        assert!(
            refused >= 4,
            "its own count decides: {refused} of 10 were refused"
        );
        until("it is counted", PATIENCE, async || {
            let text = replica.metrics().await;
            let line = format!("chat_limits_unshared_total{{cause=\"{cause}\"}} ");
            let count = text.lines().find_map(|found| found.strip_prefix(&line));
            count.expect("the counter is there").parse::<u64>().unwrap() >= 5
        })
        .await;
        let log = replica.log();
        let told: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("limits are not shared"))
            .collect();
        assert!(
            matches!(told[..], [line] if line.contains(cause)),
            "one line a minute: {told:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_an_acl_forbids_to_share_are_counted_and_told_once() {
    let settings = [("LIMIT_LOGINS_PER_MINUTE", "6")];
    let cluster = Cluster::start(binary(), Backend::Clustered, 2, &settings).await;
    cluster.redis().cli(&["ACL", "SETUSER", "default", "-incr"]).await;
    guess(&cluster, "forbidden").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_a_redis_cluster_does_not_take_are_counted_and_told_once() {
    let redis = RedisServer::start_with(&["--cluster-enabled", "yes"]).await;
    let options = Options {
        backend: Backend::Clustered,
        replicas: 2,
        redis: Some(Arc::new(redis)),
        settings: &[("LIMIT_LOGINS_PER_MINUTE", "6")],
        ..Options::default()
    };
    let cluster = Cluster::start_with(binary(), options).await;
    guess(&cluster, "cluster").await;
}
