//! What a session sends, and the events that answer it.

use serde_json::{Value, json};

use super::http::Api;
use super::raw::{BINARY, CLOSE, Raw, TEXT};
use crate::Site;

suite!(
    commands,
    [],
    [
        message_and_ack,
        a_nonce_is_stored_once,
        malformed,
        ten_malformed,
        nine_malformed,
        too_long,
        anonymous,
        closing,
        order
    ]
);

async fn message_and_ack(site: Site) {
    let account = site.replica().account("commander").await;
    let (mut writer, _) = Raw::join(site.replica(), "ack", Some(&account.token), "").await;
    let (mut reader, _) = Raw::join(site.replica(), "ack", None, "").await;
    for (seq, command) in [
        json!({"text": "plain"}),
        json!({"text": "typed", "type": "message"}),
        json!({"text": "nonce", "nonce": "n-1"}),
        json!({"text": "more", "nonce": "🦀".repeat(64), "type": "message", "unknown": {"a": [null]}}),
    ]
    .into_iter()
    .enumerate()
    {
        writer.say(&command).await;
        let message = reader.event().await;
        let shown = json!({
            "type": "message", "room": "ack", "seq": seq + 1, "id": message["id"], "createTime": message["createTime"],
            "sender": {"id": account.id, "username": account.username}, "text": command["text"],
        });
        assert_eq!(message, shown, "these keys and no others");
        if command["nonce"].is_null() {
            assert_eq!(writer.event().await, message, "the sender gets its own");
            continue;
        }
        let mut both = [writer.event().await, writer.event().await];
        both.sort_by_key(|event| event["type"] == "ack");
        let ack = json!({"type": "ack", "room": "ack", "nonce": command["nonce"], "id": message["id"], "seq": seq + 1});
        assert_eq!(both, [message, ack]);
    }
    // The ack was to the sender alone.
    writer.say(&json!({"text": "last"})).await;
    assert_eq!(reader.event().await["text"], "last");
}

