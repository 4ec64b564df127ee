//! Bodies that are not what a route wants.

use serde_json::json;

use super::http::{Answer, Api, answer};
use super::raw::{Raw, TEXT};
use crate::Site;

suite!(
    bodies,
    [],
    [
        malformed,
        content_types,
        deep,
        at_the_limit,
        too_large,
        an_answer_reaches_who_is_still_sending,
        after_a_byte_order_mark,
        sound_after_all
    ]
);

/// The routes with a body, each with its required fields.
const ROUTES: [(&str, [&str; 2]); 3] = [
    ("/users", ["username", "secret"]),
    ("/login", ["username", "secret"]),
    ("/rooms/bodies/messages", ["text", "nonce"]),
];

async fn send(api: &Api, path: &str, token: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = api
        .request("POST", path)
        .bearer_auth(token)
        .header("Content-Type", "application/json");
    answer(request.body(body)).await
}

async fn malformed(site: Site) {
    let api = Api::of(site.replica());
    let token = site.replica().account("bodies").await.token;
    let mut wrong = Vec::new();
    for (path, [a, b]) in ROUTES {
        let mut bodies: Vec<Vec<u8>> = vec![
            b"".into(),
            b" ".into(),
            b"null".into(),
            b"42".into(),
            b"\"text\"".into(),
            b"[]".into(),
            b"[\"a\",\"b\"]".into(),
            b"{}".into(),
            b"not json".into(),
            b"{\"".into(),
            b"{'text': 'single'}".into(),
            b"\0".into(),
            b"\xff\xfe{\0}\0".into(),
            b"username=ann&secret=s".into(),
        ];
        let shapes = [
            r#"{"A": "x", "B": "y""#,
            r#"{"A": "x", "B": "y"}}"#,
            r#"{"A": "x", "B": "y"} {"A": "x", "B": "y"}"#,
            r#"{"A": "x", "B": "y",}"#,
            r#"{"A": 1, "B": "y"}"#,
            r#"{"A": true, "B": "y"}"#,
            r#"{"A": null, "B": "y"}"#,
            r#"{"A": ["x"], "B": "y"}"#,
            r#"{"A": {"A": "x"}, "B": "y"}"#,
            r#"{"A": "x", "B": 1}"#,
            r#"{"A": "x", "B": {"$gt": ""}}"#,
            r#"{"B": "y"}"#,
            r#"{"A": "x", "A": "x", "B": "y"}"#,
            r#"{"A": "x", "B": "y", "B": "z"}"#,
            r#"{"A": "x", "\u0041": "x", "B": "y"}"#,
            r#"{"A": "\ud800", "B": "y"}"#,
            r#"{"A": "\x", "B": "y"}"#,
            "{\"A\": \"x\0\", \"B\": \"y\"}",
            "{\"A\": \"x\ny\", \"B\": \"y\"}",
            r#"{"A": "x\u0000y", "B": "y"}"#,
            "\u{feff}\u{feff}{\"A\": \"x\", \"B\": \"y\"}",
            "{\u{feff}\"A\": \"x\", \"B\": \"y\"}",
        ];
        // \u0041 spells the field's own first letter where that is to be tested.
        let (first, rest) = a.split_at(1);
        let escape = format!("\\u{:04x}{rest}", first.as_bytes()[0]);
        bodies.extend(shapes.map(|shape| {
            shape
                .replace("\\u0041", &escape)
                .replace("\"A\"", &format!("\"{a}\""))
                .replace("\"B\"", &format!("\"{b}\""))
                .into()
        }));
        bodies.push(
            [
                b"{\"",
                a.as_bytes(),
                b"\": \"\xff\xfe\", \"",
                b.as_bytes(),
                b"\": \"y\"}",
            ]
            .concat(),
        );
        for body in bodies {
            let about = format!("{path} {}", String::from_utf8_lossy(&body));
            let got = send(&api, path, &token, body).await;
            if (got.status, &got.error["type"]) != (400, &json!("BAD_BINDING")) {
                wrong.push(format!("{about}: {} {}{}", got.status, got.error, got.data));
            }
        }
    }
    assert!(wrong.is_empty(), "not 400 BAD_BINDING:\n{}", wrong.join("\n"));
}

async fn at_the_limit(site: Site) {
    let api = Api::of(site.replica());
    let token = site.replica().account("limit").await.token;
    let body = |bytes: usize| {
        let rest = r#"{"text": "x", "padding": ""}"#;
        rest.replace("\"\"", &format!("\"{}\"", "p".repeat(bytes - rest.len())))
    };
    let path = "/rooms/limit/messages";
    send(&api, path, &token, body(65_536)).await.ok(201);
    send(&api, path, &token, body(65_537))
        .await
        .refused(413, "TOO_LARGE", "a byte over 64 KiB");
}

async fn content_types(site: Site) {
    let api = Api::of(site.replica());
    let token = site.replica().account("types").await.token;
    let body = |n: usize| json!({"username": format!("type {n}"), "secret": "s", "text": "t"}).to_string();
    for (path, _) in ROUTES {
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonp",
            "nonsense",
            "multipart/form-data",
        ] {
            let request = api
                .request("POST", path)
                .bearer_auth(&token)
                .header("Content-Type", kind);
            answer(request.body(body(0)))
                .await
                .refused(400, "BAD_BINDING", &format!("{path} {kind}"));
        }
        let request = api.request("POST", path).bearer_auth(&token);
        answer(request.body(body(0))).await.refused(
            400,
            "BAD_BINDING",
            &format!("{path} without a content type"),
        );
    }
    for (n, kind) in [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/json;charset=UTF-8",
    ]
    .iter()
    .enumerate()
    {
        let request = api.request("POST", "/users").header("Content-Type", *kind);
        assert_eq!(answer(request.body(body(n + 1))).await.status, 201, "{kind}");
    }
}

