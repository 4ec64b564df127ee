//! Reading and writing: what a person sees of a long room, when it was said, and what is too long to be said.

use std::time::Duration;

use serde_json::json;
use testkit::{Backend, Client, Replica};

use crate::window::{Browser, Window};
use crate::{LOBBY, closed, replicas};

/// Says so many messages, "1", "2", … in the lobby, as fast as they are taken.
pub async fn fill(replica: &Replica, count: usize) {
    let account = replica.account("filler").await;
    let mut client = Client::connect(replica, "lobby", Some(&account.token), "")
        .await
        .expect("a session");
    for first in (1..=count).step_by(100) {
        for n in first..=(first + 99).min(count) {
            client
                .send(json!({"text": n.to_string(), "nonce": n.to_string()}))
                .await;
        }
        let last = (first + 99).min(count).to_string();
        client
            .next_where(|event| event["type"] == "ack" && event["nonce"] == json!(last))
            .await;
    }
}

/// The first, the last and the number of the messages that stand there.
pub async fn until_window(window: &Window, what: &str, condition: &str) {
    let script = format!(
        "const shown = [...document.querySelectorAll('#log .text')].map((text) => Number(text.textContent));
         const [first, last, count] = [shown[0], shown.at(-1), shown.length];
         const whole = shown.every((n, i) => n === first + i);
         return whole && ({condition})"
    );
    window.until(what, &script).await;
}

async fn scroll(window: &Window, to: &str) {
    window
        .js(&format!(
            "const s = document.getElementById('scroller'); s.scrollTop = {to}; return true"
        ))
        .await;
}

#[tokio::test]
async fn any_place_of_a_long_room_is_one_step_away() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[("LIMIT_MESSAGES_PER_SECOND", "0")]).await;
    let replica = cluster.replica(0);
    fill(replica, 1500).await;
    let window = browser.window().await;
    window.visit(&replica.base_url()).await;
    window.click("#just-read").await;
    window.connected().await;
    until_window(&window, "the newest stand there", "last === 1500").await;

    // To the beginning, and on from there by scrolling, whole and in order, in a window that does not grow for ever.
    window.click("#go-to").await;
    window.click("#to-beginning").await;
    until_window(&window, "the first message stands there", "first === 1").await;
    let seen = "const box = document.getElementById('scroller').getBoundingClientRect();
                const row = document.querySelector('#log .row .bubble').getBoundingClientRect();
                return row.top >= box.top && row.bottom <= box.bottom";
    window.until("and is in sight", seen).await;
    assert_eq!(
        window.js("return document.activeElement.id").await,
        "scroller",
        "one can read on by keyboard"
    );
    let offered = "return document.getElementById('older').checkVisibility()";
    assert_eq!(window.js(offered).await, false, "there is nothing older");
    let mut most = 0;
    for _ in 0..60 {
        scroll(&window, "s.scrollHeight").await;
        let rows = window
            .js("return document.querySelectorAll('#log > *').length")
            .await;
        most = most.max(rows.as_u64().expect("a number"));
        if window
            .js("return document.querySelector('#log > :last-child .text').textContent")
            .await
            == "1500"
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    until_window(&window, "scrolling down leads to the newest", "last === 1500").await;
    assert!((200..=600).contains(&most), "at most {most} rows");
    // Here one is at the end again: what is said now is added.
    scroll(&window, "s.scrollHeight").await;
    window
        .until(
            "the way to the end is not offered any more",
            "return document.getElementById('jump').hidden",
        )
        .await;
    let account = replica.account("late").await;
    replica
        .post(LOBBY, Some(&account.token), &json!({"text": "1501"}))
        .await;
    until_window(&window, "what is new is added", "last === 1501").await;

    // Older ones by scrolling up, and back in one step.
    scroll(&window, "0").await;
    until_window(
        &window,
        "older ones are loaded by scrolling",
        "last === 1501 && count > 500 || first < 1000",
    )
    .await;
    window
        .js("document.getElementById('jump').click(); return true")
        .await;
    until_window(
        &window,
        "the newest are one step away",
        "last === 1501 && count < 600",
    )
    .await;

    // To a day: all of it was said today, and nothing before or after.
    for (day, condition) in [("2001-02-03", "first === 1"), ("2999-01-01", "last === 1501")] {
        window.click("#go-to").await;
        window
            .js(&format!(
                "document.getElementById('leap-day').value = '{day}'; return true"
            ))
            .await;
        window.click("#to-day").await;
        until_window(&window, &format!("{day} is gone to"), condition).await;
    }
    closed(vec![window]).await;
    browser.end().await;
}

#[tokio::test]
async fn scrolling_does_not_hammer_a_server_that_fails() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[("LIMIT_MESSAGES_PER_SECOND", "0")]).await;
    let replica = cluster.replica(0);
    fill(replica, 120).await;
    let window = browser.window().await;
    window.visit(&replica.base_url()).await;
    window.click("#just-read").await;
    window.connected().await;
    until_window(&window, "the newest stand there", "last === 120").await;
    window
        .js("window.asked = 0; window.really = fetch;
             window.fetch = async () => { asked += 1; throw new TypeError('lost') }; return true")
        .await;
    let upwards = "const s = document.getElementById('scroller'); let left = 30;
         const up = () => { s.scrollTop = left % 2 ? 40 : 0; if (left--) requestAnimationFrame(up); else window.rested = true };
         up(); return true";
    window.js(upwards).await;
    window.until("it was scrolled", "return window.rested").await;
    let asked = window.js("return asked").await;
    assert_eq!(asked, 1, "one try, and then a pause");
    let said = "return document.getElementById('notice').textContent.includes('cannot be reached')";
    assert_eq!(window.js(said).await, true, "which is said");
    // Whoever presses the button does not wait.
    window.js("window.fetch = really; return true").await;
    window
        .js("document.getElementById('older').click(); return true")
        .await;
    until_window(&window, "older ones are there", "last === 120 && count === 100").await;
    closed(vec![window]).await;
    browser.end().await;
}