async fn a_nonce_is_stored_once(site: Site) {
    let account = site.replica().account("once").await;
    let (mut raw, _) = Raw::join(site.replica(), "once", Some(&account.token), "").await;
    let command = json!({"text": "once", "nonce": "n"});
    let mut acks = Vec::new();
    for _ in 0..3 {
        raw.say(&command).await;
        acks.push(raw.event_of("ack").await);
    }
    // Over HTTP it is the same message.
    let message = Api::of(site.replica())
        .post_as(&account, "/rooms/once/messages", &command)
        .await
        .ok(200);
    assert_eq!((&message["id"], &message["seq"]), (&acks[0]["id"], &json!(1)));
    assert!(acks.iter().all(|ack| *ack == acks[0]), "{acks:?}");
    // Two in one write: the second is a retry while the first is under way.
    let frame = super::raw::frame(TEXT, br#"{"text": "twice", "nonce": "m"}"#);
    raw.write(&[frame.clone(), frame].concat()).await;
    assert_eq!(raw.event_of("ack").await, raw.event_of("ack").await);
    assert_eq!(
        Api::of(site.replica()).get("/rooms/once/messages").await.ok(200)["seq"],
        2
    );
}

async fn malformed(site: Site) {
    let account = site.replica().account("malformed").await;
    let (mut raw, _) = Raw::join(site.replica(), "malformed", Some(&account.token), "").await;
    let (open, close) = ("[".repeat(2_000), "]".repeat(2_000));
    let good = json!({"text": "good"});
    let mut wrong = Vec::new();
    for frame in [
        "",
        " ",
        "null",
        "1",
        "\"text\"",
        "[]",
        "{}",
        "not json",
        "{\"text\": \"x\"",
        "{\"text\": \"x\"} {\"text\": \"y\"}",
        r#"["message", "x", "n"]"#,
        r#"[{"text": "x"}]"#,
        r#"{"text": 1}"#,
        r#"{"text": null}"#,
        r#"{"text": ["x"]}"#,
        r#"{"text": "x", "text": "y"}"#,
        r#"{"text": "x", "nonce": "a", "nonce": "b"}"#,
        r#"{"Text": "x"}"#,
        r#"{"text": "\ud800"}"#,
        r#"{"text": "x\u0000"}"#,
        "{\"text\": \"x\0\"}",
        r#"{"text": ""}"#,
        r#"{"text": " \n\t"}"#,
        r#"{"text": "x", "nonce": 1}"#,
        r#"{"text": "x", "nonce": ""}"#,
        r#"{"text": "x", "nonce": null}"#,
        r#"{"text": "x", "type": "join"}"#,
        r#"{"text": "x", "type": 1}"#,
        r#"{"text": "x", "type": null}"#,
        &format!(r#"{{"text": "x", "nonce": "{}"}}"#, "n".repeat(65)),
        &format!(r#"{{"text": {open}{close}}}"#),
        &open,
    ] {
        raw.send(TEXT, frame.as_bytes()).await;
        // A sound one between them: what counts is how many are malformed in a row.
        raw.say(&good).await;
        let mut refused = false;
        loop {
            let event = raw.event().await;
            if event["type"] == "error" {
                let message = event["error"]["message"].as_str().unwrap_or_default();
                refused = event["error"]["type"] == "BAD_BINDING" && !message.trim().is_empty();
            } else if event["text"] == "good" {
                break;
            }
        }
        if !refused {
            wrong.push(format!("{frame:.80}"));
        }
    }
    raw.send(BINARY, good.to_string().as_bytes()).await;
    assert_eq!(
        raw.event_of("error").await["error"]["type"],
        "BAD_BINDING",
        "a binary frame"
    );
    assert!(
        wrong.is_empty(),
        "not refused as BAD_BINDING:\n{}",
        wrong.join("\n")
    );
    // The nonce comes back where it can be read.
    raw.say(&json!({"text": " ", "nonce": "mine"})).await;
    assert_eq!(raw.event_of("error").await["nonce"], "mine");
}

async fn ten_malformed(site: Site) {
    let account = site.replica().account("ten").await;
    let (mut raw, _) = Raw::join(site.replica(), "ten", Some(&account.token), "").await;
    for _ in 0..9 {
        raw.send(TEXT, b"nonsense").await;
        raw.event_of("error").await;
    }
    raw.send(BINARY, b"nonsense").await;
    assert_eq!(raw.closed().await, 4400);
}

async fn nine_malformed(site: Site) {
    let account = site.replica().account("nine").await;
    let (mut raw, _) = Raw::join(site.replica(), "nine", Some(&account.token), "").await;
    for _ in 0..3 {
        for _ in 0..9 {
            raw.send(TEXT, b"nonsense").await;
        }
        raw.say(&json!({"text": "sound"})).await;
        assert_eq!(raw.event_of("message").await["text"], "sound");
    }
}

async fn too_long(site: Site) {
    let account = site.replica().account("long").await;
    let (mut raw, _) = Raw::join(site.replica(), "too-long", Some(&account.token), "").await;
    raw.say(&json!({"text": "🦀".repeat(1024)})).await;
    assert_eq!(raw.event().await["seq"], 1);
    raw.say(&json!({"text": "x".repeat(4097), "nonce": "n"})).await;
    let event = raw.event().await;
    assert_eq!(
        (&event["error"]["type"], &event["nonce"]),
        (&json!("TEXT_TOO_LONG"), &json!("n"))
    );
    // The limit is of the text, not of how JSON writes it: 4,096 bytes, six characters each in the frame.
    let escaped = format!(r#"{{"text": "{}"}}"#, "\\u0041".repeat(4096));
    raw.send(TEXT, escaped.as_bytes()).await;
    assert_eq!(raw.event().await["text"], "A".repeat(4096));
}

async fn anonymous(site: Site) {
    for (first, payload) in [
        (TEXT, r#"{"text": "x"}"#),
        (TEXT, "nonsense"),
        (TEXT, ""),
        (BINARY, "x"),
    ] {
        let (mut raw, joined) = Raw::join(site.replica(), "anonymous", None, "").await;
        assert_eq!(joined["canWrite"], false);
        raw.alive().await;
        raw.send(first, payload.as_bytes()).await;
        assert_eq!(raw.closed().await, 4403, "{payload:?}");
        raw.ended().await;
    }
    assert_eq!(
        Api::of(site.replica())
            .get("/rooms/anonymous/messages")
            .await
            .ok(200)["seq"],
        0
    );
}

async fn closing(site: Site) {
    for payload in [
        &[0x03, 0xe8][..],
        &[0x03, 0xe8, b'b', b'y', b'e'],
        &[],
        &[0x0f, 0xa0],
        &[0x0b, 0xb8],
    ] {
        let (mut raw, _) = Raw::join(site.replica(), "closing", None, "").await;
        raw.send(CLOSE, payload).await;
        let code = raw.closed().await;
        let sent = payload
            .first_chunk()
            .map_or(1005, |code| u16::from_be_bytes(*code));
        assert!(code == 1000 || code == sent, "{sent} is answered by {code}");
        raw.ended().await;
    }
}

async fn order(site: Site) {
    let account = site.replica().account("order").await;
    let (mut raw, _) = Raw::join(site.replica(), "order", Some(&account.token), "").await;
    let burst: Vec<u8> = (1..=300)
        .flat_map(|n| {
            super::raw::frame(
                TEXT,
                json!({"text": n.to_string(), "nonce": n.to_string()})
                    .to_string()
                    .as_bytes(),
            )
        })
        .collect();
    raw.write(&burst).await;
    let (mut messages, mut acks): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    while messages.len() < 300 || acks.len() < 300 {
        let event = raw.event().await;
        if event["type"] == "ack" {
            acks.push(event);
        } else {
            messages.push(event);
        }
    }
    for (index, (message, ack)) in messages.iter().zip(&acks).enumerate() {
        let expected = (json!(index + 1), json!((index + 1).to_string()));
        assert_eq!(
            (&message["seq"], &message["text"]),
            (&expected.0, &expected.1),
            "as sent"
        );
        assert_eq!(
            (&ack["seq"], &ack["nonce"], &ack["id"]),
            (&expected.0, &expected.1, &message["id"])
        );
    }
}
