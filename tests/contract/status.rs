//! `/status`, for operators.

use serde_json::{Value, json};

use super::raw::Raw;
use crate::Site;

suite!(status, [], [tells_the_busiest]);

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
