//! I5: Redis holds nothing that matters.

use std::time::{Duration, Instant};

use testkit::{Backend, Client, Cluster, Options};

use super::crowd::subscribed;
use crate::binary;

/// Far above the time that a message takes by Redis, far below what the test waits for.
const HEAD_CHECK: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn chat_goes_on_without_redis_and_is_fast_again_with_it() {
    let settings = [("HEAD_CHECK_MS", "2000")];
    let cluster = Cluster::start(binary(), Backend::Clustered, 2, &settings).await;
    let (ann, bob) = (
        cluster.replica(0).account("ann").await,
        cluster.replica(1).account("bob").await,
    );
    let mut sender = Client::connect(cluster.replica(0), "hall", Some(&ann.token), "")
        .await
        .unwrap();
    let mut reader = Client::connect(cluster.replica(1), "hall", Some(&bob.token), "")
        .await
        .unwrap();
    subscribed(&cluster, 1).await;
    sender.say("with Redis", "first").await;
    assert_eq!(reader.next_event().await["seq"], 1);

    cluster.redis().stop();
    for n in 2..=4 {
        // Acks do not wait for Redis, other replicas' messages come by the head check.
        let begun = Instant::now();
        assert_eq!(sender.say("without Redis", &format!("{n}")).await["seq"], n);
        assert!(begun.elapsed() < HEAD_CHECK, "an ack took {:?}", begun.elapsed());
        assert_eq!(reader.next("message").await["seq"], n);
        assert!(
            begun.elapsed() < 4 * HEAD_CHECK,
            "the other replica took {:?}",
            begun.elapsed()
        );
    }
    // Both ways, in rooms that begin now, with sign-ups, joins and history.
    let carl = cluster.replica(1).account("carl").await;
    let mut late = Client::connect(cluster.replica(1), "new hall", Some(&carl.token), "after=0")
        .await
        .unwrap();
    let mut later = Client::connect(cluster.replica(0), "new hall", Some(&ann.token), "last=5")
        .await
        .unwrap();
    late.say("hello", "1").await;
    assert_eq!(later.next("message").await["text"], "hello");
    later.say("hello yourself", "1").await;
    assert_eq!(
        late.next_where(|e| e["seq"] == 2 && e["type"] == "message").await["text"],
        "hello yourself"
    );
    assert_eq!(cluster.replica(1).history("hall").await.len(), 4);
    let resumed = Client::connect(cluster.replica(1), "hall", None, "after=2")
        .await
        .unwrap();
    assert_eq!(
        (&resumed.joined["seq"], &resumed.joined["recovered"]),
        (&2.into(), &true.into())
    );

    cluster.redis().start_again().await;
    subscribed(&cluster, 2).await;
    // Twenty in a row in less time than ten head checks: they come by Redis.
    until_fast(&mut sender, &mut reader, "again").await;
}

/// Publishing may need a moment to find Redis again; then it has to stay fast.
async fn until_fast(sender: &mut Client, reader: &mut Client, when: &str) {
    let deadline = Instant::now() + crate::PATIENCE;
    for attempt in 0.. {
        let begun = Instant::now();
        for n in 0..20 {
            let ack = sender
                .say("with Redis again", &format!("{when} {attempt}.{n}"))
                .await;
            reader.next_where(|event| event["id"] == ack["id"]).await;
        }
        if begun.elapsed() < 10 * HEAD_CHECK {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "messages still come by the head check: {:?}",
            begun.elapsed()
        );
    }
}

/// What Redis counts with Redis away is counted without it.
const LIMITS: [(&str, &str); 2] = [
    ("LIMIT_SIGNUPS_PER_MINUTE", "1000"),
    ("LIMIT_LOGINS_PER_MINUTE", "1000"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_delays_nobody_but_other_replicas() {
    let settings = [&LIMITS[..], &[("HEAD_CHECK_MS", "2000")]].concat();
    let cluster = Cluster::start(binary(), Backend::Clustered, 2, &settings).await;
    let ann = cluster.replica(0).account("ann").await;
    let mut sender = Client::connect(cluster.replica(0), "hall", Some(&ann.token), "")
        .await
        .unwrap();
    let mut reader = Client::connect(cluster.replica(1), "hall", None, "")
        .await
        .unwrap();
    subscribed(&cluster, 1).await;
    cluster.redis().freeze();
    for n in 1..=4 {
        let begun = Instant::now();
        sender.say("Redis hangs", &format!("{n}")).await;
        assert!(begun.elapsed() < HEAD_CHECK, "an ack took {:?}", begun.elapsed());
        assert_eq!(reader.next("message").await["seq"], n);
        assert!(
            begun.elapsed() < 4 * HEAD_CHECK,
            "the other replica took {:?}",
            begun.elapsed()
        );
    }
    let begun = Instant::now();
    let bob = cluster.replica(1).account("bob").await;
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "a sign-up and a login took {:?}",
        begun.elapsed()
    );
    let mut late = Client::connect(cluster.replica(1), "new hall", Some(&bob.token), "after=0")
        .await
        .unwrap();
    late.say("hello", "1").await;
    assert_eq!(late.next("message").await["seq"], 1);
    cluster.redis().unfreeze();
    until_fast(&mut sender, &mut reader, "again").await;
}

/// Connections that are open and dead: nobody says so, neither to who listens on one nor to who publishes on it.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_swallow_everything_are_noticed() {
    let settings = [&LIMITS[..], &[("HEAD_CHECK_MS", "2000")]].concat();
    let options = Options {
        replicas: 2,
        proxied: true,
        settings: &settings,
        ..Options::default()
    };
    let cluster = Cluster::start_with(binary(), options).await;
    let ann = cluster.replica(0).account("ann").await;
    let mut sender = Client::connect(cluster.replica(0), "hall", Some(&ann.token), "")
        .await
        .unwrap();
    let mut reader = Client::connect(cluster.replica(1), "hall", None, "")
        .await
        .unwrap();
    subscribed(&cluster, 1).await;
    until_fast(&mut sender, &mut reader, "at first").await;
    for round in ["once", "twice"] {
        cluster.redis_proxy().swallow();
        let begun = Instant::now();
        let ack = sender.say("into the void", &format!("void {round}")).await;
        assert!(begun.elapsed() < HEAD_CHECK, "an ack took {:?}", begun.elapsed());
        reader.next_where(|event| event["id"] == ack["id"]).await;
        cluster.replica(0).account("bob").await;
        until_fast(&mut sender, &mut reader, round).await;
    }
}
