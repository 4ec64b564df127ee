//! What a person does on the page, in real browsers, on real replicas.
#![cfg(test)]

#[path = "browser/accessible.rs"]
mod accessible;
#[path = "browser/account.rs"]
mod account;
#[path = "browser/devtools.rs"]
mod devtools;
#[path = "browser/docs.rs"]
mod docs;
#[path = "browser/everybody.rs"]
mod everybody;
#[path = "browser/names.rs"]
mod names;
#[path = "browser/path.rs"]
mod path;
#[path = "browser/place.rs"]
mod place;
#[path = "browser/reading.rs"]
mod reading;
#[path = "browser/refused.rs"]
mod refused;
#[path = "browser/start.rs"]
mod start;
#[path = "browser/storage.rs"]
mod storage;
#[path = "browser/tabs.rs"]
mod tabs;
#[path = "browser/unsent.rs"]
mod unsent;
#[path = "browser/window.rs"]
mod window;

use std::path::Path;
use std::time::Duration;

use fantoccini::key::Key;
use serde_json::json;
use testkit::{Backend, Cluster, Replica, until};

use window::{Browser, Window};

const LOBBY: &str = "/api/v1/rooms/lobby/messages";
const MARKUP: &str = "<img src=x onerror=alert(1)><script>alert(2)</script>";

async fn replicas(backend: Backend, count: usize, settings: &[(&str, &str)]) -> Cluster {
    let bin = Path::new(env!("CARGO_BIN_EXE_chat-gateway"));
    Cluster::start(bin, backend, count, settings).await
}

/// The texts of a room's log, as the server has it.
async fn stored(replica: &Replica, room: &str) -> Vec<String> {
    let messages = replica.history(room).await;
    let texts = messages.iter().map(|message| message["text"].as_str());
    texts.map(|text| text.expect("a text").to_owned()).collect()
}

/// Waits until a room's log is `texts`.
async fn until_stored(replica: &Replica, room: &str, texts: &[&str]) {
    let what = format!("{room} holds {texts:?}");
    until(&what, Duration::from_secs(60), async || {
        stored(replica, room).await == texts
    })
    .await;
}

async fn closed(windows: Vec<Window>) {
    for window in windows {
        assert_eq!(
            window.complaints().await,
            Vec::<String>::new(),
            "the browser's console is clean"
        );
        window.close().await;
    }
}

#[tokio::test]
async fn two_people_chat_on_two_replicas_through_the_loss_of_each() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Clustered, 2, &[("DRAIN_SECONDS", "2")]).await;
    let (ann, ben) = (browser.window().await, browser.window().await);
    ann.visit(&cluster.replica(0).base_url()).await;
    ben.visit(&cluster.replica(1).base_url()).await;
    ann.sign_up("Ann").await;
    ben.sign_up("Ben").await;
    ann.go_to_room("tea & cake / 茶").await;
    ben.go_to_room("tea & cake / 茶").await;

    // Both ways, and markup stays text.
    ann.say("Is anybody here?").await;
    ben.until_texts(&["Is anybody here?"]).await;
    ben.say(MARKUP).await;
    ann.until_texts(&["Is anybody here?", MARKUP]).await;
    ben.until_texts(&["Is anybody here?", MARKUP]).await;
    let made = "return document.querySelectorAll('#log img, #log script').length";
    assert_eq!(ann.js(made).await, json!(0));
    let names = "return [...document.querySelectorAll('#log .name')].map((name) => name.textContent).join()";
    assert_eq!(ann.js(names).await, "Ann,Ben");

    // Ben's replica is killed. His page says so, keeps what he writes, and comes back to what was said meanwhile.
    cluster.replica(1).kill().await;
    let waits = "return ['waiting', 'connecting'].includes(document.getElementById('status').dataset.state) \
                 && document.getElementById('status').innerText.includes('Reconnecting')";
    ben.until("the page says that it reconnects", waits).await;
    for text in ["one", "two", "three"] {
        ann.say(text).await;
    }
    ben.say("four, from the dark").await;
    ben.until(
        "his words wait",
        "return document.querySelector('#pending [data-state=waiting]')",
    )
    .await;
    let mut said = vec!["Is anybody here?", MARKUP, "one", "two", "three"];
    ann.until_texts(&said).await;
    cluster.replica(1).start_again().await;
    said.push("four, from the dark");
    ben.until_texts(&said).await;
    ann.until_texts(&said).await;
    ben.connected().await;

    // Ann's replica leaves as one does in a deployment, and comes back.
    ann.type_into("#text", "a draft").await;
    cluster.replica(0).terminate().await;
    ann.until("the page says that it reconnects", waits).await;
    cluster.replica(0).wait().await;
    ben.say("five").await;
    cluster.replica(0).start_again().await;
    said.push("five");
    ann.until_texts(&said).await;
    ann.click("#send").await;
    said.push("a draft");
    ann.until_texts(&said).await;
    ben.until_texts(&said).await;

    // A reload shows the same, and the person is still logged in.
    ben.client.refresh().await.expect("reload");
    ben.connected().await;
    ben.until_texts(&said).await;

    closed(vec![ann, ben]).await;
    browser.end().await;
}

