//! Names and numbers, parsed at the edge: a value that exists is valid.

mod seq;
mod username;

use std::fmt;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use serde::Serialize;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

pub use seq::{Point, Seq};
pub use username::Username;

/// An account's number, positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct UserId(pub i64);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a name was refused. The text is for the developer who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadName(&'static str);

/// A room's name: 1–128 bytes of UTF-8 without control characters, in NFC, that no client or proxy folds into
/// another's. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct RoomName(Arc<str>);

impl RoomName {
    /// The longest name in bytes, as typed and in NFC (wire contract).
    pub const MAX_BYTES: usize = 128;

    /// Takes a name as typed (after percent-decoding).
    pub fn parse(raw: &str) -> Result<Self, BadName> {
        let fits = |name: &str| (1..=Self::MAX_BYTES).contains(&name.len());
        if !fits(raw) {
            return Err(BadName("a room's name has 1 to 128 bytes"));
        }
        if raw.chars().any(char::is_control) {
            return Err(BadName("a room's name has no control characters"));
        }
        // Some names grow by it, and what is returned has to be a name again.
        let name: String = raw.nfc().collect();
        if !fits(&name) {
            return Err(BadName("a room's name has 1 to 128 bytes in NFC"));
        }
        match is_folded(&name) {
            true => Err(BadName(
                "a room's name has no part `.` or `..` between slashes, and no slash at either end",
            )),
            false => Ok(Self(name.into())),
        }
    }

    /// The room's key everywhere below the wire.
    pub fn id(&self) -> RoomId {
        RoomId::of(self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether somebody on the way makes another path of it, and so another room: clients fold `.` and `..` away however
/// they are encoded, and a proxy that decodes a path folds them inside it, or drops a slash that is beside another.
fn is_folded(name: &str) -> bool {
    // A proxy may have decoded once already, or a client encoded twice.
    let decoded = percent_decode_str(name).decode_utf8_lossy();
    let folds = |name: &str| {
        name.starts_with('/')
            || name.ends_with('/')
            || name.split(['/', '\\']).any(|part| matches!(part, "." | ".."))
    };
    folds(name) || folds(&decoded)
}

/// A room's key: a UUIDv8 made of the first bits of its name's SHA-256, so that every replica knows it
/// without asking the database, and a room needs no row before its first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub Uuid);

impl RoomId {
    fn of(name: &RoomName) -> Self {
        let digest = Sha256::digest(name.as_str().as_bytes());
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_simple().fmt(f)
    }
}

/// A client's own name for a message that it may send again: 1–64 characters, no U+0000.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Nonce(String);

impl Nonce {
    /// The longest nonce in characters (wire contract).
    pub const MAX_CHARS: usize = 64;

    pub fn parse(raw: String) -> Result<Self, BadName> {
        let chars = raw.chars().take(Self::MAX_CHARS + 1).count();
        if chars == 0 || chars > Self::MAX_CHARS || raw.contains('\0') {
            return Err(BadName("a nonce has 1 to 64 characters, none of them U+0000"));
        }
        Ok(Self(raw))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Somebody with an account, as a valid token names them. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct User {
    pub id: UserId,
    pub username: Arc<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_compared_after_nfc() {
        let composed = RoomName::parse("caf\u{e9}").unwrap();
        let decomposed = RoomName::parse("cafe\u{301}").unwrap();
        assert_eq!(composed, decomposed);
        assert_eq!(composed.id(), decomposed.id());
        assert_ne!(composed.id(), RoomName::parse("CAF\u{e9}").unwrap().id());
    }

    #[test]
    fn room_names_have_limits() {
        assert!(RoomName::parse(&"x".repeat(128)).is_ok());
        for bad in [
            "",
            "a\u{0}b",
            "a\nb",
            "\u{7f}",
            "\u{85}",
            &"x".repeat(129),
            &"é".repeat(65),
        ] {
            assert!(RoomName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_room_that_grows_by_nfc_stays_within_its_limit() {
        // A character of three bytes that NFC takes apart into six.
        let growing = |count| "\u{fb2c}".repeat(count);
        assert!(RoomName::parse(&growing(42)).is_err(), "252 bytes in NFC");
        let name = RoomName::parse(&growing(21)).unwrap();
        assert_eq!(RoomName::parse(name.as_str()).unwrap(), name);
    }

    #[test]
    fn a_name_that_is_folded_on_its_way_is_no_room() {
        for bad in [
            ".",
            "..",
            "a/../b",
            "./a",
            "a/..",
            "a\\..\\b",
            "/a",
            "a/",
            "/",
            "%2e%2E",
            "a%2f..%2fb",
            "%2Fa",
        ] {
            assert!(RoomName::parse(bad).is_err(), "{bad:?}");
        }
        for good in [
            "...",
            ".a",
            "a.",
            "a/b",
            "a//b",
            "a..b",
            "100%",
            "50%25",
            "¯\\_(ツ)_/¯",
            "%ff",
        ] {
            assert!(RoomName::parse(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn nonces_have_limits() {
        assert!(Nonce::parse("x".repeat(64)).is_ok());
        for bad in ["".to_owned(), "x".repeat(65), "a\0".to_owned()] {
            assert!(Nonce::parse(bad).is_err());
        }
    }
}
