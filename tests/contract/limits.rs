//! What a client may do how often, and what tells it so.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::http::{Api, answer};
use super::raw::{PATIENCE, Raw, handshake};
use crate::Site;

suite!(
    message_rate,
    [("LIMIT_MESSAGES_PER_SECOND", "2")],
    [too_fast, each_session_has_its_own, too_fast_over_http]
);
suite!(
    login_rate,
    [
        ("LIMIT_LOGINS_PER_MINUTE", "3"),
        ("TRUSTED_PROXIES", "10.0.0.0/8")
    ],
    [logins]
);
suite!(signup_rate, [("LIMIT_SIGNUPS_PER_MINUTE", "3")], [sign_ups]);
suite!(
    proxied_rate,
    [
        ("LIMIT_LOGINS_PER_MINUTE", "2"),
        ("TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8")
    ],
    [by_forwarded_address]
);
suite!(request_rate, [("LIMIT_REQUESTS_PER_SECOND", "2")], [requests]);
suite!(
    user_sessions,
    [("LIMIT_SESSIONS_PER_USER", "2")],
    [sessions_of_a_user]
);
suite!(
    address_sessions,
    [("LIMIT_SESSIONS_PER_ADDRESS", "3")],
    [sessions_of_an_address]
);
suite!(
    token_life,
    [("TOKEN_TTL_SECONDS", "2")],
    [token_expires_within_a_session]
);
suite!(
    sizes,
    [
        ("PASSWORD_MIN_BYTES", "8"),
        ("MESSAGE_MAX_BYTES", "10"),
        ("HIDE_UNKNOWN_USERS", "true")
    ],
    [passwords, messages, unknown_users]
);
suite!(
    password_pool,
    [("PASSWORD_WORKERS", "1"), ("PASSWORD_QUEUE", "1")],
    [overloaded]
);

async fn too_fast(site: Site) {
    let account = site.replica().account("fast").await;
    let (mut raw, _) = Raw::join(site.replica(), "fast", Some(&account.token), "").await;
    // Two seconds' worth at once, and one more.
    let begun = Instant::now();
    for n in 0..5 {
        raw.say(&json!({"text": n.to_string(), "nonce": n.to_string()}))
            .await;
    }
    loop {
        let event = raw.event().await;
        assert_ne!(event["type"], "error", "it is slowed down, not refused");
        if event["type"] == "ack" && event["nonce"] == "4" {
            break;
        }
    }
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(300), "taken after {took:?}");
    let history = Api::of(site.replica()).get("/rooms/fast/messages").await.ok(200);
    assert_eq!(history["seq"], 5);
}

async fn each_session_has_its_own(site: Site) {
    let account = site.replica().account("several").await;
    for n in 0..5 {
        let (mut raw, _) = Raw::join(site.replica(), "several", Some(&account.token), "").await;
        for _ in 0..3 {
            raw.say(&json!({"text": n.to_string(), "nonce": format!("{n}")}))
                .await;
            raw.event_of("ack").await;
        }
    }
}

async fn too_fast_over_http(site: Site) {
    let api = Api::of(site.replica());
    let account = site.replica().account("poster").await;
    let mut refused = 0;
    for n in 0..20 {
        let answer = api
            .post_as(
                &account,
                "/rooms/poster/messages",
                &json!({"text": n.to_string()}),
            )
            .await;
        if answer.status != 201 {
            answer.refused(429, "RATE_LIMITED", "a message over HTTP");
            refused += 1;
        }
    }
    assert!(refused >= 10, "2 a second, and 20 were tried: {refused} refused");
}

async fn logins(site: Site) {
    let api = Api::of(site.replica());
    let mut answers = Vec::new();
    for n in 0..8 {
        // Who is no trusted proxy is not believed, so another name of the client's address does not help.
        let request = api
            .request("POST", "/login")
            .header("X-Forwarded-For", format!("192.0.2.{n}"));
        answers.push(answer(request.json(&json!({"username": "nobody", "secret": "x"}))).await);
    }
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(
        refused.len() >= 4,
        "3 a minute, and 8 were tried: {} refused",
        refused.len()
    );
    for answer in refused {
        answer.refused(429, "RATE_LIMITED", "a login");
    }
    answers[0].refused(400, "USER_NOT_FOUND", "the first is answered");
    api.sign_up("somebody else", "x").await.ok(201);
}

