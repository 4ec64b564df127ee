//! Several tabs of one browser, and several people at it, one after another.

use std::time::Duration;

use serde_json::json;
use testkit::{Backend, Replica, until};

use crate::window::Browser;
use crate::{closed, replicas};

/// Waits until so many sessions are open.
async fn until_sessions(replica: &Replica, count: usize) {
    let line = format!("chat_sessions {count}");
    until(
        &format!("{count} sessions are open"),
        Duration::from_secs(30),
        async || replica.metrics().await.lines().any(|open| open == line),
    )
    .await;
}

/// All that the browser has of the page, but for whether somebody was ever logged in.
const KEPT: &str =
    "return [localStorage, sessionStorage].flatMap((store) => Object.entries(store).map((entry) => entry.join()))
     .filter((entry) => !entry.startsWith('chat.tab,') && !['chat.known,true', 'chat.who,0', 'chat.guest,false'].includes(entry))";

#[tokio::test]
async fn logging_out_in_one_tab_ends_them_all_and_leaves_nothing() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let replica = cluster.replica(0);
    let window = browser.window().await;
    window.visit(&replica.base_url()).await;
    window.click("#keep").await;
    window.sign_up("Ann").await;
    window.go_to_room("Ann's own").await;
    window.say("between us").await;
    window.until_texts(&["between us"]).await;
    let first = window.open_tab().await;
    window.visit(&replica.base_url()).await;
    window.go_to_room("Ann's other").await;
    window.type_into("#text", "a draft of Ann's").await;
    let second = window.client.window().await.expect("the second tab");
    until_sessions(replica, 2).await;

    window.switch_to(&first).await;
    window.click("#sign-out").await;
    window.until_asked().await;
    until_sessions(replica, 0).await;
    for tab in [&second, &first] {
        window.switch_to(tab).await;
        window.until_asked().await;
        assert_eq!(window.js(KEPT).await, json!([]), "nothing of hers is kept");
        let left = "return document.documentElement.textContent.includes('Ann')
                    || location.href.includes('Ann') || document.getElementById('text').value";
        let left = window.js(left).await;
        assert!(
            left == json!(false) || left == json!(""),
            "nothing of hers is on the page: {left}"
        );
    }
    // The tab in which she did not press it says why.
    window.switch_to(&second).await;
    window
        .until_says("account-error", "You have logged out in another tab")
        .await;

    // The next one begins where everybody begins, and nobody writes as Ann.
    window.sign_up("Ben").await;
    let rooms = "return [...document.querySelectorAll('#room-list a')].map((a) => a.textContent)";
    assert_eq!(window.js(rooms).await, json!(["lobby"]));
    assert_eq!(
        window.js("return document.getElementById('text').value").await,
        ""
    );
    window.say("hello").await;
    window.until_texts(&["hello"]).await;
    let history = replica.history("lobby").await;
    assert_eq!(history[0]["sender"]["username"], "Ben");
    closed(vec![window]).await;
    browser.end().await;
}

#[tokio::test]
async fn logging_in_as_somebody_else_ends_the_tabs_of_who_was_there() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let replica = cluster.replica(0);
    replica.account("Ben").await;
    let window = browser.window().await;
    window.visit(&replica.base_url()).await;
    // Each logs in for a tab alone.
    window.sign_up("Ann").await;
    window.go_to_room("Ann's own").await;
    window.type_into("#text", "a draft").await;
    let first = window.open_tab().await;
    window.visit(&replica.base_url()).await;
    window.until_asked().await;
    window.log_in("Ben").await;
    let second = window.client.window().await.expect("the second tab");
    window.switch_to(&first).await;
    window.until_asked().await;
    window
        .until_says("account-error", "Somebody else has logged in")
        .await;
    until_sessions(replica, 1).await;

    // A reload does not bring her back, and Ben is not disturbed.
    window.client.refresh().await.expect("reload");
    window.until_asked().await;
    window.switch_to(&second).await;
    window.say("by Ben").await;
    window.until_texts(&["by Ben"]).await;
    assert_eq!(replica.history("lobby").await[0]["sender"]["username"], "Ben");

    // Who comes back finds what is hers: she has not logged out.
    window.switch_to(&first).await;
    window.log_in("Ann").await;
    window.go_to_room("Ann's own").await;
    assert_eq!(
        window.js("return document.getElementById('text').value").await,
        "a draft"
    );
    window.switch_to(&second).await;
    window.until_asked().await;
    closed(vec![window]).await;
    browser.end().await;
}

#[tokio::test]
async fn logging_in_again_in_another_tab_is_logging_in_everywhere() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[("TOKEN_TTL_SECONDS", "12")]).await;
    let replica = cluster.replica(0);
    let window = browser.window().await;
    window.visit(&replica.base_url()).await;
    window.click("#keep").await;
    window.sign_up("Ann").await;
    // She logs in again on the device, shortly before the token of this tab ends.
    let near = "const [, claims] = JSON.parse(localStorage.getItem('chat.account')).token.split('.');
                return JSON.parse(atob(claims.replace(/-/g, '+').replace(/_/g, '/'))).exp * 1000 - Date.now() < 3000";
    window.until("the token is about to end", near).await;
    let credentials = json!({"username": "Ann", "secret": "correct horse"});
    let login = replica.post("/api/v1/login", None, &credentials).await;
    let script = format!(
        "const old = JSON.parse(localStorage.getItem('chat.account')).token;
         localStorage.setItem('chat.account', JSON.stringify({})); return old",
        login.body["data"]
    );
    let old = window.js(&script).await;
    let ended = async || {
        let answer = replica.get("/api/v1/users/me", old.as_str()).await;
        answer.status == 401
    };
    until("the old token has ended", Duration::from_secs(30), ended).await;
    until_sessions(replica, 1).await;
    window.connected().await;
    window.say("with the new one").await;
    window.until_texts(&["with the new one"]).await;
    window.close().await;
    browser.end().await;
}

#[tokio::test]
async fn logging_out_asks_where_something_is_unsent() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let replica = cluster.replica(0);
    let window = browser.window().await;
    window.visit(&replica.base_url()).await;
    window.sign_up("Ann").await;
    window.go_to_room("tea").await;
    replica.kill().await;
    window
        .until(
            "the page notices",
            "return document.getElementById('status').dataset.state !== 'connected'",
        )
        .await;
    window.say("one").await;
    window.say("two").await;
    window.choose_room("lobby").await;
    window.type_into("#text", "three").await;
    window.click("#sign-out").await;
    window
        .until_says("leaving", "Not sent yet: 2 messages and 1 draft.")
        .await;
    window.click("#stay").await;
    window.until_says("elsewhere", "2 in tea").await;
    window.click("#sign-out").await;
    window.click("#leave").await;
    window.until_asked().await;
    assert_eq!(window.js(KEPT).await, json!([]), "what was discarded is not kept");

    // Nor is it sent by who comes back.
    replica.start_again().await;
    window.log_in("Ann").await;
    window.say("later").await;
    window.until_texts(&["later"]).await;
    window.go_to_room("tea").await;
    window.until_texts(&[]).await;
    assert_eq!(replica.history("tea").await.len(), 0);
    closed(vec![window]).await;
    browser.end().await;
}
