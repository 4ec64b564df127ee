//! A path between page and replica that dies without a word.

use std::time::{Duration, Instant};

use testkit::{Backend, Proxy};

use crate::window::Browser;
use crate::{closed, replicas};

#[tokio::test]
async fn a_frozen_path_is_noticed_after_sending_and_in_silence() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let (busy_path, quiet_path) = (
        Proxy::start(cluster.replica(0).port()).await,
        Proxy::start(cluster.replica(0).port()).await,
    );
    let (busy, quiet) = (browser.window().await, browser.window().await);
    busy.visit(&format!("http://127.0.0.1:{}/", busy_path.port()))
        .await;
    quiet
        .visit(&format!("http://127.0.0.1:{}/", quiet_path.port()))
        .await;
    busy.sign_up("Gil").await;
    quiet.click("#just-read").await;
    quiet.connected().await;
    busy.say("before").await;
    busy.until_texts(&["before"]).await;
    quiet.until_texts(&["before"]).await;

    quiet_path.freeze();
    let silent_since = Instant::now();
    busy_path.freeze();
    busy.say("into the ice").await;
    let sent = Instant::now();
    let noticed = "return document.getElementById('status').dataset.state !== 'connected'";
    busy.until("who has sent notices", noticed).await;
    let took = sent.elapsed();
    assert!(took < Duration::from_secs(10), "noticed {took:?} after sending");
    quiet.until("who is silent notices", noticed).await;
    let took = silent_since.elapsed();
    assert!(
        took < Duration::from_secs(40),
        "noticed after {took:?} of silence"
    );

    // And nothing is lost or twice there.
    busy_path.thaw();
    quiet_path.thaw();
    busy.until_texts(&["before", "into the ice"]).await;
    quiet.until_texts(&["before", "into the ice"]).await;
    closed(vec![busy, quiet]).await;
    browser.end().await;
}
