//! A page whose WebSocket is refused says why, and waits as long as it is told.

use testkit::{Backend, Balancer, Proxy};

use crate::window::Browser;
use crate::{closed, replicas, until_stored};

/// What half of the world's guides say: `$host` has no port, so that the page is of another origin than the host it asks.
const SITE: &str =
    "server { listen 80; location / { proxy_pass http://127.0.0.1:8080; proxy_set_header Host $host;
    proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } }";

#[tokio::test]
async fn a_page_behind_a_proxy_that_loses_its_port_says_so() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let settings = [("TRUSTED_PROXIES", "127.0.0.1")];
    let cluster = replicas(Backend::Embedded, 1, &settings).await;
    let replica = cluster.replica(0).base_url().replace("http://", "");
    let window = browser.window().await;
    let proxy = Balancer::nginx(SITE, &replica).await;
    window.visit(&proxy.base_url()).await;
    window.click("#just-read").await;
    let says = format!(
        "const text = document.getElementById('status-text').textContent;
         return text.includes('Disconnected') && text.includes('{}')",
        proxy.base_url()
    );
    window.until("the page says which origin is refused", &says).await;

    // With the host that was asked for said, it is the page's own.
    let told = SITE.replace("$host;", "$host; proxy_set_header X-Forwarded-Host $http_host;");
    let proxy = Balancer::nginx(&told, &replica).await;
    let other = browser.window().await;
    other.visit(&proxy.base_url()).await;
    other.click("#just-read").await;
    other.connected().await;
    closed(vec![other]).await;
    window.close().await;
    browser.end().await;
}

#[tokio::test]
async fn a_page_for_which_there_is_no_room_now_waits_ten_seconds() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let settings = [("LIMIT_SESSIONS_PER_ADDRESS", "1")];
    let cluster = replicas(Backend::Embedded, 1, &settings).await;
    let window = browser.window().await;
    window.visit(&cluster.replica(0).base_url()).await;
    window.click("#just-read").await;
    window.connected().await;
    window.open_tab().await;
    window.visit(&cluster.replica(0).base_url()).await;
    window.click("#just-read").await;
    let told = "const [, seconds] = /in (\\d+) s/.exec(document.getElementById('status').innerText) ?? []; return Number(seconds)";
    let seconds = window.until("it says how long it waits", told).await;
    let seconds = seconds.as_f64().expect("a number");
    assert!((10.0..=11.0).contains(&seconds), "{seconds} s");
    closed(vec![window]).await;
    browser.end().await;
}

/// A server that fails at what is written in one room, and something before it that lets nothing into another.
const FAILS: &str = r#"server { listen 80;
    location / { proxy_pass http://127.0.0.1:8080; proxy_set_header Host $http_host;
        proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }
    location = /api/v1/rooms/tea/messages { return 500 '{"error": {"type": "INTERNAL", "message": "no"}, "data": null}'; }
    location = /api/v1/rooms/cake/messages { return 403; } }"#;

#[tokio::test]
async fn what_fails_again_and_again_is_given_up_and_holds_nothing_else_up() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let replica = cluster.replica(0);
    let nginx = Balancer::nginx(FAILS, &replica.base_url().replace("http://", "")).await;
    let proxy = Proxy::start(nginx.port()).await;
    let window = browser.window().await;
    window.visit(&format!("http://127.0.0.1:{}/", proxy.port())).await;
    window.sign_up("Ann").await;
    proxy.refuse().await;
    proxy.cut();
    for room in ["tea", "cake", "kitchen", "lobby"] {
        window.choose_room(room).await;
        window.say(&format!("into {room}")).await;
    }
    window.until_says("elsewhere", "1 in kitchen").await;
    proxy.accept().await;
    until_stored(replica, "kitchen", &["into kitchen"]).await;
    until_stored(replica, "lobby", &["into lobby"]).await;
    window.until_says("elsewhere", "1 in tea (refused)").await;
    window.until_says("elsewhere", "1 in cake (refused)").await;
    for (room, reason) in [
        ("tea", "The server failed at this"),
        ("cake", "Something on the way to the server refused this"),
    ] {
        window.choose_room(room).await;
        window.until_says("pending", reason).await;
        window.press("#pending", "Discard").await;
        window.until_unsent(&[]).await;
    }
    window.close().await;
    browser.end().await;
}
