//! People on every replica who talk, come, go and are refused, until the test ends.

use std::time::Duration;

use serde_json::json;
use testkit::{Client, Cluster, Target};
use tokio::task::JoinSet;

/// The tasks end when the set is dropped.
pub async fn start(cluster: &Cluster) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let token = cluster.replica(0).account("talker").await.token;
    for (n, replica) in cluster.targets().into_iter().enumerate() {
        tasks.spawn(talk(replica.clone(), token.clone()));
        tasks.spawn(visit(replica, n));
    }
    tasks
}

/// Sits in a room for a while, sends by WebSocket and HTTP, leaves and comes back. What does not work for a while, since the
/// test breaks things, is tried again.
async fn talk(replica: Target, token: String) {
    loop {
        if let Ok(mut client) = Client::connect(&replica, "lounge", Some(&token), "").await {
            for _ in 0..10 {
                let _ = client.try_send(json!({"text": "hello"})).await;
                let message = json!({"text": "hello by HTTP"});
                let path = "/api/v1/rooms/lounge/messages";
                let _ = replica.try_post(path, Some(&token), &message).await;
                while client.try_next_event(Duration::from_millis(100)).await.is_ok() {}
            }
            client.leave().await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Signs up, and tries to send without a token.
async fn visit(replica: Target, n: usize) {
    for visit in 0.. {
        let account = json!({"username": format!("visitor{n}-{visit}"), "secret": "correct horse"});
        let _ = replica.try_post("/api/v1/users", None, &account).await;
        let path = "/api/v1/rooms/lounge/messages";
        let _ = replica
            .try_post(path, Some("no token"), &json!({"text": "hello"}))
            .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
