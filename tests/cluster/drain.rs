//! A replica that is told to leave takes nobody's message with it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::{Backend, Client, Cluster, Ended, until};

use super::crowd::Crowd;
use crate::{PATIENCE, binary};

/// What one client of a leaving replica saw.
#[derive(Default)]
struct Left {
    acks: Vec<Value>,
    reconnects: Vec<Value>,
    code: u16,
}

/// Says one thing after the other, faster than it is acked, until it is closed.
async fn talk_until_closed(mut client: Client, name: usize) -> Left {
    let (mut left, mut said) = (Left::default(), 0);
    loop {
        while said < left.acks.len() + 16 {
            said += 1;
            let command = json!({"text": format!("{name}-{said}"), "nonce": format!("{name}-{said}")});
            // The server no longer reads once it has said goodbye.
            let _ = client.try_send(command).await;
        }
        match client.try_next_event(Duration::from_secs(30)).await {
            Ok(event) if event["type"] == "ack" => left.acks.push(event),
            Ok(event) if event["type"] == "reconnect" => left.reconnects.push(event),
            Ok(event) => assert_eq!(event["type"], "message", "{event}"),
            Err(Ended::Closed(code)) => {
                left.code = code;
                return left;
            }
            Err(ended) => panic!("{ended:?} instead of a close, after {} acks", left.acks.len()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_to_go_and_every_ack_holds() {
    const CLIENTS: usize = 8;
    let settings = [("DRAIN_SECONDS", "3")];
    let cluster = Cluster::start(binary(), Backend::Clustered, 2, &settings).await;
    let replica = cluster.replica(0);
    let ann = replica.account("ann").await;
    let mut watcher = Client::connect(cluster.replica(1), "hall", None, "")
        .await
        .unwrap();
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        let client = Client::connect(replica, "hall", Some(&ann.token), "")
            .await
            .unwrap();
        clients.push(talk_until_closed(client, n));
    }
    let mut quiet = Client::connect(replica, "quiet", None, "").await.unwrap();
    let leave = async {
        // Under way: the watcher on the other replica has seen some of it.
        for _ in 0..50 {
            watcher.next("message").await;
        }
        replica.terminate().await;
        until("not ready any more", PATIENCE, || async {
            replica.ops_status("/readyz").await == Some(503)
        })
        .await;
        assert_eq!(
            replica.ops_status("/healthz").await,
            Some(200),
            "it is leaving, not ill"
        );
        assert!(
            Client::connect(replica, "hall", None, "").await.is_err(),
            "it takes nobody new"
        );
        let event = quiet.next("reconnect").await;
        assert!(event["after"].is_u64(), "{event}");
        assert_eq!(quiet.closed().await, 1012);
        replica.wait().await
    };
    let (status, all) = tokio::join!(leave, join_all(clients));
    assert_eq!(status.code(), Some(0), "{status}");

    let history = cluster.replica(1).history("hall").await;
    let mut stored = BTreeMap::new();
    for message in &history {
        let text = message["text"].as_str().unwrap();
        assert!(stored.insert(text, message).is_none(), "stored twice: {message}");
    }
    for left in &all {
        assert_eq!((left.code, left.reconnects.len()), (1012, 1));
        for ack in &left.acks {
            let message = stored[ack["nonce"].as_str().unwrap()];
            assert_eq!((&ack["id"], &ack["seq"]), (&message["id"], &message["seq"]));
        }
    }
    // What was taken was answered: nothing is stored whose sender was not told.
    assert_eq!(
        history.len(),
        all.iter().map(|left| left.acks.len()).sum::<usize>()
    );
    // And the other replica's clients have it all.
    watcher.next_where(|event| event["seq"] == history.len()).await;
}

/// A deployment that is updated: each replica in turn leaves and comes back while people talk.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_is_not_noticed_but_for_reconnects() {
    const REPLICAS: usize = 3;
    let cluster = Cluster::start(binary(), Backend::Clustered, REPLICAS, &[("DRAIN_SECONDS", "1")]).await;
    let mut crowd = Crowd::join(&cluster, 9, 6).await;
    let restart = async {
        for replica in cluster.replicas() {
            replica.terminate().await;
            let status = replica.wait().await;
            assert_eq!(status.code(), Some(0), "{status}\n{}", replica.log_tail());
            replica.start_again().await;
        }
    };
    let ((), ()) = tokio::join!(restart, crowd.talk(3_000, 5, Duration::from_millis(10)));
    crowd.settle(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let cluster = Cluster::start(binary(), Backend::Clustered, 1, &[("DRAIN_SECONDS", "600")]).await;
    let replica = cluster.replica(0);
    let mut client = Client::connect(replica, "hall", None, "").await.unwrap();
    replica.terminate().await;
    until("leaving", PATIENCE, || async {
        replica.ops_status("/readyz").await == Some(503)
    })
    .await;
    replica.terminate().await;
    replica.wait().await;
    client.closed().await;
}

/// A commit may end only after the token of its sender has, or after the replica was told to leave: the sender hears of
/// it, and only then is closed.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_acked_before_the_close() {
    const SAID: usize = 20;
    let settings = [("DRAIN_SECONDS", "0"), ("TOKEN_TTL_SECONDS", "3")];
    let cluster = Cluster::start(binary(), Backend::Clustered, 1, &settings).await;
    let replica = cluster.replica(0);
    for (code, ending) in [(4401, Duration::from_secs(3)), (1012, Duration::ZERO)] {
        let ann = replica.account("ann").await;
        let ends = tokio::time::Instant::now() + ending;
        let mut client = Client::connect(replica, "hall", Some(&ann.token), "")
            .await
            .unwrap();
        // Nothing is stored from before the end (a token's is a whole second) until half a second after it.
        tokio::time::sleep_until(ends - ending.min(Duration::from_millis(1800))).await;
        let mut lock = cluster.sql_session();
        lock.run("BEGIN; LOCK TABLE messages IN EXCLUSIVE MODE");
        for n in 0..SAID {
            client
                .send(json!({"text": "under way", "nonce": n.to_string()}))
                .await;
        }
        let taken = format!(
            "chat_messages_total {}\n",
            if code == 4401 { SAID } else { 2 * SAID }
        );
        until("the journal has them", PATIENCE, async || {
            replica.metrics().await.contains(&taken)
        })
        .await;
        if code == 1012 {
            replica.terminate().await;
        }
        tokio::time::sleep_until(ends + Duration::from_millis(500)).await;
        lock.run("ROLLBACK");
        let mut acks = 0;
        let closed = loop {
            match client.try_next_event(PATIENCE).await {
                Ok(event) => acks += usize::from(event["type"] == "ack"),
                Err(Ended::Closed(code)) => break code,
                Err(ended) => panic!("{ended:?} after {acks} acks"),
            }
        };
        assert_eq!((closed, acks), (code, SAID));
    }
}
