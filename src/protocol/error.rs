//! Named errors and close codes.

use strum::VariantArray;

/// The `type` of an error, in the envelope of HTTP and in the `error` event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray)]
pub enum ErrorType {
    BadBinding,
    BadRoom,
    BadPassword,
    BadOrigin,
    BadHost,
    UserExists,
    UserNotFound,
    PasswordMatchFailed,
    InvalidAuthToken,
    NotAuthorized,
    NotFound,
    MethodNotAllowed,
    TooLarge,
    TextTooLong,
    RateLimited,
    Overloaded,
    Unavailable,
    Internal,
}

impl ErrorType {
    /// As it stands on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadBinding => "BAD_BINDING",
            Self::BadRoom => "BAD_ROOM",
            Self::BadPassword => "BAD_PASSWORD",
            Self::BadOrigin => "BAD_ORIGIN",
            Self::BadHost => "BAD_HOST",
            Self::UserExists => "USER_EXISTS",
            Self::UserNotFound => "USER_NOT_FOUND",
            Self::PasswordMatchFailed => "PASSWORD_MATCH_FAILED",
            Self::InvalidAuthToken => "INVALID_AUTH_TOKEN",
            Self::NotAuthorized => "NOT_AUTHORIZED",
            Self::NotFound => "NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::TooLarge => "TOO_LARGE",
            Self::TextTooLong => "TEXT_TOO_LONG",
            Self::RateLimited => "RATE_LIMITED",
            Self::Overloaded => "OVERLOADED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }

    /// The HTTP status that goes with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadBinding | Self::BadRoom | Self::BadPassword | Self::UserExists | Self::UserNotFound => {
                400
            }
            Self::PasswordMatchFailed | Self::InvalidAuthToken => 401,
            Self::BadOrigin | Self::BadHost | Self::NotAuthorized => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::TooLarge | Self::TextTooLong => 413,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Overloaded | Self::Unavailable => 503,
        }
    }
}

/// Why the server closes a WebSocket. RFC 6455 §7.4 gives the codes below 4000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray)]
pub enum Close {
    Done,
    ProtocolError,
    NotUtf8,
    FrameTooLarge,
    Leaving,
    NoRoom,
    Malformed,
    TokenExpired,
    ReadOnly,
    NoSignOfLife,
    TooFarBehind,
    WentBack,
    RateExceeded,
}

impl Close {
    pub const fn code(self) -> u16 {
        match self {
            Self::Done => 1000,
            Self::ProtocolError => 1002,
            Self::NotUtf8 => 1007,
            Self::FrameTooLarge => 1009,
            Self::Leaving => 1012,
            Self::NoRoom => 1013,
            Self::Malformed => 4400,
            Self::TokenExpired => 4401,
            Self::ReadOnly => 4403,
            Self::NoSignOfLife => 4408,
            Self::TooFarBehind => 4409,
            Self::WentBack => 4410,
            Self::RateExceeded => 4429,
        }
    }

    /// For the developer who reads a log; at most 123 bytes, as a control frame allows.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::ProtocolError => "not a frame of RFC 6455",
            Self::NotUtf8 => "a text frame that is not UTF-8",
            Self::FrameTooLarge => "a frame over the limit",
            Self::Leaving => "this replica is leaving, resume",
            Self::NoRoom => "not now, try later",
            Self::Malformed => "frames that keep being malformed",
            Self::TokenExpired => "the token has expired, log in again",
            Self::ReadOnly => "a read-only session sent a message",
            Self::NoSignOfLife => "no sign of life",
            Self::TooFarBehind => "too far behind, resume",
            Self::WentBack => "the room's history went back, resume",
            Self::RateExceeded => "messages that keep exceeding the rate",
        }
    }
}
