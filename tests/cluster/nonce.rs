//! I4: the same nonce of the same user in the same room is one message, wherever and whenever it is sent again.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testkit::{Account, Backend, Client, Cluster, Target};

use crate::binary;

async fn join(cluster: &Cluster, replica: usize, account: &Account, room: &str) -> Client {
    Client::connect(cluster.replica(replica), room, Some(&account.token), "")
        .await
        .unwrap()
}

/// What an ack says about the message; fails on an error event.
fn place(ack: &Value) -> (String, u64) {
    assert_eq!(ack["type"], "ack", "{ack}");
    (
        ack["id"].as_str().unwrap().to_owned(),
        ack["seq"].as_u64().unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_at_the_same_moment_store_one_message() {
    const ROUNDS: u64 = 100;
    let cluster = Cluster::start(binary(), Backend::Clustered, 2, &[]).await;
    let ann = cluster.replica(0).account("ann").await;
    let (mut one, mut other) = tokio::join!(join(&cluster, 0, &ann, "race"), join(&cluster, 1, &ann, "race"));
    let mut texts = Vec::new();
    for round in 1..=ROUNDS {
        let nonce = format!("n{round}");
        let (a, b) = tokio::join!(one.say("from one", &nonce), other.say("from the other", &nonce));
        assert_eq!(place(&a), place(&b), "round {round}");
        assert_eq!(a["seq"], round);
        let (seen_here, seen_there) = (one.next("message").await, other.next("message").await);
        assert_eq!(seen_here, seen_there);
        assert_eq!(seen_here["id"], a["id"]);
        texts.push(seen_here);
    }
    assert_eq!(cluster.replica(0).history("race").await, texts);
}

/// Batches of both replicas that overlap in every way: each fails as a whole when one of its nonces is taken.
#[tokio::test(flavor = "multi_thread")]
async fn bursts_that_overlap_store_each_nonce_once() {
    const BURST: usize = 60;
    const ROUNDS: usize = 8;
    const ROOMS: usize = 3;
    let cluster = Cluster::start(binary(), Backend::Clustered, 2, &[]).await;
    let ann = cluster.replica(0).account("ann").await;
    let mut clients = Vec::new();
    for n in 0..2 * ROOMS {
        clients.push(join(&cluster, n % 2, &ann, &format!("burst {}", n / 2)).await);
    }
    let mut places: Vec<BTreeMap<String, (String, u64)>> = vec![BTreeMap::new(); clients.len()];
    for round in 0..ROUNDS {
        let bursts =
            clients
                .iter_mut()
                .zip(&mut places)
                .enumerate()
                .map(|(n, (client, places))| async move {
                    for k in 0..BURST {
                        // One replica forwards, the other backwards.
                        let k = if n % 2 == 0 { k } else { BURST - 1 - k };
                        client
                            .send(json!({"text": format!("{round} {k}"), "nonce": format!("{round}.{k}")}))
                            .await;
                    }
                    for _ in 0..BURST {
                        let ack = client.next_where(|event| event["type"] != "message").await;
                        places.insert(ack["nonce"].as_str().unwrap().to_owned(), place(&ack));
                    }
                });
        futures_util::future::join_all(bursts).await;
    }
    for room in 0..ROOMS {
        assert_eq!(places[2 * room], places[2 * room + 1], "acks of both replicas");
        let history = cluster.replica(0).history(&format!("burst {room}")).await;
        assert_eq!(history.len(), BURST * ROUNDS);
        for (n, message) in history.iter().enumerate() {
            let nonce = message["text"].as_str().unwrap().replace(' ', ".");
            let stored = (message["id"].as_str().unwrap().to_owned(), n as u64 + 1);
            assert_eq!(places[2 * room][&nonce], stored);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_belongs_to_a_user_in_a_room() {
    let cluster = Cluster::start(binary(), Backend::Clustered, 2, &[]).await;
    let (ann, bob) = (
        cluster.replica(0).account("ann").await,
        cluster.replica(1).account("bob").await,
    );
    let mut first = join(&cluster, 0, &ann, "here").await;
    let here = place(&first.say("hello", "same").await);
    // Another user, another room, no nonce at all: messages of their own.
    let bobs = place(&join(&cluster, 1, &bob, "here").await.say("hello", "same").await);
    let there = place(&join(&cluster, 1, &ann, "there").await.say("hello", "same").await);
    assert_eq!((here.1, bobs.1, there.1), (1, 2, 1));
    assert!(here.0 != bobs.0 && here.0 != there.0);
    first.send(json!({"text": "hello"})).await;
    first.send(json!({"text": "hello"})).await;
    for seq in 1..=4 {
        assert_eq!(first.next("message").await["seq"], seq);
    }
    // The same by HTTP on the other replica, long after: the first one, whole, and 200 instead of 201.
    let path = Target::history_path("here", "");
    let again = cluster
        .replica(1)
        .post(
            &path,
            Some(&ann.token),
            &json!({"text": "other", "nonce": "same"}),
        )
        .await;
    assert_eq!(again.status, 200, "{}", again.body);
    let history = cluster.replica(1).history("here").await;
    assert_eq!(again.body["data"], history[0]);
    assert_eq!(history.len(), 4);
    let fresh = json!({"text": "by HTTP", "nonce": "fresh"});
    let (one, other) = tokio::join!(
        cluster.replica(0).post(&path, Some(&ann.token), &fresh),
        cluster.replica(1).post(&path, Some(&ann.token), &fresh),
    );
    assert_eq!(one.body["data"], other.body["data"]);
    assert_eq!(one.status + other.status, 401, "one 200 and one 201");
}
