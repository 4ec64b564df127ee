//! POST /users, POST /login, GET /users/me.

use serde_json::json;

use super::http::{Api, answer};
use super::jwt;
use crate::Site;

suite!(
    accounts,
    [],
    [
        signs_up,
        logs_in,
        tells_who_is_asking,
        one_spelling_of_a_name,
        two_at_once,
        secrets
    ]
);

async fn signs_up(site: Site) {
    let api = Api::of(site.replica());
    let user = api.sign_up("Ann Smith", "correct horse").await.ok(201);
    assert!(user["id"].as_i64().is_some_and(|id| id > 0), "{user}");
    assert_eq!(
        user,
        json!({"id": user["id"], "username": "Ann Smith"}),
        "these keys and no others"
    );
    let other = api.sign_up("Ann Smythe", "correct horse").await.ok(201);
    assert_ne!(user["id"], other["id"]);
    api.sign_up("Ann Smith", "another secret")
        .await
        .refused(400, "USER_EXISTS", "the same name");
    // Fields that we don't know are ignored.
    let body = json!({"username": "Ann Unknown", "secret": "s", "admin": true, "id": 1, "more": {"a": [1]}});
    api.post("/users", &body).await.ok(201);
}

async fn logs_in(site: Site) {
    let api = Api::of(site.replica());
    let user = api.sign_up("Login Lou", "correct horse").await.ok(201);
    let login = api.login("login lou", "correct horse").await.ok(200);
    assert_eq!(
        login,
        json!({"token": login["token"], "user": user}),
        "these keys and no others"
    );

    let token = login["token"].as_str().expect("a token");
    let claims = jwt::claims(token);
    assert_eq!(jwt::header(token)["alg"], "HS256");
    assert_eq!(claims["username"], "Login Lou");
    for claim in ["sub", "iss", "jti"] {
        assert!(
            claims[claim].as_str().is_some_and(|value| !value.is_empty()),
            "{claim} of {claims}"
        );
    }
    let (issued, expires) = (
        claims["iat"].as_i64().expect("iat"),
        claims["exp"].as_i64().expect("exp"),
    );
    assert_eq!(expires - issued, 86_400, "24 hours by default");
    let again = api.login("Login Lou", "correct horse").await.ok(200);
    assert_ne!(
        claims["jti"],
        jwt::claims(again["token"].as_str().expect("a token"))["jti"]
    );

    api.login("Login Lou", "Correct horse")
        .await
        .refused(401, "PASSWORD_MATCH_FAILED", "another secret");
    api.login("Nobody at all", "correct horse")
        .await
        .refused(400, "USER_NOT_FOUND", "an unknown name");
    // A secret that nobody can have does not match.
    api.login("Login Lou", "")
        .await
        .refused(401, "PASSWORD_MATCH_FAILED", "an empty secret");
    api.login("Login Lou", &"x".repeat(1025))
        .await
        .refused(401, "PASSWORD_MATCH_FAILED", "a long secret");
}

async fn tells_who_is_asking(site: Site) {
    let api = Api::of(site.replica());
    let account = site.replica().account("who").await;
    let me = api.me(&account.token).await.ok(200);
    assert_eq!(me, json!({"id": account.id, "username": account.username}));
    // The scheme's name is not case-sensitive (RFC 9110).
    let request = api
        .request("GET", "/users/me")
        .header("Authorization", format!("bearer {}", account.token));
    answer(request).await.ok(200);
    api.get("/users/me")
        .await
        .refused(401, "INVALID_AUTH_TOKEN", "no token");
}

async fn one_spelling_of_a_name(site: Site) {
    let api = Api::of(site.replica());
    for (name, same) in [
        (
            "Zoë Zebra",
            vec![
                "zoë zebra",
                "ZOË ZEBRA",
                "Zoe\u{308} Zebra",
                "  Zoë   Zebra ",
                "Ｚｏë　Ｚｅｂｒａ",
            ],
        ),
        ("Ångström", vec!["a\u{30a}ngstro\u{308}m", "\u{212b}ngström"]),
        ("ﬁsh", vec!["fish", "FISH", "ｆｉｓｈ"]),
        ("Σίσυφος", vec!["ΣΊΣΥΦΟΣ"]),
    ] {
        let user = api.sign_up(name, "correct horse").await.ok(201);
        assert_eq!(user["username"], name, "shown as typed");
        for spelling in same {
            api.sign_up(spelling, "s")
                .await
                .refused(400, "USER_EXISTS", spelling);
            let login = api.login(spelling, "correct horse").await;
            assert_eq!(login.ok(200)["user"], user, "{spelling} logs in");
        }
    }
}

async fn two_at_once(site: Site) {
    let spellings = ["Twin", "twin", "TWIN", "ｔｗｉｎ", " twin "];
    let tries = spellings.map(|name| {
        let api = Api::of(site.replica());
        async move { api.sign_up(name, "s").await }
    });
    let answers = futures_util::future::join_all(tries).await;
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 201).count(),
        1,
        "one wins: {answers:?}"
    );
    for lost in answers.iter().filter(|answer| answer.status != 201) {
        lost.refused(400, "USER_EXISTS", "the others are told so");
    }
}

async fn secrets(site: Site) {
    let api = Api::of(site.replica());
    let longest = "é".repeat(512);
    for (name, secret) in [
        ("secret one", "x"),
        ("secret long", &longest),
        ("secret nul", "a\0b"),
        ("secret space", " "),
    ] {
        api.sign_up(name, secret).await.ok(201);
        api.login(name, secret).await.ok(200);
    }
    api.login("secret nul", "a")
        .await
        .refused(401, "PASSWORD_MATCH_FAILED", "not cut at NUL");
    api.login("secret space", "")
        .await
        .refused(401, "PASSWORD_MATCH_FAILED", "not trimmed");
    api.sign_up("secret none", "")
        .await
        .refused(400, "BAD_PASSWORD", "empty");
    api.sign_up("secret over", &format!("{longest}x"))
        .await
        .refused(400, "BAD_PASSWORD", "1,025 bytes");
}
