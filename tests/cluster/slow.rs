//! Clients that do not read cost a bounded amount of memory and nobody else's time.

use std::time::{Duration, Instant};

use testkit::{Backend, Client, Cluster, Replica, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::{PATIENCE, binary};

const SLOW_CLIENTS: usize = 20;
const MESSAGES: usize = 5_000;
const TEXT_BYTES: usize = 4_000;

/// A handshake by hand, on a socket with a small buffer that nobody reads afterwards.
async fn join_and_stop_reading(replica: &Replica, room: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket
        .connect(([127, 0, 0, 1], replica.port()).into())
        .await
        .unwrap();
    let request = format!(
        "GET /api/v1/rooms/{room}/messages/ws HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        replica.port()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_delays_nobody_and_is_let_go() {
    // A client that stopped reading does not answer pings either: that is not to be what lets it go.
    let settings = [
        ("SLOW_SECONDS", "5"),
        ("PING_SECONDS", "600"),
        ("IDLE_SECONDS", "1200"),
    ];
    let cluster = Cluster::start(binary(), Backend::Clustered, 1, &settings).await;
    let replica = cluster.replica(0);
    let ann = replica.account("ann").await;
    let mut sender = Client::connect(replica, "hall", Some(&ann.token), "")
        .await
        .unwrap();
    let mut slow = Vec::new();
    for _ in 0..SLOW_CLIENTS {
        slow.push(join_and_stop_reading(replica, "hall").await);
    }
    let sessions = |count: usize| {
        let line = format!("sessions {count}");
        move |metrics: &str| metrics.lines().any(|l| l.ends_with(&line))
    };
    let all = sessions(SLOW_CLIENTS + 1);
    until("everybody is there", PATIENCE, || async {
        all(&replica.metrics().await)
    })
    .await;

    let text = "x".repeat(TEXT_BYTES);
    let (before, begun) = (replica.resident_kib(), Instant::now());
    let (mut most, mut slowest) = (before, Duration::ZERO);
    for n in 0..MESSAGES / 50 {
        let round = Instant::now();
        for k in 0..50 {
            sender
                .send(serde_json::json!({"text": text, "nonce": format!("{n}.{k}")}))
                .await;
        }
        let last = (n + 1) * 50;
        sender
            .next_where(|event| event["type"] == "message" && event["seq"] == last)
            .await;
        slowest = slowest.max(round.elapsed());
        most = most.max(replica.resident_kib());
    }
    eprintln!(
        "{MESSAGES} messages in {:?}, slowest round {slowest:?}, {before} to {most} KiB",
        begun.elapsed()
    );
    // Twenty queues of 20 MB would be 400 MB; a room's warm log is 1 MiB, a session's share of a write 64 KiB.
    assert!(most - before < 40 << 10, "from {before} to {most} KiB");
    assert!(
        slowest < Duration::from_secs(5),
        "fifty messages took {slowest:?}"
    );

    let only_sender = sessions(1);
    until("slow clients are let go", PATIENCE, || async {
        only_sender(&replica.metrics().await)
    })
    .await;
    // What they find when they read at last is bounded, and ends.
    for mut stream in slow {
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut bytes))
            .await
            .expect("an end");
        assert!(
            bytes.len() < 8 << 20,
            "{} bytes were kept ({read:?})",
            bytes.len()
        );
    }
    sender.say("still here", "last").await;
}

/// A client that reads slowly, but reads, stays and misses nothing, however far behind the warm log it is.
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_late_is_fed_from_the_store() {
    let settings = [("WARM_LOG_MESSAGES", "10"), ("SLOW_SECONDS", "60")];
    let cluster = Cluster::start(binary(), Backend::Clustered, 2, &settings).await;
    let ann = cluster.replica(0).account("ann").await;
    let mut sender = Client::connect(cluster.replica(0), "hall", Some(&ann.token), "")
        .await
        .unwrap();
    let mut late = Client::connect(cluster.replica(1), "hall", None, "")
        .await
        .unwrap();
    let text = "y".repeat(TEXT_BYTES);
    const COUNT: u64 = 3_000;
    for n in 1..=COUNT {
        sender.send(serde_json::json!({"text": text})).await;
        if n % 50 == 0 {
            sender.next_where(|event| event["seq"] == n).await;
        }
    }
    for seq in 1..=COUNT {
        assert_eq!(late.next_event().await["seq"], seq);
    }
}
