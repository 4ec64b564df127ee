//! Which pages may connect, and by which host.

use super::handshake::ask;
use super::http::{Api, answer};
use super::raw::Raw;
use crate::Site;

suite!(own, [], [origins, a_page_learns_why]);
suite!(
    listed_origins,
    [(
        "ALLOWED_ORIGINS",
        "HTTPS://Chat.Example:443/, http://localhost:3000,, "
    )],
    [listed, what_a_listed_page_may]
);
suite!(
    behind_a_proxy,
    [("TRUSTED_PROXIES", "127.0.0.1, ")],
    [origin_of_a_forwarded_host]
);
suite!(
    beside_a_proxy,
    [("TRUSTED_PROXIES", "")],
    [a_stranger_forwards_nothing]
);
suite!(
    named_hosts,
    [
        ("TRUSTED_PROXIES", "127.0.0.1"),
        ("ALLOWED_HOSTS", "Chat.example,*.chat.example:8443,")
    ],
    [hosts]
);

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

/// Browsers do not tell a page why its WebSocket was refused; it asks with OPTIONS, which has its origin.
async fn a_page_learns_why(site: Site) {
    let path = "/rooms/handshake/messages/ws";
    let api = Api::of(site.replica());
    let asked = |origin: &str| api.request("OPTIONS", path).header("Origin", origin).send();
    let own = site.replica().base_url();
    assert_eq!(asked(&own).await.expect("an answer").status(), 204);
    let request = api
        .request("OPTIONS", path)
        .header("Origin", "https://chat.example:8443");
    let refusal = answer(request).await;
    refusal.refused(403, "BAD_ORIGIN", "another origin");
    let message = refusal.error["message"].as_str().expect("a message");
    let host = own.replace("http://", "");
    for word in [
        "https://chat.example:8443",
        host.as_str(),
        "ALLOWED_ORIGINS",
        "X-Forwarded-Host",
    ] {
        assert!(message.contains(word), "{message}");
    }
}

async fn what_a_listed_page_may(site: Site) {
    let api = Api::of(site.replica());
    let preflight = api
        .request("OPTIONS", "/rooms/a/messages")
        .header("Origin", "https://chat.example")
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "traceparent");
    let answer = preflight.send().await.expect("an answer");
    assert_eq!(answer.status(), 204);
    let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
    for name in ["authorization", "content-type", "traceparent"] {
        assert!(header("access-control-allow-headers").contains(name), "{name}");
    }
    assert!(header("access-control-max-age").parse::<u32>().is_ok());
    assert!(header("access-control-expose-headers").eq_ignore_ascii_case("retry-after"));
}

async fn origin_of_a_forwarded_host(site: Site) {
    for (said, value) in [
        ("X-Forwarded-Host", "chat.example:8443"),
        ("X-Forwarded-Host", "chat.example:8443, inner:80"),
        (
            "Forwarded",
            "for=198.51.100.7;host=\"chat.example:8443\";proto=https",
        ),
    ] {
        let more = [("Origin", "https://chat.example:8443"), (said, value)];
        assert_eq!(ask(&site, &more).await.0.status, 101, "{said}: {value}");
        let more = [("Origin", "https://elsewhere.example"), (said, value)];
        let (_, refusal) = ask(&site, &more).await;
        refusal.expect("no upgrade").refused(403, "BAD_ORIGIN", value);
    }
}

async fn a_stranger_forwards_nothing(site: Site) {
    let more = [
        ("Origin", "https://chat.example"),
        ("X-Forwarded-Host", "chat.example"),
    ];
    let (_, refusal) = ask(&site, &more).await;
    refusal
        .expect("no upgrade")
        .refused(403, "BAD_ORIGIN", "from nobody's proxy");
}

/// DNS rebinding: a page of evil.example, which now points here, has the origin of the host that it asks.
async fn hosts(site: Site) {
    let own = site.replica().base_url().replace("http://", "");
    for (host, more) in [
        (own.as_str(), ""),
        ("localhost:1", ""),
        ("[::1]", ""),
        ("CHAT.example", ""),
        ("chat.example.:99", ""),
        ("a.chat.example:8443", ""),
        ("inner", "X-Forwarded-Host: chat.example\r\n"),
    ] {
        let request = format!("GET /api/v1/rooms/a/messages HTTP/1.1\r\nHost: {host}\r\n{more}\r\n");
        assert_eq!(Raw::ask(site.replica(), &request).await.0.status, 200, "{host}");
    }
    for (host, more) in [
        ("evil.example", ""),
        ("evil.example", "Origin: http://evil.example\r\n"),
        ("a.chat.example", ""),
        ("chat.example.evil.example", ""),
        ("127.0.0.1.evil.example", ""),
        ("", ""),
        ("chat.example", "X-Forwarded-Host: evil.example\r\n"),
    ] {
        for path in ["/api/v1/rooms/a/messages", "/api/v1/rooms/a/messages/ws", "/"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n");
            let (_, refusal) = Raw::ask(site.replica(), &request).await;
            refusal.expect("no upgrade").refused(403, "BAD_HOST", host);
        }
    }
}
