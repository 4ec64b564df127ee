//! What has been written and not sent: kept through other rooms, closed tabs and refusals until it is stored or discarded.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use testkit::{Backend, Cluster, Options, Proxy, Replica, until};

use crate::window::{Browser, Window};
use crate::{closed, replicas, stored, until_stored};

/// A replica, and a way to it that can be taken away.
async fn behind_a_proxy(settings: &[(&str, &str)]) -> (Cluster, Proxy, String) {
    let cluster = replicas(Backend::Embedded, 1, settings).await;
    let proxy = Proxy::start(cluster.replica(0).port()).await;
    let url = format!("http://127.0.0.1:{}/", proxy.port());
    (cluster, proxy, url)
}

async fn take_away(proxy: &Proxy, window: &Window) {
    proxy.refuse().await;
    proxy.cut();
    let noticed = "return document.getElementById('status').dataset.state !== 'connected'";
    window.until("the page notices", noticed).await;
}

#[tokio::test]
async fn what_was_written_offline_is_sent_from_another_room() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let (cluster, proxy, url) = behind_a_proxy(&[("LIMIT_MESSAGES_PER_SECOND", "2")]).await;
    let replica = cluster.replica(0);
    let window = browser.window().await;
    window.visit(&url).await;
    window.sign_up("Ann").await;
    window.go_to_room("tea").await;
    take_away(&proxy, &window).await;
    let texts = [
        "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    ];
    for text in texts {
        window.say(text).await;
    }
    window.until_unsent(&texts).await;

    window.choose_room("lobby").await;
    window.until_unsent(&[]).await;
    window.until_says("elsewhere", "9 in tea").await;
    let mark = "return document.querySelector('#room-list a[href=\"#tea\"]').parentElement.textContent.includes('9 unsent')";
    window.until("the list marks the room", mark).await;

    // Faster than the server takes them, and then as it says.
    proxy.accept().await;
    until_stored(replica, "tea", &texts).await;
    let refused = refusals(replica).await;
    assert!(
        (1..=texts.len()).contains(&refused),
        "{refused} refusals: it waits as it is told"
    );
    let sent = "return !document.getElementById('elsewhere').checkVisibility() && !document.querySelector('#room-list .unsent')";
    window.until("nothing is unsent", sent).await;
    window.go_to_room("tea").await;
    window.until_texts(&texts).await;
    window.close().await;
    browser.end().await;
}

/// How many messages were refused as too fast.
async fn refusals(replica: &Replica) -> usize {
    let metrics = replica.metrics().await;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("chat_refusals_total{") && line.contains("RATE_LIMITED"));
    let count = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    count.expect("a number of refusals")
}

#[tokio::test]
async fn what_was_written_offline_outlives_its_tab() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let (cluster, proxy, url) = behind_a_proxy(&[]).await;
    let window = browser.window().await;
    window.visit(&url).await;
    window.sign_up("Ann").await;
    window.go_to_room("tea").await;
    take_away(&proxy, &window).await;
    window.say("before the tab was closed").await;
    window.choose_room("lobby").await;
    window.say("here, too").await;
    window.until_unsent(&["here, too"]).await;
    close_for_good(&window).await;

    // The login was for the tab. With the next one all of it goes, each to its room.
    proxy.accept().await;
    window.visit(&url).await;
    window.log_in("Ann").await;
    window.until_texts(&["here, too"]).await;
    until_stored(cluster.replica(0), "tea", &["before the tab was closed"]).await;

    // Who stays logged in need not do anything.
    window.click("#sign-out").await;
    window.until_asked().await;
    window.click("#keep").await;
    window.log_in("Ann").await;
    take_away(&proxy, &window).await;
    window.choose_room("tea").await;
    window.say("and once more").await;
    window.until_unsent(&["and once more"]).await;
    close_for_good(&window).await;
    proxy.accept().await;
    window.visit(&url).await;
    let both = ["before the tab was closed", "and once more"];
    until_stored(cluster.replica(0), "tea", &both).await;
    closed(vec![window]).await;
    browser.end().await;
}

/// Closes the only tab of the page; a new one stands there, empty.
async fn close_for_good(window: &Window) {
    let page = window.open_tab().await;
    let empty = window.client.window().await.expect("the new tab");
    window.switch_to(&page).await;
    window.close_tab(&empty).await;
}

