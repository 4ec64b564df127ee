//! Who somebody is: passwords (argon2id) and tokens (JWT).

mod blocks;
mod password;
mod token;
mod turns;

pub use password::{Asker, HashError, Hasher};
pub use token::{BadKey, BadToken, Holder, Identity, SigningKey, Tokens};
