//! Who calls, and from where.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use poem::Request;
use poem_openapi::SecurityScheme;
use poem_openapi::auth::Bearer;

use super::Api;
use super::error::ApiError;
use crate::auth::Identity;
use crate::ids::User;
use crate::protocol::ErrorType;

/// Somebody with a valid token whose account still exists.
#[derive(SecurityScheme)]
#[oai(rename = "token", ty = "bearer", bearer_format = "JWT", checker = "check")]
pub struct Caller(Identity);

impl Caller {
    pub const fn user(&self) -> &User {
        &self.0.user
    }
}

async fn check(request: &Request, bearer: Bearer) -> poem::Result<Identity> {
    let Some(api) = request.data::<Arc<Api>>() else {
        return Err(ApiError::internal(&"a route without its parts").into());
    };
    Ok(api.identify(&bearer.token).await?)
}

impl Api {
    /// Whose token it is, by the name that the account has. What is not signed by us does not reach the database (I8).
    pub async fn identify(&self, token: &str) -> Result<Identity, ApiError> {
        let holder = self.tokens.check(token)?;
        let found = self.replica.store.named_account(holder.id).await?;
        let named = found.and_then(|(username, created_at)| holder.named(&username, created_at));
        named.ok_or_else(|| {
            ApiError::new(
                ErrorType::InvalidAuthToken,
                "the token's account does not exist any more",
            )
        })
    }
}

/// The token of an `Authorization: Bearer` header, where there is such a header. Another one is somebody who takes themselves
/// to be known, and must not silently be a guest.
pub fn bearer(request: &Request) -> Result<Option<&str>, ApiError> {
    let mut given = request.headers().get_all(AUTHORIZATION).iter();
    let (header, more) = (given.next(), given.next());
    let Some(header) = header else {
        return Ok(None);
    };
    let token = header
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| more.is_none() && scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty());
    match token {
        Some(token) => Ok(Some(token)),
        None => Err(ApiError::new(
            ErrorType::InvalidAuthToken,
            "the header Authorization has no token: one of the form `Bearer <token>`, or none for guests",
        )),
    }
}
