//! What is recorded beside what the sampler chooses: what clients want, within a budget, and what failed.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use testkit::{Client, until};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::collector::Collector;
use crate::{PARENT, TRACE, exporting};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_session_that_wants_every_message_sampled_gets_the_budget() {
    const MESSAGES: usize = 1000;
    const BUDGET: usize = 2;
    let Some(collector) = Collector::start().await else {
        return;
    };
    let settings = [
        ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
        ("TRACE_CLIENT_SAMPLED_PER_SECOND", "2"),
    ];
    let cluster = exporting(&collector, &settings).await;
    let one = cluster.replica(0);
    let ann = one.account("ann").await;
    let mut request = one.ws_url("hall", "").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {}", ann.token).parse().unwrap());
    headers.insert("traceparent", format!("00-{TRACE}-{PARENT}-01").parse().unwrap());
    let begun = Instant::now();
    let (socket, _) = tokio::time::timeout(LIMIT, connect_async(request))
        .await
        .expect("a handshake in time")
        .unwrap();
    let (mut out, mut back) = socket.split();
    let acks = async {
        let mut acks = 0;
        while acks < MESSAGES {
            let frame = back.next().await.expect("a frame").unwrap();
            let events: Value = serde_json::from_str(frame.to_text().unwrap_or("[]")).unwrap_or_default();
            for event in events.as_array().into_iter().flatten() {
                assert_ne!(event["type"], "error", "{event}");
                acks += usize::from(event["type"] == "ack");
            }
        }
    };
    let say = async {
        for n in 0..MESSAGES {
            let command = json!({"text": "hello", "nonce": n.to_string()}).to_string();
            out.send(Message::text(command)).await.unwrap();
        }
    };
    let both = async { tokio::join!(say, acks) };
    tokio::time::timeout(LIMIT, both)
        .await
        .expect("each is stored in time");
    let seconds = begun.elapsed().as_secs() as usize + 1;
    let metrics = one.metrics().await;
    let over = metrics
        .lines()
        .find_map(|line| line.strip_prefix("chat_telemetry_over_budget_total "));
    let over: usize = over.expect("the counter is there").parse().unwrap();
    // The handshake counts as well.
    let followed = MESSAGES + 1 - over;
    let most = 2 * BUDGET + BUDGET * seconds;
    assert!(
        (1..=most).contains(&followed),
        "{followed} of {MESSAGES} in {seconds} s"
    );
    let sends = || {
        let spans = collector.spans();
        spans
            .iter()
            .filter(|span| span.name() == "send room" && span.trace() == TRACE)
            .count()
    };
    until("those that were followed have come", LIMIT, async || {
        sends() + 1 >= followed
    })
    .await;
    assert!(sends() <= followed, "{} spans, {followed} were followed", sends());
}

#[tokio::test]
async fn a_commit_that_fails_is_recorded_though_nothing_is_sampled() {
    let Some(collector) = Collector::start().await else {
        return;
    };
    let cluster = exporting(&collector, &[("OTEL_TRACES_SAMPLER", "always_off")]).await;
    let one = cluster.replica(0);
    let ann = one.account("ann").await;
    let mut client = Client::connect(one, "hall", Some(&ann.token), "").await.unwrap();
    client.say("stored", "1").await;
    cluster.sql("ALTER TABLE messages RENAME TO elsewhere").await;
    assert_eq!(client.say("not stored", "2").await["type"], "error");
    until("the commit has come", LIMIT, async || {
        !collector.spans().is_empty()
    })
    .await;
    let spans = collector.spans();
    let [commit] = spans.as_slice() else {
        panic!("one span, of the commit that failed: {spans:#?}");
    };
    assert_eq!((commit.name(), commit.parent()), ("commit batch", ""));
    assert_eq!(commit.json["status"]["code"], 2, "an error: {commit:#?}");
    // SQLSTATE of a table that is not there.
    commit.assert_says(&[("error.type", "42P01"), ("db.operation.batch.size", "1")]);
}

#[tokio::test]
async fn spans_say_whom_they_asked_and_what_was_wrong_and_no_threads_and_lines() {
    let Some(collector) = Collector::start().await else {
        return;
    };
    let cluster = exporting(&collector, &[]).await;
    let one = cluster.replica(0);
    let url = url::Url::parse(cluster.database_url()).expect("a URL");
    let port = url.port().expect("a port").to_string();
    let place = [
        ("db.system.name", "postgresql"),
        ("db.namespace", url.path().trim_start_matches('/')),
        ("server.address", url.host_str().expect("a host")),
        ("server.port", port.as_str()),
    ];
    let ann = one.account("ann").await;
    let mut client = Client::connect(one, "hall", Some(&ann.token), "").await.unwrap();
    client.say("hello", "1").await;
    let path = testkit::Target::history_path("hall", "");
    assert_eq!(one.get(&path, None).await.status, 200);
    cluster.sql("ALTER TABLE messages RENAME TO elsewhere").await;
    assert!(one.get(&path, None).await.status >= 500);
    let selects = || {
        let of_store = |name: &str| {
            name.starts_with("SELECT ") || name.starts_with("INSERT ") || name.starts_with("commit")
        };
        collector
            .spans()
            .into_iter()
            .filter(|span| of_store(span.name()))
            .collect::<Vec<_>>()
    };
    let failed = || {
        selects()
            .into_iter()
            .find(|span| span.json["status"]["code"] == 2)
    };
    until("the query that failed has come", LIMIT, async || {
        failed().is_some()
    })
    .await;
    let failed = failed().expect("it was there");
    failed.assert_says(&[("error.type", "42P01")]);
    let selects = selects();
    assert!(selects.len() >= 4, "{selects:#?}");
    selects.iter().for_each(|span| span.assert_says(&place));
    for span in collector.spans() {
        for noise in [
            "busy_ns",
            "idle_ns",
            "thread.id",
            "thread.name",
            "target",
            "code.file.path",
            "code.module.name",
        ] {
            assert_eq!(span.attribute(noise), None, "{noise} of {}", span.name());
        }
    }
}
