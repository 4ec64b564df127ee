//! The upgrade: subprotocols, origins, headers.

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
        origins,
        wrong_headers,
        sound_headers,
        first_frame_at_once,
        looking_creates_nothing
    ]
);
suite!(
    listed_origins,
    [("ALLOWED_ORIGINS", "https://chat.example, http://localhost:3000")],
    [listed]
);

async fn ask(site: &Site, more: &[(&str, &str)]) -> (Head, Option<Answer>) {
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

async fn origins(site: Site) {
    let own = site.replica().base_url();
    let host = own.replace("http://", "");
    for origin in [own.clone(), format!("http://{}", host.to_uppercase())] {
        assert_eq!(ask(&site, &[("Origin", &origin)]).await.0.status, 101, "{origin}");
    }
    for origin in [
        "https://elsewhere.example",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        &format!("http://{host}.evil.example"),
        &format!("http://evil.example/{host}"),
        &format!("http://{host}@evil.example"),
        "null",
        "",
        "nonsense",
        "file://",
        "https://chat.example",
    ] {
        let (_, refusal) = ask(&site, &[("Origin", origin)]).await;
        refusal
            .unwrap_or_else(|| panic!("{origin:?} was upgraded"))
            .refused(403, "BAD_ORIGIN", origin);
    }
    // A page elsewhere gets nothing with a good token, either.
    let token = site.replica().account("origin").await.token;
    let (_, refusal) = ask(
        &site,
        &[
            ("Origin", "https://elsewhere.example"),
            ("Sec-WebSocket-Protocol", &token),
        ],
    )
    .await;
    refusal
        .expect("no upgrade")
        .refused(403, "BAD_ORIGIN", "with a token");
}

async fn listed(site: Site) {
    for origin in [
        "https://chat.example",
        "http://localhost:3000",
        &site.replica().base_url(),
    ] {
        assert_eq!(ask(&site, &[("Origin", origin)]).await.0.status, 101, "{origin}");
    }
    for origin in [
        "http://chat.example",
        "https://chat.example:8443",
        "https://a.chat.example",
        "https://chat.example.evil",
        "null",
    ] {
        let (_, refusal) = ask(&site, &[("Origin", origin)]).await;
        refusal
            .unwrap_or_else(|| panic!("{origin} was upgraded"))
            .refused(403, "BAD_ORIGIN", origin);
    }
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