#[tokio::test]
async fn two_tabs_keep_each_others_unsent_words_and_their_order() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let (cluster, proxy, url) = behind_a_proxy(&[]).await;
    let window = browser.window().await;
    let tea = format!("{url}#tea");
    window.visit(&tea).await;
    window.click("#keep").await;
    window.sign_up("Ann").await;
    let first = window.open_tab().await;
    window.visit(&tea).await;
    window.connected().await;
    let second = window.client.window().await.expect("the second tab");
    take_away(&proxy, &window).await;

    // Taking turns, a few times: neither forgets what the other has written.
    let texts = ["one", "two", "three"];
    for (n, text) in texts.iter().enumerate() {
        window.switch_to([&second, &first][n % 2]).await;
        window.say(text).await;
        window.until_unsent(&texts[..=n]).await;
    }
    window.close_tab(&first).await;
    window.until_unsent(&texts).await;
    proxy.accept().await;
    window.until_texts(&texts).await;
    assert_eq!(stored(cluster.replica(0), "tea").await, texts);
    closed(vec![window]).await;
    browser.end().await;
}

#[tokio::test]
async fn two_tabs_that_are_connected_send_each_message_once_and_show_it_once() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let (cluster, _proxy, url) = behind_a_proxy(&[]).await;
    let window = browser.window().await;
    window.visit(&url).await;
    window.click("#keep").await;
    window.sign_up("Ann").await;
    let first = window.open_tab().await;
    window.visit(&url).await;
    window.connected().await;
    let second = window.client.window().await.expect("the second tab");
    let mut said = Vec::new();
    for text in ["a", "b", "c", "d"] {
        window.switch_to([&first, &second][said.len() % 2]).await;
        window.say(text).await;
        said.push(text);
    }
    for tab in [&first, &second] {
        window.switch_to(tab).await;
        window.until_texts(&said).await;
    }
    let metrics = cluster.replica(0).metrics().await;
    let taken = metrics
        .lines()
        .find(|line| line.starts_with("chat_messages_total"));
    assert!(
        taken.is_some_and(|line| line.ends_with(" 4")),
        "each by one tab: {taken:?}"
    );
    closed(vec![window]).await;
    browser.end().await;
}

#[tokio::test]
async fn what_is_refused_for_good_stays_with_its_reason() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let (cluster, proxy, url) = behind_a_proxy(&[]).await;
    let window = browser.window().await;
    window.visit(&url).await;
    window.click("#keep").await;
    window.sign_up("Ann").await;
    window.go_to_room("tea").await;
    take_away(&proxy, &window).await;
    // No message has a U+0000: both ways of sending refuse it, and neither lets it hold up the next.
    window.say("first").await;
    write(&window, "not\0good").await;
    window.say("last").await;
    window.choose_room("lobby").await;
    write(&window, "not good\0either").await;
    window.say("well").await;
    proxy.accept().await;
    until_stored(cluster.replica(0), "lobby", &["well"]).await;
    until_stored(cluster.replica(0), "tea", &["first", "last"]).await;
    window.until_says("elsewhere", "1 in tea").await;
    window.until_says("pending", "The server refused this").await;
    window.press("#pending", "Discard").await;
    window.until_unsent(&[]).await;

    // Through a reload, until it is discarded.
    window.client.refresh().await.expect("reload");
    window.connected().await;
    window.until_says("elsewhere", "1 in tea").await;
    window.go_to_room("tea").await;
    window.until_says("pending", "The server refused this").await;
    window.press("#pending", "Discard").await;
    window.until_unsent(&[]).await;
    window.client.refresh().await.expect("reload");
    window.connected().await;
    window.until_texts(&["first", "last"]).await;
    window.close().await;
    browser.end().await;
}

/// Sends what no keyboard has.
async fn write(window: &Window, text: &str) {
    let script = format!(
        "const text = document.getElementById('text'); text.value = {}; text.dispatchEvent(new Event('input'));
         document.getElementById('composer').requestSubmit(); return true",
        json!(text)
    );
    window.js(&script).await;
}

