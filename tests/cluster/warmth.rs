//! What rooms hold in memory is bounded, whoever makes them: the warm logs by their share of MEMORY_MAX, rooms without
//! sessions by their number (I7); and who comes to a room that is not warm gets the same as anywhere (I3).

use futures_util::{StreamExt, stream};
use testkit::{Backend, Client, Cluster, Replica, Target, until};

use crate::{PATIENCE, binary};

/// The value of a gauge.
async fn gauge(replica: &Replica, name: &str) -> u64 {
    let metrics = replica.metrics().await;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(" "));
    let value = line.unwrap_or_else(|| panic!("no {name} in {metrics}"));
    value.trim().parse::<f64>().unwrap() as u64
}

const HELD: &str = r#"chat_memory_held_bytes{share="rooms"}"#;

/// 300 rooms whose newest messages fill 1 MiB each, where all warm logs together may take 32.
#[tokio::test(flavor = "multi_thread")]
async fn many_full_rooms_take_no_more_than_their_share() {
    const ROOMS: usize = 300;
    let settings = [("MEMORY_MAX", "134217728"), ("ROOM_LINGER_SECONDS", "1")];
    let cluster = Cluster::start(binary(), Backend::Clustered, 1, &settings).await;
    let replica = cluster.replica(0);
    let ann = replica.account("ann").await;
    let name = |n: usize| format!("room {n}");
    stream::iter(0..ROOMS)
        .for_each_concurrent(16, async |n| {
            let path = Target::history_path(&name(n), "");
            let message = serde_json::json!({"text": "the first"});
            assert_eq!(replica.post(&path, Some(&ann.token), &message).await.status, 201);
        })
        .await;
    let fill = "INSERT INTO messages (room_id, seq, id, sender_id, sender_name, body, created_at)
        SELECT room_id, n, gen_random_uuid(), sender_id, sender_name, repeat('x', 65536), created_at
        FROM messages, generate_series(2, 17) n;
        UPDATE rooms SET last_seq = 17";
    cluster.sql(fill).await;
    let limit = gauge(replica, r#"chat_memory_limit_bytes{share="rooms"}"#).await;
    assert_eq!(limit, 32 << 20);
    let (idle, mut most, mut clients) = (replica.resident_kib(), 0, Vec::new());
    for n in 0..ROOMS {
        clients.push(
            Client::connect(replica, &name(n), Some(&ann.token), "")
                .await
                .unwrap(),
        );
        if n % 20 == 0 {
            assert!(gauge(replica, HELD).await <= limit + (1 << 20));
        }
        most = most.max(replica.resident_kib());
    }
    assert!(gauge(replica, HELD).await > limit / 2, "what is free is used");
    let hits = r#"chat_limits_hit_total{limit="memory_rooms"}"#;
    assert_eq!(gauge(replica, hits).await, 0, "a cache that is full is no limit");
    let grown = most.saturating_sub(idle) / 1024;
    assert!(grown < 110, "{grown} MiB more than idle");
    // Every room is as exact as ever, what was given back and what is warm.
    for n in [0, 1, ROOMS / 2, ROOMS - 1] {
        let mut back = Client::connect(replica, &name(n), None, "after=1").await.unwrap();
        assert_eq!(back.joined["recovered"], true);
        for seq in 2..=17 {
            assert_eq!(back.next_event().await["seq"], seq);
        }
        assert_eq!(clients[n].say("hello", &name(n)).await["seq"], 18);
        for client in [&mut back, &mut clients[n]] {
            client
                .next_where(|event| event["type"] == "message" && event["seq"] == 18)
                .await;
        }
        back.leave().await;
    }
    stream::iter(clients).for_each_concurrent(16, Client::leave).await;
    until("what the rooms held is given back", PATIENCE, async || {
        gauge(replica, HELD).await == 0
    })
    .await;
    // And the kernel has it: by the allocator alone, nothing of it was.
    until("memory is what it was", PATIENCE, async || {
        replica.resident_kib() < idle + (20 << 10)
    })
    .await;
}

/// Somebody knocks at the door of one room after another and stays in none.
#[tokio::test(flavor = "multi_thread")]
async fn rooms_that_were_only_looked_into_are_bounded() {
    let settings = [("ROOM_LINGER_SECONDS", "3600")];
    let cluster = Cluster::start(binary(), Backend::Clustered, 1, &settings).await;
    let replica = cluster.replica(0);
    let kept = Client::connect(replica, "kept", None, "").await.unwrap();
    stream::iter(0..1300)
        .for_each_concurrent(32, async |n| {
            let client = Client::connect(replica, &format!("room {n}"), None, "")
                .await
                .unwrap();
            client.leave().await;
        })
        .await;
    let limit = gauge(replica, "chat_rooms_empty_limit").await;
    assert!(limit <= 1000);
    until("the longest empty ones have gone", PATIENCE, async || {
        gauge(replica, "chat_rooms_empty").await == limit
    })
    .await;
    // Who is in a room stays in it.
    assert_eq!(gauge(replica, "chat_rooms").await, limit + 1);
    kept.leave().await;
}
