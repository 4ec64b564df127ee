//! What is the same for everybody: the page and the documents, how they are sent, and what they cost a person.

use std::io::Read;

use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode};

use crate::Site;

suite!(
    assets,
    [],
    [compressed, unchanged, one_document, form_without_script]
);
suite!(
    assets_and_limits,
    [("LIMIT_REQUESTS_PER_SECOND", "2")],
    [not_counted]
);
suite!(
    assets_and_sizes,
    [("MESSAGE_MAX_BYTES", "1234")],
    [says_the_longest_message]
);

/// The page, and what describes the interface.
const PATHS: [&str; 4] = [
    "/",
    "/api/v1/docs",
    "/api/v1/docs/openapi",
    "/api/v1/openapi.json",
];

struct Sent {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Sent {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("text"))
    }
}

async fn ask(site: &Site, method: Method, path: &str, headers: &[(&str, &str)]) -> Sent {
    let client = Client::builder()
        .redirect(Policy::none())
        .build()
        .expect("a client");
    let mut request = client.request(method, format!("{}{path}", site.replica().base_url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.expect("an answer");
    Sent {
        status: answer.status(),
        headers: answer.headers().clone(),
        body: answer.bytes().await.expect("a body").to_vec(),
    }
}

async fn get(site: &Site, path: &str, headers: &[(&str, &str)]) -> Sent {
    ask(site, Method::GET, path, headers).await
}

async fn compressed(site: Site) {
    for path in PATHS {
        let plain = get(&site, path, &[]).await;
        assert_eq!(
            plain.header("content-encoding"),
            "",
            "{path}: nobody asked for it"
        );
        assert_eq!(plain.header("vary"), "Accept-Encoding", "{path}");
        for accepted in ["gzip", "br, gzip;q=0.5", "deflate, GZIP , *;q=0", "*"] {
            let packed = get(&site, path, &[("Accept-Encoding", accepted)]).await;
            assert_eq!(packed.header("content-encoding"), "gzip", "{path} for {accepted}");
            assert_eq!(packed.header("vary"), "Accept-Encoding", "{path}");
            assert_ne!(
                packed.header("etag"),
                plain.header("etag"),
                "other bytes, another tag"
            );
            assert!(
                packed.body.len() * 2 < plain.body.len(),
                "{path}: {}",
                packed.body.len()
            );
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(&packed.body[..])
                .read_to_end(&mut unpacked)
                .expect("it is gzip");
            assert_eq!(unpacked, plain.body, "{path}");
            let head = ask(&site, Method::HEAD, path, &[("Accept-Encoding", accepted)]).await;
            assert_eq!((head.status.as_u16(), head.body.len()), (200, 0), "HEAD {path}");
            assert_eq!(head.header("etag"), packed.header("etag"), "HEAD {path}");
        }
        for refused in [
            "",
            "br",
            "identity",
            "gzip;q=0",
            "gzip; q=0.000, br",
            "x-gzip-not",
            "*;q=0",
        ] {
            let sent = get(&site, path, &[("Accept-Encoding", refused)]).await;
            assert_eq!(sent.header("content-encoding"), "", "{path} for {refused:?}");
            assert_eq!(sent.body, plain.body, "{path} for {refused:?}");
        }
    }
}

async fn unchanged(site: Site) {
    for path in PATHS {
        for accepted in ["identity", "gzip"] {
            let first = get(&site, path, &[("Accept-Encoding", accepted)]).await;
            let tag = first.header("etag").to_owned();
            assert!(
                tag.starts_with('"') && tag.len() > 10,
                "{path} has a tag: {tag:?}"
            );
            assert_eq!(
                first.header("cache-control"),
                "no-cache",
                "asked again each time: {path}"
            );
            // A proxy that packs by itself makes the tag a weak one.
            for known in [
                tag.clone(),
                format!("W/{tag}"),
                format!("\"other\", {tag}"),
                "*".to_owned(),
            ] {
                let again = get(
                    &site,
                    path,
                    &[("Accept-Encoding", accepted), ("If-None-Match", &known)],
                )
                .await;
                assert_eq!(
                    (again.status.as_u16(), again.body.len()),
                    (304, 0),
                    "{path} for {known}"
                );
                assert_eq!(again.header("etag"), tag, "{path}");
                assert_eq!(again.header("vary"), "Accept-Encoding", "{path}");
            }
            let other = get(
                &site,
                path,
                &[("Accept-Encoding", accepted), ("If-None-Match", "\"other\"")],
            )
            .await;
            assert_eq!(other.status, 200, "{path}");
        }
    }
}

async fn one_document(site: Site) {
    let page = get(&site, "/", &[]).await;
    let text = String::from_utf8(page.body.clone()).expect("text");
    for elsewhere in [" src=", "rel=\"stylesheet\"", "import ", "export "] {
        let found = text
            .lines()
            .find(|line| line.contains(elsewhere) && !line.trim_start().starts_with("//"));
        assert_eq!(found, None, "{elsewhere:?}: all that it needs is in it");
    }
    let policy = page.header("content-security-policy");
    assert!(!policy.contains("unsafe"), "{policy}");
    let scripts = text.matches("<script>").count();
    let directive = |name: &str| {
        policy
            .split(';')
            .find(|part| part.trim().starts_with(name))
            .expect("a directive")
    };
    assert_eq!(
        directive("script-src").matches("'sha256-").count(),
        scripts,
        "{policy}"
    );
    assert_eq!(directive("style-src").matches("'sha256-").count(), 1, "{policy}");
}

/// Its own files are constant and cheap, so they are not what keeps a person from talking.
async fn not_counted(site: Site) {
    for _ in 0..20 {
        for path in PATHS {
            assert_eq!(get(&site, path, &[]).await.status, 200, "{path}");
        }
    }
    let mut counted = 0;
    for _ in 0..20 {
        counted += u32::from(get(&site, "/nothing", &[]).await.status == 429);
        counted += u32::from(ask(&site, Method::POST, "/", &[]).await.status == 429);
    }
    assert!(counted >= 20, "everything else is: {counted} of 40 refused");
    assert_eq!(get(&site, "/", &[]).await.status, 200, "still");
}

/// A form that is sent by the browser and not by its script comes back to the page: nothing of it stands in an address, an
/// answer or the log.
async fn form_without_script(site: Site) {
    let form = "username=somebody&secret=the-secret-of-the-form";
    let kind = ("Content-Type", "application/x-www-form-urlencoded");
    let client = Client::builder()
        .redirect(Policy::none())
        .build()
        .expect("a client");
    let request = client
        .post(format!("{}/", site.replica().base_url()))
        .header(kind.0, kind.1)
        .body(form);
    let answer = request.send().await.expect("an answer");
    assert_eq!(
        answer.status(),
        303,
        "to the page, so that a reload does not send it again"
    );
    let to = answer.headers()["location"].to_str().expect("text").to_owned();
    let page = answer.url().join(&to).expect("an address");
    assert_eq!(page.as_str(), format!("{}/", site.replica().base_url()));
    assert!(!answer.text().await.expect("a body").contains("the-secret"));
    assert!(!site.replica().log().contains("the-secret"));
    let page = String::from_utf8(get(&site, "/", &[]).await.body).expect("text");
    let forms: Vec<_> = page.lines().filter(|line| line.contains("<form ")).collect();
    assert!(forms.len() > 2, "{forms:?}");
    for form in forms {
        assert!(
            form.contains("method=\"post\"") || form.contains("method=\"dialog\""),
            "{form}"
        );
    }
}

/// The page has to know how long a message may be before it sends one.
async fn says_the_longest_message(site: Site) {
    let page = String::from_utf8(get(&site, "/", &[]).await.body).expect("text");
    assert!(page.contains("data-max-bytes=\"1234\""), "it says so");
}
