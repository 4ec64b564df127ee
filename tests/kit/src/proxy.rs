//! A TCP proxy of our own between any two parts, with the faults that networks have: what is between two hosts goes
//! silent, forgets its connections, cuts them, refuses new ones, is slow, or leads to another server.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use crate::process::free_port;

/// Passes on what comes to its port until told otherwise. Its connections end with it.
pub struct Proxy {
    port: u16,
    path: Arc<Path>,
    /// The task that accepts, while the port does not refuse.
    accepting: Mutex<JoinSet<()>>,
}

struct Path {
    state: watch::Sender<State>,
    accepted: AtomicU64,
    connections: Mutex<JoinSet<()>>,
}

#[derive(Clone, Copy)]
struct State {
    upstream: u16,
    frozen: bool,
    /// Of the connections accepted, so many swallow everything.
    swallowing: u64,
    /// Of the connections accepted, so many are reset.
    cut: u64,
    delay: Duration,
}

impl Proxy {
    /// Listens on a port of its own and passes on to `upstream`, a port of this host.
    pub async fn start(upstream: u16) -> Self {
        let (state, _) = watch::channel(State {
            upstream,
            frozen: false,
            swallowing: 0,
            cut: 0,
            delay: Duration::ZERO,
        });
        let this = Self {
            port: free_port(),
            path: Arc::new(Path {
                state,
                accepted: AtomicU64::new(0),
                connections: Mutex::new(JoinSet::new()),
            }),
            accepting: Mutex::new(JoinSet::new()),
        };
        this.accept().await;
        this
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connections are accepted and kept, and nothing passes in either direction, new ones included: a host that is
    /// frozen, a proxy that lost its other side. What was sent meanwhile arrives after [`thaw`](Self::thaw).
    pub fn freeze(&self) {
        self.change(|state| state.frozen = true);
    }

    pub fn thaw(&self) {
        self.change(|state| state.frozen = false);
    }

    /// The connections of this moment stay open, and nothing comes out of them any more, at either end, for good:
    /// what a firewall does that has forgotten them. New connections work.
    pub fn swallow(&self) {
        let accepted = self.accepted();
        self.change(|state| state.swallowing = accepted);
    }

    /// Resets the connections of this moment. New ones work.
    pub fn cut(&self) {
        let accepted = self.accepted();
        self.change(|state| state.cut = accepted);
    }

    /// The port refuses new connections; those that are open stay. With [`cut`](Self::cut): the host is gone.
    pub async fn refuse(&self) {
        let mut accepting = std::mem::take(&mut *lock(&self.accepting));
        accepting.shutdown().await;
    }

    /// Accepts again, after [`refuse`](Self::refuse).
    pub async fn accept(&self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port))
            .await
            .expect("the proxy's port");
        lock(&self.accepting).spawn(accept(listener, self.path.clone()));
    }

    /// What is read from now on arrives so much later, in each direction.
    pub fn delay(&self, by: Duration) {
        self.change(|state| state.delay = by);
    }

    /// New connections lead to another port: a failover behind one address, once the old ones are [`cut`](Self::cut).
    pub fn redirect(&self, upstream: u16) {
        self.change(|state| state.upstream = upstream);
    }

    /// Connections that were accepted so far.
    pub fn accepted(&self) -> u64 {
        self.path.accepted.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        reap(&mut lock(&self.path.connections))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.path.state.send_modify(change);
    }
}

fn lock(tasks: &Mutex<JoinSet<()>>) -> MutexGuard<'_, JoinSet<()>> {
    tasks.lock().unwrap_or_else(|e| e.into_inner())
}

/// Forgets the tasks that have ended; how many are left.
fn reap(tasks: &mut JoinSet<()>) -> usize {
    while tasks.try_join_next().is_some() {}
    tasks.len()
}

async fn accept(listener: TcpListener, path: Arc<Path>) {
    while let Ok((client, _)) = listener.accept().await {
        let number = path.accepted.fetch_add(1, Ordering::SeqCst) + 1;
        let state = path.state.subscribe();
        let mut connections = lock(&path.connections);
        reap(&mut connections);
        connections.spawn(carry(client, number, state));
    }
}

async fn carry(mut client: TcpStream, number: u64, mut state: watch::Receiver<State>) {
    let upstream = state.borrow().upstream;
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", upstream)).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let carried = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = pass(from_client, to_server, number, state.clone());
        let back = pass(from_server, to_client, number, state.clone());
        tokio::select! {
            carried = async { tokio::try_join!(there, back) } => carried.is_ok(),
            _ = state.wait_for(|state| number <= state.cut) => false,
        }
    };
    if !carried {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// One direction, to its end; an end that comes while nothing passes waits like everything else.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    number: u64,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        let delay = state.borrow().delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        let swallows = match state.wait_for(|state| !state.frozen).await {
            Ok(state) => number <= state.swallowing,
            Err(_) => return Ok(()),
        };
        match (swallows, read) {
            (true, 0) => std::future::pending().await,
            (true, _) => {}
            (false, 0) => return to.shutdown().await,
            (false, _) => to.write_all(&buffer[..read]).await?,
        }
    }
}
