//! Tokens that are not valid, on each route that needs one.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use testkit::Backend;

use super::http::{Api, answer};
use super::jwt;
use super::raw::{Raw, handshake};
use crate::{SECRET, Site};

suite!(
    tokens,
    [],
    [
        forged,
        of_a_deleted_user,
        not_in_a_url,
        sound_of_our_own,
        the_accounts_name_counts,
        expiry,
        odd_headers
    ]
);

/// The token is refused over HTTP, and over WebSocket by header and by subprotocol.
async fn refused(site: &Site, token: &str, about: &str) {
    let api = Api::of(site.replica());
    api.me(token).await.refused(401, "INVALID_AUTH_TOKEN", about);
    let request = api
        .request("POST", "/rooms/tokens/messages")
        .bearer_auth(token)
        .json(&json!({"text": "x"}));
    answer(request).await.refused(401, "INVALID_AUTH_TOKEN", about);
    let (bearer, both) = (format!("Bearer {token}"), format!("{token}, chat.v1"));
    for header in [
        ("Authorization", bearer.as_str()),
        ("Sec-WebSocket-Protocol", token),
        ("Sec-WebSocket-Protocol", &both),
    ] {
        if header.0 == "Sec-WebSocket-Protocol" && token.is_empty() {
            continue;
        }
        let (_, refusal) = Raw::ask(
            site.replica(),
            &handshake(site.replica(), "tokens", "", &[header]),
        )
        .await;
        refusal
            .unwrap_or_else(|| panic!("{about}: upgraded by {header:?}"))
            .refused(401, "INVALID_AUTH_TOKEN", about);
    }
    // Where none is needed it is ignored.
    answer(api.request("GET", "/rooms/tokens/messages").bearer_auth(token))
        .await
        .ok(200);
    answer(
        api.request("POST", "/login")
            .bearer_auth(token)
            .json(&json!({"username": "nobody here", "secret": "x"})),
    )
    .await
    .refused(400, "USER_NOT_FOUND", about);
}

fn now() -> i64 {
    i64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs(),
    )
    .expect("small")
}

fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    claims[name] = value;
    claims
}

fn without(claims: &Value, name: &str) -> Value {
    let mut claims = claims.clone();
    claims.as_object_mut().expect("claims").remove(name);
    claims
}

async fn forged(site: Site) {
    let account = site.replica().account("forger").await;
    let (claims, secret) = (jwt::claims(&account.token), SECRET);
    let parts: Vec<_> = account.token.split('.').collect();
    let past = with(
        &with(&claims, "exp", json!(now() - 120)),
        "iat",
        json!(now() - 240),
    );
    for (about, token) in [
        ("expired", jwt::sign(&past, secret)),
        ("without exp", jwt::sign(&without(&claims, "exp"), secret)),
        ("without sub", jwt::sign(&without(&claims, "sub"), secret)),
        (
            "exp is text",
            jwt::sign(&with(&claims, "exp", json!("tomorrow")), secret),
        ),
        (
            "another issuer",
            jwt::sign(&with(&claims, "iss", json!("somebody")), secret),
        ),
        ("no issuer", jwt::sign(&without(&claims, "iss"), secret)),
        (
            "a sub of nobody",
            jwt::sign(&with(&claims, "sub", json!("999999999")), secret),
        ),
        (
            "a sub that is no id",
            jwt::sign(&with(&claims, "sub", json!("1 OR 1=1")), secret),
        ),
        (
            "another key",
            jwt::sign(&claims, "another key, as long as it must be: 0123456789"),
        ),
        ("an empty key", jwt::sign(&claims, "")),
        ("unsigned", jwt::unsigned(&claims)),
        (
            "unsigned, of admin",
            jwt::unsigned(&with(&claims, "username", json!("admin"))),
        ),
        (
            "HS512 with our key",
            jwt::sign_with(Algorithm::HS512, &claims, secret),
        ),
        ("without its signature", format!("{}.{}.", parts[0], parts[1])),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        (
            "another signature",
            format!("{}.{}.{}", parts[0], parts[1], "A".repeat(parts[2].len())),
        ),
        (
            "others' claims",
            format!(
                "{}.{}.{}",
                parts[0],
                jwt::unsigned(&past).split('.').nth(1).expect("claims"),
                parts[2]
            ),
        ),
        ("no token at all", "nonsense".to_owned()),
        ("dots", "..".to_owned()),
        ("long", "a".repeat(4000)),
    ] {
        refused(&site, &token, about).await;
    }
}

