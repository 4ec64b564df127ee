//! Where one is in a room: back to the first message, over a gap that could not be closed, through limits and the end of a token.

use serde_json::json;
use testkit::Backend;

use crate::window::Browser;
use crate::{LOBBY, closed, replicas};

#[tokio::test]
async fn a_guest_reads_and_history_goes_back_to_the_first_message() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let replica = cluster.replica(0);
    let account = replica.account("writer").await;
    let texts: Vec<String> = (1..=120).map(|n| format!("message {n}")).collect();
    for text in &texts {
        replica
            .post(LOBBY, Some(&account.token), &json!({ "text": text }))
            .await;
    }

    let guest = browser.window().await;
    guest.visit(&replica.base_url()).await;
    guest.click("#just-read").await;
    guest.connected().await;
    let shown: Vec<&str> = texts.iter().map(String::as_str).collect();
    guest.until_texts(&shown[70..]).await;
    let at_end = "const s = document.getElementById('scroller'); return s.scrollHeight - s.scrollTop - s.clientHeight < 2";
    guest.until("it rests at the end", at_end).await;
    assert_eq!(
        guest
            .js("return document.getElementById('composer').checkVisibility()")
            .await,
        false
    );
    for from in [20, 0] {
        guest
            .js("document.getElementById('scroller').scrollTop = 0; return true")
            .await;
        guest.until_texts(&shown[from..]).await;
    }
    assert_eq!(
        guest
            .js("return document.getElementById('older').checkVisibility()")
            .await,
        false
    );
    // Somebody who reads back is not carried off by what is new.
    guest
        .js("document.getElementById('scroller').scrollTop = 0; return true")
        .await;
    guest
        .until(
            "the way back is offered",
            "return !document.getElementById('jump').hidden",
        )
        .await;
    replica
        .post(LOBBY, Some(&account.token), &json!({ "text": "news" }))
        .await;
    guest
        .until(
            "it is counted",
            "return document.getElementById('jump').textContent.startsWith('1 new message')",
        )
        .await;
    assert_eq!(
        guest
            .js("return document.getElementById('scroller').scrollTop")
            .await,
        0
    );
    guest.click("#jump").await;
    guest.until("it rests at the end", at_end).await;
    assert_eq!(guest.texts().await.last().map(String::as_str), Some("news"));
    closed(vec![guest]).await;
    browser.end().await;
}

#[tokio::test]
async fn what_could_not_be_resumed_is_said_and_can_be_read() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Clustered, 2, &[("RESUME_LIMIT", "5")]).await;
    let (here, there) = (cluster.replica(0), cluster.replica(1));
    let window = browser.window().await;
    window.visit(&there.base_url()).await;
    window.sign_up("Eve").await;
    window.say("before").await;
    window.until_texts(&["before"]).await;
    there.kill().await;
    let account = here.account("writer").await;
    let texts: Vec<String> = (1..=60).map(|n| format!("message {n}")).collect();
    for text in &texts {
        here.post(LOBBY, Some(&account.token), &json!({ "text": text }))
            .await;
    }
    there.start_again().await;
    let mut shown = vec!["before"];
    shown.extend(texts.iter().map(String::as_str));
    window.until_texts(&shown[11..]).await;
    let said = "return document.getElementById('skipped').checkVisibility()";
    assert_eq!(window.js(said).await, true, "the gap is said");
    window
        .js("document.getElementById('scroller').scrollTop = 0; return true")
        .await;
    window.until_texts(&shown).await;
    assert_eq!(window.js(said).await, false, "there is no gap any more");
    window.say("after").await;
    shown.push("after");
    window.until_texts(&shown).await;
    closed(vec![window]).await;
    browser.end().await;
}

#[tokio::test]
async fn limits_and_the_end_of_a_token_lose_nothing() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let settings = [("LIMIT_MESSAGES_PER_SECOND", "2"), ("TOKEN_TTL_SECONDS", "12")];
    let cluster = replicas(Backend::Embedded, 1, &settings).await;
    let window = browser.window().await;
    window.visit(&cluster.replica(0).base_url()).await;
    window.sign_up("Flo").await;

    // Far faster than allowed: it is said, and each arrives once, in order.
    let texts: Vec<String> = (1..=12).map(|n| format!("quick {n}")).collect();
    for text in &texts {
        window.say(text).await;
    }
    window
        .until(
            "it says why it waits",
            "return document.getElementById('notice').textContent.includes('very fast')",
        )
        .await;
    let mut said: Vec<&str> = texts.iter().map(String::as_str).collect();
    window.until_texts(&said).await;

    // What is too long for a server that takes less than it said comes back to be shortened.
    let fill = "const text = document.getElementById('text'); text.dataset.maxBytes = '9999'; text.value = 'x'.repeat(5000);
                text.dispatchEvent(new Event('input')); return true";
    window.js(fill).await;
    window.click("#send").await;
    window
        .until(
            "it is refused",
            "return document.querySelector('#pending [data-state=refused]')",
        )
        .await;
    window.js("[...document.querySelectorAll('#pending button')].find((b) => b.textContent === 'Edit').click(); return true").await;
    assert_eq!(
        window
            .js("return document.getElementById('text').value.length")
            .await,
        5000
    );
    window.js("const text = document.getElementById('text'); text.value = ''; text.dispatchEvent(new Event('input')); return true").await;

    // The token ends while a draft stands there.
    window.type_into("#text", "not yet sent").await;
    window
        .until(
            "one is asked to log in again",
            "return document.body.dataset.view === 'welcome'",
        )
        .await;
    assert_eq!(
        window
            .js("return document.getElementById('account-error').textContent.includes('Log in again')")
            .await,
        true
    );
    window.type_into("#username", "Flo").await;
    window.type_into("#secret", "correct horse").await;
    window.click("#enter").await;
    window.connected().await;
    assert_eq!(
        window.js("return document.getElementById('text').value").await,
        "not yet sent"
    );
    window.click("#send").await;
    said.push("not yet sent");
    window.until_texts(&said).await;
    closed(vec![window]).await;
    browser.end().await;
}
