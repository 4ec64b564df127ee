//! A room comes into being while everybody rushes into it.

use futures_util::future::join_all;
use serde_json::json;
use testkit::{Backend, Client, Cluster};

use crate::binary;

const REPLICAS: usize = 3;

/// Joins and says something at once, before anything about the room is known anywhere.
async fn rush_in(cluster: &Cluster, n: usize, token: &str, room: &str) -> (Client, u64) {
    let mut client = Client::connect(cluster.replica(n % REPLICAS), room, Some(token), "")
        .await
        .unwrap();
    client
        .send(json!({"text": format!("first of {n}"), "nonce": format!("{n}")}))
        .await;
    let from = client.joined["seq"].as_u64().unwrap();
    (client, from)
}

#[tokio::test(flavor = "multi_thread")]
async fn first_joins_and_first_messages_of_a_new_room_at_once() {
    const PEOPLE: u64 = 6;
    let cluster = Cluster::start(binary(), Backend::Clustered, REPLICAS, &[]).await;
    let accounts = join_all((0..PEOPLE).map(|_| cluster.replica(0).account("first"))).await;
    for round in 0..25 {
        let room = format!("new room {round}");
        let rush = accounts
            .iter()
            .enumerate()
            .map(|(n, account)| rush_in(&cluster, n, &account.token, &room));
        let clients = join_all(rush).await;
        let follow = clients.into_iter().map(|(mut client, from)| async move {
            // From where it joined to the last one's message: no hole, no repeat.
            for seq in from + 1..=PEOPLE {
                assert_eq!(
                    client.next("message").await["seq"],
                    seq,
                    "after joining at {from}"
                );
            }
            client
        });
        let clients = join_all(follow).await;
        let history = cluster.replica(round % REPLICAS).history(&room).await;
        let mut texts: Vec<_> = history
            .iter()
            .map(|m| m["text"].as_str().unwrap().to_owned())
            .collect();
        texts.sort_unstable();
        assert_eq!(
            texts,
            (0..PEOPLE).map(|n| format!("first of {n}")).collect::<Vec<_>>()
        );
        join_all(clients.into_iter().map(Client::leave)).await;
    }
}
