//! A JSON body, read strictly: by its content type and its bytes, within a size and a time.

use std::time::Duration;

use poem::{Request, RequestBody};
use poem_openapi::payload::{Json, Payload};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde::de::DeserializeOwned;

use super::error::ApiError;
use crate::protocol::{ErrorType, read_object};

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest body in bytes; a text of the largest configured size must fit, each byte escaped.
const LIMIT: usize = 64 * 1024;

/// How large a body may be, in bytes, when texts may have `message_max_bytes`.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimit(usize);

impl BodyLimit {
    pub fn new(message_max_bytes: usize) -> Self {
        Self(LIMIT.max(message_max_bytes * 6 + 4096))
    }
}

/// A body of type `T`. Unknown fields are ignored; a key that stands twice is an error, which is why the
/// library's own `Json` (last one wins) is not used.
#[derive(Debug)]
pub struct Strict<T>(pub T);

impl<'a, T: Type + DeserializeOwned> ApiExtractor<'a> for Strict<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType {
                content_type: "application/json",
                schema: T::schema_ref(),
            }],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        if !request
            .content_type()
            .is_some_and(<Json<T> as Payload>::check_content_type)
        {
            return Err(ApiError::new(
                ErrorType::BadBinding,
                "the content type of the body is application/json",
            )
            .into());
        }
        let limit = request.data::<BodyLimit>().map_or(LIMIT, |limit| limit.0);
        let too_large = || ApiError::new(ErrorType::TooLarge, format!("a body has at most {limit} bytes"));
        let announced = request
            .header("content-length")
            .and_then(|length| length.parse::<usize>().ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(too_large().into());
        }
        let bytes = match tokio::time::timeout(PATIENCE, body.take()?.into_bytes_limit(limit)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(poem::error::ReadBodyError::PayloadTooLarge)) => return Err(too_large().into()),
            Ok(Err(_)) => return Err(ApiError::new(ErrorType::BadBinding, "the body broke off").into()),
            Err(_) => return Err(ApiError::new(ErrorType::BadBinding, "the body took too long").into()),
        };
        match read_object(&bytes) {
            Ok(value) => Ok(Self(value)),
            Err(e) => Err(ApiError::new(
                ErrorType::BadBinding,
                format!("the body is not of the form expected: {e}"),
            )
            .into()),
        }
    }
}