#[tokio::test]
async fn the_page_fits_a_phone() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let phone = browser.phone().await;
    phone.visit(&cluster.replica(0).base_url()).await;
    assert_eq!(phone.js("return innerWidth").await, 360);
    assert!(phone.overflow().await <= 0, "the form fits");
    phone
        .sign_up("A name of as many characters as a name may have, which is 64, ok")
        .await;
    phone.say(&"long".repeat(200)).await;
    phone
        .say("https://example.org/a/path/without/any/place/to/break?but=with&very=many&things=in_it")
        .await;
    let said = "return document.querySelectorAll('#log .row').length === 2 && !document.querySelector('#pending li')";
    phone.until("both stand there", said).await;
    assert!(phone.overflow().await <= 0, "long words wrap");

    // The rooms are a drawer here.
    phone.click("#menu").await;
    phone
        .until(
            "the drawer is open",
            "return document.getElementById('join-name').checkVisibility({visibilityProperty: true})",
        )
        .await;
    phone.go_to_room(&"r".repeat(128)).await;
    phone
        .until("it has closed", "return !document.getElementById('chat').inert")
        .await;
    assert!(phone.overflow().await <= 0, "a long room name fits");
    closed(vec![phone]).await;
    browser.end().await;
}

#[tokio::test]
async fn everything_can_be_done_by_keyboard() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let window = browser.window().await;
    window.visit(&cluster.replica(0).base_url()).await;
    let (tab, enter) = (char::from(Key::Tab), char::from(Key::Enter));

    // Sign up without touching the mouse: the name has the focus at the start, the room's text box at the end.
    window.keys(&format!("Kim{tab}")).await;
    window.keys(&format!("a secret{enter}")).await;
    window.connected().await;
    let writes = "return document.activeElement.id === 'text'";
    window.until("the box one writes in has the focus", writes).await;
    let newline = format!("{shift}{enter}{shift}", shift = char::from(Key::Shift));
    window.keys(&format!("first line{newline}second line")).await;
    window.keys(&enter.to_string()).await;
    window.until_texts(&["first line\nsecond line"]).await;

    // Round the page: everything that takes the focus shows it, and the room's field is among it.
    let begin = "document.activeElement.blur(); document.getElementById('skip').focus(); return true";
    window.js(begin).await;
    let mut seen = Vec::new();
    for _ in 0..20 {
        let shown = window
            .js("const e = document.activeElement, s = getComputedStyle(e);
                 const held = e.id === 'text' ? getComputedStyle(e.parentElement).borderColor !== 'rgba(0, 0, 0, 0)' : s.outlineStyle !== 'none';
                 return [e.id || e.textContent.trim(), held]")
            .await;
        assert_eq!(shown[1], true, "{} shows that it has the focus", shown[0]);
        let name = shown[0].as_str().expect("a name").to_owned();
        if seen.contains(&name) || name.is_empty() {
            break;
        }
        let last = name == "text";
        seen.push(name);
        if last {
            break;
        }
        window.keys(&tab.to_string()).await;
    }
    for needed in ["skip", "sign-out", "join-name", "scroller", "text"] {
        assert!(
            seen.iter().any(|name| name == needed),
            "Tab reaches {needed}: {seen:?}"
        );
    }

    // To another room, and straight back to writing by the first stop of the page.
    window
        .js("document.getElementById('join-name').focus(); return true")
        .await;
    window.keys(&format!("kitchen{enter}")).await;
    window
        .until(
            "the room is shown",
            "return document.getElementById('room-name').textContent === 'kitchen'",
        )
        .await;
    window.connected().await;
    window.until("the box one writes in has the focus", writes).await;
    window
        .js("document.getElementById('skip').focus(); return true")
        .await;
    window.keys(&enter.to_string()).await;
    window.until("the box one writes in has the focus", writes).await;
    closed(vec![window]).await;
    browser.end().await;
}
