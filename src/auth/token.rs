//! JWTs, signed with HS256: every replica that has the key can check one without asking anybody.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{User, UserId};

/// `iss` of every token.
const ISSUER: &str = "chat-gateway";

/// The token is not one of ours, or no longer. What is wrong with it is nobody's business but the log's.
#[derive(Debug, thiserror::Error)]
#[error("the token is invalid or has expired")]
pub struct BadToken;

/// The key that signs tokens. Never printed.
#[derive(Clone)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// The shortest key in bytes: as long as the hash of HS256 (RFC 7518 §3.2).
    pub const MIN_BYTES: usize = 32;

    /// `None`: the key is too short.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() >= Self::MIN_BYTES).then_some(Self(bytes))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    username: String,
    iat: u64,
    exp: u64,
    iss: String,
    jti: String,
}

/// What a valid token says.
#[derive(Debug, Clone)]
pub struct Identity {
    pub user: User,
    /// Seconds since the Unix epoch.
    pub expires: u64,
}

impl Identity {
    /// How long the token is still valid.
    pub fn remaining(&self) -> Duration {
        Duration::from_secs(self.expires).saturating_sub(since_epoch())
    }
}

/// Issues and checks tokens. Cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<Keys>);

struct Keys {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    lifetime: Duration,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(…)")
    }
}

impl Tokens {
    pub fn new(key: &SigningKey, lifetime: Duration) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        validation.leeway = 0;
        Self(Arc::new(Keys {
            encoding: EncodingKey::from_secret(&key.0),
            decoding: DecodingKey::from_secret(&key.0),
            validation,
            lifetime,
        }))
    }

    /// A token for somebody who has proven who they are.
    pub fn issue(&self, user: &User) -> Result<String, jsonwebtoken::errors::Error> {
        let now = since_epoch().as_secs();
        let claims = Claims {
            sub: user.id.to_string(),
            username: user.username.to_string(),
            iat: now,
            exp: now + self.0.lifetime.as_secs(),
            iss: ISSUER.to_owned(),
            jti: Uuid::new_v4().to_string(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.0.encoding)
    }

    /// Who a token names.
    pub fn check(&self, token: &str) -> Result<Identity, BadToken> {
        let data =
            jsonwebtoken::decode::<Claims>(token, &self.0.decoding, &self.0.validation).map_err(|e| {
                tracing::debug!(error = %e, "token refused");
                BadToken
            })?;
        let id: UserId = data.claims.sub.parse().map_err(|_| BadToken)?;
        Ok(Identity {
            user: User {
                id,
                username: data.claims.username.into(),
            },
            expires: data.claims.exp,
        })
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(key: u8, lifetime: u64) -> Tokens {
        Tokens::new(
            &SigningKey::new(vec![key; 32]).unwrap(),
            Duration::from_secs(lifetime),
        )
    }

    #[test]
    fn a_token_names_its_user_until_it_expires() {
        let user = User {
            id: 7,
            username: "ann".into(),
        };
        let identity = tokens(1, 60).check(&tokens(1, 60).issue(&user).unwrap()).unwrap();
        assert_eq!(identity.user, user);
        assert!(identity.remaining() > Duration::from_secs(50));
        assert!(
            tokens(2, 60).check(&tokens(1, 60).issue(&user).unwrap()).is_err(),
            "another key"
        );
        assert!(tokens(1, 60).check("").is_err());
        let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiI3IiwidXNlcm5hbWUiOiJhIiwiaWF0IjowLCJleHAiOjk5OTk5OTk5OTksImlzcyI6ImNoYXQtZ2F0ZXdheSIsImp0aSI6ImEifQ.";
        assert!(tokens(1, 60).check(none).is_err(), "unsigned");
    }

    #[test]
    fn a_short_key_is_no_key() {
        assert!(SigningKey::new(vec![0; 31]).is_none());
        assert!(!format!("{:?}", SigningKey::new(vec![65; 32])).contains("65"));
    }
}
