//! How long a client may take: for a request's head, between two requests, to take an answer. hyper has one limit for the
//! first two, which would make a balancer's idle connections as short-lived as a stranger's half a head, and none for the
//! third, so that an answer to somebody who does not read would be kept for ever.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::metrics::Late;

/// From the first byte of a request's head to its last, and from the begin of a connection to the end of its first head.
const HEAD: Duration = Duration::from_secs(10);
/// How long the socket may take less than [`LEAST`] bytes of an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// What a client takes of an answer in that time, in bytes: what a telephone line carried in 1998.
const LEAST: usize = 64 * 1024;

/// The time limits of one connection; its [`Watched`] stream and its requests say what goes on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Patience(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Since when the socket is full, and how much it has taken since.
    full: Option<(Instant, usize)>,
    keep_alive: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// A head is on its way since then.
    Head(Instant),
    /// A request is being answered.
    Busy,
    /// No request since then.
    Idle(Instant),
}

impl Patience {
    /// A connection that has just begun: its first head is due.
    pub fn new(keep_alive: Duration) -> Self {
        Self(Arc::new(Mutex::new(State {
            phase: Phase::Head(Instant::now()),
            full: None,
            keep_alive,
        })))
    }

    /// A request's head has come.
    pub fn asked(&self) {
        self.0.lock().phase = Phase::Busy;
    }

    /// The request has been answered, as far as we are concerned: the socket may still have to take it.
    pub fn answered(&self) {
        self.0.lock().phase = Phase::Idle(Instant::now());
    }

    /// Whether a request is being answered on our side.
    pub fn is_busy(&self) -> bool {
        matches!(self.0.lock().phase, Phase::Busy)
    }

    /// Bytes came. What comes while nothing is asked is the next head.
    fn read(&self) {
        let mut state = self.0.lock();
        if let Phase::Idle(_) = state.phase {
            state.phase = Phase::Head(Instant::now());
        }
    }

    /// The socket took so many bytes, or `None`: it is full.
    fn written(&self, bytes: Option<usize>) {
        let mut state = self.0.lock();
        let now = Instant::now();
        state.full = match (state.full, bytes) {
            (None, Some(_)) => None,
            (None, None) => Some((now, 0)),
            (Some(full), None) => Some(full),
            (Some((since, so_far)), Some(bytes)) if so_far + bytes < LEAST => Some((since, so_far + bytes)),
            (Some(_), Some(_)) => None,
        };
    }

    /// All that there was to write has been taken.
    fn flushed(&self) {
        self.0.lock().full = None;
    }

    /// What will be late next, and when.
    fn next(&self) -> Option<(Instant, Late)> {
        let state = self.0.lock();
        if let Some((since, _)) = state.full {
            return Some((since + ANSWER, Late::Answer));
        }
        match state.phase {
            Phase::Head(since) => Some((since + HEAD, Late::Head)),
            Phase::Idle(since) => Some((since + state.keep_alive, Late::Idle)),
            Phase::Busy => None,
        }
    }

    /// Waits until something is late. To be polled by the task that serves the connection and behind it, since what
    /// changes the state does so there, and wakes nobody.
    pub async fn lost(&self) -> Late {
        let mut clock = pin!(sleep_until(Instant::now()));
        poll_fn(|cx| {
            while let Some((at, late)) = self.next() {
                if clock.deadline() != at {
                    clock.as_mut().reset(at);
                }
                ready!(clock.as_mut().poll(cx));
                if self.next().is_some_and(|(at, _)| at <= Instant::now()) {
                    return Poll::Ready(late);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// A client's socket, as long as it speaks HTTP.
#[derive(Debug)]
pub struct Watched {
    pub stream: TcpStream,
    pub patience: Patience,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.patience.read();
        }
        Poll::Ready(Ok(()))
    }
}

impl Watched {
    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Pending => self.patience.written(None),
            Poll::Ready(Ok(bytes)) => self.patience.written(Some(*bytes)),
            Poll::Ready(Err(_)) => {}
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when nothing of its own is left to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.patience.flushed();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP_ALIVE: Duration = Duration::from_secs(75);

    /// What is late, and after how many seconds.
    async fn lost(patience: &Patience) -> (Late, u64) {
        let begun = Instant::now();
        let late = patience.lost().await;
        (late, begun.elapsed().as_secs())
    }

    async fn seconds(count: u64) {
        tokio::time::advance(Duration::from_secs(count)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_ten_seconds_and_an_idle_connection_more() {
        let patience = Patience::new(KEEP_ALIVE);
        patience.read();
        seconds(4).await;
        patience.read();
        assert_eq!(lost(&patience).await, (Late::Head, 6), "bytes buy no time");
        patience.asked();
        let busy = tokio::time::timeout(Duration::from_secs(1000), patience.lost());
        assert!(
            busy.await.is_err(),
            "what we take for an answer is not the client's time"
        );
        patience.answered();
        seconds(70).await;
        assert_eq!(lost(&patience).await, (Late::Idle, 5));
        patience.read();
        assert_eq!(lost(&patience).await, (Late::Head, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_has_to_be_taken_at_a_least_rate() {
        let patience = Patience::new(KEEP_ALIVE);
        patience.asked();
        patience.answered();
        for _ in 0..20 {
            patience.written(None);
            seconds(9).await;
            patience.written(Some(LEAST));
        }
        patience.written(None);
        seconds(9).await;
        patience.written(Some(LEAST - 1));
        assert_eq!(lost(&patience).await, (Late::Answer, 1));
        patience.flushed();
        assert_eq!(
            patience.next().map(|(_, late)| late),
            Some(Late::Idle),
            "all of it was taken"
        );
    }
}
