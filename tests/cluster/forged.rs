//! Who may publish in Redis is not thereby a replica: what has no tag of the deployment's key reaches nobody.

use serde_json::json;
use testkit::{Backend, Client, Cluster};

use super::crowd::{channels, subscribed};
use crate::binary;

/// Far above what a client of the kit waits for an event, so that nothing comes by the head check.
const HEAD_CHECK: (&str, &str) = ("HEAD_CHECK_MS", "60000");

/// Publishes bytes that are no text.
async fn publish(cluster: &Cluster, channel: &str, payload: &[u8]) {
    let literal: String = payload.iter().map(|byte| format!("\\{byte:03}")).collect();
    let script = format!("return redis.call('PUBLISH', ARGV[1], '{literal}')");
    let heard = cluster.redis().cli(&["EVAL", &script, "0", channel]).await;
    assert_ne!(heard.trim(), "0", "nobody hears {channel}");
}

/// What every replica of the release before sends: no tag.
fn untagged(seq: u64, text: &str) -> Vec<u8> {
    let event = json!([{"type": "message", "room": "hall", "seq": seq, "id": "019bb2c4-7a10-7cc3-98d1-4f1d2a3b5c01",
        "sender": {"id": 1, "username": "ann"}, "text": text, "createTime": 1}]);
    let event = event.to_string();
    let mut bytes = vec![1, 0];
    bytes.extend(seq.to_be_bytes());
    bytes.extend([7; 16]);
    bytes.extend([0; 8 + 25]);
    bytes.extend([0x81, 126]);
    bytes.extend((event.len() as u16).to_be_bytes());
    bytes.extend(event.as_bytes());
    bytes
}

/// The same with a tag, as far as one can make it without the key.
fn forged(seq: u64, text: &str) -> Vec<u8> {
    let mut bytes = vec![2, 1];
    bytes.extend([42; 16]);
    bytes.extend(&untagged(seq, text)[1..]);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_message_reaches_nobody_and_hides_no_real_one() {
    let cluster = Cluster::start(binary(), Backend::Clustered, 2, &[HEAD_CHECK]).await;
    let ann = cluster.replica(0).account("ann").await;
    let token = Some(ann.token.as_str());
    let mut sender = Client::connect(cluster.replica(0), "hall", token, "")
        .await
        .unwrap();
    let mut reader = Client::connect(cluster.replica(1), "hall", None, "")
        .await
        .unwrap();
    subscribed(&cluster, 1).await;
    sender.say("mine", "1").await;
    assert_eq!(reader.next("message").await["text"], "mine");

    let channel = channels(&cluster).await.remove(0);
    for seq in [2, 3, 9] {
        publish(&cluster, &channel, &untagged(seq, "not mine")).await;
        publish(&cluster, &channel, &forged(seq, "not mine")).await;
    }
    sender.say("mine, too", "2").await;
    for text in ["mine, too", "and again"] {
        let message = reader.next("message").await;
        assert_eq!(message["text"], text);
        if text == "mine, too" {
            assert_eq!(message["seq"], 2);
            sender.say("and again", "3").await;
        }
    }
    let metrics = cluster.replica(1).metrics().await;
    assert!(metrics.contains("chat_relay_forged_total 3\n"), "{metrics}");
    assert!(
        metrics.contains("chat_rooms_went_back_total 0\n"),
        "nor is anything doubted for long"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_older_replica_the_database_is_believed() {
    let cluster = Cluster::start(binary(), Backend::Clustered, 1, &[HEAD_CHECK]).await;
    let ann = cluster.replica(0).account("ann").await;
    let token = Some(ann.token.as_str());
    let mut reader = Client::connect(cluster.replica(0), "hall", token, "")
        .await
        .unwrap();
    reader.say("first", "1").await;
    assert_eq!(reader.next("message").await["seq"], 1);
    subscribed(&cluster, 1).await;

    // What a replica of the release before does: it commits, and then it says so.
    cluster
        .sql(
            "WITH moved AS (UPDATE rooms SET last_seq = 2 RETURNING id)
             INSERT INTO messages (room_id, seq, id, sender_id, sender_name, body, created_at)
             SELECT id, 2, '019bb2c4-7a10-7cc3-98d1-4f1d2a3b5c02', 1, 'ann', 'as it is stored', 1 FROM moved",
        )
        .await;
    publish(
        &cluster,
        &channels(&cluster).await[0],
        &untagged(2, "as it is claimed"),
    )
    .await;
    let message = reader.next("message").await;
    assert_eq!(
        (&message["seq"], &message["text"]),
        (&json!(2), &json!("as it is stored"))
    );
}