async fn deep(site: Site) {
    let api = Api::of(site.replica());
    let token = site.replica().account("deep").await.token;
    let (open, close) = ("[".repeat(10_000), "]".repeat(10_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    for (path, [a, b]) in ROUTES {
        for body in [
            open.clone(),
            format!("{open}{close}"),
            objects.clone(),
            format!(r#"{{"{a}": {open}{close}, "{b}": "y"}}"#),
        ] {
            let got = send(&api, path, &token, body).await;
            got.refused(400, "BAD_BINDING", &format!("{path} 10,000 deep"));
        }
        // In a field that is ignored: who passes it over must not recurse. Refusing it is as good.
        for unknown in [format!("{open}{close}"), objects.clone()] {
            let body = format!(r#"{{"unknown": {unknown}, "{a}": "ignored", "{b}": "y"}}"#);
            let got = send(&api, path, &token, body).await;
            let expected = [200, 201, 401].contains(&got.status) || got.status == 400;
            assert!(expected, "{path} 10,000 deep in an unknown field: {got:?}");
        }
    }
}

async fn too_large(site: Site) {
    let account = site.replica().account("large").await;
    let host = site.replica().base_url().replace("http://", "");
    let megabytes = 10 * 1024 * 1024;
    for path in ["/users", "/login", "/rooms/bodies/messages"] {
        for chunked in [false, true] {
            let framing = if chunked {
                "Transfer-Encoding: chunked".into()
            } else {
                format!("Content-Length: {megabytes}")
            };
            let head = format!(
                "POST /api/v1{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\
                 Content-Type: application/json\r\n{framing}\r\n\r\n",
                account.token
            );
            let mut raw = Raw::connect(site.replica()).await;
            raw.write(head.as_bytes()).await;
            let mut sent = 0;
            let chunk = [
                if chunked {
                    b"10000\r\n".to_vec()
                } else {
                    Vec::new()
                },
                vec![b' '; 65_536],
            ]
            .concat();
            while sent < megabytes {
                // The server may stop listening once it has answered.
                if raw.try_write(&chunk).await.is_err() || (chunked && raw.try_write(b"\r\n").await.is_err())
                {
                    break;
                }
                sent += 65_536;
            }
            let head = raw.head().await;
            let answer = raw.body(&head).await;
            answer.refused(413, "TOO_LARGE", &format!("{path}, 10 MB, chunked {chunked}"));
        }
    }
}

/// Most clients send all of a body before they look for an answer; whoever was refused early gets the answer then, and not
/// a broken pipe. Each of these is refused before its body is read.
async fn an_answer_reaches_who_is_still_sending(site: Site) {
    let token = site.replica().account("eager").await.token;
    let host = site.replica().base_url().replace("http://", "");
    let body = vec![b' '; 3 * 1024 * 1024];
    let json = "Content-Type: application/json\r\n";
    let known = format!("Authorization: Bearer {token}\r\n{json}");
    for (path, headers, status, kind) in [
        ("/api/v1/users", json, 413, "TOO_LARGE"),
        ("/api/v1/rooms/eager/messages", &known, 413, "TOO_LARGE"),
        ("/api/v1/rooms/eager/messages", json, 401, "INVALID_AUTH_TOKEN"),
        (
            "/api/v1/login",
            "Content-Type: text/plain\r\n",
            400,
            "BAD_BINDING",
        ),
        ("/api/v1/nowhere", json, 404, "NOT_FOUND"),
    ] {
        for chunked in [false, true] {
            let framing = match chunked {
                true => "Transfer-Encoding: chunked".to_owned(),
                false => format!("Content-Length: {}", body.len()),
            };
            let mut request =
                format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}{framing}\r\n\r\n").into_bytes();
            for part in body.chunks(64 * 1024) {
                if chunked {
                    request.extend(format!("{:x}\r\n", part.len()).bytes());
                }
                request.extend(part);
                if chunked {
                    request.extend(b"\r\n");
                }
            }
            if chunked {
                request.extend(b"0\r\n\r\n");
            }
            let mut raw = Raw::connect(site.replica()).await;
            raw.write(&request).await;
            let head = raw.head().await;
            let about = format!("{path}, 3 MB, chunked {chunked}");
            raw.body(&head).await.refused(status, kind, &about);
            // And the connection is as good as before.
            raw.write(
                format!("GET /api/v1/rooms/eager/messages HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(),
            )
            .await;
            assert_eq!(raw.head().await.status, 200, "{about}, then another request");
        }
    }
}

async fn after_a_byte_order_mark(site: Site) {
    let api = Api::of(site.replica());
    let account = site.replica().account("marked").await;
    let body = "\u{feff}{\"text\": \"over HTTP\"}";
    let message = send(&api, "/rooms/marked/messages", &account.token, body)
        .await
        .ok(201);
    assert_eq!(message["text"], "over HTTP");
    let (mut raw, _) = Raw::join(site.replica(), "marked", Some(&account.token), "").await;
    raw.send(TEXT, "\u{feff}{\"text\": \"in a frame\"}".as_bytes())
        .await;
    assert_eq!(raw.event_of("message").await["text"], "in a frame");
}

async fn sound_after_all(site: Site) {
    let api = Api::of(site.replica());
    let token = site.replica().account("sound").await.token;
    // White space around, escapes inside, keys in any order.
    let body = " \r\n\t{\"nonce\": \"n\", \"te\\u0078t\": \"\\ud83e\\udd80 \\u00e9\", \"more\": [{}]}\n";
    let message = send(&api, "/rooms/sound/messages", &token, body).await.ok(201);
    assert_eq!(message["text"], "🦀 é");
}
