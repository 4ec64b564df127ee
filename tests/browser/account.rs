//! Signing up where an answer gets lost on the way, or the login after it: pressing again brings one in.

use testkit::{Backend, Proxy};

use crate::window::{Browser, Window};
use crate::{closed, replicas};

/// Lets the requests to this path fail, or their answers be lost, as long as `window.loses` says so.
const LOSSY: &str = "
    const really = window.fetch;
    window.fetch = async (url, options) => {
        const loses = window.loses ?? '';
        if (loses === `before ${new URL(url).pathname}`) throw new TypeError('lost');
        const answer = await really(url, options);
        if (loses === `after ${new URL(url).pathname}`) throw new TypeError('lost');
        return answer;
    };";

async fn fill_in(window: &Window, name: &str, secret: &str) {
    window.click("#account input[value='sign-up']").await;
    let clear =
        "for (const id of ['username', 'secret']) document.getElementById(id).value = ''; return true";
    window.js(clear).await;
    window.type_into("#username", name).await;
    window.type_into("#secret", secret).await;
}

async fn loses(window: &Window, what: &str) {
    window.js(&format!("window.loses = '{what}'; return true")).await;
}

async fn is_told(window: &Window, what: &str) {
    let told = format!("return document.getElementById('account-error').textContent.includes('{what}')");
    window.until(&format!("it says {what:?}"), &told).await;
}

#[tokio::test]
async fn a_sign_up_whose_answer_was_lost_is_finished_by_pressing_again() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let window = browser.window().await;
    window.before_each_page(LOSSY).await;
    window.visit(&cluster.replica(0).base_url()).await;
    for (name, lost) in [
        ("Kay", "after /api/v1/users"),
        ("Lou", "before /api/v1/login"),
        ("Mia", "after /api/v1/login"),
    ] {
        fill_in(&window, name, "correct horse").await;
        loses(&window, lost).await;
        window.click("#enter").await;
        is_told(&window, "cannot be reached").await;
        loses(&window, "").await;
        window.click("#enter").await;
        window.connected().await;
        window.click("#sign-out").await;
    }
    // Somebody else's name stays taken, whether it was tried before or not.
    for _ in 0..2 {
        fill_in(&window, "Kay", "another secret").await;
        window.click("#enter").await;
        is_told(&window, "taken already").await;
    }
    window.close().await;
    browser.end().await;
}

#[tokio::test]
async fn a_sign_up_is_not_stopped_by_the_logins_of_others() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[("LIMIT_LOGINS_PER_MINUTE", "1")]).await;
    let replica = cluster.replica(0);
    let guess = serde_json::json!({"username": "nobody", "secret": "x"});
    while replica.post("/api/v1/login", None, &guess).await.status != 429 {}
    let window = browser.window().await;
    window.visit(&replica.base_url()).await;
    window.sign_up("Nia").await;
    closed(vec![window]).await;
    browser.end().await;
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_on() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let proxy = Proxy::start(cluster.replica(0).port()).await;
    let window = browser.window().await;
    // What the page waits for is waited for ten times faster.
    let hasten =
        "const really = AbortSignal.timeout; AbortSignal.timeout = (ms) => really.call(AbortSignal, ms / 10)";
    window.before_each_page(hasten).await;
    window.visit(&format!("http://127.0.0.1:{}/", proxy.port())).await;
    fill_in(&window, "Oda", "correct horse").await;
    proxy.freeze();
    window.click("#enter").await;
    is_told(&window, "does not answer").await;
    proxy.thaw();
    window.click("#enter").await;
    window.connected().await;
    window.close().await;
    browser.end().await;
}
