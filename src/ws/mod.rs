//! WebSocket as RFC 6455 has it: the handshake, frames, and what has still to be written. It knows nothing of chat.

pub mod frame;
pub mod handshake;
pub mod outbox;
#[cfg(test)]
pub mod pipe;
pub mod stream;
