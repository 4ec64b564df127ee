//! What an answer holds until the kernel has taken it.

use bytes::Bytes;
use poem::{Body, Response};

use super::error::ApiError;
use crate::memory::{Held, Share};

/// Bytes of an answer that is not refused, since what it tells may have been done: connections bound these.
const SMALL: usize = 16 * 1024;

/// hyper keeps the bytes until they are written, and so the share holds them for as long.
struct Answer {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Counts the answer's body in the share, or refuses where there is no room for it.
pub async fn hold(response: Response, share: &Share) -> Result<Response, ApiError> {
    let (parts, body) = response.into_parts();
    if body.is_empty() {
        return Ok(Response::from_parts(parts, body));
    }
    let bytes = body.into_bytes().await.map_err(|e| ApiError::internal(&e))?;
    let body = match bytes.len() {
        0..=SMALL => Body::from(bytes),
        large => {
            let held = share.try_take(large)?;
            Body::from(Bytes::from_owner(Answer { bytes, _held: held }))
        }
    };
    Ok(Response::from_parts(parts, body))
}
