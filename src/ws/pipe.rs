//! Two ends of a stream in memory, for tests that must not wait for a kernel or a clock.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::stream::Stream;

/// One end. Dropped, the other reads to the end.
#[derive(Debug)]
pub struct Pipe {
    reads: Arc<Mutex<Direction>>,
    writes: Arc<Mutex<Direction>>,
}

#[derive(Debug)]
struct Direction {
    bytes: VecDeque<u8>,
    room: usize,
    ended: bool,
    waiting: Vec<Waker>,
}

impl Direction {
    fn new(room: usize) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            bytes: VecDeque::new(),
            room,
            ended: false,
            waiting: Vec::new(),
        }))
    }

    fn changed(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    fn poll(&mut self, ready: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if ready {
            return Poll::Ready(Ok(()));
        }
        self.waiting.push(cx.waker().clone());
        Poll::Pending
    }
}

/// Each direction has room for so many bytes.
pub fn pipe(room: usize) -> (Pipe, Pipe) {
    let (there, back) = (Direction::new(room), Direction::new(room));
    let (reads, writes) = (back.clone(), there.clone());
    (
        Pipe { reads, writes },
        Pipe {
            reads: there,
            writes: back,
        },
    )
}

impl Stream for Pipe {
    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut reads = self.reads.lock();
        if reads.bytes.is_empty() {
            return if reads.ended {
                Ok(0)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            };
        }
        let count = into.len().min(reads.bytes.len());
        for (to, byte) in into.iter_mut().zip(reads.bytes.drain(..count)) {
            *to = byte;
        }
        reads.changed();
        Ok(count)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut writes = self.writes.lock();
        let count = bytes.len().min(writes.room - writes.bytes.len());
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        writes.bytes.extend(&bytes[..count]);
        writes.changed();
        Ok(count)
    }

    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write(
            &slices
                .iter()
                .flat_map(|slice| slice.iter().copied())
                .collect::<Vec<u8>>(),
        )
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut reads = self.reads.lock();
        let ready = !reads.bytes.is_empty() || reads.ended;
        reads.poll(ready, cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut writes = self.writes.lock();
        let ready = writes.bytes.len() < writes.room;
        writes.poll(ready, cx)
    }

    fn end_writing(&self) -> io::Result<()> {
        let mut writes = self.writes.lock();
        writes.ended = true;
        writes.changed();
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = self.end_writing();
    }
}
