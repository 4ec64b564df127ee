//! A real OpenTelemetry Collector, and what it has received.

use std::time::Duration;

use serde_json::Value;
use testkit::{Authority, Companion, free_port, until};

pub struct Collector {
    process: Companion,
    pub http: String,
    pub grpc: String,
}

/// A span as the collector wrote it.
#[derive(Debug, Clone)]
pub struct Span {
    /// `service.instance.id` of its process.
    pub instance: String,
    pub json: Value,
}

impl Span {
    pub fn name(&self) -> &str {
        self.json["name"].as_str().unwrap_or_default()
    }

    pub fn id(&self) -> &str {
        self.json["spanId"].as_str().unwrap_or_default()
    }

    pub fn parent(&self) -> &str {
        self.json["parentSpanId"].as_str().unwrap_or_default()
    }

    pub fn trace(&self) -> &str {
        self.json["traceId"].as_str().unwrap_or_default()
    }

    /// SPAN_KIND_… of the protocol: 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub fn kind(&self) -> u64 {
        self.json["kind"].as_u64().unwrap_or_default()
    }

    pub fn says(&self, key: &str, value: &str) -> bool {
        self.attribute(key).as_deref() == Some(value)
    }

    /// Panics at the first attribute that is not as given.
    pub fn assert_says(&self, attributes: &[(&str, &str)]) {
        for (key, value) in attributes {
            assert_eq!(
                self.attribute(key).as_deref(),
                Some(*value),
                "{key} of {}",
                self.name()
            );
        }
    }

    /// A time of it, such as `startTimeUnixNano`.
    pub fn nanos(&self, field: &str) -> f64 {
        let nanos = self.json[field].as_str().and_then(|nanos| nanos.parse().ok());
        nanos.expect("a time")
    }

    /// An attribute's value as text.
    pub fn attribute(&self, key: &str) -> Option<String> {
        find(&self.json["attributes"], key)
    }
}

fn find(attributes: &Value, key: &str) -> Option<String> {
    let value = &attributes
        .as_array()?
        .iter()
        .find(|attribute| attribute["key"] == key)?["value"];
    let value = value.as_object()?.values().next()?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

impl Collector {
    /// `None`, with a line that says so, where it cannot be built; with `CI=true` that is a failure.
    pub async fn start() -> Option<Self> {
        Self::start_with("http", "").await
    }

    /// With TLS: a certificate that `authority` has signed, and only for those who show one that it has signed too.
    pub async fn start_with_tls(authority: &Authority) -> Option<Self> {
        let [certificate, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|name| authority.path(name));
        let tls = format!(", tls: {{cert_file: '{certificate}', key_file: '{key}', client_ca_file: '{ca}'}}");
        Self::start_with("https", &tls).await
    }

    async fn start_with(scheme: &str, tls: &str) -> Option<Self> {
        let path = testkit::collector_binary().await?;
        let folder = Companion::folder("collector");
        let (http, grpc) = (free_port(), free_port());
        let config = format!(
            "receivers:\n  otlp:\n    protocols:\n      http: {{endpoint: '127.0.0.1:{http}'{tls}}}\n      grpc: {{endpoint: '127.0.0.1:{grpc}'{tls}}}\n\
             exporters:\n  file: {{path: received.json, flush_interval: 50ms}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n\
             \x20   traces: {{receivers: [otlp], exporters: [file]}}\n    metrics: {{receivers: [otlp], exporters: [file]}}\n",
        );
        std::fs::write(folder.join("config.yaml"), &config).expect("its configuration");
        let this = Self {
            process: Companion::start(&path, ["--config", "config.yaml"], folder),
            http: format!("{scheme}://127.0.0.1:{http}"),
            grpc: format!("{scheme}://127.0.0.1:{grpc}"),
        };
        until("the collector listens", Duration::from_secs(30), async || {
            tokio::net::TcpStream::connect(("127.0.0.1", http)).await.is_ok()
                && tokio::net::TcpStream::connect(("127.0.0.1", grpc)).await.is_ok()
        })
        .await;
        Some(this)
    }

    fn received(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.process.path("received.json")).unwrap_or_default();
        // The last line may be half written.
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Everything as text, to look for what must not be there.
    pub fn text(&self) -> String {
        self.received().iter().map(Value::to_string).collect()
    }

    pub fn has_metric(&self, name: &str) -> bool {
        self.text().contains(&format!("\"name\":\"{name}\""))
    }

    pub fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for line in self.received() {
            for resource in line["resourceSpans"].as_array().into_iter().flatten() {
                let instance =
                    find(&resource["resource"]["attributes"], "service.instance.id").unwrap_or_default();
                for scope in resource["scopeSpans"].as_array().into_iter().flatten() {
                    for json in scope["spans"].as_array().into_iter().flatten() {
                        spans.push(Span {
                            instance: instance.clone(),
                            json: json.clone(),
                        });
                    }
                }
            }
        }
        spans
    }

    /// Leaves a trace where `KEEP_TRACE` says, for tests/telemetry/draw.py.
    pub fn keep(spans: &[Span]) {
        let Some(path) = std::env::var_os("KEEP_TRACE") else {
            return;
        };
        let spans: Vec<Value> = spans
            .iter()
            .map(|span| serde_json::json!({"instance": span.instance, "span": span.json}))
            .collect();
        std::fs::write(path, Value::from(spans).to_string()).expect("the trace is written");
    }

    /// The spans of a trace, once there are so many.
    pub async fn trace(&self, id: &str, least: usize) -> Vec<Span> {
        let of = || {
            self.spans()
                .into_iter()
                .filter(|span| span.trace() == id)
                .collect::<Vec<_>>()
        };
        until("the trace has arrived", Duration::from_secs(20), async || {
            of().len() >= least
        })
        .await;
        of()
    }
}
