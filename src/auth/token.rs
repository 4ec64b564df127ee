//! JWTs, signed with HS256: every replica that has the key can check one without asking anybody.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{User, UserId};

/// Seconds by which the clocks of replicas may differ.
const CLOCKS: u64 = 60;
/// The longest life of a token: what TOKEN_TTL_SECONDS may be, and a day for clocks that differ.
const LONGEST_LIFE: u64 = 315_360_000 + 86_400;

/// `iss` of every token.
const ISSUER: &str = "chat-gateway";

/// The token is not one of ours, or no longer. What is wrong with it is nobody's business but the log's.
#[derive(Debug, thiserror::Error)]
#[error("the token is invalid or has expired")]
pub struct BadToken;

/// Why a key does not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    #[error("has {0} bytes, set one of 32 or more")]
    Short(usize),
    #[error("is the same few characters again and again, set a random one: openssl rand -hex 32")]
    Plain,
}

/// The key that signs tokens. Never printed.
#[derive(Clone)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// The shortest key in bytes: as long as the hash of HS256 (RFC 7518 §3.2).
    pub const MIN_BYTES: usize = 32;
    /// The fewest different bytes, white space aside: a random key has more, in hexadecimal too.
    const MIN_DIFFERENT: usize = 4;

    pub fn new(bytes: Vec<u8>) -> Result<Self, BadKey> {
        let different = bytes
            .iter()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect::<HashSet<_>>()
            .len();
        match bytes.len() {
            short if short < Self::MIN_BYTES => Err(BadKey::Short(short)),
            _ if different < Self::MIN_DIFFERENT => Err(BadKey::Plain),
            _ => Ok(Self(bytes)),
        }
    }
}

impl AsRef<[u8]> for SigningKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// What we write into a token.
#[derive(Debug, Serialize)]
struct Issued<'a> {
    sub: String,
    /// For whoever reads it, and for replicas of an older release.
    username: &'a str,
    iat: u64,
    exp: u64,
    iss: &'a str,
    jti: String,
}

/// What we believe of a token. What its account is called the account says: others may have our key.
#[derive(Debug, Deserialize)]
struct Believed {
    sub: String,
    exp: u64,
    /// Ours have it; a number of any kind (RFC 7519 §2).
    iat: Option<f64>,
}

/// The account that a valid token is of, which may be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    pub id: UserId,
    /// Seconds since the Unix epoch.
    expires: u64,
    issued: Option<u64>,
}

impl Holder {
    /// With the name that the account has, which was made at `created_at`, milliseconds since the Unix epoch. `None`: it is
    /// younger than the token, which was another's: a database that comes back from a copy gives ids again.
    pub fn named(self, username: &str, created_at: i64) -> Option<Identity> {
        let created = u64::try_from(created_at).unwrap_or_default() / 1000;
        if self
            .issued
            .is_some_and(|issued| issued.saturating_add(CLOCKS) < created)
        {
            return None;
        }
        let user = User {
            id: self.id,
            username: username.into(),
        };
        Some(Identity {
            user,
            expires: self.expires,
        })
    }
}

/// Somebody who has proven who they are.
#[derive(Debug, Clone)]
pub struct Identity {
    pub user: User,
    /// Seconds since the Unix epoch.
    expires: u64,
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
        let claims = Issued {
            sub: user.id.to_string(),
            username: &user.username,
            iat: now,
            exp: now + self.0.lifetime.as_secs(),
            iss: ISSUER,
            jti: Uuid::new_v4().to_string(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.0.encoding)
    }

    /// Whose a token is.
    pub fn check(&self, token: &str) -> Result<Holder, BadToken> {
        let data =
            jsonwebtoken::decode::<Believed>(token, &self.0.decoding, &self.0.validation).map_err(|e| {
                tracing::debug!(error = %e, "token refused");
                BadToken
            })?;
        let id = data.claims.sub.parse().map(UserId).map_err(|_| BadToken)?;
        // Dead at its second (RFC 7519 §4.1.4), and nobody's if it lives longer than any of ours.
        let (now, expires) = (since_epoch().as_secs(), data.claims.exp);
        if expires <= now || expires - now > LONGEST_LIFE {
            return Err(BadToken);
        }
        let issued = data.claims.iat.map(|at| at as u64);
        Ok(Holder { id, expires, issued })
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
            &SigningKey::new((key..key + 32).collect()).unwrap(),
            Duration::from_secs(lifetime),
        )
    }

    #[test]
    fn a_token_names_its_user_until_it_expires() {
        let user = User {
            id: UserId(7),
            username: "ann".into(),
        };
        let holder = tokens(1, 60).check(&tokens(1, 60).issue(&user).unwrap()).unwrap();
        let identity = holder.named("ann", 0).unwrap();
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
        assert_eq!(SigningKey::new((0..31).collect()).unwrap_err(), BadKey::Short(31));
        assert!(!format!("{:?}", SigningKey::new((65..97).collect())).contains("65"));
    }

    #[test]
    fn a_key_that_anybody_would_guess_is_no_key() {
        for key in [
            " ".repeat(32),
            "x".repeat(40),
            "\t\n ".repeat(20),
            "ab ".repeat(12),
            "0".repeat(32),
        ] {
            assert_eq!(SigningKey::new(key.into_bytes()).unwrap_err(), BadKey::Plain);
        }
        assert!(SigningKey::new(b"0123456789abcdef0123456789abcdef".to_vec()).is_ok());
    }

    #[test]
    fn a_token_is_dead_at_its_second() {
        let (now, tokens) = (since_epoch().as_secs(), tokens(1, 60));
        let with = |exp: serde_json::Value| {
            let claims = serde_json::json!({
                "sub": "7", "username": "ann", "iat": 0, "exp": exp, "iss": ISSUER, "jti": "x",
            });
            let token =
                jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &tokens.0.encoding).unwrap();
            tokens.check(&token).is_ok()
        };
        assert!(with((now + 60).into()));
        for dead in [
            now.into(),
            0.into(),
            u64::MAX.into(),
            (now + LONGEST_LIFE + 60).into(),
            1e300.into(),
            (-1).into(),
        ] {
            assert!(!with(dead));
        }
    }
}
