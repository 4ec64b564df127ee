//! What operators ask, on a port of its own: is the process alive, should it get clients, what does it count.

use std::sync::Arc;

use http::StatusCode;
use poem::endpoint::ToDynEndpoint;
use poem::web::{Data, Json};
use poem::{EndpointExt, Request, Response, Route, get, handler};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::Surface;
use crate::busiest::Report;
use crate::health::Status;
use crate::replica::Replica;
use crate::telemetry::Telemetry;

/// What the routes ask.
#[derive(Debug, Clone)]
pub struct Ops {
    pub replica: Arc<Replica>,
    pub telemetry: Telemetry,
    /// What clients' connections take their places from.
    pub connections: Arc<Semaphore>,
}

impl Ops {
    /// This replica's own state. An outage of Postgres or Redis is every replica's, and must not take them all out
    /// of the balancer at once: it is in `/status` and in the metrics, not here.
    fn state(&self) -> &'static str {
        if self.replica.drain.begun() {
            "draining"
        } else if self.connections.available_permits() == 0 {
            "overloaded"
        } else if self.replica.tools.health.is_starting() {
            "starting"
        } else {
            READY
        }
    }
}

const READY: &str = "ready";

/// `/healthz`, `/readyz`, `/status`, `/metrics`.
pub fn routes(ops: Ops) -> Surface {
    let routes = Route::new()
        .at("/healthz", get(alive))
        .at("/readyz", get(ready))
        .at("/status", get(show))
        .at("/metrics", get(metrics))
        .data(ops)
        .map_to_response();
    Arc::new(ToDynEndpoint(routes))
}

#[handler]
fn alive() -> &'static str {
    "ok\n"
}

#[handler]
fn ready(Data(ops): Data<&Ops>) -> Response {
    let state = ops.state();
    let status = if state == READY {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Response::builder().status(status).body(format!("{state}\n"))
}

/// `/status`.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    status: Status,
    busiest: Report,
}

#[handler]
fn show(Data(ops): Data<&Ops>) -> Json<Shown> {
    let replica = &ops.replica;
    let (rooms, depth) = (replica.rooms.len(), replica.publishing.journal.depth());
    let database = replica.store.outages().state();
    Json(Shown {
        status: replica.tools.health.status(ops.state(), database, rooms, depth),
        busiest: replica.busiest.report(),
    })
}

/// In the format that is asked for: exemplars are in OpenMetrics alone.
#[handler]
fn metrics(request: &Request, Data(ops): Data<&Ops>) -> Response {
    let accept = request.header("accept").unwrap_or_default();
    match ops.telemetry.render() {
        Ok(text) if accept.contains("application/openmetrics-text") => Response::builder()
            .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
            .body(ops.replica.metrics().openmetrics(&text)),
        Ok(text) => Response::builder()
            .content_type("text/plain; version=0.0.4")
            .body(text),
        Err(e) => {
            tracing::error!(error = %e, "the metrics cannot be shown");
            StatusCode::INTERNAL_SERVER_ERROR.into()
        }
    }
}