async fn sign_ups(site: Site) {
    let api = Api::of(site.replica());
    let mut refused = 0;
    for n in 0..8 {
        let answer = api.sign_up(&format!("signer {n}"), "x").await;
        if answer.status != 201 {
            answer.refused(429, "RATE_LIMITED", "a sign-up");
            refused += 1;
        }
    }
    assert!(
        (4..=5).contains(&refused),
        "3 a minute, and 8 were tried: {refused} refused"
    );
    api.login("signer 0", "x").await.ok(200);
}

async fn by_forwarded_address(site: Site) {
    let api = Api::of(site.replica());
    let login = async |forwarded: &str| {
        let request = api.request("POST", "/login").header("X-Forwarded-For", forwarded);
        answer(request.json(&json!({"username": "nobody", "secret": "x"})))
            .await
            .status
    };
    for n in 1..6 {
        assert_eq!(login(&format!("192.0.2.{n}")).await, 400, "an address of its own");
    }
    // The last address that no trusted proxy wrote counts; what stands before it is the client's own invention.
    let mut last = Vec::new();
    for n in 1..6 {
        last.push(login(&format!("203.0.113.{n}, 198.51.100.7, 10.0.0.1")).await);
    }
    assert_eq!(last[0], 400);
    assert!(last.contains(&429), "{last:?}");
    for odd in [
        "",
        "nonsense",
        ",,,",
        "1.2.3.4.5",
        "unknown",
        &"1.1.1.1,".repeat(1000),
    ] {
        let status = login(odd).await;
        assert!([400, 429].contains(&status), "{odd:.20}: {status}");
    }
}

async fn requests(site: Site) {
    let api = Api::of(site.replica());
    let mut refused = 0;
    for _ in 0..30 {
        let answer = api.get("/rooms/requests/messages").await;
        if answer.status != 200 {
            answer.refused(429, "RATE_LIMITED", "a request");
            refused += 1;
        }
    }
    assert!(refused >= 15, "2 a second, and 30 were tried: {refused} refused");
}

/// Opens a session; the code that it is closed with at once, if it is.
async fn try_session(site: &Site, room: &str, token: Option<&str>) -> Result<Raw, u16> {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let more: Vec<_> = bearer
        .iter()
        .map(|bearer| ("Authorization", bearer.as_str()))
        .collect();
    let mut raw = Raw::connect(site.replica()).await;
    raw.write(handshake(site.replica(), room, "", &more).as_bytes())
        .await;
    assert_eq!(raw.head().await.status, 101, "upgraded, to be told why");
    raw.joined_or_closed().await.map(|_: Value| raw)
}

