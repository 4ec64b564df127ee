//! One message's trace, from its sender's socket to its delivery on every replica, in a real collector.
#![cfg(test)]

#[path = "telemetry/collector.rs"]
mod collector;
#[path = "telemetry/context.rs"]
mod context;
#[path = "telemetry/others.rs"]
mod others;
#[path = "telemetry/outage.rs"]
mod outage;
#[path = "telemetry/sample.rs"]
mod sample;
#[path = "telemetry/sampling.rs"]
mod sampling;
#[path = "telemetry/secrets.rs"]
mod secrets;
#[path = "telemetry/tls.rs"]
mod tls;

use std::path::Path;

use collector::{Collector, Span};
use serde_json::json;
use testkit::{Backend, Client, Cluster, Options};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// What the transaction of one message says, by the semantic conventions.
const DATABASE: [(&str, &str); 4] = [
    ("db.system.name", "postgresql"),
    ("db.operation.name", "append"),
    ("db.collection.name", "messages"),
    ("db.operation.batch.size", "1"),
];

async fn replicas(settings: &[(&str, &str)]) -> Cluster {
    let bin = Path::new(env!("CARGO_BIN_EXE_chat-gateway"));
    let options = Options {
        backend: Backend::Clustered,
        replicas: 0,
        settings,
        ..Options::default()
    };
    let mut cluster = Cluster::start_with(bin, options).await;
    cluster
        .add_replica(&[("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=one")])
        .await;
    cluster
        .add_replica(&[("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=two")])
        .await;
    cluster
}

/// Replicas that send to the collector without much delay.
async fn exporting(collector: &Collector, more: &[(&str, &str)]) -> Cluster {
    let mut settings = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.http.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    settings.extend(more);
    replicas(&settings).await
}

fn only<'a>(spans: &'a [Span], name: &str, instance: &str) -> &'a Span {
    let found: Vec<&Span> = spans
        .iter()
        .filter(|span| span.name() == name && span.instance == instance)
        .collect();
    match found.as_slice() {
        [span] => span,
        other => panic!("{} spans {name:?} of replica {instance}: {spans:#?}", other.len()),
    }
}

/// The tree of one message with this id, and what its spans say.
fn check(spans: &[Span], id: &str) {
    let send = only(spans, "send room", "one");
    assert_eq!(send.parent(), PARENT, "the client's own span is the parent");
    assert_eq!(send.kind(), 4, "a producer");
    send.assert_says(&[
        ("messaging.destination.name", "traced"),
        ("messaging.operation.type", "send"),
        ("messaging.message.body.size", "10"),
        ("messaging.system", "chat-gateway"),
        ("chat.message.repeated", "false"),
    ]);
    for child in ["wait for journal", "commit", "publish redis"] {
        assert_eq!(only(spans, child, "one").parent(), send.id(), "{child}");
    }
    let commit = only(spans, "commit", "one");
    commit.assert_says(&DATABASE);
    let relay = only(spans, "publish redis", "one");
    assert_eq!(relay.kind(), 4, "a producer");
    relay.assert_says(&[
        ("messaging.system", "redis"),
        ("messaging.operation.type", "send"),
    ]);
    let channel = relay.attribute("messaging.destination.name").unwrap();
    assert!(channel.contains(":room:"), "{channel}");
    let batch = only(spans, "commit batch", "one");
    let linked = |span: &Span| span.json["links"][0]["spanId"].clone();
    assert_eq!(linked(batch), send.id(), "the batch is linked to the publish");
    assert_eq!(batch.kind(), 3, "a client of the database");
    batch.assert_says(&DATABASE);
    assert_eq!(linked(commit), batch.id(), "and the commit to the batch");
    let here = only(spans, "deliver room", "one");
    assert_eq!(here.parent(), send.id());
    let there = only(spans, "deliver room", "two");
    assert_eq!(there.parent(), relay.id(), "by way of the envelope");
    for about in [send, relay, here, there] {
        about.assert_says(&[("messaging.message.id", id), ("chat.message.seq", "1")]);
    }
    for delivery in [here, there] {
        check_delivery(delivery, commit);
    }
}

