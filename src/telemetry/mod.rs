//! What operators see: log lines on standard error, traces by OTLP, metrics by OTLP and for Prometheus.
//!
//! Everything about OTLP is set by the standard `OTEL_*` variables. Without an endpoint nothing is exported and a
//! message costs a branch. An endpoint that is away costs its batches: the queues are bounded and full ones drop.

mod context;
mod export;
mod losses;
mod sampling;
mod trace;

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TextEncoder};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer};

pub use context::Origin;
use export::Signal;
use losses::{Losses, Noted, Queue};
use sampling::Sampling;
pub use trace::{Database, Delivery, PublishSpan, RelaySpan, Stage, Traces};

/// `service.name` where the environment does not give one, and the instrumentation scope.
const NAME: &str = "chat-gateway";
/// How long the last spans and metrics may take to go out when the process ends.
const FLUSH: Duration = Duration::from_secs(3);

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Pretty,
    Json,
}

/// Why telemetry did not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("RUST_LOG is not a filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("OTLP cannot be set up: {0}")]
    Otlp(#[from] ExporterBuildError),
    #[error("OTEL_EXPORTER_OTLP_PROTOCOL is http/protobuf or grpc, not {0:?}")]
    Protocol(String),
    #[error("TLS to the collector cannot be set up: {0}")]
    Certificate(String),
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] opentelemetry_sdk::error::OTelSdkError),
    #[error("metrics cannot be set up: {0}")]
    Prometheus(#[from] prometheus::Error),
    #[error("logging cannot be set up: {0}")]
    Log(#[from] TryInitError),
}

/// Exporters and instruments of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    sampling: Sampling,
    metrics: SdkMeterProvider,
    registry: Registry,
}

/// A line as the log has them with `LOG_FORMAT=json`, for what is said beside the log.
pub fn json_line(level: &str, message: &str, fields: &[(&str, &str)]) -> String {
    let mut now = String::new();
    // A clock that cannot be read leaves the time empty, as it does in the log.
    let _ = SystemTime.format_time(&mut Writer::new(&mut now));
    let mut line = serde_json::Map::new();
    for (name, value) in [
        ("timestamp", now.as_str()),
        ("level", level),
        ("message", message),
    ] {
        line.insert(name.to_owned(), value.into());
    }
    for (name, value) in fields {
        line.insert((*name).to_owned(), (*value).into());
    }
    serde_json::Value::Object(line).to_string()
}

impl Telemetry {
    /// Starts logging and, where the environment names an endpoint, exporting. Inside a runtime, which gRPC needs.
    /// `budget`: how often a second a client is followed that wants its trace sampled.
    pub fn start(format: LogFormat, filter: &str, budget: u32) -> Result<Self, TelemetryError> {
        let telemetry = Self::exporters(Sampling::from_environment(budget))?;
        let spans = telemetry.traces.as_ref().map(|provider| {
            let ours = EnvFilter::new("chat_gateway=info");
            // What threads and lines of code did is nobody's question of a trace; the spans' names say where they are.
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer(NAME))
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_tracked_inactivity(false)
                .with_filter(ours)
        });
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        let lines = match format {
            LogFormat::Pretty => lines.boxed(),
            LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
        };
        // A request's span stands on its lines, with the trace id, also where only warnings are wanted.
        let chosen = EnvFilter::try_new(filter)?
            .and(filter_fn(is_ours(filter)))
            .or(filter_fn(|span| {
                span.is_span() && span.target().starts_with("chat_gateway")
            }));
        tracing_subscriber::registry()
            .with(lines.with_filter(chosen))
            .with(spans)
            .try_init()?;
        Ok(telemetry)
    }

    fn exporters(sampling: Sampling) -> Result<Self, TelemetryError> {
        let (resource, losses) = (resource(), Losses::default());
        let traces = match Signal::Traces.is_wanted() {
            false => None,
            true => {
                let queue = Queue::new(export::spans()?, losses.clone());
                let provider = SdkTracerProvider::builder()
                    .with_sampler(sampling.clone())
                    .with_span_processor(queue);
                Some(provider.with_resource(resource.clone()).build())
            }
        };
        let registry = Registry::new();
        // What every Prometheus client says about its process; by OTLP the collector beside it does.
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let prometheus = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .build()?;
        let mut metrics = SdkMeterProvider::builder()
            .with_reader(prometheus)
            .with_resource(resource);
        if Signal::Metrics.is_wanted() {
            metrics = metrics.with_periodic_exporter(Noted(export::metrics()?, losses.clone()));
        }
        let this = Self {
            traces,
            sampling,
            metrics: metrics.build(),
            registry,
        };
        losses.observe(&this.meter());
        this.sampling.observe(&this.meter());
        Ok(this)
    }

    pub fn meter(&self) -> opentelemetry::metrics::Meter {
        opentelemetry::metrics::MeterProvider::meter(&self.metrics, NAME)
    }

    pub fn traces(&self) -> Traces {
        let tracer = self.traces.as_ref().map(|provider| provider.tracer(NAME));
        tracer.map_or_else(Traces::default, |tracer| {
            Traces::new(tracer, self.sampling.clone())
        })
    }

    /// All metrics, in the text format of Prometheus.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut families = self.registry.gather();
        for metric in families.iter_mut().flat_map(|family| family.mut_metric()) {
            // There is one scope: its name on every line would say nothing.
            let labels = metric
                .take_label()
                .into_iter()
                .filter(|label| label.name() != "otel_scope_name");
            metric.set_label(labels.collect());
        }
        TextEncoder::new().encode_to_string(&families)
    }

    /// Sends what is left, within a time. Blocks.
    pub fn flush(&self) {
        if let Some(traces) = &self.traces
            && let Err(e) = traces.shutdown_with_timeout(FLUSH)
        {
            tracing::warn!(error = %e, "the last spans were not sent");
        }
        if let Err(e) = self.metrics.shutdown_with_timeout(FLUSH) {
            tracing::warn!(error = %e, "the last metrics were not sent");
        }
    }
}

/// Which process this is: by the environment's word, or by ours where it gives none.
fn resource() -> Resource {
    let given = Resource::builder().build();
    let says = |key| {
        given
            .get(&Key::from_static_str(key))
            .map(|value| value.to_string())
    };
    let mut resource = Resource::builder().with_attribute(KeyValue::new(
        "service.version",
        says("service.version").unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
    ));
    // What the SDK calls a service that nobody has named.
    if says("service.name").is_none_or(|name| name.starts_with("unknown_service")) {
        resource = resource.with_service_name(NAME);
    }
    if says("service.instance.id").is_none() {
        let id = uuid::Uuid::new_v4().to_string();
        resource = resource.with_attribute(KeyValue::new("service.instance.id", id));
    }
    resource.build()
}

/// OTLP's own lines would come with every export that fails, beside ours, which comes seldom: they are left out, unless
/// `RUST_LOG` asks for OpenTelemetry's.
fn is_ours(filter: &str) -> impl Fn(&tracing::Metadata<'_>) -> bool + use<> {
    let asked = filter.contains("opentelemetry");
    move |line| asked || line.target() != "opentelemetry-otlp"
}
