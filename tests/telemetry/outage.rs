//! A collector that is away, or takes and never answers, costs no message and not the deadline.

use std::time::{Duration, Instant};

use testkit::Client;

use crate::replicas;

/// How long a replica that drains for a second may take to end: its drain, the flush, and what a busy machine adds.
const DEADLINE: Duration = Duration::from_secs(20);

async fn talk_without(endpoint: &str, protocol: &str) {
    let cluster = replicas(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
    ])
    .await;
    let ann = cluster.replica(0).account("ann").await;
    let mut reader = Client::connect(cluster.replica(1), "room", None, "")
        .await
        .unwrap();
    let mut sender = Client::connect(cluster.replica(0), "room", Some(&ann.token), "")
        .await
        .unwrap();
    for n in 1..=200 {
        let ack = sender.say("on and on", &n.to_string()).await;
        assert_eq!(ack["type"], "ack", "{ack}");
        assert_eq!(reader.next("message").await["seq"], n);
    }
    // It is counted, and told in one line a signal.
    let one = cluster.replica(0);
    for counter in [
        "chat_telemetry_failures_total{signal=\"traces\"}",
        "chat_telemetry_failures_total{signal=\"metrics\"}",
        "chat_telemetry_dropped_spans_total",
    ] {
        testkit::until("the failure is counted", Duration::from_secs(30), async || {
            let metrics = one.metrics().await;
            let line = metrics.lines().find(|line| line.starts_with(counter));
            !line.expect("the counter is there").ends_with(" 0")
        })
        .await;
    }
    for signal in ["traces", "metrics"] {
        let log = one.log();
        let lines = log
            .lines()
            .filter(|line| line.contains("OTLP exports fail") && line.contains(signal));
        assert_eq!(lines.count(), 1, "{signal}: {}", one.log_tail());
    }
    let began = Instant::now();
    for replica in cluster.replicas() {
        replica.terminate().await;
    }
    for replica in cluster.replicas() {
        let left = tokio::time::timeout(DEADLINE.saturating_sub(began.elapsed()), replica.wait()).await;
        assert_eq!(left.expect("within the deadline").code(), Some(0));
    }
    let (lines, log) = (one.log().lines().count(), one.log_tail());
    assert!(lines < 20, "{lines} lines for one outage:\n{log}");
    assert!(!one.log().contains("opentelemetry-otlp"), "told twice:\n{log}");
}

#[tokio::test]
async fn a_collector_that_is_away_costs_nobody_a_message() {
    let nowhere = format!("http://127.0.0.1:{}", testkit::free_port());
    talk_without(&nowhere, "http/protobuf").await;
    talk_without(&nowhere, "grpc").await;
}

#[tokio::test]
async fn a_collector_that_never_answers_costs_nobody_a_message() {
    // The kernel takes the connections; nobody reads them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    talk_without(&endpoint, "http/protobuf").await;
    talk_without(&endpoint, "grpc").await;
}
