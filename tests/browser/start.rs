//! A page that cannot start, or whose server does not answer it as it should, says what is wrong.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use testkit::{Backend, Cluster, Options, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::window::Browser;
use crate::{closed, replicas};

/// What stands on the page and can be seen.
const SEEN: &str = "return document.body.innerText";

#[tokio::test]
async fn the_page_is_one_request() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let window = browser.window().await;
    window.visit(&cluster.replica(0).base_url()).await;
    let loaded = "return performance.getEntriesByType('resource').map((entry) => entry.name).filter((name) => !name.startsWith('data:'))";
    assert_eq!(
        window.js(loaded).await,
        json!([]),
        "all of it was in the document"
    );
    closed(vec![window]).await;
    browser.end().await;
}

#[tokio::test]
async fn without_javascript_the_page_says_so() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    for window in [browser.window().await, browser.phone().await] {
        window
            .devtools("Emulation.setScriptExecutionDisabled", json!({"value": true}))
            .await;
        window
            .client
            .goto(&cluster.replica(0).base_url())
            .await
            .expect("open the page");
        assert!(
            window.says("needs JavaScript").await,
            "{:?}",
            window.spoken().await
        );
        let width = window.width("noscript").await;
        assert!(width > 250.0, "in lines, not in a column of words: {width}");
        window.close().await;
    }
    browser.end().await;
}

#[tokio::test]
async fn a_script_that_fails_at_the_start_is_said() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let window = browser.window().await;
    // As in a browser that is too old.
    window.before_each_page("delete window.ResizeObserver").await;
    window.visit(&cluster.replica(0).base_url()).await;
    let seen = window.js(SEEN).await;
    let seen = seen.as_str().expect("text");
    assert!(
        seen.contains("could not start") && seen.contains("ResizeObserver"),
        "{seen}"
    );
    assert!(!seen.contains("Password"), "and nothing else: {seen}");
    // It begins anew by its button.
    window.js("window.before = true; return true").await;
    window.click("#reload").await;
    window
        .until(
            "it is loaded again",
            "return !window.before && document.body.dataset.view === 'trouble'",
        )
        .await;
    window.close().await;
    browser.end().await;
}

#[tokio::test]
async fn a_script_that_the_page_came_without_is_said() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let page = testkit::http()
        .get(cluster.replica(0).base_url())
        .send()
        .await
        .expect("an answer");
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .expect("text")
        .to_owned();
    let page = page.text().await.expect("the page");
    let (begin, _) = page.rsplit_once("<script>").expect("the script");
    // Cut off before the script, within it, and changed on the way.
    for cut in [
        begin.to_owned(),
        format!("{begin}<script>\"use strict\";\nconst api = (() => {{"),
        page.replace("\"use strict\"", "\"use strict\" "),
    ] {
        let (url, _serving) = serve(&cut, &policy).await;
        let window = browser.window().await;
        window.visit(&url).await;
        let seen = window.js(SEEN).await;
        assert!(
            seen.as_str().is_some_and(|seen| seen.contains("could not start")),
            "{seen}"
        );
        window.close().await;
    }
    browser.end().await;
}

/// Answers every request with this page.
async fn serve(page: &str, policy: &str) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Security-Policy: {policy}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{page}",
        page.len()
    );
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                // Who has gone does not matter.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }
    });
    (url, serving)
}

#[tokio::test]
async fn a_server_that_has_enough_of_us_is_said_with_when_to_come_back() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[("LIMIT_REQUESTS_PER_SECOND", "1")]).await;
    let url = cluster.replica(0).base_url();
    let window = browser.window().await;
    window.visit(&url).await;
    // The form of somebody whom others at this address leave no requests.
    let (client, limited) = (testkit::http(), format!("{url}/api/v1/users/me"));
    let mut others = JoinSet::new();
    others.spawn(async move {
        loop {
            let _ = client.get(&limited).send().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    window.click("#account input[value='login']").await;
    window.type_into("#username", "nobody").await;
    window.type_into("#secret", "correct horse").await;
    let busy = "const [said, enter] = [document.getElementById('account-error').textContent, document.getElementById('enter')];
        if (/busy.*Try again in/.test(said)) return true;
        if (enter.ariaDisabled !== 'true') enter.click();
        return false";
    window.until("the form says when to try again", busy).await;
    // A page that is opened now is whole, and the room says why it waits and how long.
    window.client.refresh().await.expect("reload");
    window
        .until(
            "the page has started",
            "return document.body.dataset.view === 'welcome'",
        )
        .await;
    window
        .js("document.getElementById('just-read').click(); return true")
        .await;
    let waits = "return /busy[^]*in \\d+ s/i.test(document.getElementById('status').innerText)";
    window.until("the room says so, too", waits).await;
    others.shutdown().await;
    window.connected().await;
    let refused = "429";
    let complaints = window.complaints().await;
    assert!(
        complaints.iter().all(|complaint| complaint.contains(refused)),
        "{complaints:?}"
    );
    window.close().await;
    browser.end().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let proxy = Proxy::start(cluster.replica(0).port()).await;
    let window = browser.window().await;
    window.visit(&format!("http://127.0.0.1:{}/", proxy.port())).await;
    proxy.refuse().await;
    proxy.cut();
    window.type_into("#username", "Ida").await;
    window.type_into("#secret", "correct horse").await;
    window.click("#enter").await;
    let said = "return document.getElementById('account-error').textContent.includes('cannot be reached')";
    window.until("the form says so", said).await;
    window.click("#just-read").await;
    let said = "return document.getElementById('status').innerText.includes('cannot be reached')";
    window.until("the room says so", said).await;
    proxy.accept().await;
    window.connected().await;
    let said = "return document.getElementById('status').innerText";
    assert_eq!(window.js(said).await, "Connected, reading only");

    // Something in between that answers in the place of the server.
    let (url, _serving) = serve("<h1>502 Bad Gateway</h1>", "default-src 'none'").await;
    let port = url
        .trim_end_matches('/')
        .rsplit(':')
        .next()
        .expect("a port")
        .parse()
        .expect("a port");
    proxy.redirect(port);
    proxy.cut();
    let said = "return document.getElementById('status').innerText.includes('does not answer as it should')";
    window.until("the room says so", said).await;
    window.close().await;
    browser.end().await;
}

#[tokio::test]
async fn a_database_that_is_away_is_said() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let options = Options {
        backend: Backend::Clustered,
        proxied: true,
        ..Options::default()
    };
    let cluster = Cluster::start_with(Path::new(env!("CARGO_BIN_EXE_chat-gateway")), options).await;
    let window = browser.window().await;
    window.visit(&cluster.replica(0).base_url()).await;
    window.click("#just-read").await;
    window.connected().await;
    cluster.database_proxy().refuse().await;
    cluster.database_proxy().cut();
    window.js("location.hash = '#elsewhere'; return true").await;
    let said = "return document.getElementById('status').innerText.includes('cannot answer for now')";
    window.until("the room says so", said).await;
    window.click("#sign-in").await;
    window.type_into("#username", "Ida").await;
    window.type_into("#secret", "correct horse").await;
    window.click("#enter").await;
    let said = "return /cannot answer for now.*Try again in/.test(document.getElementById('account-error').textContent)";
    window.until("the form says so", said).await;
    window.close().await;
    browser.end().await;
}
