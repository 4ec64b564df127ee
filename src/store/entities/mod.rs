//! The tables as sea-orm entities; `migrations/` says what the columns mean.

pub mod accounts;
pub mod messages;
pub mod rooms;
