//! `/status`, for operators.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::until;

use super::raw::Raw;
use crate::Site;

suite!(status, [], [tells_the_busiest, tells_how_large_the_log_is]);

async fn tells_the_busiest(site: Site) {
    let replica = site.replica();
    let (ann, ben) = (replica.account("ann").await, replica.account("ben").await);
    for (account, room, count) in [(&ann, "busy", 3), (&ben, "busy", 1), (&ben, "quiet", 1)] {
        let (mut raw, _) = Raw::join(replica, room, Some(&account.token), "").await;
        for n in 0..count {
            // Said twice, stored once.
            for _ in 0..2 {
                raw.say(&json!({"text": "hi", "nonce": format!("{room} {n}")}))
                    .await;
                raw.event_of("ack").await;
            }
        }
    }
    let status: Value = serde_json::from_str(&replica.ops_text("/status").await).expect("JSON");
    let busiest = &status["busiest"];
    assert!(
        busiest["seconds"].as_u64().is_some_and(|seconds| seconds < 120),
        "{busiest}"
    );
    assert_eq!(
        busiest["rooms"],
        json!([{"room": "busy", "messages": 4}, {"room": "quiet", "messages": 1}])
    );
    assert_eq!(
        busiest["users"],
        json!([{"id": ann.id, "username": ann.username, "messages": 3},
               {"id": ben.id, "username": ben.username, "messages": 2}])
    );
}

async fn tells_how_large_the_log_is(site: Site) {
    let value = async |name: &str| -> Option<f64> {
        let metrics = site.replica().metrics().await;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|value| value.parse().expect("a number"))
    };
    // A table and its indexes have pages of their own, the file of SQLite as well.
    until("it has looked", Duration::from_secs(20), || async {
        let (bytes, messages) = (
            value("chat_store_size_bytes").await,
            value("chat_store_messages").await,
        );
        bytes.is_some_and(|bytes| bytes >= 8192.0) && messages.is_some_and(|messages| messages >= 0.0)
    })
    .await;
}
