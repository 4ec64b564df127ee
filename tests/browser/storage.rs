//! A browser that keeps nothing for the page, or nothing more.

use serde_json::json;
use testkit::Backend;

use crate::window::Browser;
use crate::{closed, replicas};

#[tokio::test]
async fn with_storage_blocked_the_page_works_and_says_what_it_will_forget() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let url = cluster.replica(0).base_url();
    let blocked = json!({"prefs": {"profile.default_content_setting_values.cookies": 2}});
    let window = browser.window_with(blocked).await;
    window.visit(&url).await;
    let throws = "try { return !localStorage } catch { return true }";
    assert_eq!(window.js(throws).await, true, "this browser blocks storage");
    window
        .until_says("forgetful", "This browser stores nothing for this page")
        .await;

    // All of it works, in more than one room.
    window.sign_up("Ann").await;
    window.say("hello").await;
    window.until_texts(&["hello"]).await;
    window.type_into("#text", "a draft").await;
    window.go_to_room("tea").await;
    window.say("and here").await;
    window.until_texts(&["and here"]).await;
    window.go_to_room("lobby").await;
    window.until_texts(&["hello"]).await;
    let draft = "return document.getElementById('text').value";
    assert_eq!(window.js(draft).await, "a draft");
    window.until_says("forgetful", "closing or reloading").await;

    // Tabs hear of each other all the same: who logs out has logged out.
    let first = window.open_tab().await;
    window.visit(&url).await;
    window.log_in("Ann").await;
    window.click("#sign-out").await;
    window.until_asked().await;
    window.switch_to(&first).await;
    window.until_asked().await;

    // A reload forgets, and leads to where one can begin.
    window.client.refresh().await.expect("reload");
    window.until_asked().await;
    window.log_in("Ann").await;
    window.until_texts(&["hello"]).await;
    closed(vec![window]).await;
    browser.end().await;
}

#[tokio::test]
async fn with_storage_full_nothing_is_lost_but_by_closing_which_is_said() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let window = browser.window().await;
    window.visit(&cluster.replica(0).base_url()).await;
    window.sign_up("Ann").await;
    let unsaid = "return document.getElementById('forgetful').checkVisibility()";
    assert_eq!(window.js(unsaid).await, false, "nothing is wrong yet");
    let fill = "for (const store of [localStorage, sessionStorage]) {
                  let size = 8 << 20, n = 0;
                  while (size >= 1) try { store.setItem(`full.${n++}`, 'x'.repeat(size)) } catch { size >>= 1 }
                }
                return true";
    window.js(fill).await;
    window.say("in a full browser").await;
    window.until_texts(&["in a full browser"]).await;
    window
        .until_says("forgetful", "This browser stores nothing")
        .await;
    window.go_to_room("tea").await;
    window.say("in another room").await;
    window.until_texts(&["in another room"]).await;
    closed(vec![window]).await;
    browser.end().await;
}

#[tokio::test]
async fn what_others_have_left_in_storage_does_not_keep_the_page_from_starting() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let window = browser.window().await;
    let url = cluster.replica(0).base_url();
    window.visit(&url).await;
    window.click("#keep").await;
    window.sign_up("Ann").await;
    let spoil = "for (const key of Object.keys(localStorage)) if (key !== 'chat.account' && key !== 'chat.who') localStorage.setItem(key, '{{');
                 const own = `chat.of.${JSON.parse(localStorage.getItem('chat.account')).user.id}.`;
                 localStorage.setItem(`${own}rooms`, '{\"not\": \"a list\"}');
                 localStorage.setItem(`${own}outbox.1`, '{{');
                 localStorage.setItem(`${own}outbox.2`, '[17]');
                 return true";
    window.js(spoil).await;
    window.client.refresh().await.expect("reload");
    window.connected().await;
    for account in ["17", "{\"token\": \"t\"}", "{{"] {
        window
            .js(&format!(
                "localStorage.setItem('chat.account', {}); return true",
                json!(account)
            ))
            .await;
        window.client.refresh().await.expect("reload");
        window.until_asked().await;
    }
    window.log_in("Ann").await;
    window.say("still here").await;
    window.until_texts(&["still here"]).await;
    closed(vec![window]).await;
    browser.end().await;
}

#[tokio::test]
async fn over_plain_http_one_can_write_too() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let lan = json!({"args": ["--host-resolver-rules=MAP chat.test 127.0.0.1"]});
    let window = browser.window_with(lan).await;
    window
        .visit(&format!("http://chat.test:{}/", cluster.replica(0).port()))
        .await;
    let secure = "return isSecureContext || 'randomUUID' in crypto";
    assert_eq!(window.js(secure).await, false, "this is no secure context");
    window.sign_up("Ann").await;
    window.say("from the next room").await;
    window.until_texts(&["from the next room"]).await;
    closed(vec![window]).await;
    browser.end().await;
}
