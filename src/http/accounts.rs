//! Accounts and tokens.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Deserialize;

use super::caller::Caller;
use super::error::{ApiError, Envelope};
use super::payload::Strict;
use super::{Api, ClientAddress, Tag};
use crate::auth::Asker;
use crate::ids::{self, Username};
use crate::limits::network;
use crate::protocol::ErrorType;
use crate::store::{Account, StoreError};

/// The longest secret in bytes (wire contract).
pub const SECRET_MAX_BYTES: usize = 1024;

#[derive(Debug, Object, Deserialize)]
#[oai(rename = "Credentials")]
pub struct Credentials {
    /// Unique ignoring case, width and spacing, and by its look.
    username: String,
    /// Its lengths are counted in bytes of UTF-8.
    secret: String,
}

#[derive(Debug, Object)]
pub struct User {
    /// Positive.
    id: i64,
    /// As typed at sign-up.
    username: String,
}

impl From<&ids::User> for User {
    fn from(user: &ids::User) -> Self {
        Self {
            id: user.id.0,
            username: user.username.to_string(),
        }
    }
}

#[derive(Debug, Object)]
pub struct Login {
    /// A JWT: give it as `Authorization: Bearer`, or as the first WebSocket subprotocol.
    token: String,
    user: User,
}

#[derive(ApiResponse)]
pub enum Created {
    /// The account exists now.
    #[oai(status = 201)]
    User(Json<Envelope<User>>),
}

/// Whose turn a hash is.
fn asker<'a>(address: &ClientAddress, username: &'a Username) -> Asker<'a> {
    Asker {
        address: network(address.0),
        account: username.key(),
    }
}

#[derive(Debug)]
pub struct Accounts;

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Accounts")]
impl Accounts {
    /// Sign up.
    #[oai(path = "/users", method = "post", operation_id = "signUp")]
    async fn create(
        &self,
        api: Data<&Arc<Api>>,
        address: Data<&ClientAddress>,
        credentials: Strict<Credentials>,
    ) -> Result<Created, ApiError> {
        api.replica
            .limits
            .check_everywhere(&api.replica.limits.signups, address.0.0)
            .await?;
        let Credentials { username, secret } = credentials.0;
        let username = Username::parse_new(&username)?;
        let least = api.password_min_bytes;
        if !(least..=SECRET_MAX_BYTES).contains(&secret.len()) {
            let message = format!("a secret has {least} to {SECRET_MAX_BYTES} bytes");
            return Err(ApiError::new(ErrorType::BadPassword, message));
        }
        let store = &api.replica.store;
        let taken = || ApiError::new(ErrorType::UserExists, "there is a user of this name");
        // Asked first, because a hash is dear; the unique index decides.
        if store.find_account(&username).await?.is_some() {
            return Err(taken());
        }
        let hash = api.hasher.hash(asker(address.0, &username), secret).await?;
        match store.create_account(&username, hash).await {
            Ok(user) => {
                api.replica.limits.welcome(address.0.0, &username).await;
                Ok(Created::User(Json(Envelope::of((&user).into()))))
            }
            Err(StoreError::Taken) => Err(taken()),
            Err(e) => Err(e.into()),
        }
    }

    /// Log in.
    #[oai(path = "/login", method = "post", operation_id = "logIn")]
    async fn login(
        &self,
        api: Data<&Arc<Api>>,
        address: Data<&ClientAddress>,
        credentials: Strict<Credentials>,
    ) -> Result<Json<Envelope<Login>>, ApiError> {
        let Credentials { username, secret } = credentials.0;
        let username = Username::parse(&username);
        let limits = &api.replica.limits;
        limits.check_login(address.0.0, username.as_ref().ok()).await?;
        let username = username?;
        let account = api.replica.store.find_account(&username).await?;
        if account.is_none() && !api.hide_unknown_users {
            return Err(ApiError::new(
                ErrorType::UserNotFound,
                "there is no user of this name",
            ));
        }
        let mismatch = || ApiError::new(ErrorType::PasswordMatchFailed, "the secret is not this user's");
        if secret.len() > SECRET_MAX_BYTES {
            return Err(mismatch());
        }
        let (user, hash) = account
            .map(|Account { user, password_hash }| (user, password_hash))
            .unzip();
        let matches = api
            .hasher
            .verify(asker(address.0, &username), secret, hash)
            .await?;
        let user = user.filter(|_| matches).ok_or_else(mismatch)?;
        let token = api.tokens.issue(&user).map_err(|e| ApiError::internal(&e))?;
        Ok(Json(Envelope::of(Login {
            token,
            user: (&user).into(),
        })))
    }

    /// Who the token names.
    #[oai(path = "/users/me", method = "get", operation_id = "me")]
    async fn me(&self, caller: Caller) -> Result<Json<Envelope<User>>, ApiError> {
        Ok(Json(Envelope::of(caller.user().into())))
    }
}
