//! I3: resuming is exact, on any replica, from any position, or the server says that it is not.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use testkit::{Backend, Client, Cluster, Ended, Replica};

use super::crowd::subscribed;
use crate::binary;

const HALL: &str = "hall";
/// Long enough for the warm log, set to 100 here, and the page of a store's query, 200, to end within it.
const MESSAGES: u64 = 650;
const RESUME_LIMIT: u64 = 500;

async fn filled_hall() -> (Cluster, Vec<Value>) {
    let settings = [("RESUME_LIMIT", "500"), ("WARM_LOG_MESSAGES", "100")];
    let cluster = Cluster::start(binary(), Backend::Clustered, 2, &settings).await;
    let ann = cluster.replica(0).account("ann").await;
    let mut writer = Client::connect(cluster.replica(0), HALL, Some(&ann.token), "")
        .await
        .unwrap();
    for n in 1..=MESSAGES {
        writer
            .send(serde_json::json!({"text": format!("message {n}")}))
            .await;
        if n % 50 == 0 {
            writer.next_where(|event| event["seq"] == n).await;
        }
    }
    let history = cluster.replica(1).history(HALL).await;
    assert_eq!(history.len() as u64, MESSAGES);
    (cluster, history)
}

async fn resume(replica: &Replica, query: &str) -> Client {
    Client::connect(replica, HALL, None, query)
        .await
        .unwrap_or_else(|e| panic!("?{query}: {e}"))
}

fn position(client: &Client) -> (u64, bool) {
    (
        client.joined["seq"].as_u64().unwrap(),
        client.joined["recovered"].as_bool().unwrap(),
    )
}

