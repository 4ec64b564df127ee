//! HTTP through poem: one file a resource, the envelope of answers, the upgrade, our own accept loop.

mod accounts;
mod admission;
mod caller;
mod declared;
mod document;
mod error;
mod forwarded;
mod held;
mod lingering;
mod listen;
mod messages;
mod ops;
mod origin;
mod patience;
mod payload;
mod trace;
mod upgrade;

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use ipnet::IpNet;
use poem::middleware::CatchPanic;
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response, Route};
use poem_openapi::{OpenApiService, Tags};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

pub use admission::{Admission, Connection};
pub use error::ApiError;
pub use listen::{Server, Surface, bind, most_connections};
pub use ops::{Ops, routes as ops_routes};

use crate::auth::{Hasher, Tokens};
use crate::replica::Replica;
use crate::web::{Constant, Site};
use accounts::Accounts;
pub use document::Bounds;
use messages::Messages;
use payload::BodyLimit;
use trace::{Answered, Asked, route};

/// What a reader of the OpenAPI document has to know besides.
const DESCRIPTION: &str = "Accounts, rooms and messages; API.md is the contract, and describes the frames of the WebSocket, too.

Every answer is an object with `error` and `data`, one of which is null. There may be keys that this document does not know: \
ignore them. Lengths are given in characters; where the server counts bytes of UTF-8 it may refuse what seems to fit. \
A path that is none is 404 `NOT_FOUND`, another method 405 `METHOD_NOT_ALLOWED`, with a header `Allow`; \
what is no HTTP, or has too large a head, 400 or 431 without a body.";

/// What the routes work with.
#[derive(Debug)]
pub struct Api {
    pub replica: Arc<Replica>,
    pub tokens: Tokens,
    pub hasher: Hasher,
    pub clients: TaskTracker,
    pub allowed_origins: Vec<String>,
    pub allowed_hosts: Vec<String>,
    pub trusted_proxies: Vec<IpNet>,
    pub hide_unknown_users: bool,
    pub password_min_bytes: usize,
}

/// The address that limits are counted for.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub IpAddr);

/// What an operation of the OpenAPI document is about.
#[derive(Debug, Tags)]
#[oai(rename_all = "lowercase")]
enum Tag {
    /// Accounts and tokens.
    Accounts,
    /// Rooms and their messages.
    Rooms,
}

fn service() -> OpenApiService<(Accounts, Messages), ()> {
    OpenApiService::new((Accounts, Messages), "chat-gateway", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
}

/// The OpenAPI document of a deployment.
pub fn openapi(bounds: Bounds) -> String {
    document::describe(&service(), bounds)
}

/// The whole surface for clients.
pub fn routes(api: Api) -> Surface {
    let service = service();
    let api = Arc::new(api);
    let max_bytes = api.replica.rules.message_max_bytes;
    let bounds = Bounds {
        message_max_bytes: max_bytes,
        password_min_bytes: api.password_min_bytes,
    };
    let openapi = document::describe(&service, bounds);
    let clickable = service.swagger_ui_html().replace(&service.spec(), &openapi);
    let (site, limit) = (
        Site::new(clickable, openapi, max_bytes),
        BodyLimit::new(max_bytes),
    );
    let routes = site.add_to(Route::new()).nest_no_strip("/api/v1", service);
    let app = routes
        .with(CatchPanic::new().with_handler(|_| error::panicked()))
        .around({
            let api = api.clone();
            move |endpoint, request| answer(endpoint, request, api.clone(), site.clone())
        })
        .data(api)
        .data(limit);
    Arc::new(poem::endpoint::ToDynEndpoint(app.map_to_response()))
}

/// Counts the request for its address, and turns every error into the envelope.
async fn answer(
    endpoint: Arc<impl Endpoint>,
    mut request: Request,
    api: Arc<Api>,
    site: Site,
) -> poem::Result<Response> {
    let path = request.original_uri().path().to_owned();
    let peer = request
        .data::<Connection>()
        .map_or(IpAddr::from([0, 0, 0, 0]), |connection| connection.peer.ip());
    let address = forwarded::client_address(peer, request.headers(), &api.trusted_proxies);
    request.set_data(ClientAddress(address));
    let origin = request
        .headers()
        .get(header::ORIGIN)
        .filter(|origin| api.allows(origin))
        .cloned();
    let asked = Asked::begin(&request, address, &api.replica);
    lingering::linger(&mut request, &api.clients);
    let result = match api.admit(&request, address, &site) {
        Ok(Some(answered)) => Ok(answered),
        Ok(None) => endpoint
            .call(request)
            .instrument(asked.span.clone())
            .await
            .map(IntoResponse::into_response),
        Err(refused) => Err(refused.into()),
    };
    let result = match result {
        Ok(response) if response.data::<Constant>().is_some() => Ok(response),
        Ok(response) => held::hold(response, &api.replica.memory.answers)
            .await
            .map_err(poem::Error::from),
        Err(e) => Err(e),
    };
    let (mut response, answered) = match result {
        Ok(response) => {
            let (status, route) = (response.status(), route(response.data()));
            let answered = Answered {
                status,
                route,
                error: None,
            };
            (response, answered)
        }
        Err(e) => {
            let route = route(e.data());
            let refused = ApiError::of(e, &path);
            api.replica.metrics().refused(refused.kind);
            let response = poem::error::ResponseError::as_response(&refused);
            let (status, error) = (response.status(), Some(refused.kind.name()));
            (response, Answered { status, route, error })
        }
    };
    asked.end(&answered);
    add_headers(response.headers_mut(), origin);
    Ok(response)
}

impl Api {
    /// What comes before any route; `Some`: the request is answered. With OPTIONS a page asks whether it may connect, which a
    /// browser does for pages of other origins, and a page does for itself: why its WebSocket was refused it is not told.
    fn admit(&self, request: &Request, address: IpAddr, site: &Site) -> Result<Option<Response>, ApiError> {
        if !site.is_read_by(request) {
            self.replica.limits.requests.check(address)?;
        }
        self.check_host(request)?;
        if request.method() != Method::OPTIONS || !request.headers().contains_key(header::ORIGIN) {
            return Ok(None);
        }
        self.check_origin(request)?;
        Ok(Some(Response::builder().status(StatusCode::NO_CONTENT).finish()))
    }
}

/// What every answer has, and what a page of another origin needs.
fn add_headers(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    if let Some(origin) = origin {
        origin::add_cors(headers, origin);
    }
}