fn check_delivery(delivery: &Span, commit: &Span) {
    assert_eq!(delivery.kind(), 5, "a consumer");
    delivery.assert_says(&[
        ("messaging.destination.name", "traced"),
        ("messaging.operation.type", "process"),
        ("chat.sessions", "1"),
    ]);
    let number = |key| -> f64 { delivery.attribute(key).unwrap().parse().unwrap() };
    assert!(number("chat.delivered.bytes") > 100.0);
    let since = number("chat.since_commit_ms");
    // All of them go by the clock of this machine; the span begins a little after the time was taken.
    let from_commit = (delivery.nanos("startTimeUnixNano") - commit.nanos("endTimeUnixNano")) / 1e6;
    assert!(
        since > 0.0 && since <= from_commit + 0.01,
        "{since} of {from_commit} ms"
    );
}

/// Two people on two replicas; the message goes from the first to the second.
async fn follow_one_message(collector: &Collector, endpoint: &str, protocol: &str) {
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
    ];
    let cluster = replicas(&settings).await;
    let ann = cluster.replica(0).account("ann").await;
    let mut sender = Client::connect(cluster.replica(0), "traced", Some(&ann.token), "")
        .await
        .unwrap();
    let mut reader = Client::connect(cluster.replica(1), "traced", None, "")
        .await
        .unwrap();
    let parent = format!("00-{TRACE}-{PARENT}-01");
    sender
        .send(json!({"text": "whisper it", "nonce": "n", "traceparent": parent}))
        .await;
    let message = reader.next("message").await;
    sender.next("ack").await;

    // send, wait, commit, batch, relay, two deliveries.
    let spans = collector.trace(TRACE, 7).await;
    check(&spans, message["id"].as_str().expect("an id"));
    assert_eq!(spans.len(), 7, "and nothing else: {spans:#?}");
    Collector::keep(&spans);
    testkit::until(
        "metrics come too",
        std::time::Duration::from_secs(20),
        async || collector.has_metric("chat.deliveries"),
    )
    .await;
    let everything = collector.text();
    for secret in [ann.token.as_str(), "correct horse", "whisper it"] {
        assert!(!everything.contains(secret), "{secret:.12} is nowhere");
    }
    cluster.replica(0).terminate().await;
    assert_eq!(cluster.replica(0).wait().await.code(), Some(0));
}

#[tokio::test]
async fn one_message_is_one_trace_over_http() {
    let Some(collector) = Collector::start().await else {
        return;
    };
    follow_one_message(&collector, &collector.http, "http/protobuf").await;
}

#[tokio::test]
async fn one_message_is_one_trace_over_grpc() {
    let Some(collector) = Collector::start().await else {
        return;
    };
    follow_one_message(&collector, &collector.grpc, "grpc").await;
}

#[tokio::test]
async fn what_is_not_sampled_leaves_nothing() {
    let Some(collector) = Collector::start().await else {
        return;
    };
    let cluster = exporting(&collector, &[("OTEL_TRACES_SAMPLER", "parentbased_always_off")]).await;
    let ann = cluster.replica(0).account("ann").await;
    let mut sender = Client::connect(cluster.replica(0), "quiet", Some(&ann.token), "")
        .await
        .unwrap();
    // Malformed, not sampled by the client, absent: no span. The last one is sampled, and shows that spans come.
    sender.say("one", "1").await;
    for (n, traceparent) in [(2, "nonsense".to_owned()), (3, format!("00-{TRACE}-{PARENT}-00"))] {
        sender
            .send(json!({"text": "x", "nonce": n.to_string(), "traceparent": traceparent}))
            .await;
        sender.next("ack").await;
    }
    let sampled = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01";
    sender
        .send(json!({"text": "x", "nonce": "4", "traceparent": sampled}))
        .await;
    sender.next("ack").await;
    collector.trace("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 5).await;
    let others: Vec<_> = (collector.spans().into_iter())
        .filter(|span| span.trace() != "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
        .collect();
    assert!(others.is_empty(), "{others:#?}");
}
