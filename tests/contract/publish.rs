//! POST /rooms/{room}/messages.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::http::Api;
use super::raw::Raw;
use crate::Site;

suite!(
    publish,
    [],
    [
        the_message,
        numbers_are_whole,
        nonces,
        nonces_at_once,
        texts,
        bad_texts,
        reaches_sessions
    ]
);

async fn the_message(site: Site) {
    let api = Api::of(site.replica());
    let account = site.replica().account("poster").await;
    let message = api.say(&account, "publish", "first").await;
    let id = message["id"]
        .as_str()
        .and_then(|id| uuid::Uuid::parse_str(id).ok())
        .expect("a UUID");
    assert_eq!(id.get_version_num(), 7);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_millis();
    let time = message["createTime"].as_u64().expect("milliseconds");
    assert!(now.abs_diff(time.into()) < 60_000, "{time} is not now, {now}");
    let shown = json!({
        "type": "message", "room": "publish", "seq": 1, "id": message["id"], "createTime": time, "text": "first",
        "sender": {"id": account.id, "username": account.username},
    });
    assert_eq!(message, shown, "these keys and no others");
    api.post("/rooms/publish/messages", &json!({"text": "x"}))
        .await
        .refused(401, "INVALID_AUTH_TOKEN", "no token");
}

async fn numbers_are_whole(site: Site) {
    let api = Api::of(site.replica());
    let account = site.replica().account("counter").await;
    let at_once = (0..40).map(|_| api.say(&account, "whole", "n"));
    let mut seqs: Vec<_> = futures_util::future::join_all(at_once)
        .await
        .iter()
        .filter_map(|message| message["seq"].as_u64())
        .collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=40).collect::<Vec<_>>());
}

async fn nonces(site: Site) {
    let api = Api::of(site.replica());
    let (ann, bob) = (
        site.replica().account("nonce-a").await,
        site.replica().account("nonce-b").await,
    );
    let body = |text: &str, nonce: &str| json!({"text": text, "nonce": nonce});
    let first = api
        .post_as(&ann, "/rooms/nonces/messages", &body("one", "n"))
        .await
        .ok(201);
    assert_eq!(
        api.post_as(&ann, "/rooms/nonces/messages", &body("one", "n"))
            .await
            .ok(200),
        first
    );
    assert_eq!(
        api.post_as(&ann, "/rooms/nonces/messages", &body("changed", "n"))
            .await
            .ok(200),
        first
    );
    // It is this user's, in this room.
    assert_eq!(
        api.post_as(&bob, "/rooms/nonces/messages", &body("two", "n"))
            .await
            .ok(201)["seq"],
        2
    );
    assert_eq!(
        api.post_as(&ann, "/rooms/nonces-too/messages", &body("one", "n"))
            .await
            .ok(201)["seq"],
        1
    );
    assert_eq!(
        api.post_as(&ann, "/rooms/nonces/messages", &body("three", "N"))
            .await
            .ok(201)["seq"],
        3
    );
    for nonce in ["x".repeat(64), "🦀".repeat(64)] {
        api.post_as(&ann, "/rooms/nonces/messages", &body("at the limit", &nonce))
            .await
            .ok(201);
        api.post_as(&ann, "/rooms/nonces/messages", &body("at the limit", &nonce))
            .await
            .ok(200);
    }
    for nonce in [
        json!(""),
        json!("x".repeat(65)),
        json!("🦀".repeat(65)),
        json!(1),
        json!({}),
        json!(null),
    ] {
        let answer = api
            .post_as(
                &ann,
                "/rooms/nonces/messages",
                &json!({"text": "t", "nonce": nonce}),
            )
            .await;
        answer.refused(400, "BAD_BINDING", &format!("nonce {nonce}"));
    }
    let head = &api.get("/rooms/nonces/messages").await.ok(200)["seq"];
    assert_eq!(*head, 5, "nothing more was stored");
}

async fn nonces_at_once(site: Site) {
    let api = Api::of(site.replica());
    let ann = site.replica().account("nonce-c").await;
    let body = json!({"text": "once", "nonce": "the same"});
    let answers =
        futures_util::future::join_all((0..20).map(|_| api.post_as(&ann, "/rooms/at-once/messages", &body)))
            .await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    let first = &answers[0].data;
    assert!(
        answers
            .iter()
            .all(|answer| answer.data == *first && answer.status < 300),
        "{answers:?}"
    );
    assert_eq!(api.get("/rooms/at-once/messages").await.ok(200)["seq"], 1);
}

async fn texts(site: Site) {
    let api = Api::of(site.replica());
    let ann = site.replica().account("texts").await;
    let (longest, wide) = ("x".repeat(4096), "🦀".repeat(1024));
    for text in [
        &longest,
        &wide,
        "x",
        " padded ",
        "two\nlines\r\n\tand a tab",
        "\"quoted\" \\ back",
        "<script>alert(1)</script>",
        "\u{202e}right to left",
        "e\u{301} as composed",
        "\u{1}\u{7f}\u{85}",
        "\u{feff}",
        "'; DROP TABLE messages; --",
    ] {
        let message = api.say(&ann, "texts", text).await;
        assert_eq!(message["text"], text, "as sent");
        let history = api.get("/rooms/texts/messages?limit=1").await.ok(200);
        assert_eq!(history["messages"], json!([message]), "as stored");
    }
}

async fn bad_texts(site: Site) {
    let api = Api::of(site.replica());
    let ann = site.replica().account("bad-texts").await;
    let path = "/rooms/bad-texts/messages";
    for text in ["", " ", "\n\t\r\n", "\u{3000}\u{2003}\u{a0}", "\0", "a\0b"] {
        api.post_as(&ann, path, &json!({"text": text})).await.refused(
            400,
            "BAD_BINDING",
            &format!("{text:?}"),
        );
    }
    for text in ["x".repeat(4097), "🦀".repeat(1024) + "x", "x".repeat(8000)] {
        let body = json!({"text": text});
        api.post_as(&ann, path, &body)
            .await
            .refused(413, "TOO_LARGE", &format!("{} bytes", text.len()));
    }
    let history = api.get(path).await.ok(200);
    assert_eq!(
        history,
        json!({"messages": [], "seq": 0, "more": false}),
        "nothing of it was stored"
    );
}

async fn reaches_sessions(site: Site) {
    let api = Api::of(site.replica());
    let ann = site.replica().account("reach").await;
    let (mut reader, joined) = Raw::join(site.replica(), "reach", None, "").await;
    assert_eq!(joined["seq"], 0);
    let sent: Vec<Value> = vec![
        api.say(&ann, "reach", "one").await,
        api.say(&ann, "reach", "two").await,
    ];
    for message in sent {
        assert_eq!(reader.event().await, message, "the event is the answer's data");
    }
}