/// As long as the place of a session that has gone is not free.
async fn until_free(site: &Site, room: &str, token: Option<&str>) -> Raw {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match try_session(site, room, token).await {
            Ok(raw) => return raw,
            Err(code) => assert!(code == 1013 && Instant::now() < deadline, "{code}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn sessions_of_a_user(site: Site) {
    let (ann, bob) = (
        site.replica().account("many-a").await,
        site.replica().account("many-b").await,
    );
    let mut open = Vec::new();
    for n in 0..2 {
        open.push(
            try_session(&site, &format!("many-{n}"), Some(&ann.token))
                .await
                .expect("within the limit"),
        );
    }
    assert_eq!(
        try_session(&site, "many", Some(&ann.token)).await.err(),
        Some(1013)
    );
    let mut others = vec![
        try_session(&site, "many", Some(&bob.token))
            .await
            .expect("another user"),
    ];
    others.push(try_session(&site, "many", None).await.expect("nobody"));
    open[1].alive().await;
    open.pop();
    until_free(&site, "many", Some(&ann.token)).await.alive().await;
}

async fn sessions_of_an_address(site: Site) {
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(
            try_session(&site, "address", None)
                .await
                .expect("within the limit"),
        );
    }
    for _ in 0..5 {
        assert_eq!(try_session(&site, "address", None).await.err(), Some(1013));
    }
    for raw in &mut open {
        raw.alive().await;
    }
    open.pop();
    until_free(&site, "address", None).await.alive().await;
}

async fn token_expires_within_a_session(site: Site) {
    let account = site.replica().account("brief").await;
    let begun = Instant::now();
    let (mut raw, _) = Raw::join(site.replica(), "brief", Some(&account.token), "").await;
    let (mut anonymous, _) = Raw::join(site.replica(), "brief", None, "").await;
    assert_eq!(raw.closed().await, 4401);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let api = Api::of(site.replica());
    // A leeway for clocks is fine, a long one is not.
    let deadline = Instant::now() + PATIENCE;
    while api.me(&account.token).await.status == 200 {
        assert!(Instant::now() < deadline, "the token is expired");
        sleep(Duration::from_millis(100)).await;
    }
    api.me(&account.token)
        .await
        .refused(401, "INVALID_AUTH_TOKEN", "expired");
    anonymous.alive().await;
}

async fn passwords(site: Site) {
    let api = Api::of(site.replica());
    api.sign_up("short", "1234567")
        .await
        .refused(400, "BAD_PASSWORD", "7 bytes");
    api.sign_up("enough", "12345678").await.ok(201);
    api.sign_up("in bytes", "éééé").await.ok(201);
    api.login("enough", "1")
        .await
        .refused(401, "PASSWORD_MATCH_FAILED", "a short one does not match");
}

async fn messages(site: Site) {
    let api = Api::of(site.replica());
    api.sign_up("sizer", "12345678").await.ok(201);
    let token = api.login("sizer", "12345678").await.ok(200)["token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let publish = async |text: &str| {
        let request = api.request("POST", "/rooms/sizes/messages").bearer_auth(&token);
        answer(request.json(&json!({"text": text}))).await
    };
    publish("1234567890").await.ok(201);
    publish("12345678901").await.refused(413, "TOO_LARGE", "11 bytes");
    let (mut raw, _) = Raw::join(site.replica(), "sizes", Some(&token), "").await;
    raw.say(&json!({"text": "12345678901"})).await;
    assert_eq!(raw.event().await["error"]["type"], "TEXT_TOO_LONG");
}

async fn unknown_users(site: Site) {
    let api = Api::of(site.replica());
    api.sign_up("known", "12345678").await.ok(201);
    // The fastest of several, taken in turn: what else the machine does only ever adds to it. On a busy one it takes
    // more of them; a server that hashes for the known alone stays ten times apart however many there are.
    let mut fastest = [f64::MAX; 2];
    let alike = |[known, unknown]: [f64; 2]| (0.4..2.5).contains(&(known / unknown));
    for round in 0..60 {
        for (name, fastest) in ["known", "unknown"].into_iter().zip(&mut fastest) {
            let begun = Instant::now();
            let answer = api.login(name, "87654321").await;
            answer.refused(401, "PASSWORD_MATCH_FAILED", name);
            *fastest = fastest.min(begun.elapsed().as_secs_f64());
        }
        if round >= 5 && alike(fastest) {
            return;
        }
    }
    panic!("a known and an unknown name take {fastest:?} s");
}

async fn overloaded(site: Site) {
    let api = Api::of(site.replica());
    api.sign_up("queued", "x").await.ok(201);
    let burst = futures_util::future::join_all((0..30).map(|_| api.login("queued", "x")));
    let others = async {
        // Meanwhile everything else is as fast as ever.
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let begun = Instant::now();
            api.get("/rooms/queued/messages").await.ok(200);
            assert_eq!(site.replica().ops_status("/readyz").await, Some(200));
            slowest = slowest.max(begun.elapsed());
            sleep(Duration::from_millis(5)).await;
        }
        slowest
    };
    let (answers, slowest) = futures_util::future::join(burst, others).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(
        !refused.is_empty() && refused.len() < 30,
        "{} of 30 refused",
        refused.len()
    );
    for answer in refused {
        answer.refused(503, "OVERLOADED", "a login");
    }
    assert!(
        slowest < Duration::from_secs(1),
        "another request took {slowest:?}"
    );
    api.login("queued", "x").await.ok(200);
}
