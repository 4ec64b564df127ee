//! A proxy before Redis with a fault of the test's choice. It reads the replicas' commands and keeps the protocol
//! in step.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

#[derive(Clone, Copy)]
pub enum Fault {
    /// Every tenth message that a replica publishes in a room goes to a channel of the same length that nobody
    /// listens to: Redis answers it as any other.
    LosesEveryTenth,
    /// A subscription to rooms takes so long to arrive.
    SubscribesLate(Duration),
}

pub struct FaultyRedis {
    port: u16,
    counts: Arc<Counts>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    published: AtomicU64,
    lost: AtomicU64,
}

impl FaultyRedis {
    /// Listens, and passes on to the Redis at `upstream`.
    pub async fn start(upstream: u16, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::new(Counts::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, upstream, fault, counts.clone()));
        Self {
            port,
            counts,
            _tasks: tasks,
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Messages published in rooms, and how many of them were lost.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.counts.published.load(Ordering::Relaxed),
            self.counts.lost.load(Ordering::Relaxed),
        )
    }
}

async fn accept(listener: TcpListener, upstream: u16, fault: Fault, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    while let Ok((replica, _)) = listener.accept().await {
        let counts = counts.clone();
        connections.spawn(async move {
            let Ok(redis) = TcpStream::connect(("127.0.0.1", upstream)).await else {
                return;
            };
            let _ = (replica.set_nodelay(true), redis.set_nodelay(true));
            let (from_replica, mut to_replica) = replica.into_split();
            let (mut from_redis, to_redis) = redis.into_split();
            tokio::select! {
                _ = commands(from_replica, to_redis, fault, &counts) => {}
                _ = tokio::io::copy(&mut from_redis, &mut to_replica) => {}
            }
        });
    }
}

async fn commands(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    fault: Fault,
    counts: &Counts,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    while from.read_buf(&mut buffer).await? > 0 {
        let mut done = 0;
        while let Some((words, end)) = command(&buffer, done) {
            match fault {
                Fault::LosesEveryTenth if is_for_rooms(&buffer, &words, b"PUBLISH") => {
                    let published = counts.published.fetch_add(1, Ordering::Relaxed) + 1;
                    if published.is_multiple_of(10) {
                        counts.lost.fetch_add(1, Ordering::Relaxed);
                        buffer[words[1].clone()].fill(b'-');
                    }
                }
                Fault::SubscribesLate(by) if is_for_rooms(&buffer, &words, b"SUBSCRIBE") => sleep(by).await,
                _ => {}
            }
            done = end;
        }
        to.write_all(&buffer[..done]).await?;
        buffer.drain(..done);
    }
    Ok(())
}

fn is_for_rooms(buffer: &[u8], words: &[Range<usize>], verb: &[u8]) -> bool {
    let word = |n: usize| &buffer[words[n].clone()];
    words.len() > 1 && word(0).eq_ignore_ascii_case(verb) && word(1).windows(6).any(|part| part == b":room:")
}

/// The words of the command that begins at `start`, if it is there as a whole, and where the next one begins.
fn command(buffer: &[u8], start: usize) -> Option<(Vec<Range<usize>>, usize)> {
    let (count, mut at) = number(buffer, start, b'*')?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, begin) = number(buffer, at, b'$')?;
        at = begin + length + 2;
        words.push(begin..begin + length);
    }
    (at <= buffer.len()).then_some((words, at))
}

/// A line of a sign and a number, and where the next line begins.
fn number(buffer: &[u8], start: usize, sign: u8) -> Option<(usize, usize)> {
    let line = buffer.get(start..)?;
    let end = line.windows(2).position(|pair| pair == b"\r\n")?;
    assert_eq!(line[0], sign, "replicas send arrays of bulk strings");
    let digits = std::str::from_utf8(&line[1..end]).unwrap();
    Some((digits.parse().unwrap(), start + end + 2))
}

#[test]
fn commands_are_found_whole() {
    let buffer =
        b"*3\r\n$7\r\nPUBLISH\r\n$8\r\na:room:1\r\n$3\r\n\r\n*\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPI";
    let (words, next) = command(buffer, 0).unwrap();
    assert!(is_for_rooms(buffer, &words, b"PUBLISH"));
    assert_eq!(&buffer[words[2].clone()], b"\r\n*");
    let (words, next) = command(buffer, next).unwrap();
    assert_eq!(&buffer[words[0].clone()], b"PING");
    assert_eq!(command(buffer, next), None);
}