#[tokio::test]
async fn a_full_outbox_says_so_and_leaves_the_text_in_its_box() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let (cluster, proxy, url) = behind_a_proxy(&[]).await;
    let window = browser.window().await;
    window.visit(&url).await;
    window.sign_up("Ann").await;
    take_away(&proxy, &window).await;
    for n in 1..=200 {
        write(&window, &format!("message {n}")).await;
    }
    let two_hundred = "return document.querySelectorAll('#pending li').length === 200";
    window.until("all of them wait", two_hundred).await;
    write(&window, "one too many").await;
    window.until_says("notice", "Too much is waiting").await;
    let kept = "return document.getElementById('text').value";
    assert_eq!(window.js(kept).await, "one too many");
    window.until("no more wait", two_hundred).await;

    // There is room again once they are sent, in order and once, however often the way is cut.
    proxy.accept().await;
    for left in [180, 120, 60] {
        let fewer = format!("return document.querySelectorAll('#pending li').length <= {left}");
        window.until("some are sent", &fewer).await;
        proxy.cut();
    }
    let none = "return !document.querySelector('#pending li')";
    window.until("they are sent", none).await;
    window.click("#send").await;
    let mut all: Vec<String> = (1..=200).map(|n| format!("message {n}")).collect();
    all.push("one too many".to_owned());
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    until_stored(cluster.replica(0), "lobby", &all).await;
    closed(vec![window]).await;
    browser.end().await;
}

#[tokio::test]
async fn a_token_that_ends_while_the_server_is_away_costs_nothing_that_was_written() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let (cluster, proxy, url) = behind_a_proxy(&[("TOKEN_TTL_SECONDS", "8")]).await;
    let window = browser.window().await;
    window.visit(&url).await;
    window.sign_up("Ann").await;
    window.go_to_room("tea").await;
    take_away(&proxy, &window).await;
    window.say("in time").await;
    window.choose_room("lobby").await;
    window.say("too late").await;
    ended(cluster.replica(0), &window).await;
    // The handshake is refused without a reason; who asks for it learns it.
    proxy.accept().await;
    window.until_asked().await;
    window.until_says("account-error", "what you wrote is kept").await;
    window.log_in("Ann").await;
    window.until_texts(&["too late"]).await;
    until_stored(cluster.replica(0), "tea", &["in time"]).await;
    window.close().await;
    browser.end().await;
}

/// Waits until the token that the page has is good for nothing.
async fn ended(replica: &Replica, window: &Window) {
    let token = window
        .js("return JSON.parse(sessionStorage.getItem('chat.account')).token")
        .await;
    let token = token.as_str().expect("a token");
    let refused = async || replica.get("/api/v1/users/me", Some(token)).await.status == 401;
    until("the token has ended", Duration::from_secs(30), refused).await;
}

/// Puts the first try of "one" off, as a server does that cannot take more just now.
const PUT_OFF: &str = "const send = WebSocket.prototype.send;
    let before = false;
    WebSocket.prototype.send = function (frame) {
      const { text, nonce } = JSON.parse(frame);
      if (before || text !== 'one') return send.call(this, frame);
      before = true;
      const events = [{ type: 'error', error: { type: 'OVERLOADED', message: '' }, nonce, retryAfter: 500 }];
      setTimeout(() => this.onmessage({ data: JSON.stringify(events) }), 300);
    };";

#[tokio::test]
async fn nothing_overtakes_what_was_put_off() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let (_cluster, _proxy, url) = behind_a_proxy(&[]).await;
    let window = browser.window().await;
    window.before_each_page(PUT_OFF).await;
    window.visit(&url).await;
    window.sign_up("Ann").await;
    for text in ["one", "two", "three"] {
        write(&window, text).await;
    }
    window.until_texts(&["one", "two", "three"]).await;
    closed(vec![window]).await;
    browser.end().await;
}

#[tokio::test]
async fn what_the_database_does_not_take_is_sent_in_order_once_it_is_back() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let options = Options {
        proxied: true,
        ..Options::default()
    };
    let bin = Path::new(env!("CARGO_BIN_EXE_chat-gateway"));
    let cluster = Cluster::start_with(bin, options).await;
    let replica = cluster.replica(0);
    let window = browser.window().await;
    window.visit(&replica.base_url()).await;
    window.sign_up("Ann").await;
    window.say("before").await;
    window.until_texts(&["before"]).await;
    let database = cluster.database_proxy();
    database.refuse().await;
    database.cut();
    for text in ["one", "two", "three"] {
        window.say(text).await;
    }
    window.until_unsent(&["one", "two", "three"]).await;
    window.until_says("notice", "Trying again in").await;
    window.choose_room("tea").await;
    window.say("here").await;
    window.say("and here").await;
    window.until_says("elsewhere", "3 in lobby").await;
    database.accept().await;
    until_stored(replica, "lobby", &["before", "one", "two", "three"]).await;
    window.until_texts(&["here", "and here"]).await;
    let all = "return !document.getElementById('elsewhere').checkVisibility()";
    window.until("nothing is unsent", all).await;
    window.close().await;
    browser.end().await;
}
