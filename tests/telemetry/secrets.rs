//! Nothing that is private stands in a span or in the log: not the token, the password or the text, also where they are refused.

use std::time::Duration;

use serde_json::json;
use testkit::Client;

use crate::collector::Collector;
use crate::exporting;

#[tokio::test]
async fn no_span_says_what_is_private() {
    let Some(collector) = Collector::start().await else {
        return;
    };
    let cluster = exporting(&collector, &[("RUST_LOG", "debug")]).await;
    let to = cluster.replica(0);
    let ann = to.account("ann").await;
    let wrong = json!({"username": ann.username, "secret": "hunter2-is-wrong"});
    assert_eq!(to.post("/api/v1/login", None, &wrong).await.status, 401);
    let stale = "stale-token-of-somebody";
    assert!(Client::connect(to, "private", Some(stale), "").await.is_err());
    let mut sender = Client::connect(to, "private", Some(&ann.token), "")
        .await
        .unwrap();
    sender.say("a whisper by socket", "n").await;
    // Too long, so that it is refused with its text at hand.
    sender.say(&"loud-refusal ".repeat(1000), "m").await;
    let path = "/api/v1/rooms/private/messages";
    to.post(path, Some(&ann.token), &json!({"text": "a whisper by http"}))
        .await;
    to.post(path, Some(&ann.token), &json!({"txt": "a misspelt whisper"}))
        .await;
    testkit::until(
        "both messages have arrived",
        Duration::from_secs(20),
        async || {
            let spans = collector.spans();
            let sends = spans.iter().filter(|span| span.name() == "send room").count();
            // The last request is the misspelt one.
            let refused = spans
                .iter()
                .any(|span| span.attribute("http.response.status_code").as_deref() == Some("400"));
            sends == 2 && refused
        },
    )
    .await;
    let logs = cluster.replicas().iter().map(testkit::Replica::log);
    let everything = collector.text() + &logs.collect::<String>();
    for private in [
        ann.token.as_str(),
        "correct horse",
        "hunter2-is-wrong",
        stale,
        "whisper",
        "loud-refusal",
    ] {
        assert!(!everything.contains(private), "{private:.12} is somewhere");
    }
}