/// A message of the history as the page shows it; the times are those that the test wants.
const TIMES: &str = "
    const really = WebSocket.prototype.constructor;
    const parse = JSON.parse;
    JSON.parse = (text) => {
        const said = parse(text);
        for (const event of Array.isArray(said) ? said : []) {
            const [, at] = /@(\\S+)/.exec(event.text ?? '') ?? [];
            if (at) event.createTime = new Date(at).getTime();
        }
        return said;
    };";

#[tokio::test]
async fn the_time_stands_once_for_what_was_said_together() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let replica = cluster.replica(0);
    let (ann, ben) = (replica.account("Ann").await, replica.account("Ben").await);
    let said = [
        (&ann, "@2026-03-01T10:00:10", true),
        (&ann, "@2026-03-01T10:00:50", false),
        (&ann, "@2026-03-01T10:01:30", false),
        (&ben, "@2026-03-01T10:01:40", true),
        (&ann, "@2026-03-01T10:01:50", true),
        // Half an hour later, and a day.
        (&ann, "@2026-03-01T10:31:50", true),
        (&ann, "@2026-03-02T10:31:50", true),
        (&ann, "@2026-03-02T10:32:10", false),
    ];
    for (account, text, _) in &said {
        replica
            .post(LOBBY, Some(&account.token), &json!({ "text": text }))
            .await;
    }
    let window = browser.window().await;
    window.before_each_page(TIMES).await;
    window.visit(&replica.base_url()).await;
    window.click("#just-read").await;
    window.until_texts(&said.map(|(_, text, _)| text)).await;
    // Seen by eyes: larger than the pixel that is there for screen readers.
    let shown = window
        .js("return [...document.querySelectorAll('#log .at')].map((time) => time.getBoundingClientRect().width > 4
             && time.parentElement.getBoundingClientRect().width > 4)")
        .await;
    assert_eq!(shown, json!(said.map(|(_, _, shown)| shown)));
    let days =
        "return [...document.querySelectorAll('#log .day')].filter((day) => day.checkVisibility()).length";
    assert_eq!(window.js(days).await, 2, "a line for each day");
    // Exactly, for machines, and for whoever points at a message.
    let exact = window
        .js("return [...document.querySelectorAll('#log .row')].map((row) =>
             [row.querySelector('time.at').dateTime, row.querySelector('.bubble').title])")
        .await;
    for (row, (_, text, _)) in exact.as_array().expect("rows").iter().zip(said) {
        let time = window
            .js(&format!(
                "return new Date('{}').toISOString()",
                text.trim_start_matches('@')
            ))
            .await;
        assert_eq!(row[0], time);
        let (_, seconds) = text.split_once(":").expect("a time");
        assert!(
            row[1]
                .as_str()
                .is_some_and(|title| title.contains("2026") && title.contains(seconds)),
            "{row}"
        );
    }
    closed(vec![window]).await;
    browser.end().await;
}

#[tokio::test]
async fn a_text_that_is_too_long_is_not_sent_and_says_by_how_much() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[("MESSAGE_MAX_BYTES", "100")]).await;
    let window = browser.window().await;
    window.visit(&cluster.replica(0).base_url()).await;
    window.sign_up("Quy").await;
    let put = async |text: &str| {
        let put = format!(
            "const text = document.getElementById('text'); text.value = {}; text.dispatchEvent(new Event('input')); return true",
            json!(text)
        );
        window.js(&put).await;
    };
    let says = "return document.getElementById('too-long').checkVisibility() && document.getElementById('too-long').textContent";
    put("short").await;
    assert_eq!(window.js(says).await, false);
    // In bytes, as the server counts: 51 letters of two.
    put(&"é".repeat(51)).await;
    let said = window.until("it says so", says).await;
    assert!(
        said.as_str()
            .is_some_and(|said| said.contains("2 bytes too long")),
        "{said}"
    );
    assert_eq!(
        window
            .js("return document.getElementById('text').ariaInvalid")
            .await,
        "true"
    );
    window.click("#send").await;
    assert_eq!(
        window
            .js("return document.getElementById('text').value.length")
            .await,
        51,
        "it stays to be edited"
    );
    assert_eq!(
        window
            .js("return document.querySelectorAll('#pending li').length")
            .await,
        0
    );
    put(&"é".repeat(50)).await;
    assert_eq!(window.js(says).await, false);
    window.click("#send").await;
    window.until_texts(&["é".repeat(50).as_str()]).await;

    // A server that takes less than it said when the page was loaded: there is no trying again with what can never go.
    window
        .js("document.getElementById('text').dataset.maxBytes = '4096'; return true")
        .await;
    put(&"x".repeat(101)).await;
    window.click("#send").await;
    window
        .until(
            "it is refused",
            "return document.querySelector('#pending [data-state=refused]')",
        )
        .await;
    let buttons =
        "return [...document.querySelectorAll('#pending button')].map((button) => button.textContent)";
    assert_eq!(window.js(buttons).await, json!(["Edit", "Discard"]));
    closed(vec![window]).await;
    browser.end().await;
}
