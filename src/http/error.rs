//! The envelope of every answer, and the one place where errors become answers.

use http::{HeaderName, HeaderValue, StatusCode, header};
use poem::error::{MethodNotAllowedError, NotFoundError, ResponseError};
use poem::{IntoResponse, Response};
use poem_openapi::error::{
    AuthorizationError, ContentTypeError, ParseParamError, ParsePathError, ParseRequestPayloadError,
};
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::{ApiResponse, Object, types::ToJSON};
use serde_json::json;

use super::declared::Declared;
use crate::auth::{BadToken, HashError};
use crate::ids::BadName;
use crate::journal::JournalError;
use crate::limits::Exceeded;
use crate::memory::Full;
use crate::protocol::ErrorType;
use crate::store::StoreError;

/// When to try again after 503, in seconds.
const RETRY_AFTER: u64 = 1;

/// A request that is refused: a type for the program, a sentence for the developer.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", kind.name())]
pub struct ApiError {
    pub kind: ErrorType,
    pub message: String,
    /// Seconds.
    pub retry_after: Option<u64>,
    /// What else the answer says in its headers.
    header: Option<(HeaderName, &'static str)>,
}

impl ApiError {
    pub fn new(kind: ErrorType, message: impl Into<String>) -> Self {
        let retry_after = (kind.status() == 503).then_some(RETRY_AFTER);
        Self {
            kind,
            message: message.into(),
            retry_after,
            header: None,
        }
    }

    /// Says this in a header, too.
    pub fn with(self, name: HeaderName, value: &'static str) -> Self {
        Self {
            header: Some((name, value)),
            ..self
        }
    }

    /// What happened goes to the log, once; the client gets a sentence.
    pub fn internal(what: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %what, "a request failed");
        Self::new(ErrorType::Internal, "the server failed to answer this request")
    }

    /// An error of the router, the parameters or the body, as the contract names it.
    pub fn of(error: poem::Error, path: &str) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(known) => return known,
            Err(other) => other,
        };
        if error.is::<NotFoundError>() {
            return match Declared::of(path) {
                // All that a path has to fill in is rooms.
                Some(_) => Self::new(ErrorType::BadRoom, "a room's name has 1 to 128 bytes"),
                None => Self::new(ErrorType::NotFound, "there is nothing at this path"),
            };
        }
        if error.is::<MethodNotAllowedError>() {
            let allow = Declared::of(path).map_or("GET, HEAD", |route| &route.methods);
            let refused = Self::new(
                ErrorType::MethodNotAllowed,
                format!("this path has the methods {allow}"),
            );
            return refused.with(header::ALLOW, allow);
        }
        if error.is::<AuthorizationError>() {
            return Self::new(
                ErrorType::InvalidAuthToken,
                "this route needs a header `Authorization: Bearer <token>`",
            );
        }
        if error.is::<ParsePathError>() || error.is::<poem::error::ParsePathError>() {
            return Self::new(ErrorType::BadRoom, "a room's name is percent-encoded UTF-8");
        }
        if error.is::<ParseParamError>()
            || error.is::<ParseRequestPayloadError>()
            || error.is::<ContentTypeError>()
        {
            return Self::new(ErrorType::BadBinding, error.to_string());
        }
        match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(ErrorType::TooLarge, "the body is too large"),
            status if status.is_client_error() => Self::new(ErrorType::BadBinding, error.to_string()),
            _ => Self::internal(&error),
        }
    }
}

impl ResponseError for ApiError {
    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn as_response(&self) -> Response {
        let name = self.kind.name();
        // The seed contract spells the key `type` in its format and `Type` in its examples: both are sent.
        let body = json!({ "error": { "type": name, "Type": name, "message": self.message }, "data": null });
        let mut response = poem::web::Json(body).with_status(self.status()).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some((name, value)) = &self.header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if self.kind == ErrorType::InvalidAuthToken {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<BadName> for ApiError {
    fn from(e: BadName) -> Self {
        Self::new(ErrorType::BadBinding, e.to_string())
    }
}

impl From<BadToken> for ApiError {
    fn from(e: BadToken) -> Self {
        Self::new(ErrorType::InvalidAuthToken, e.to_string())
    }
}

impl From<Exceeded> for ApiError {
    fn from(e: Exceeded) -> Self {
        let refused = Self::new(ErrorType::RateLimited, "too many requests, wait and try again");
        Self {
            retry_after: Some(e.retry_after.as_secs() + 1),
            ..refused
        }
    }
}

impl From<HashError> for ApiError {
    fn from(e: HashError) -> Self {
        match e {
            HashError::Overloaded => Self::new(ErrorType::Overloaded, e.to_string()),
            HashError::Failed(_) => Self::internal(&e),
        }
    }
}

impl From<Full> for ApiError {
    fn from(e: Full) -> Self {
        Self::new(ErrorType::Overloaded, e.to_string())
    }
}

impl From<StoreError> for ApiError {
    fn from(e: StoreError) -> Self {
        // The store has said so, as often as it makes sense.
        tracing::debug!(error = %e, "the store did not answer a request");
        if e.is_fault() {
            return Self::new(ErrorType::Internal, "the server failed to answer this request");
        }
        Self::new(
            ErrorType::Unavailable,
            "the database does not answer for now, try again",
        )
    }
}

impl From<JournalError> for ApiError {
    fn from(e: JournalError) -> Self {
        Self::new(e.kind(), e.to_string())
    }
}

/// What is refused, and with which status, the document says of each operation by itself.
impl ApiResponse for ApiError {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![] }
    }

    fn register(_: &mut Registry) {}
}

/// An answer with data: the other half of the envelope.
#[derive(Debug, Object)]
pub struct Envelope<T: poem_openapi::types::ParseFromJSON + ToJSON + Send + Sync> {
    /// Null.
    pub error: Option<String>,
    pub data: T,
}

impl<T: poem_openapi::types::ParseFromJSON + ToJSON + Send + Sync> Envelope<T> {
    pub const fn of(data: T) -> Self {
        Self { error: None, data }
    }
}

/// The answer to a panic. It has been logged by the hook that every panic runs.
pub fn panicked() -> Response {
    ApiError::new(ErrorType::Internal, "the server failed to answer this request").as_response()
}
