//! Which signals go out by OTLP, and how: the exporters, with TLS by the standard variables, which the SDK's lack.

use std::path::PathBuf;
use std::time::Duration;

use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithHttpConfig, WithTonicConfig};

use super::TelemetryError;

/// How long one export may take where `OTEL_EXPORTER_OTLP_TIMEOUT` does not say.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is exported, as the standard variables name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

enum Transport {
    Grpc(Box<ClientTlsConfig>),
    /// With a client of our own where the environment names certificates.
    Http(Option<reqwest::blocking::Client>),
}

impl Signal {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }

    /// Whether the environment wants it exported: an endpoint is named, and neither the signal nor the SDK is off.
    pub(super) fn is_wanted(self) -> bool {
        let signal = self.name().to_uppercase();
        let exporter = variable(&format!("OTEL_{signal}_EXPORTER"));
        let off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || exporter.as_deref() == Some("none");
        !off && (self.otlp("ENDPOINT").is_some() || exporter.is_some())
    }

    /// `OTEL_EXPORTER_OTLP_<SIGNAL>_<NAME>`, or else `OTEL_EXPORTER_OTLP_<NAME>`.
    fn otlp(self, name: &str) -> Option<String> {
        let signal = self.name().to_uppercase();
        variable(&format!("OTEL_EXPORTER_OTLP_{signal}_{name}"))
            .or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{name}")))
    }

    /// The text of the file that such a variable names.
    fn file(self, name: &str) -> Result<Option<Vec<u8>>, TelemetryError> {
        let Some(path) = self.otlp(name).map(PathBuf::from) else {
            return Ok(None);
        };
        let unusable = |why: &str| {
            let path = path.display();
            TelemetryError::Certificate(format!("OTEL_EXPORTER_OTLP_{name}: {path}: {why}"))
        };
        let pem = std::fs::read(&path).map_err(|e| unusable(&e.to_string()))?;
        match pem.starts_with(b"-----BEGIN ") || pem.windows(12).any(|part| part == b"\n-----BEGIN ") {
            true => Ok(Some(pem)),
            false => Err(unusable("no PEM")),
        }
    }

    fn transport(self) -> Result<Transport, TelemetryError> {
        let authority = self.file("CERTIFICATE")?;
        if self.otlp("CLIENT_CERTIFICATE").is_some() != self.otlp("CLIENT_KEY").is_some() {
            let both = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and …_CLIENT_KEY go together";
            return Err(TelemetryError::Certificate(both.to_owned()));
        }
        let client = self.file("CLIENT_CERTIFICATE")?.zip(self.file("CLIENT_KEY")?);
        match self.otlp("PROTOCOL").as_deref() {
            Some("grpc") => {
                let mut tls = ClientTlsConfig::new().with_enabled_roots();
                if let Some(pem) = authority {
                    tls = tls.ca_certificate(Certificate::from_pem(pem));
                }
                if let Some((certificate, key)) = client {
                    tls = tls.identity(Identity::from_pem(certificate, key));
                }
                Ok(Transport::Grpc(Box::new(tls)))
            }
            None | Some("http/protobuf") => Ok(Transport::Http(match (&authority, &client) {
                (None, None) => None,
                _ => Some(self.http_client(authority, client)?),
            })),
            Some(other) => Err(TelemetryError::Protocol(other.to_owned())),
        }
    }

    fn http_client(
        self,
        authority: Option<Vec<u8>>,
        client: Option<(Vec<u8>, Vec<u8>)>,
    ) -> Result<reqwest::blocking::Client, TelemetryError> {
        let millis = self.otlp("TIMEOUT").and_then(|millis| millis.parse().ok());
        let timeout = millis.map_or(TIMEOUT, Duration::from_millis);
        let build = move || {
            let mut builder = reqwest::blocking::Client::builder().timeout(timeout);
            if let Some(pem) = authority {
                builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&pem)?);
            }
            if let Some((certificate, key)) = client {
                builder = builder.identity(reqwest::Identity::from_pem(&[certificate, key].concat())?);
            }
            builder.build()
        };
        // A blocking client starts a runtime of its own, which must not be inside ours.
        let built = std::thread::spawn(build).join();
        let built = built.map_err(|_| TelemetryError::Certificate("the HTTP client panicked".to_owned()))?;
        built.map_err(|e| TelemetryError::Certificate(format!("not a certificate and its key in PEM: {e:?}")))
    }
}

pub(super) fn spans() -> Result<SpanExporter, TelemetryError> {
    let exporter = SpanExporter::builder();
    Ok(match Signal::Traces.transport()? {
        Transport::Grpc(tls) => exporter.with_tonic().with_tls_config(*tls).build()?,
        Transport::Http(None) => exporter.with_http().build()?,
        Transport::Http(Some(client)) => exporter.with_http().with_http_client(client).build()?,
    })
}

pub(super) fn metrics() -> Result<MetricExporter, TelemetryError> {
    let exporter = MetricExporter::builder();
    Ok(match Signal::Metrics.transport()? {
        Transport::Grpc(tls) => exporter.with_tonic().with_tls_config(*tls).build()?,
        Transport::Http(None) => exporter.with_http().build()?,
        Transport::Http(Some(client)) => exporter.with_http().with_http_client(client).build()?,
    })
}

/// A variable that is set to something.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
