//! Who gets a connection: one address leaves places to others, and a probe is answered whatever else hangs.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use testkit::{Backend, Client, Cluster, Replica, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::binary;

const PATIENCE: Duration = Duration::from_secs(10);
const HALF: &[u8] = b"GET /api/v1/users/me HTTP/1.1\r\nHost:";

/// A connection from this address of the loopback network.
async fn connect(from: [u8; 4], port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(SocketAddr::new(Ipv4Addr::from(from).into(), 0))
        .expect("an address of this machine");
    let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    timeout(PATIENCE, socket.connect(to))
        .await
        .expect("in time")
        .expect("connected")
}

/// Half a request on each of so many connections.
async fn half_open(from: [u8; 4], port: u16, count: usize) -> Vec<TcpStream> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut stream = connect(from, port).await;
        // One that is cut off already takes nothing.
        drop(stream.write_all(HALF).await);
        all.push(stream);
    }
    all
}

/// How many of them the server has ended within a second: long before the head of any is late.
async fn ended(streams: &mut [TcpStream]) -> usize {
    let ends = streams.iter_mut().map(async |stream| {
        let end = timeout(Duration::from_secs(1), stream.read(&mut [0; 64])).await;
        matches!(end, Ok(Ok(0) | Err(_)))
    });
    let ends = futures_util::future::join_all(ends).await;
    ends.into_iter().filter(|ended| *ended).count()
}

/// A whole request from there, and the status of its answer; `None` where the connection is cut.
async fn ask(from: [u8; 4], port: u16) -> Option<u16> {
    let mut stream = connect(from, port).await;
    let request = b"GET /api/v1/rooms/admission/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut answer = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut answer));
    read.await.expect("an answer in time").ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

async fn hit(replica: &Replica, limit: &str) -> bool {
    let name = format!("chat_limits_hit_total{{limit=\"{limit}\"}} ");
    let metrics = replica.metrics().await;
    let mut lines = metrics.lines();
    lines.any(|line| line.strip_prefix(&name).is_some_and(|count| count != "0"))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_leaves_places_to_others() {
    let settings = [
        ("LIMIT_CONNECTIONS_PER_ADDRESS", "20"),
        ("LIMIT_SESSIONS_PER_ADDRESS", "0"),
    ];
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &settings).await;
    let replica = cluster.replica(0);
    // Sessions have limits of their own.
    let mut sessions = Vec::new();
    for _ in 0..30 {
        sessions.push(
            Client::connect(replica, "admission", None, "")
                .await
                .expect("joined"),
        );
    }
    let mut stranger = half_open([127, 0, 0, 9], replica.port(), 60).await;
    assert_eq!(ended(&mut stranger).await, 40, "cut at once");
    assert!(hit(replica, "connections_per_address").await);
    assert_eq!(ask([127, 0, 0, 9], replica.port()).await, None);
    assert_eq!(ask([127, 0, 0, 10], replica.port()).await, Some(200));
    drop(stranger);
    until("their places are free", PATIENCE, async || {
        ask([127, 0, 0, 9], replica.port()).await == Some(200)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_of_one_address_take_half_of_the_places_at_most() {
    let settings = [
        ("LIMIT_CONNECTIONS_PER_ADDRESS", "256"),
        ("MAX_CONNECTIONS", "40"),
    ];
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &settings).await;
    let replica = cluster.replica(0);
    let mut stranger = half_open([127, 0, 0, 9], replica.port(), 60).await;
    assert_eq!(ended(&mut stranger).await, 40);
    assert_eq!(replica.ops_status("/readyz").await, Some(200));
    assert_eq!(ask([127, 0, 0, 10], replica.port()).await, Some(200));
    // With another such address it is full, and whoever comes now knows at once.
    let mut other = Vec::new();
    let full = async {
        while replica.ops_status("/readyz").await != Some(503) {
            other.extend(half_open([127, 0, 0, 11], replica.port(), 1).await);
        }
    };
    timeout(PATIENCE, full).await.expect("it is full");
    let begun = Instant::now();
    assert_eq!(ask([127, 0, 0, 12], replica.port()).await, None);
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "held for {:?}",
        begun.elapsed()
    );
    assert!(hit(replica, "connections").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_is_not_one_client() {
    let settings = [
        ("LIMIT_CONNECTIONS_PER_ADDRESS", "20"),
        ("TRUSTED_PROXIES", "127.0.0.9"),
    ];
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &settings).await;
    let mut proxy = half_open([127, 0, 0, 9], cluster.replica(0).port(), 60).await;
    assert_eq!(ended(&mut proxy).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_is_answered_whatever_else_hangs_on_the_ops_port() {
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &[]).await;
    let replica = cluster.replica(0);
    let port = replica
        .ops_url()
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    let port = port.expect("a port");
    let _silent = half_open([127, 0, 0, 9], port, 40).await;
    // And some that ask for much and read nothing.
    let mut deaf = Vec::new();
    for _ in 0..8 {
        let mut stream = connect([127, 0, 0, 9], port).await;
        let requests = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200);
        drop(timeout(Duration::from_millis(50), stream.write_all(&requests)).await);
        deaf.push(stream);
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        // Within five seconds, where a head has ten.
        assert_eq!(replica.ops_status(path).await, Some(200), "{path}");
    }
}
