//! What stands before a replica and answers in its place what a test says: refusals, garbage, silence, close frames.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long a client may take for the head of a request, or to answer a close.
const PATIENCE: Duration = Duration::from_secs(20);

/// What it does with a request.
#[derive(Clone, Debug)]
pub enum Instead {
    /// Another answer: status, headers that end in CRLF, body.
    Answer(u16, &'static str, &'static str),
    /// Nothing, ever.
    Silence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Handshakes,
    Histories,
}

#[derive(Default)]
struct State {
    /// Each is good for one request that it is for.
    next: VecDeque<(Of, Instead)>,
    /// For every request, after those.
    always: Option<Instead>,
    handshakes: Vec<Instant>,
    requests: usize,
}

/// Passes on to a port of this host what it is not told to answer itself. Ends when it is dropped.
pub struct Gate {
    port: u16,
    state: Arc<Mutex<State>>,
    closes: broadcast::Sender<u16>,
    _accepting: JoinSet<()>,
}

impl Gate {
    pub async fn before(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (state, closes) = (Arc::new(Mutex::new(State::default())), broadcast::channel(8).0);
        let mut accepting = JoinSet::new();
        accepting.spawn({
            let (state, closes) = (state.clone(), closes.clone());
            async move {
                let mut connections = JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    connections.spawn(serve(client, upstream, state.clone(), closes.subscribe()));
                }
            }
        });
        Self {
            port,
            state,
            closes,
            _accepting: accepting,
        }
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The next request of this kind is treated so; several are treated in this order.
    pub fn next(&self, of: Of, instead: Instead) {
        lock(&self.state).next.push_back((of, instead));
    }

    /// Every request is, until told otherwise.
    pub fn always(&self, instead: Option<Instead>) {
        lock(&self.state).always = instead;
    }

    /// Sends each session a close frame with this code.
    pub fn close(&self, code: u16) {
        self.closes.send(code).expect("a session");
    }

    /// When each handshake came.
    pub fn handshakes(&self) -> Vec<Instant> {
        lock(&self.state).handshakes.clone()
    }

    /// How many requests came, handshakes too.
    pub fn requests(&self) -> usize {
        lock(&self.state).requests
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("nobody panics with it")
}

impl State {
    /// Notes a request; what to do instead of passing it on.
    fn take(&mut self, head: &str) -> Option<Instead> {
        let handshake = is_handshake(head);
        if handshake {
            self.handshakes.push(Instant::now());
        }
        self.requests += 1;
        let is_for = |of: &Of| match of {
            Of::Handshakes => handshake,
            Of::Histories => !handshake && head.contains("/messages?after="),
        };
        match self.next.iter().position(|(of, _)| is_for(of)) {
            Some(at) => self.next.remove(at).map(|(_, instead)| instead),
            None => self.always.clone(),
        }
    }
}

fn is_handshake(head: &str) -> bool {
    head.to_lowercase().contains("\r\nupgrade: websocket\r\n")
}

/// One request a connection: each is judged by itself.
async fn serve(
    mut client: TcpStream,
    upstream: u16,
    state: Arc<Mutex<State>>,
    mut closes: broadcast::Receiver<u16>,
) {
    let Ok(Some(head)) = timeout(PATIENCE, head(&mut client)).await else {
        return;
    };
    let instead = lock(&state).take(&head);
    match instead {
        Some(Instead::Silence) => return sleep(Duration::from_secs(600)).await,
        Some(Instead::Answer(status, headers, body)) => {
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} Told\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            let _ = client.write_all(answer.as_bytes()).await;
            return;
        }
        None => {}
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", upstream)).await else {
        return;
    };
    let session = is_handshake(&head);
    let head = match session {
        true => head,
        false => {
            let (lines, last) = (head.trim_end().split("\r\n"), "Connection: close\r\n\r\n");
            let lines = lines.filter(|line| !line.to_lowercase().starts_with("connection:"));
            lines.collect::<Vec<_>>().join("\r\n") + "\r\n" + last
        }
    };
    if server.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        Ok(code) = closes.recv(), if session => {
            let [high, low] = code.to_be_bytes();
            // 1006 is what there is without a close frame.
            if code != 1006 && client.write_all(&[0x88, 2, high, low]).await.is_ok() {
                let _ = client.shutdown().await;
                let _ = timeout(PATIENCE, client.read_to_end(&mut Vec::new())).await;
            }
        }
    }
}

async fn head(client: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}