/// Exactly what follows `seq`, and then nothing.
async fn follows(client: &mut Client, seq: u64, history: &[Value]) {
    for message in &history[seq as usize..] {
        assert_eq!(&client.next_event().await, message, "after {seq}");
    }
    assert_eq!(
        client.try_next_event(Duration::from_millis(50)).await,
        Err(Ended::Silence)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn from_any_position_on_any_replica() {
    let (cluster, history) = filled_hall().await;
    // Beside the ends and the edges of limits, pages and warm logs a spread of others: 37 has no common divisor
    // with any of them.
    let edges = [
        150, 151, 200, 249, 250, 449, 450, 451, 549, 550, 551, 585, 586, 587, 648, 649, 650,
    ];
    let spread = (0..60).map(|n| 150 + n * 37 % 500);
    let positions: Vec<u64> = edges.into_iter().chain(spread).collect();
    for (n, some) in positions.chunks(8).enumerate() {
        let resumes = some.iter().enumerate().map(|(k, seq)| {
            let (seq, replica, history) = (*seq, cluster.replica((n + k) % 2), &history);
            async move {
                let id = history[seq as usize - 1]["id"].as_str().unwrap();
                let with_id = format!("after={seq}&id={id}");
                for query in [with_id, format!("after={seq}")] {
                    let mut client = resume(replica, &query).await;
                    assert_eq!(position(&client), (seq, true), "?{query}");
                    follows(&mut client, seq, history).await;
                }
            }
        });
        join_all(resumes).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_resumed_is_said_to_be() {
    let (cluster, history) = filled_hall().await;
    let id = |seq: u64| history[seq as usize - 1]["id"].as_str().unwrap();
    let refused = [
        // More than the limit behind.
        format!("after={}", MESSAGES - RESUME_LIMIT - 1),
        format!("after=1&id={}", id(1)),
        "after=0".into(),
        // Ahead of the head.
        format!("after={}", MESSAGES + 1),
        format!("after={}&id={}", MESSAGES + 1, id(MESSAGES)),
        format!("after={}", u64::MAX >> 1),
        // Another message stands there: warm, cold, newest, and one that never was.
        format!("after=640&id={}", id(641)),
        format!("after=300&id={}", id(299)),
        format!("after={MESSAGES}&id={}", id(MESSAGES - 1)),
        "after=400&id=01890a5d-ac96-774b-bcce-b302099a8057".into(),
    ];
    for replica in cluster.replicas() {
        for query in &refused {
            let mut client = resume(replica, query).await;
            assert_eq!(position(&client), (MESSAGES, false), "?{query}");
            follows(&mut client, MESSAGES, &history).await;
        }
    }
    // A message that was put in the place of another one, as a restored backup does.
    cluster
        .sql("UPDATE messages SET id = gen_random_uuid() WHERE seq IN (200, 645)")
        .await;
    for replica in cluster.replicas() {
        // Nobody has the room live any more there but who asks now; warm logs may still know the old one.
        let stale = resume(replica, &format!("after=200&id={}", id(200))).await;
        assert_eq!(position(&stale), (MESSAGES, false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_messages_back() {
    let (cluster, history) = filled_hall().await;
    for (n, last) in [0, 1, 2, 63, 64, 65, 99, 100, 101, 199, 200]
        .into_iter()
        .enumerate()
    {
        let mut client = resume(cluster.replica(n % 2), &format!("last={last}")).await;
        assert_eq!(position(&client), (MESSAGES - last, true), "?last={last}");
        follows(&mut client, MESSAGES - last, &history).await;
    }
    let mut client = resume(cluster.replica(1), "").await;
    assert_eq!(position(&client), (MESSAGES, true));
    follows(&mut client, MESSAGES, &history).await;
    // More than there are: from the first.
    let ann = cluster.replica(0).account("ann").await;
    let mut few = Client::connect(cluster.replica(0), "few", Some(&ann.token), "last=200")
        .await
        .unwrap();
    assert_eq!(position(&few), (0, true));
    few.say("one", "1").await;
    let mut other = Client::connect(cluster.replica(1), "few", None, "last=200")
        .await
        .unwrap();
    assert_eq!(
        (position(&other), other.next_event().await["seq"].as_u64()),
        ((0, true), Some(1))
    );
}

/// The room moves on while clients come and go.
#[tokio::test(flavor = "multi_thread")]
async fn while_messages_flow() {
    const ROUNDS: usize = 40;
    let settings = [("ROOM_LINGER_SECONDS", "0"), ("WARM_LOG_MESSAGES", "20")];
    let cluster = Cluster::start(binary(), Backend::Clustered, 3, &settings).await;
    let ann = cluster.replica(0).account("ann").await;
    let mut writer = Client::connect(cluster.replica(0), HALL, Some(&ann.token), "")
        .await
        .unwrap();
    let flow = async {
        for n in 0.. {
            writer.say("flow", &format!("{n}")).await;
        }
    };
    // Each takes a few and moves on to the next replica, with what it saw last.
    let travellers = join_all((0..6).map(|n| {
        let cluster = &cluster;
        async move {
            let (mut last, mut query) = (0, "after=0".to_owned());
            for round in 0..ROUNDS {
                let mut client = resume(cluster.replica((n + round) % 3), &query).await;
                assert_eq!(position(&client), (last, true), "?{query}");
                for _ in 0..1 + (n * 7 + round * 3) % 25 {
                    let message = client.next_event().await;
                    last += 1;
                    assert_eq!(message["seq"], last);
                    query = format!("after={last}&id={}", message["id"].as_str().unwrap());
                }
            }
            last
        }
    }));
    tokio::select! {
        () = flow => {}
        seen = travellers => assert!(seen.into_iter().min().unwrap() > ROUNDS as u64),
    }
}

/// A client may have seen on one replica what another one has not heard of yet.
#[tokio::test(flavor = "multi_thread")]
async fn ahead_of_a_replica_that_lags() {
    let settings = [("HEAD_CHECK_MS", "60000")];
    let cluster = Cluster::start(binary(), Backend::Clustered, 2, &settings).await;
    let ann = cluster.replica(0).account("ann").await;
    let mut writer = Client::connect(cluster.replica(0), HALL, Some(&ann.token), "")
        .await
        .unwrap();
    let mut behind = resume(cluster.replica(1), "").await;
    subscribed(&cluster, 1).await;
    writer.say("heard", "heard").await;
    assert_eq!(behind.next_event().await["seq"], 1);
    cluster.redis().stop();
    let mut seen = Vec::new();
    for n in 2..=6 {
        writer.say("unheard", &format!("{n}")).await;
        seen.push(
            writer
                .next_where(|event| event["seq"] == n && event["type"] == "message")
                .await,
        );
    }
    let query = format!("after=5&id={}", seen[3]["id"].as_str().unwrap());
    let mut moved = resume(cluster.replica(1), &query).await;
    assert_eq!(position(&moved), (5, true));
    assert_eq!(moved.next_event().await, seen[4]);
    for message in &seen {
        assert_eq!(
            &behind.next_event().await,
            message,
            "the others of that replica catch up with it"
        );
    }
}
