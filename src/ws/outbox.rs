//! What a connection has still to write: shared frames, in order, the first perhaps in part. Empty it holds nothing.

use std::io::{self, IoSlice};

use super::stream::Stream;
use bytes::{Buf, Bytes};

/// How many frames one write takes.
const MAX_SLICES: usize = 64;
/// How many frames may wait before the client is no longer read.
const LONG: usize = 256;

/// Frames that wait for the socket.
#[derive(Debug, Default)]
pub struct Outbox {
    /// In order from `next` on.
    frames: Vec<Bytes>,
    next: usize,
}

/// What a write achieved.
#[derive(Debug, Default)]
pub struct Written {
    /// Nothing waits any more.
    pub done: bool,
    /// Frames and bytes that the kernel took.
    pub frames: usize,
    pub bytes: usize,
}

impl Outbox {
    pub fn push(&mut self, frame: Bytes) {
        self.frames.push(frame);
    }

    /// Where frames of the log are put.
    pub const fn frames(&mut self) -> &mut Vec<Bytes> {
        &mut self.frames
    }

    /// Takes back all that waits but the first frame, of which a part may be written; gives how many it were.
    pub fn take_back(&mut self) -> usize {
        self.frames.drain(..self.next);
        self.next = 0;
        let most = self.frames.len().min(1);
        let back = self.frames.len() - most;
        self.frames.truncate(most);
        self.frames.shrink_to_fit();
        back
    }

    #[cfg(test)]
    pub const fn is_one_frame_at_most(&self) -> bool {
        self.frames.len() - self.next <= 1
    }

    pub const fn is_empty(&self) -> bool {
        self.next == self.frames.len()
    }

    /// The client makes us answer faster than it reads.
    pub const fn is_long(&self) -> bool {
        self.frames.len() - self.next > LONG
    }

    /// Writes as much as the socket takes without waiting, many frames in one call.
    pub fn write(&mut self, stream: &impl Stream) -> io::Result<Written> {
        let mut written = Written::default();
        while !self.is_empty() {
            match try_write(stream, &self.frames[self.next..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    written.bytes += bytes;
                    written.frames += self.advance(bytes);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(written),
                Err(e) => return Err(e),
            }
        }
        self.frames = Vec::new();
        self.next = 0;
        written.done = true;
        Ok(written)
    }

    /// Takes `bytes` off the front; gives the number of whole frames.
    fn advance(&mut self, mut bytes: usize) -> usize {
        let before = self.next;
        while let Some(frame) = self.frames.get_mut(self.next) {
            if frame.len() > bytes {
                frame.advance(bytes);
                break;
            }
            bytes -= frame.len();
            *frame = Bytes::new();
            self.next += 1;
        }
        self.next - before
    }
}

/// One call to the kernel, for as many frames as it takes.
fn try_write(stream: &impl Stream, frames: &[Bytes]) -> io::Result<usize> {
    if let [frame] = frames {
        return stream.try_write(frame);
    }
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let count = frames.len().min(MAX_SLICES);
    for (slice, frame) in slices.iter_mut().zip(frames) {
        *slice = IoSlice::new(frame);
    }
    stream.try_write_vectored(&slices[..count])
}

/// Writes frames that nothing waits in front of; gives what is left of the first that the socket did not take as a whole,
/// and how many follow it. An error is left to the next write, which meets it too.
pub fn write_frames(stream: &impl Stream, frames: &[Bytes]) -> Option<(Bytes, usize)> {
    let mut taken = try_write(stream, frames).unwrap_or(0);
    for (n, frame) in frames.iter().enumerate() {
        if frame.len() > taken {
            return Some((frame.slice(taken..), frames.len() - n - 1));
        }
        taken -= frame.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However the kernel cuts it, the bytes that remain are those that were not taken.
        #[test]
        fn loses_no_byte(lengths in prop::collection::vec(1usize..20, 1..20), cuts in prop::collection::vec(1usize..50, 1..40)) {
            let mut outbox = Outbox::default();
            let mut model = Vec::new();
            for (n, length) in lengths.iter().enumerate() {
                let frame = vec![n as u8; *length];
                model.extend_from_slice(&frame);
                outbox.push(frame.into());
            }
            let mut whole = 0;
            for cut in cuts {
                let cut = cut.min(model.len());
                model.drain(..cut);
                whole += outbox.advance(cut);
                let rest: Vec<u8> = outbox.frames[outbox.next..].concat();
                prop_assert_eq!(&rest, &model);
            }
            prop_assert_eq!(whole, outbox.next);
            prop_assert_eq!(outbox.is_empty(), model.is_empty());
        }
    }
}