async fn sound_of_our_own(site: Site) {
    // That the above are refused says nothing unless one signed here is taken.
    let api = Api::of(site.replica());
    let account = site.replica().account("signer").await;
    let token = jwt::sign(
        &with(&jwt::claims(&account.token), "exp", json!(now() + 60)),
        SECRET,
    );
    assert_eq!(
        api.me(&token).await.ok(200)["username"],
        account.username.as_str()
    );
}

async fn the_accounts_name_counts(site: Site) {
    let (replica, api) = (site.replica(), Api::of(site.replica()));
    let account = replica.account("Genuine").await;
    let claims = jwt::claims(&account.token);
    for (about, claims) in [
        ("another's", with(&claims, "username", json!("admin"))),
        (
            "one that no account can have",
            with(&claims, "username", json!("An\u{200b}n\n")),
        ),
        ("long", with(&claims, "username", json!("x".repeat(3000)))),
        ("empty", with(&claims, "username", json!(""))),
        ("no text", with(&claims, "username", json!(["admin"]))),
        ("none", without(&claims, "username")),
    ] {
        let token = jwt::sign(&claims, SECRET);
        let genuine = json!({"id": account.id, "username": "Genuine"});
        assert_eq!(api.me(&token).await.ok(200), genuine, "{about}");
        let request = api
            .request("POST", "/rooms/genuine/messages")
            .bearer_auth(&token)
            .json(&json!({"text": about}));
        assert_eq!(answer(request).await.ok(201)["sender"], genuine, "{about}");
        let (mut session, joined) = Raw::join(replica, "genuine", Some(&token), "").await;
        assert_eq!(joined["user"], genuine, "{about}");
        session.say(&json!({"text": about})).await;
        assert_eq!(session.event_of("message").await["sender"], genuine, "{about}");
    }
}

async fn expiry(site: Site) {
    let account = site.replica().account("mortal").await;
    let claims = jwt::claims(&account.token);
    let expiring = |exp: Value| jwt::sign(&with(&claims, "exp", exp), SECRET);
    for (about, exp) in [
        ("the largest", json!(u64::MAX)),
        ("in 300 years", json!(now() + 300 * 31_557_600)),
        ("as large as a float", json!(1e300)),
        ("a fraction", json!(1e10 + 0.5)),
        ("negative", json!(-1)),
        (
            "beyond u64",
            serde_json::from_str("99999999999999999999999").expect("a number"),
        ),
        ("a list", json!([now() + 60])),
        ("null", Value::Null),
    ] {
        refused(&site, &expiring(exp), about).await;
    }
    // This second is its last: it is dead as it begins, whatever is left of it.
    let answer = Api::of(site.replica()).me(&expiring(json!(now()))).await;
    answer.refused(401, "INVALID_AUTH_TOKEN", "at its very second");
}

async fn of_a_deleted_user(site: Site) {
    // The embedded database is the replica's alone.
    if !matches!(site.backend, Backend::Clustered) {
        return;
    }
    let account = site.replica().account("doomed").await;
    site.cluster()
        .sql(&format!("DELETE FROM accounts WHERE id = {}", account.id))
        .await;
    refused(&site, &account.token, "of a deleted user").await;
}

async fn not_in_a_url(site: Site) {
    let api = Api::of(site.replica());
    let token = site.replica().account("url").await.token;
    for name in ["token", "access_token", "jwt", "authorization"] {
        api.get(&format!("/users/me?{name}={token}"))
            .await
            .refused(401, "INVALID_AUTH_TOKEN", name);
        let (_raw, joined) = Raw::join(site.replica(), "url", None, &format!("{name}={token}")).await;
        assert_eq!(joined["user"], Value::Null, "{name}");
    }
}

async fn odd_headers(site: Site) {
    let api = Api::of(site.replica());
    let token = site.replica().account("odd").await.token;
    for header in [
        "",
        "Bearer",
        "Bearer ",
        &token,
        &format!("Basic {token}"),
        &format!("Bearer {token} {token}"),
        &format!("Bearer{token}"),
    ] {
        let request = api.request("GET", "/users/me").header("Authorization", header);
        answer(request).await.refused(401, "INVALID_AUTH_TOKEN", header);
    }
}
