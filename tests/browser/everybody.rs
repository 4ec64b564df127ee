//! Whoever hears the page, holds a phone, writes from right to left or wants nothing to move.

use serde_json::{Value, json};
use testkit::Backend;

use crate::reading::{fill, until_window};
use crate::window::Browser;
use crate::{LOBBY, closed, replicas};

#[tokio::test]
async fn a_busy_room_is_no_flood_for_a_screen_reader() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[("LIMIT_MESSAGES_PER_SECOND", "0")]).await;
    let replica = cluster.replica(0);
    fill(replica, 50).await;
    let window = browser.window().await;
    // Everything that becomes part of a live region, as it does.
    window
        .before_each_page(
            "window.heard = [];
             new MutationObserver((changes) => {
               for (const { target, addedNodes } of changes) {
                 const region = (target.closest ? target : target.parentElement)?.closest('[aria-live], [role=log], [role=status], [role=alert]');
                 if (!region?.checkVisibility() || region.ariaLive === 'off' || region.getAttribute('aria-live') === 'off') continue;
                 for (const node of addedNodes) if (node.textContent.trim()) heard.push(node.textContent);
               }
             }).observe(document, { subtree: true, childList: true });",
        )
        .await;
    window.visit(&replica.base_url()).await;
    window.click("#just-read").await;
    window.connected().await;
    until_window(&window, "they stand there", "last === 50").await;
    let heard = async |about: &str, wanted: &str| {
        window
            .until(about, &format!("return heard.some((said) => {wanted})"))
            .await;
        let all: Vec<String> =
            serde_json::from_value(window.js("return heard.splice(0)").await).expect("texts");
        all
    };
    let all = heard("the number of them is heard", "said.includes('50 messages')").await;
    assert!(all.len() <= 6, "{all:?}");

    let account = replica.account("Pia").await;
    let say = async |text: &str| {
        replica
            .post(LOBBY, Some(&account.token), &json!({ "text": text }))
            .await
    };
    say("hello there").await;
    let all = heard(
        "one is heard in full",
        "said.includes('Pia') && said.includes('hello there')",
    )
    .await;
    assert_eq!(all.len(), 1, "{all:?}");
    for n in 0..40 {
        say(&format!("flood {n}")).await;
    }
    let all = heard("many are a number", "/\\d+ messages/.test(said)").await;
    assert!(all.len() <= 12, "{all:?}");
    let kept = window
        .js("return document.querySelectorAll('#spoken > *').length")
        .await;
    assert!(kept.as_u64().is_some_and(|kept| kept <= 10), "{kept} are kept");
    closed(vec![window]).await;
    browser.end().await;
}

#[tokio::test]
async fn long_words_and_names_and_other_directions_fit_a_phone() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let replica = cluster.replica(0);
    let names = [
        "W".repeat(64),
        "שם ארוך מאוד של מישהו שכותב מימין לשמאל ועוד קצת".to_owned(),
        "名".repeat(64),
    ];
    let texts = [
        "w".repeat(600),
        "שלום לכולם, abc 123, מה שלומכם היום?".to_owned(),
        "長".repeat(300),
    ];
    for (name, text) in names.iter().zip(&texts) {
        let account = replica.account(name).await;
        replica
            .post(LOBBY, Some(&account.token), &json!({ "text": text }))
            .await;
    }
    let phone = browser.phone().await;
    phone.visit(&replica.base_url()).await;
    phone.click("#just-read").await;
    phone.until_texts(&texts.each_ref().map(String::as_str)).await;
    assert!(phone.overflow().await <= 0, "it fits");
    // A text reads from its own side, in a bubble that keeps to the sender's.
    let sides = phone
        .js("return [...document.querySelectorAll('#log .text')].map((text) => getComputedStyle(text).direction + ' ' + text.matches(':dir(rtl)'))")
        .await;
    assert_eq!(sides, json!(["ltr false", "rtl true", "ltr false"]), "{sides}");
    phone.click("#go-to").await;
    let fits = "const box = document.getElementById('leap').getBoundingClientRect(); return box.left >= 0 && box.right <= innerWidth";
    assert_eq!(phone.js(fits).await, true, "the dialog fits");
    phone
        .keys(&char::from(fantoccini::key::Key::Escape).to_string())
        .await;
    assert_eq!(
        phone.js("return document.activeElement.id").await,
        "go-to",
        "and gives the focus back"
    );
    closed(vec![phone]).await;
    browser.end().await;
}

/// What is there for the ear alone counts as well: it must not reach out of the place that scrolls.
#[tokio::test]
async fn a_long_room_scrolls_in_its_place_alone() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[("LIMIT_MESSAGES_PER_SECOND", "0")]).await;
    let replica = cluster.replica(0);
    fill(replica, 50).await;
    let (window, phone) = (browser.window().await, browser.phone().await);
    for page in [&window, &phone] {
        page.visit(&replica.base_url()).await;
        page.click("#just-read").await;
        until_window(page, "they stand there", "last === 50").await;
        let scrolls = "const { scrollHeight, clientHeight } = document.getElementById('scroller'); return scrollHeight > clientHeight";
        page.until("they are more than fit", scrolls).await;
        assert_eq!(page.overflow().await.max(0), 0, "and the page stays where it is");
    }
    closed(vec![window, phone]).await;
    browser.end().await;
}

#[tokio::test]
async fn who_wants_less_motion_has_none() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    for (wish, moves) in [("no-preference", true), ("reduce", false)] {
        let phone = browser.phone().await;
        phone.prefers("prefers-reduced-motion", wish).await;
        phone.visit(&cluster.replica(0).base_url()).await;
        phone.click("#just-read").await;
        phone.connected().await;
        let moving = phone
            .js("document.getElementById('menu').click(); return document.getAnimations().length > 0")
            .await;
        assert_eq!(moving, Value::Bool(moves), "{wish}");
        closed(vec![phone]).await;
    }
    browser.end().await;
}
