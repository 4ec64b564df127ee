//! Names of users and rooms at and over their limits.

use serde_json::{Value, json};

use super::http::Api;
use super::raw::{Raw, handshake};
use crate::Site;

suite!(
    names,
    [],
    [
        usernames,
        rooms_that_are_names,
        rooms_that_are_not,
        one_room_however_composed
    ]
);

async fn usernames(site: Site) {
    let api = Api::of(site.replica());
    for name in [
        "a".repeat(64),
        "字".repeat(64),
        "𠮷".repeat(64),
        "x".into(),
        "🦀".into(),
        "O'Hara; DROP TABLE".into(),
    ] {
        let user = api.sign_up(&name, "s").await;
        assert_eq!(user.status, 201, "{name}: {}", user.error);
        assert_eq!(user.data["username"], name.as_str());
    }
    for name in ["a".repeat(65), "字".repeat(65), "a".repeat(10_000)] {
        api.sign_up(&name, "s")
            .await
            .refused(400, "BAD_BINDING", "a long name");
        api.login(&name, "s")
            .await
            .refused(400, "BAD_BINDING", "a long name");
    }
    for name in [
        "",
        " ",
        "\u{3000}\u{a0}",
        "a\0b",
        "a\nb",
        "\u{7}",
        "a\u{7f}",
        "a\u{85}b",
        "a\tb",
    ] {
        api.sign_up(name, "s")
            .await
            .refused(400, "BAD_BINDING", &format!("{name:?}"));
        api.login(name, "s")
            .await
            .refused(400, "BAD_BINDING", &format!("{name:?}"));
    }
    // One character that normalises to 18: whatever is answered, it is an answer of the contract.
    let ligatures = api.sign_up(&"\u{fdfa}".repeat(64), "s").await;
    assert!(
        ligatures.status == 201 || ligatures.error["type"] == "BAD_BINDING",
        "{ligatures:?}"
    );
    // Right to left and left to right in one name (RFC 8266 has no bidi rule).
    let mixed = api.sign_up("שלום abc", "s").await;
    assert!(
        mixed.status == 201 || mixed.error["type"] == "BAD_BINDING",
        "{mixed:?}"
    );
}

/// A room's name in a path, every byte of it encoded.
fn encoded(name: &[u8]) -> String {
    name.iter().map(|byte| format!("%{byte:02X}")).collect()
}

async fn rooms_that_are_names(site: Site) {
    let api = Api::of(site.replica());
    let account = site.replica().account("roomer").await;
    let (longest, wide) = ("r".repeat(128), "字".repeat(42));
    for name in [
        &longest,
        &wide,
        "a",
        " ",
        "a/b",
        "a+b",
        "100%",
        "?&#",
        "🦀",
        "\"<script>\"",
        "Case",
        "case",
        "é",
    ] {
        let path = encoded(name.as_bytes());
        let message = api.say(&account, &path, "hello").await;
        assert_eq!(
            (&message["room"], &message["seq"]),
            (&json!(name), &json!(1)),
            "{name:?} is a room of its own"
        );
        let history = api.get(&format!("/rooms/{path}/messages")).await.ok(200);
        assert_eq!(history["messages"], json!([message]));
        let (_raw, joined) = Raw::join(site.replica(), &path, None, "").await;
        assert_eq!((&joined["room"], &joined["seq"]), (&json!(name), &json!(1)));
    }
    let plus = api.get("/rooms/a+b/messages").await.ok(200);
    assert_eq!(plus["seq"], 1, "a plus is a plus in a path");
}

async fn rooms_that_are_not(site: Site) {
    let api = Api::of(site.replica());
    let account = site.replica().account("no-room").await;
    let (long, wide) = ("r".repeat(129), "字".repeat(43));
    let control = ["a\0", "a\n", "\u{7f}", "\u{85}", "\r\n"].map(str::as_bytes);
    let bytes: [&[u8]; 5] = [
        long.as_bytes(),
        wide.as_bytes(),
        b"\xff",
        b"a\xc3",
        b"\xed\xa0\x80",
    ];
    for name in control.into_iter().chain(bytes) {
        let path = encoded(name);
        let about = format!("{:?}", String::from_utf8_lossy(name));
        api.get(&format!("/rooms/{path}/messages"))
            .await
            .refused(400, "BAD_ROOM", &about);
        let body = json!({"text": "hello"});
        api.post_as(&account, &format!("/rooms/{path}/messages"), &body)
            .await
            .refused(400, "BAD_ROOM", &about);
        let (_, refusal) = Raw::ask(site.replica(), &handshake(site.replica(), &path, "", &[])).await;
        refusal.expect("no upgrade").refused(400, "BAD_ROOM", &about);
    }
}

async fn one_room_however_composed(site: Site) {
    let api = Api::of(site.replica());
    let account = site.replica().account("composer").await;
    let (composed, decomposed) = ("caf\u{e9}\u{1e69}", "cafe\u{301}s\u{307}\u{323}");
    let first = api.say(&account, &encoded(composed.as_bytes()), "one").await;
    let second = api.say(&account, &encoded(decomposed.as_bytes()), "two").await;
    assert_eq!((&first["seq"], &second["seq"]), (&json!(1), &json!(2)));
    assert_eq!(second["room"], composed, "shown in NFC");
    let (mut raw, joined) = Raw::join(site.replica(), &encoded(decomposed.as_bytes()), None, "last=2").await;
    assert_eq!(joined["room"], composed);
    let texts: [Value; 2] = [raw.event().await["text"].take(), raw.event().await["text"].take()];
    assert_eq!(texts, ["one", "two"]);
}
