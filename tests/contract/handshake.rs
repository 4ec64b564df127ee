//! The upgrade: subprotocols, credentials, headers.

use serde_json::{Value, json};

use super::http::{Answer, Api};
use super::raw::{Head, Raw, TEXT, frame, handshake};
use crate::Site;

suite!(
    handshakes,
    [],
    [
        tokens,
        joined,
        wrong_headers,
        another_version_is_told_ours,
        a_named_subprotocol_is_no_token,
        a_credential_that_is_none_is_no_guest,
        sound_headers,
        first_frame_at_once,
        looking_creates_nothing
    ]
);
pub(super) async fn ask(site: &Site, more: &[(&str, &str)]) -> (Head, Option<Answer>) {
    Raw::ask(site.replica(), &handshake(site.replica(), "handshake", "", more)).await
}

async fn tokens(site: Site) {
    let account = site.replica().account("shaker").await;
    let (token, bearer) = (account.token.as_str(), format!("Bearer {}", account.token));
    let (both, tight) = (format!("{token}, chat.v1"), format!("{token},chat.v1"));
    let protocol = "Sec-WebSocket-Protocol";
    for (more, answered) in [
        (vec![(protocol, token)], Some(token)),
        (vec![(protocol, both.as_str())], Some("chat.v1")),
        (vec![(protocol, tight.as_str())], Some("chat.v1")),
        (vec![(protocol, token), (protocol, "chat.v1")], Some("chat.v1")),
        (vec![("Authorization", bearer.as_str())], None),
    ] {
        let mut raw = Raw::connect(site.replica()).await;
        raw.write(handshake(site.replica(), "handshake", "", &more).as_bytes())
            .await;
        let head = raw.head().await;
        assert_eq!((head.status, head.header(protocol)), (101, answered), "{more:?}");
        let joined = raw.event().await;
        let user = json!({"id": account.id, "username": account.username});
        assert_eq!(
            (&joined["user"], &joined["canWrite"]),
            (&user, &json!(true)),
            "{more:?}"
        );
    }
    // Without a token among them: anonymous.
    let mut raw = Raw::connect(site.replica()).await;
    raw.write(handshake(site.replica(), "handshake", "", &[(protocol, "chat.v1")]).as_bytes())
        .await;
    let head = raw.head().await;
    assert_eq!((head.status, head.header(protocol)), (101, Some("chat.v1")));
    assert_eq!(raw.event().await["user"], Value::Null);
    let (head, _) = ask(&site, &[]).await;
    assert_eq!((head.status, head.header(protocol)), (101, None));
    // RFC 6455's own example of a key and what it is answered.
    assert_eq!(
        head.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert!(
        head.header("upgrade")
            .is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"))
    );
    assert!(
        head.header("connection")
            .is_some_and(|connection| connection.eq_ignore_ascii_case("upgrade"))
    );
    assert_eq!(head.header("sec-websocket-extensions"), None);
}

async fn joined(site: Site) {
    let account = site.replica().account("joiner").await;
    let (_raw, event) = Raw::join(site.replica(), "joined", Some(&account.token), "").await;
    let user = json!({"id": account.id, "username": account.username});
    let shown = json!({"type": "joined", "room": "joined", "seq": 0, "user": user, "canWrite": true, "recovered": true, "rate": null});
    assert_eq!(event, shown, "these keys and no others");
    let (_raw, event) = Raw::join(site.replica(), "joined", None, "").await;
    let shown = json!({"type": "joined", "room": "joined", "seq": 0, "user": null, "canWrite": false, "recovered": true, "rate": null});
    assert_eq!(event, shown);
}

async fn wrong_headers(site: Site) {
    let sound = handshake(site.replica(), "handshake", "", &[]);
    for (from, to) in [
        ("Upgrade: websocket\r\n", ""),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Upgrade: websocket", "Upgrade: "),
        ("Connection: Upgrade\r\n", ""),
        ("Connection: Upgrade", "Connection: keep-alive"),
        ("Sec-WebSocket-Version: 13\r\n", ""),
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"),
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 14"),
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: thirteen"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
        (
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Key: ",
        ),
        (
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Key: c2hvcnQ=",
        ),
        (
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Key: !!!not base64!!!!!!!!!!!",
        ),
        (" HTTP/1.1\r\n", " HTTP/1.0\r\n"),
    ] {
        assert!(sound.contains(from));
        let (head, refusal) = Raw::ask(site.replica(), &sound.replace(from, to)).await;
        let refusal = refusal.unwrap_or_else(|| panic!("{from:?} as {to:?} was upgraded: {head:?}"));
        refusal.refused(400, "BAD_BINDING", &format!("{from:?} as {to:?}"));
    }
    // A browser's address bar.
    Api::of(site.replica())
        .get("/rooms/handshake/messages/ws")
        .await
        .refused(400, "BAD_BINDING", "a plain GET");
}

/// RFC 6455 §4.4: an answer to a version that is not ours says which is.
async fn another_version_is_told_ours(site: Site) {
    let sound = handshake(site.replica(), "handshake", "", &[]);
    for version in ["8", "14", "0"] {
        let request = sound.replace("Version: 13", &format!("Version: {version}"));
        let (head, refusal) = Raw::ask(site.replica(), &request).await;
        assert_eq!(head.header("sec-websocket-version"), Some("13"), "{version}");
        refusal.expect("no upgrade").refused(400, "BAD_BINDING", version);
    }
}

/// A later client offers `chat.v2` first.
async fn a_named_subprotocol_is_no_token(site: Site) {
    let token = site.replica().account("later").await.token;
    let protocol = "Sec-WebSocket-Protocol";
    let with_token = format!("chat.v2, {token}, chat.v1");
    for (offered, answered, writes) in [
        ("chat.v2, chat.v1", "chat.v1", false),
        ("chat.v1, chat.v2", "chat.v1", false),
        (with_token.as_str(), "chat.v1", true),
    ] {
        let mut raw = Raw::connect(site.replica()).await;
        raw.write(handshake(site.replica(), "handshake", "", &[(protocol, offered)]).as_bytes())
            .await;
        let head = raw.head().await;
        assert_eq!(
            (head.status, head.header(protocol)),
            (101, Some(answered)),
            "{offered}"
        );
        assert_eq!(raw.event().await["canWrite"], writes, "{offered}");
    }
    // What it knows alone is not spoken here, and that has nothing to do with a token.
    let (_, refusal) = ask(&site, &[(protocol, "chat.v2")]).await;
    refusal
        .expect("no upgrade")
        .refused(400, "BAD_BINDING", "chat.v2 alone");
    // What has no such form is a token, and a broken one is no guest.
    for offered in ["nonsense, chat.v1", "chat.v2, nonsense, chat.v1"] {
        let (_, refusal) = ask(&site, &[(protocol, offered)]).await;
        refusal
            .expect("no upgrade")
            .refused(401, "INVALID_AUTH_TOKEN", offered);
    }
}

async fn a_credential_that_is_none_is_no_guest(site: Site) {
    let account = site.replica().account("foreign").await;
    let bearer = format!("Bearer {}", account.token);
    for more in [
        vec![("Authorization", "")],
        vec![("Authorization", "Bearer")],
        vec![("Authorization", "Bearer ")],
        vec![("Authorization", "Basic YW5uOnNlY3JldA==")],
        vec![("Authorization", account.token.as_str())],
        vec![("Authorization", bearer.as_str()), ("Authorization", "")],
        vec![
            ("Authorization", "Bearer "),
            ("Sec-WebSocket-Protocol", "chat.v1"),
        ],
    ] {
        let (_, refusal) = ask(&site, &more).await;
        refusal
            .unwrap_or_else(|| panic!("{more:?} was upgraded"))
            .refused(401, "INVALID_AUTH_TOKEN", &format!("{more:?}"));
    }
    // A proxy's own log-in beside the token that counts.
    let more = [
        ("Authorization", "Basic YW5uOnNlY3JldA=="),
        ("Sec-WebSocket-Protocol", account.token.as_str()),
    ];
    assert_eq!(ask(&site, &more).await.0.status, 101);
}

async fn sound_headers(site: Site) {
    let sound = handshake(
        site.replica(),
        "handshake",
        "",
        &[(
            "Sec-WebSocket-Extensions",
            "permessage-deflate; client_max_window_bits",
        )],
    );
    for (from, to) in [
        ("Upgrade: websocket", "upgrade: WebSocket"),
        ("Connection: Upgrade", "Connection: keep-alive, Upgrade"),
        ("Connection: Upgrade", "connection: UPGRADE"),
    ] {
        assert_eq!(
            Raw::ask(site.replica(), &sound.replace(from, to)).await.0.status,
            101,
            "{to}"
        );
    }
}

async fn first_frame_at_once(site: Site) {
    let account = site.replica().account("hasty").await;
    let bearer = format!("Bearer {}", account.token);
    for frames in 1..=3_u64 {
        let mut bytes = handshake(site.replica(), "hasty", "", &[("Authorization", &bearer)]).into_bytes();
        for _ in 0..frames {
            bytes.extend(frame(TEXT, br#"{"text": "in the same packet", "nonce": "n"}"#));
        }
        // And half a frame more.
        let rest = frame(TEXT, br#"{"text": 1}"#);
        bytes.extend(&rest[..5]);
        let mut raw = Raw::connect(site.replica()).await;
        raw.write(&bytes).await;
        assert_eq!(raw.head().await.status, 101);
        assert_eq!(raw.event().await["type"], "joined");
        for _ in 0..frames {
            assert_eq!(raw.event_of("ack").await["seq"], 1);
        }
        raw.write(&rest[5..]).await;
        assert_eq!(raw.event_of("error").await["error"]["type"], "BAD_BINDING");
    }
}

async fn looking_creates_nothing(site: Site) {
    let (mut raw, event) = Raw::join(site.replica(), "only-looked-at", None, "last=10").await;
    assert_eq!(event["seq"], 0);
    raw.alive().await;
    let history = Api::of(site.replica())
        .get("/rooms/only-looked-at/messages")
        .await
        .ok(200);
    assert_eq!(history["seq"], Value::from(0));
}
