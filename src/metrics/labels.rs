//! The values that labels have: each is counted from 0, so there are only these.

use strum::VariantArray;

/// What keeps one client from taking everything: `LIMIT_*` of the configuration, and the shares of `MEMORY_MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray)]
pub enum Limit {
    Messages,
    Frames,
    Requests,
    CatchUp,
    Signups,
    Logins,
    Connections,
    ConnectionsPerAddress,
    SessionsPerAddress,
    SessionsPerUser,
    MemoryRooms,
    MemoryPages,
    MemoryAnswers,
    MemoryPasswords,
}

impl Limit {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Frames => "frames",
            Self::Requests => "requests",
            Self::CatchUp => "catch_up",
            Self::Signups => "signups",
            Self::Logins => "logins",
            Self::Connections => "connections",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::SessionsPerAddress => "sessions_per_address",
            Self::SessionsPerUser => "sessions_per_user",
            Self::MemoryRooms => "memory_rooms",
            Self::MemoryPages => "memory_pages",
            Self::MemoryAnswers => "memory_answers",
            Self::MemoryPasswords => "memory_passwords",
        }
    }
}

/// Why Redis did not count a try for all replicas together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray)]
pub enum Unshared {
    Away,
    Slow,
    Forbidden,
    Cluster,
    Other,
}

impl Unshared {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Slow => "slow",
            Self::Forbidden => "forbidden",
            Self::Cluster => "cluster",
            Self::Other => "other",
        }
    }
}

/// Why a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray)]
pub enum Late {
    /// The head of a request did not come to its end.
    Head,
    /// An answer was not taken.
    Answer,
    /// No request came for as long as idle connections are kept.
    Idle,
}

impl Late {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Answer => "answer",
            Self::Idle => "idle",
        }
    }
}
