//! A collector that speaks TLS, with an authority of its own, and asks who sends.

use std::time::Duration;

use testkit::{Authority, Client};

use crate::collector::Collector;
use crate::replicas;

async fn send_by_tls(protocol: &str) {
    let authority = Authority::default();
    let Some(collector) = Collector::start_with_tls(&authority).await else {
        return;
    };
    let endpoint = if protocol == "grpc" {
        &collector.grpc
    } else {
        &collector.http
    };
    let [ca, certificate, key] = ["ca.pem", "client.pem", "client.key"].map(|name| authority.path(name));
    let trusting = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", &ca),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &certificate),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &key),
    ];
    // First without what makes either trust the other: nothing comes through, and that is noticed.
    for missing in [4..5, 5..7] {
        let mut settings = trusting.to_vec();
        settings.drain(missing);
        let cluster = replicas(&settings).await;
        let one = cluster.replica(0);
        one.account("ann").await;
        testkit::until("the failure is counted", Duration::from_secs(30), async || {
            let metrics = one.metrics().await;
            let traces = "chat_telemetry_failures_total{signal=\"traces\"}";
            metrics
                .lines()
                .any(|line| line.starts_with(traces) && !line.ends_with(" 0"))
        })
        .await;
        assert!(collector.spans().is_empty(), "not trusted");
    }
    let cluster = replicas(&trusting).await;
    let ann = cluster.replica(0).account("ann").await;
    let mut sender = Client::connect(cluster.replica(0), "secure", Some(&ann.token), "")
        .await
        .unwrap();
    sender.say("hello", "n").await;
    testkit::until("spans and metrics arrive", Duration::from_secs(30), async || {
        collector.spans().iter().any(|span| span.name() == "send room")
            && collector.has_metric("chat.deliveries")
    })
    .await;
}

#[tokio::test]
async fn over_http() {
    send_by_tls("http/protobuf").await;
}

#[tokio::test]
async fn over_grpc() {
    send_by_tls("grpc").await;
}
