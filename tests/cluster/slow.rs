//! Clients that do not read cost a bounded amount of memory and nobody else's time.

use std::time::{Duration, Instant};

use testkit::{Account, Backend, Client, Cluster, Replica, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::{PATIENCE, binary};

const SLOW_CLIENTS: usize = 20;
const MESSAGES: usize = 5_000;
const TEXT_BYTES: usize = 4_000;

/// A handshake by hand, on a socket with a small buffer that nobody reads afterwards.
async fn join_and_stop_reading(replica: &Replica, room: &str, query: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    join_by_hand(socket, replica.port(), room, query).await
}

async fn join_by_hand(socket: TcpSocket, port: u16, room: &str, query: &str) -> TcpStream {
    let mut stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    let request = format!(
        "GET /api/v1/rooms/{room}/messages/ws{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
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
        slow.push(join_and_stop_reading(replica, "hall", "").await);
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

/// A room that nobody has joined yet, with so many texts of that length.
async fn long_room(cluster: &Cluster, room: &str, count: usize, bytes: usize) -> Account {
    let replica = cluster.replica(0);
    let ann = replica.account("ann").await;
    let path = format!("/api/v1/rooms/{room}/messages");
    let first = replica
        .post(&path, Some(&ann.token), &serde_json::json!({"text": "first"}))
        .await;
    assert_eq!(first.status, 201, "{first:?}");
    cluster
        .sql(&format!(
            "INSERT INTO messages (room_id, seq, id, sender_id, sender_name, body, created_at)
             SELECT room_id, n, gen_random_uuid(), sender_id, sender_name, repeat('x', {bytes}), created_at
             FROM messages, generate_series(2, {count}) n WHERE seq = 1"
        ))
        .await;
    cluster.sql(&format!("UPDATE rooms SET last_seq = {count}")).await;
    ann
}

/// What is read from the store for a client that does not take it is bounded in bytes, for one and for all together.
#[tokio::test(flavor = "multi_thread")]
async fn guests_who_never_read_cost_a_page_each() {
    const GUESTS: usize = 300;
    let cluster = Cluster::start(binary(), Backend::Clustered, 1, &[("SLOW_SECONDS", "600")]).await;
    let replica = cluster.replica(0);
    long_room(&cluster, "hall", 400, TEXT_BYTES).await;
    let before = replica.resident_kib();
    let mut guests = Vec::new();
    for _ in 0..GUESTS {
        guests.push(join_and_stop_reading(replica, "hall", "?last=200").await);
    }
    until("nobody takes any more", PATIENCE, async || {
        replica
            .metrics()
            .await
            .contains(&format!("\nchat_slow_sessions {GUESTS}\n"))
    })
    .await;
    let grown = replica.resident_kib() - before;
    eprintln!("{GUESTS} guests: {before} KiB, and {grown} more");
    assert!(grown < 60 << 10, "{grown} KiB more");
}

/// What catching up takes is what its address may have, and it arrives whole.
#[tokio::test(flavor = "multi_thread")]
async fn catching_up_goes_at_a_rate() {
    const COUNT: u64 = 500;
    let settings = [("LIMIT_CATCH_UP_BYTES_PER_SECOND", "500000")];
    let cluster = Cluster::start(binary(), Backend::Clustered, 1, &settings).await;
    long_room(&cluster, "hall", COUNT as usize, TEXT_BYTES).await;
    let begun = Instant::now();
    let mut guest = Client::connect(cluster.replica(0), "hall", None, "after=0")
        .await
        .unwrap();
    for seq in 1..=COUNT {
        assert_eq!(guest.next_event().await["seq"], seq);
    }
    // Two megabytes without the warm end; the first one is the burst.
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(1), "{took:?}");
}

/// How long messages of one client take to another, sorted.
async fn latencies(sender: &mut Client, reader: &mut Client, count: usize) -> Vec<Duration> {
    let mut all = Vec::new();
    for n in 0..count {
        let (text, begun) = (format!("{n}"), Instant::now());
        sender.send(serde_json::json!({"text": text})).await;
        reader.next_where(|event| event["text"] == text).await;
        all.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    all.sort_unstable();
    all
}

/// Guests who read a long room from its beginning, again and again, leave others' chat as it is.
#[tokio::test(flavor = "multi_thread")]
async fn guests_who_loop_over_a_history_delay_nobody() {
    let settings = [("LIMIT_CATCH_UP_BYTES_PER_SECOND", "4194304")];
    let cluster = Cluster::start(binary(), Backend::Clustered, 1, &settings).await;
    let replica = cluster.replica(0);
    let ann = long_room(&cluster, "archive", 9_000, 1_000).await;
    let mut sender = Client::connect(replica, "chat", Some(&ann.token), "")
        .await
        .unwrap();
    let mut reader = Client::connect(replica, "chat", None, "").await.unwrap();
    let p = |sorted: &[Duration], percent: usize| sorted[sorted.len() * percent / 100];
    // What else the machine does comes and goes: in turn, until one pair of measurements is free of it. Where loops
    // do delay others, none is.
    for _ in 0..6 {
        let quiet = latencies(&mut sender, &mut reader, 100).await;
        let mut loops = tokio::task::JoinSet::new();
        for _ in 0..8 {
            loops.spawn(read_again_and_again(replica.port()));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let busy = latencies(&mut sender, &mut reader, 100).await;
        loops.shutdown().await;
        eprintln!(
            "p50 {:?} and p95 {:?} quiet, {:?} and {:?} beside loops",
            p(&quiet, 50),
            p(&quiet, 95),
            p(&busy, 50),
            p(&busy, 95)
        );
        let (usual, nearly_all) = (p(&quiet, 50), p(&quiet, 95));
        if p(&busy, 50) < 3 * usual + Duration::from_millis(3)
            && p(&busy, 95) < 3 * nearly_all + Duration::from_millis(10)
        {
            return;
        }
    }
    panic!("messages wait behind those who catch up");
}

async fn read_again_and_again(port: u16) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        let mut stream = join_by_hand(socket, port, "archive", "?after=0").await;
        let (mut buffer, mut left) = (vec![0; 1 << 16], 9 << 20);
        while left > 0 {
            match timeout(PATIENCE, stream.read(&mut buffer)).await {
                Ok(Ok(read)) if read > 0 => left -= read.min(left),
                _ => break,
            }
        }
    }
}
