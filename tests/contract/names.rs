//! Names of users and rooms at and over their limits.

use serde_json::{Value, json};
use testkit::Backend;

use super::http::Api;
use super::raw::{Raw, handshake};
use crate::Site;

suite!(
    names,
    [],
    [
        usernames,
        names_that_look_like_another,
        emoji_in_names,
        accounts_of_before,
        rooms_that_are_names,
        rooms_that_are_not,
        rooms_that_are_folded,
        a_room_is_read_by_the_name_that_was_returned,
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

async fn names_that_look_like_another(site: Site) {
    let api = Api::of(site.replica());
    assert_eq!(api.sign_up("Lookalike", "s").await.status, 201);
    for hidden in [
        "\u{200b}",
        "\u{ad}",
        "\u{202e}",
        "\u{200d}",
        "\u{fe0f}",
        "\u{3164}",
        "\u{2060}",
        "\u{feff}",
        "\u{e0041}",
        "\u{2028}",
    ] {
        for name in [
            format!("Look{hidden}alike"),
            format!("{hidden}Lookalike"),
            format!("Lookalike{hidden}"),
            hidden.to_owned(),
        ] {
            let answer = api.sign_up(&name, "s").await;
            answer.refused(400, "BAD_BINDING", &format!("{name:?}"));
        }
    }
    // Cyrillic о and а among Latin letters, whoever else is there.
    for name in ["Lооkalike", "Nobody else аt all"] {
        api.sign_up(name, "s").await.refused(400, "BAD_BINDING", name);
    }
    // A whole word of another script is somebody's name, unless somebody is here who looks like that.
    assert_eq!(api.sign_up("Сосо", "s").await.status, 201, "in Cyrillic");
    api.sign_up("Coco", "s")
        .await
        .refused(400, "USER_EXISTS", "in Latin");
    assert_eq!(api.login("coco", "s").await.ok(200)["user"]["username"], "Сосо");
    for (one, other) in [
        ("numbered user1", "numbered userl"),
        ("Ian of names", "Lan of names"),
    ] {
        assert_eq!(api.sign_up(one, "s").await.status, 201, "{one}");
        assert_eq!(api.sign_up(other, "s").await.status, 201, "{other}");
    }
}

async fn emoji_in_names(site: Site) {
    let api = Api::of(site.replica());
    for name in [
        "👩‍👩‍👧‍👦",
        "❤️‍🔥",
        "5️⃣",
        "🇫🇷",
        "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        "🏴󠁧󠁢󠁳󠁣󠁴󠁿",
        "👩🏽‍🚀",
        "می‌خواهم",
        "葛\u{e0100}城",
    ] {
        let user = api.sign_up(name, "s").await;
        assert_eq!(user.status, 201, "{name}: {}", user.error);
        let again = api.login(name, "s").await.ok(200);
        assert_eq!(again["user"]["username"], name);
    }
    // With a variation selector or without, it is the same heart.
    api.sign_up("❤\u{200d}🔥", "s")
        .await
        .refused(400, "USER_EXISTS", "a heart on fire");
    assert_eq!(api.login("❤\u{200d}🔥", "s").await.status, 200);
}

/// Whoever has such a name already keeps it.
async fn accounts_of_before(site: Site) {
    if !matches!(site.backend, Backend::Clustered) {
        return;
    }
    let api = Api::of(site.replica());
    let cluster = site.cluster();
    for name in ["Elder", "Other"] {
        assert_eq!(api.sign_up(name, name).await.status, 201);
    }
    // As the release before made them: without a look.
    cluster
        .sql(
            "INSERT INTO accounts (username, username_key, password_hash, created_at)
             SELECT U&'Eld\\200Ber', U&'eld\\200Ber', password_hash, 1 FROM accounts WHERE username = 'Other';
             UPDATE accounts SET skeleton = NULL WHERE username = 'Elder'",
        )
        .await;
    cluster.migrate().await;
    let of = |answer: super::http::Answer| answer.ok(200)["user"]["username"].clone();
    assert_eq!(of(api.login("Elder", "Elder").await), "Elder");
    assert_eq!(of(api.login("Eld\u{200b}er", "Other").await), "Eld\u{200b}er");
    for name in ["elder", "Еldеr", "ELDER"] {
        let answer = api.sign_up(name, "s").await;
        assert_eq!(answer.status, 400, "{name}: {answer:?}");
    }
    let left = cluster
        .sql("SELECT count(*) FROM accounts WHERE skeleton IS NULL")
        .await;
    assert_eq!(left, "0", "without a look");
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

/// `fetch` folds `%2e%2e` away; a proxy that decodes makes `b` of `a%2F..%2Fb`, and `b` of `%2Fb` where it merges slashes.
async fn rooms_that_are_folded(site: Site) {
    let api = Api::of(site.replica());
    let account = site.replica().account("folder").await;
    for name in [
        ".",
        "..",
        "a/../b",
        "./b",
        "b/.",
        "a\\..\\b",
        "/b",
        "b/",
        "%2e%2e",
        "a%2F..%2Fb",
    ] {
        let path = encoded(name.as_bytes());
        let (_, history) = Raw::ask(
            site.replica(),
            &format!("GET /api/v1/rooms/{path}/messages HTTP/1.1\r\nHost: x\r\n\r\n"),
        )
        .await;
        history.expect("no upgrade").refused(400, "BAD_ROOM", name);
        let (_, joined) = Raw::ask(site.replica(), &handshake(site.replica(), &path, "", &[])).await;
        joined.expect("no upgrade").refused(400, "BAD_ROOM", name);
    }
    for path in ["..", "."] {
        let request = format!("GET /api/v1/rooms/{path}/messages HTTP/1.1\r\nHost: x\r\n\r\n");
        let (_, history) = Raw::ask(site.replica(), &request).await;
        history.expect("no upgrade").refused(400, "BAD_ROOM", path);
    }
    for name in ["...", "a.b", "a//b", "..a", "%25"] {
        api.say(&account, &encoded(name.as_bytes()), name).await;
    }
}

async fn a_room_is_read_by_the_name_that_was_returned(site: Site) {
    let api = Api::of(site.replica());
    let account = site.replica().account("grower").await;
    // Each takes three bytes, and six in NFC.
    let (fits, grows) = ("\u{fb2c}".repeat(21), "\u{fb2c}".repeat(22));
    let message = api.say(&account, &encoded(fits.as_bytes()), "here").await;
    let returned = message["room"].as_str().expect("a name").to_owned();
    assert_ne!(returned, fits);
    let history = api
        .get(&format!("/rooms/{}/messages", encoded(returned.as_bytes())))
        .await
        .ok(200);
    assert_eq!(history["messages"], json!([message]));
    api.get(&format!("/rooms/{}/messages", encoded(grows.as_bytes())))
        .await
        .refused(400, "BAD_ROOM", "132 bytes in NFC");
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
