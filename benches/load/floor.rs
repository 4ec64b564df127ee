//! The floor: a bare thread that writes the same bytes to as many sockets, one call each, at the same pace.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Fallible, cpu};

/// Writes the frame once to each socket and counts what that costs.
pub struct Floor {
    sockets: Vec<TcpStream>,
    frame: Vec<u8>,
}

impl Floor {
    /// The far ends are given back: whoever measures drains them as it drains the sessions.
    pub fn new(sockets: usize, frame: Vec<u8>) -> Fallible<(Self, Vec<TcpStream>)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut near = Vec::with_capacity(sockets);
        let mut far = Vec::with_capacity(sockets);
        for _ in 0..sockets {
            far.push(TcpStream::connect(listener.local_addr()?)?);
            let (socket, _) = listener.accept()?;
            socket.set_nodelay(true)?;
            near.push(socket);
        }
        Ok((Self { sockets: near, frame }, far))
    }

    /// Writes `rate` times a second; gives nanoseconds of CPU for each write.
    pub fn start(mut self, rate: u32, length: Duration) -> mpsc::Receiver<Fallible<(Self, f64)>> {
        let (done, result) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let measured = self.run(rate, length);
            // Nobody waits any more where the benchmark has failed already.
            let _ = done.send(measured.map(|cost| (self, cost)));
        });
        result
    }

    fn run(&mut self, rate: u32, length: Duration) -> Fallible<f64> {
        let interval = Duration::from_secs(1) / rate;
        let (begun, before) = (Instant::now(), cpu::of_this_thread()?);
        let mut writes = 0u64;
        for n in 0.. {
            let due = interval * n;
            if due >= length {
                break;
            }
            thread::park_timeout(due.saturating_sub(begun.elapsed()));
            for socket in &mut self.sockets {
                socket.write_all(&self.frame)?;
                writes += 1;
            }
        }
        Ok((cpu::of_this_thread()? - before) as f64 / writes as f64)
    }
}

/// Reads and forgets, on a thread of its own, until the sockets close.
pub fn drain(far: Vec<TcpStream>) -> Fallible<()> {
    for socket in &far {
        socket.set_nonblocking(true)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::spawn(move || {
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for socket in far {
                let Ok(socket) = tokio::net::TcpStream::from_std(socket) else {
                    continue;
                };
                tasks.spawn(async move {
                    let mut buffer = [0u8; 1024];
                    while socket.readable().await.is_ok() {
                        if matches!(socket.try_read(&mut buffer), Ok(0)) {
                            break;
                        }
                    }
                });
            }
            while tasks.join_next().await.is_some() {}
        });
    });
    Ok(())
}
