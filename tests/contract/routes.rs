//! What is no route, what is no method, and the pages beside the API.

use std::time::Duration;

use serde_json::Value;

use super::http::{Api, answer};
use super::raw::Raw;
use crate::{Random, Site};

suite!(
    routes,
    [],
    [
        not_found,
        not_allowed,
        described,
        pages,
        for_operators,
        mutilated_requests,
        too_large_a_head,
        nonsense_is_no_http,
        one_host
    ]
);

async fn not_found(site: Site) {
    let api = Api::of(site.replica());
    for path in [
        "",
        "/",
        "/nowhere",
        "/users/1",
        "/users/me/more",
        "/rooms",
        "/rooms/a",
        "/rooms/a/messages/1",
        "/rooms/a/b/messages",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            answer(api.request(method, path))
                .await
                .refused(404, "NOT_FOUND", &format!("{method} {path}"));
        }
    }
}

async fn not_allowed(site: Site) {
    let api = Api::of(site.replica());
    for (path, allowed) in [
        ("/users", "POST"),
        ("/login", "POST"),
        ("/users/me", "GET"),
        ("/rooms/a/messages", "GET, POST"),
        ("/rooms/a/messages/ws", "GET"),
    ] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            if allowed.contains(method) {
                continue;
            }
            let answer = answer(api.request(method, path)).await;
            answer.refused(405, "METHOD_NOT_ALLOWED", &format!("{method} {path}"));
            let mut said: Vec<_> = answer.header("allow").unwrap_or_default().split(", ").collect();
            said.retain(|method| *method != "HEAD" && *method != "OPTIONS");
            said.sort_unstable();
            assert_eq!(said.join(", "), allowed, "Allow of {path}");
        }
    }
}

async fn described(site: Site) {
    let api = Api::of(site.replica());
    let spec: Value = api
        .request("GET", "/openapi.json")
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert!(
        spec["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.")),
        "{spec}"
    );
    let paths = spec["paths"].as_object().expect("paths");
    for (path, methods) in [
        ("/users", vec!["post"]),
        ("/login", vec!["post"]),
        ("/users/me", vec!["get"]),
        ("/rooms/{room}/messages", vec!["get", "post"]),
        ("/rooms/{room}/messages/ws", vec!["get"]),
    ] {
        let (_, operations) = paths
            .iter()
            .find(|(known, _)| known.ends_with(path))
            .expect("the path is listed");
        for method in methods {
            let operation = &operations[method];
            assert!(
                operation["responses"]
                    .as_object()
                    .is_some_and(|all| !all.is_empty()),
                "{method} {path}: {operations}"
            );
        }
    }
}

async fn pages(site: Site) {
    let client = testkit::http();
    for (path, kind) in [("/", "text/html"), ("/api/v1/docs", "text/html")] {
        let answer = client
            .get(format!("{}{path}", site.replica().base_url()))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        let said = answer.headers()["content-type"]
            .to_str()
            .expect("text")
            .to_owned();
        assert!(said.contains(kind), "{path} is {said}");
    }
}

async fn for_operators(site: Site) {
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(site.replica().ops_status(path).await, Some(200), "{path}");
        // Not where the public comes.
        let public = testkit::http()
            .get(format!("{}{path}", site.replica().base_url()))
            .send()
            .await
            .expect("an answer");
        assert_eq!(public.status(), 404, "{path}");
    }
}

async fn nonsense_is_no_http(site: Site) {
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], // a TLS hello
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /api/v1/users/me HTTP/1.1\r\nHost: x\r\nA\0B: c\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut raw = Raw::connect(site.replica()).await;
        raw.write(nonsense).await;
        raw.ended().await;
    }
    let mut raw = Raw::connect(site.replica()).await;
    let long = format!(
        "GET /api/v1/users/me HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
        "a".repeat(1_000_000)
    );
    let _ = raw.try_write(long.as_bytes()).await;
    raw.ended().await;
}

/// What reaches no route has no envelope.
async fn too_large_a_head(site: Site) {
    let many: String = (0..101).map(|n| format!("A{n}: b\r\n")).collect();
    let long = |bytes: usize| format!("A: {}\r\n", "a".repeat(bytes));
    for (path, headers, status) in [
        ("/api/v1/users/me", long(15_000), 401),
        ("/api/v1/users/me", long(17_000), 431),
        ("/api/v1/users/me", many, 431),
        (&*format!("/{}", "a".repeat(17_000)), String::new(), 431),
        ("no path", String::new(), 400),
    ] {
        let mut raw = Raw::connect(site.replica()).await;
        raw.write(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes())
            .await;
        let head = raw.head().await;
        assert_eq!(head.status, status, "{} bytes of headers", headers.len());
        if status != 401 {
            assert_eq!(head.header("content-length"), Some("0"), "{status}");
            raw.ended().await;
        }
    }
}

/// RFC 9112 §3.2.
async fn one_host(site: Site) {
    for (version, hosts, status) in [
        ("1.1", "", 400),
        ("1.1", "Host: a\r\nHost: a\r\n", 400),
        ("1.1", "Host: a\r\nHost: b\r\n", 400),
        ("1.0", "Host: a\r\nHost: b\r\n", 400),
        ("1.1", "Host: a\r\n", 200),
        ("1.0", "", 200),
    ] {
        let request = format!("GET /api/v1/rooms/a/messages HTTP/{version}\r\n{hosts}\r\n");
        let (head, answer) = Raw::ask(site.replica(), &request).await;
        assert_eq!(head.status, status, "{version} {hosts:?}");
        if status == 400 {
            answer.expect("no upgrade").refused(400, "BAD_BINDING", hosts);
        }
    }
}

async fn mutilated_requests(site: Site) {
    let token = site.replica().account("mutilated").await.token;
    let body = r#"{"username": "mutilated ann", "secret": "x", "text": "t", "nonce": "n"}"#;
    let headers = format!(
        "Host: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..40 {
        for first in [
            "POST /api/v1/users HTTP/1.1",
            "POST /api/v1/rooms/caf%C3%A9/messages HTTP/1.1",
            "GET /api/v1/rooms/caf%C3%A9/messages?after=1&limit=2 HTTP/1.1",
            "GET /api/v1/rooms/caf%C3%A9/messages/ws?last=2 HTTP/1.1",
        ] {
            let mut bytes = format!("{first}\r\n{headers}").into_bytes();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] = random.below(256) as u8;
            }
            let mut raw = Raw::connect(site.replica()).await;
            let _ = raw.try_write(&bytes).await;
            // An answer of whatever kind, or none because it waits for more.
            raw.is_ended_within(Duration::from_millis(5)).await;
        }
    }
}
