//! Names and numbers, parsed at the edge: a value that exists is valid.

use std::fmt;
use std::sync::Arc;

use precis_core::profile::{Rules, stabilize};
use precis_profiles::Nickname;
use serde::Serialize;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

/// A message's place in its room: 1, 2, 3 … with no holes (I2). 0 is the place before the first.
pub type Seq = u64;

/// The largest `Seq` that a client may name: what the database's `bigint` holds.
pub const MAX_SEQ: Seq = i64::MAX as Seq;

/// An account's number, positive.
pub type UserId = i64;

/// Why a name was refused. The text is for the developer who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadName(&'static str);

/// A room's name: 1–128 bytes of UTF-8 without control characters, in NFC. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct RoomName(Arc<str>);

impl RoomName {
    /// The longest name in bytes (wire contract).
    pub const MAX_BYTES: usize = 128;

    /// Takes a name as typed (after percent-decoding).
    pub fn parse(raw: &str) -> Result<Self, BadName> {
        if raw.is_empty() || raw.len() > Self::MAX_BYTES {
            return Err(BadName("a room's name has 1 to 128 bytes"));
        }
        if raw.chars().any(char::is_control) {
            return Err(BadName("a room's name has no control characters"));
        }
        Ok(Self(raw.nfc().collect::<String>().into()))
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

/// A username: shown as typed, compared as RFC 8266 compares nicknames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username {
    shown: String,
    key: String,
}

impl Username {
    /// The longest name in characters (wire contract).
    pub const MAX_CHARS: usize = 64;

    /// Takes a name as typed. The nickname profile's mappings decide which names are equal; its character
    /// classes do not apply, since they follow an older Unicode and would refuse this year's emoji.
    pub fn parse(raw: &str) -> Result<Self, BadName> {
        let chars = raw.chars().take(Self::MAX_CHARS + 1).count();
        if chars == 0 || chars > Self::MAX_CHARS {
            return Err(BadName("a username has 1 to 64 characters"));
        }
        if raw.chars().any(char::is_control) {
            return Err(BadName("a username has no control characters"));
        }
        let profile = Nickname::new();
        let key = stabilize(raw, |name| {
            let name = profile.additional_mapping_rule(name)?;
            // Unicode's toLowerCase over the whole name, since a final sigma depends on what stands before it.
            let name = name.to_lowercase();
            profile.normalization_rule(name)
        });
        match key {
            Ok(key) if !key.is_empty() => Ok(Self {
                shown: raw.to_owned(),
                key: key.into_owned(),
            }),
            _ => Err(BadName("a username has a visible character")),
        }
    }

    /// As typed.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// As compared: equal keys are the same name.
    pub fn key(&self) -> &str {
        &self.key
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    fn usernames_ignore_case_width_and_spacing() {
        let key = |name: &str| Username::parse(name).unwrap().key().to_owned();
        assert_eq!(key("Guybrush Threepwood"), key("  guybrush   THREEPWOOD "));
        assert_eq!(key("Ａｎｎ"), key("ann"));
        assert_eq!(key("ﬁsh"), key("FISH"));
        assert_ne!(key("ann"), key("anne"));
        assert_eq!(Username::parse(" Ann ").unwrap().shown(), " Ann ");
    }

    #[test]
    fn a_final_sigma_is_a_sigma() {
        let key = |name: &str| Username::parse(name).unwrap().key().to_owned();
        assert_eq!(key("ΣΊΣΥΦΟΣ"), key("Σίσυφος"));
    }

    #[test]
    fn usernames_have_limits() {
        assert!(Username::parse(&"é".repeat(64)).is_ok());
        assert!(Username::parse("🫠").is_ok());
        for bad in ["", "   ", "a\u{0}", "a\tb", &"é".repeat(65)] {
            assert!(Username::parse(bad).is_err(), "{bad:?}");
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
