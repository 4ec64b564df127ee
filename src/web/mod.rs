//! What the binary shows to people: the chat page and the documents. Plain HTML, CSS and JavaScript, no build step.

mod asset;
mod docs;
mod page;

use http::{Method, StatusCode, header};
use poem::endpoint::make_sync;
use poem::{Request, Response, Route, get};

use asset::Asset;
pub use asset::Constant;

/// Nothing is to be shown of it.
const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// The methods of the page, for `Allow`: its form is sent here where its script does not run.
pub const PAGE_METHODS: &str = "GET, HEAD, POST";

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// Path and document, of all that is the same for everybody.
#[derive(Debug, Clone)]
pub struct Site([(&'static str, Asset); 4]);

impl Site {
    /// `clickable` is the page that shows what `openapi` says.
    pub fn new(clickable: String, openapi: String, message_max_bytes: usize) -> Self {
        let openapi = Asset::new(JSON, DATA_POLICY.to_owned(), openapi);
        Self([
            ("/", page::page(message_max_bytes)),
            ("/api/v1/docs", docs::contract()),
            ("/api/v1/docs/openapi", docs::clickable(clickable)),
            ("/api/v1/openapi.json", openapi),
        ])
    }

    /// Adds where they are found.
    pub fn add_to(&self, route: Route) -> Route {
        self.0.iter().cloned().fold(route, |route, (path, asset)| {
            let read = get(make_sync(move |request: Request| asset.answer(&request)));
            match path {
                "/" => route.at(path, read.post(make_sync(back))),
                _ => route.at(path, read),
            }
        })
    }

    /// Whether a request only reads one of them. It costs next to nothing, and is not what a person may do too often.
    pub fn is_read_by(&self, request: &Request) -> bool {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        reads && self.0.iter().any(|(path, _)| *path == request.uri().path())
    }
}

/// A form of the page that was sent without its script: what it says is not read, and does not stand in an address either.
fn back(_: Request) -> Response {
    Response::builder()
        .status(StatusCode::SEE_OTHER)
        .header(header::LOCATION, ".")
        .header(header::CACHE_CONTROL, "no-store")
        .finish()
}
