//! Who somebody is: passwords (argon2id) and tokens (JWT).

mod password;
mod token;

pub use password::{HashError, Hasher};
pub use token::{BadToken, Identity, SigningKey, Tokens};
