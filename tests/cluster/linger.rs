//! A room leaves a replica's memory, and Redis' subscriptions, a little after its last session; and comes back.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use testkit::{Backend, Client, Cluster, Options, RedisServer, Target, until};
use tokio::time::sleep;

use super::crowd::{channels, subscribed};
use super::faulty_redis::{Fault, FaultyRedis};
use crate::{PATIENCE, binary};

const LINGER: (&str, &str) = ("ROOM_LINGER_SECONDS", "1");

#[tokio::test(flavor = "multi_thread")]
async fn rooms_without_sessions_leave_memory() {
    const ROOMS: usize = 12;
    let cluster = Cluster::start(binary(), Backend::Clustered, 1, &[LINGER]).await;
    let replica = cluster.replica(0);
    let ann = replica.account("ann").await;
    for round in 0..2 {
        let mut clients = Vec::new();
        for n in 0..ROOMS {
            clients.push(
                Client::connect(replica, &format!("room {n}"), Some(&ann.token), "")
                    .await
                    .unwrap(),
            );
        }
        subscribed(&cluster, ROOMS).await;
        for client in &mut clients {
            client.say("hello", &format!("round {round}")).await;
        }
        assert!(
            replica
                .metrics()
                .await
                .lines()
                .any(|line| line.ends_with(&format!("rooms {ROOMS}")))
        );
        // One stays: its room does, too.
        for client in clients.drain(1..) {
            client.leave().await;
        }
        subscribed(&cluster, 1).await;
        for client in clients {
            client.leave().await;
        }
        until("no room subscribed", PATIENCE, || async {
            channels(&cluster).await.is_empty()
        })
        .await;
        until("no room live", PATIENCE, || async {
            replica
                .metrics()
                .await
                .lines()
                .any(|line| line.ends_with("rooms 0"))
        })
        .await;
    }
    // Looking at a room's history or publishing by HTTP makes no room live.
    replica
        .post(
            &Target::history_path("room 0", ""),
            Some(&ann.token),
            &json!({"text": "by HTTP"}),
        )
        .await;
    assert_eq!(replica.history("room 0").await.len(), 3);
    assert!(channels(&cluster).await.is_empty());
}

/// The subscription comes late, and nothing else would bring the message: not the relay, which did not hear it, and
/// not the head check, which is too rare. Whoever has joined has it as soon as the subscription is there.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_before_the_subscription_is_found_with_it() {
    let redis = Arc::new(RedisServer::start().await);
    let faulty = FaultyRedis::start(redis.port(), Fault::SubscribesLate(Duration::from_millis(300))).await;
    let settings = [("REDIS_URL", &*faulty.url()), ("HEAD_CHECK_MS", "60000")];
    let options = Options {
        replicas: 2,
        redis: Some(redis),
        settings: &settings,
        ..Options::default()
    };
    let cluster = Cluster::start_with(binary(), options).await;
    let ann = cluster.replica(0).account("ann").await;
    for round in 0..5 {
        let room = format!("room {round}");
        let mut client = Client::connect(cluster.replica(1), &room, None, "")
            .await
            .unwrap();
        let message = json!({"text": "early"});
        cluster
            .replica(0)
            .post(&Target::history_path(&room, ""), Some(&ann.token), &message)
            .await;
        assert_eq!(client.next_event().await["seq"], 1);
        client.leave().await;
    }
}

/// Sessions come and go around the moment at which the room goes: whoever has joined hears what follows. The head
/// check is too rare to help.
#[tokio::test(flavor = "multi_thread")]
async fn who_joins_while_the_room_leaves_hears_what_follows() {
    let settings = [("ROOM_LINGER_SECONDS", "0"), ("HEAD_CHECK_MS", "60000")];
    let cluster = Cluster::start(binary(), Backend::Clustered, 2, &settings).await;
    let ann = cluster.replica(0).account("ann").await;
    let (path, message) = (
        Target::history_path("revolving door", ""),
        json!({"text": "hello"}),
    );
    for round in 1..=60 {
        let mut client = Client::connect(cluster.replica(1), "revolving door", None, "")
            .await
            .unwrap();
        let posted = cluster.replica(0).post(&path, Some(&ann.token), &message).await;
        assert_eq!(posted.status, 201, "{}", posted.body);
        assert_eq!(client.next_event().await["seq"], round, "in round {round}");
        client.leave().await;
        // Not to find the moment by waiting for it, but to be at another one in each round.
        sleep(Duration::from_millis(round * 37 % 600 / 4)).await;
    }
}
