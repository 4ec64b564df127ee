//! axe-core finds nothing to object to, in any state of the page, in light and in dark.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Backend, Proxy, skipped};

use crate::window::{Browser, Window};
use crate::{LOBBY, MARKUP, replicas};

const AXE: &str = "axe-core@4.14.1";
/// How long npm may take to fetch it.
const FETCHED: Duration = Duration::from_secs(120);

/// The library's text, fetched from npm where it is missing; `None` where it cannot be, which has been said.
pub async fn axe() -> Option<String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target"),
        PathBuf::from,
    );
    let folder = target.join("tools").join(AXE);
    let file = folder.join("node_modules/axe-core/axe.min.js");
    if !file.exists() {
        let mut npm = testkit::command("npm");
        npm.args([
            "install",
            "--no-save",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--prefix",
        ])
        .arg(&folder)
        .arg(AXE);
        if !testkit::ended("npm install", FETCHED, npm).await.status.success() {
            skipped("axe-core could not be fetched by npm, so nobody looked whether the page is accessible");
            return None;
        }
    }
    Some(std::fs::read_to_string(file).expect("axe-core"))
}

/// Looks at the page as it is, in light and in dark.
pub async fn look(window: &Window, axe: &str, state: &str) {
    for scheme in ["light", "dark"] {
        window.prefers("prefers-color-scheme", scheme).await;
        window
            .js(&format!("if (!window.axe) {{ {axe} }}; return true"))
            .await;
        let run = "const done = arguments[arguments.length - 1];
                   const still = Promise.all(document.getAnimations().filter((a) => a.effect.getTiming().iterations === 1).map((a) => a.finished));
                   still.then(() => axe.run(document, { resultTypes: ['violations'] })).then(
                     ({ violations, passes }) => done([violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html} ${node.failureSummary}`)), passes.length]),
                     (error) => done([[`axe failed: ${error}`], 0]))";
        let found = window.client.execute_async(run, vec![]).await.expect("axe runs");
        assert_eq!(
            found[0],
            Value::Array(vec![]),
            "{state}, {scheme}: {:#}",
            found[0]
        );
        assert!(
            found[1].as_u64().is_some_and(|passed| passed > 10),
            "it looked: {found}"
        );
    }
}

#[tokio::test]
async fn axe_finds_nothing_in_any_state_of_the_page() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let Some(axe) = axe().await else {
        return browser.end().await;
    };
    let cluster = replicas(Backend::Embedded, 1, &[("MESSAGE_MAX_BYTES", "200")]).await;
    let replica = cluster.replica(0);
    let proxy = Proxy::start(replica.port()).await;
    let url = format!("http://127.0.0.1:{}/", proxy.port());
    let window = browser.window().await;
    window.visit(&url).await;
    look(&window, &axe, "signing up").await;
    window.click("#enter").await;
    look(&window, &axe, "a form that is not filled in").await;
    window.click("#just-read").await;
    window.connected().await;
    look(&window, &axe, "an empty room, as a guest").await;

    window.click("#sign-in").await;
    window.sign_up("Ann").await;
    window.go_to_room("elsewhere").await;
    window.go_to_room("lobby").await;
    for name in ["Ben", "Cem", "Dua", "Eli", "Fay", "Gil", "Hal", "Ida"] {
        let account = replica.account(name).await;
        for text in ["Hello", MARKUP] {
            replica
                .post(LOBBY, Some(&account.token), &json!({ "text": text }))
                .await;
        }
    }
    window.say("mine").await;
    window
        .until(
            "they stand there",
            "return document.querySelectorAll('#log .row').length === 17",
        )
        .await;
    look(&window, &axe, "a room").await;
    window
        .js("document.querySelector('#log .row:nth-child(2) .bubble').focus(); return true")
        .await;
    window.click("#go-to").await;
    look(&window, &axe, "asking where to go").await;
    window
        .keys(&char::from(fantoccini::key::Key::Escape).to_string())
        .await;
    window.type_into("#join-name", "..").await;
    window.click("#join button[type='submit']").await;
    look(&window, &axe, "a room that cannot be").await;
    window
        .js("const text = document.getElementById('text'); text.value = 'x'.repeat(201); text.dispatchEvent(new Event('input')); return true")
        .await;
    look(&window, &axe, "a text that is too long").await;
    window
        .js("const text = document.getElementById('text'); text.dataset.maxBytes = '4096'; text.dispatchEvent(new Event('input')); return true")
        .await;
    window.click("#send").await;
    window
        .until(
            "it is refused",
            "return document.querySelector('#pending [data-state=refused]')",
        )
        .await;
    proxy.refuse().await;
    proxy.cut();
    window
        .until(
            "the page notices",
            "return document.getElementById('status').dataset.state !== 'connected'",
        )
        .await;
    window.say("unsent").await;
    window
        .until(
            "it waits",
            "return document.querySelector('#pending [data-state=waiting]')",
        )
        .await;
    window
        .until(
            "it says why",
            "return document.getElementById('status').dataset.state === 'waiting'",
        )
        .await;
    look(&window, &axe, "unsent and refused").await;
    window.js("document.getElementById('go-to').click(); document.getElementById('to-beginning').click(); return true").await;
    window
        .until("it says so", "return !document.getElementById('notice').hidden")
        .await;
    look(&window, &axe, "a history that cannot be read").await;
    window.js("location.hash = 'elsewhere'; return true").await;
    window.until_says("elsewhere", "2 in lobby (1 refused)").await;
    window
        .js("document.getElementById('forgetful').hidden = false; return true")
        .await;
    look(&window, &axe, "unsent in another room, in a browser that forgets").await;
    window.click("#sign-out").await;
    window.until_says("leaving", "2 messages").await;
    look(&window, &axe, "asking before logging out").await;
    proxy.accept().await;
    window.close().await;

    let phone = browser.phone().await;
    phone.visit(&url).await;
    phone.click("#just-read").await;
    phone.connected().await;
    look(&phone, &axe, "a phone").await;
    phone.click("#menu").await;
    look(&phone, &axe, "a phone's drawer").await;
    phone.before_each_page("delete window.ResizeObserver").await;
    phone.visit(&url).await;
    look(&phone, &axe, "a page that could not start").await;
    phone.close().await;
    browser.end().await;
}
