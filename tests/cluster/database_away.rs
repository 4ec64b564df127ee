//! The database freezes, becomes read-only, refuses: every wait for it ends, what is wrong is said, and what comes back
//! is used again by itself.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Client, Cluster, Options, PostgresServer, Replica, until};

use crate::{PATIENCE, binary};

/// A batch may be under way when a message comes, and each has five seconds.
const ANSWER: Duration = Duration::from_secs(15);
/// A replica tells of an outage so soon.
const TOLD: Duration = Duration::from_secs(5);
/// What is there again is used so soon.
const HEALED: Duration = Duration::from_secs(15);

/// One replica that reaches everything by proxies, on a database of its own server or of everybody's.
async fn proxied(database: Option<String>) -> Cluster {
    let options = Options {
        database,
        proxied: true,
        ..Options::default()
    };
    Cluster::start_with(binary(), options).await
}

/// In the hall, and may write.
async fn somebody(replica: &Replica) -> Client {
    let ann = replica.account("ann").await;
    let connected = Client::connect(replica, "hall", Some(&ann.token), "").await;
    connected.unwrap()
}

async fn status(replica: &Replica) -> Value {
    serde_json::from_str(&replica.ops_text("/status").await).expect("JSON")
}

async fn is_up(replica: &Replica) -> bool {
    let up = status(replica).await["database"]["up"].as_bool().expect("a flag");
    let gauge = format!("\nchat_store_up {}\n", u8::from(up));
    // Asked one after the other: what changes in between is looked at again.
    replica.metrics().await.contains(&gauge) && up
}

async fn told(replica: &Replica) {
    until("/status and chat_store_up say it", TOLD, async || {
        !status(replica).await["database"]["up"].as_bool().unwrap()
            && replica.metrics().await.contains("\nchat_store_up 0\n")
    })
    .await;
    assert_eq!(
        replica.ops_status("/readyz").await,
        Some(200),
        "it is every replica's outage"
    );
}

/// Says it until it is acked; the ack.
async fn say_until_acked(client: &mut Client, text: &str, within: Duration) -> Value {
    let deadline = Instant::now() + within;
    loop {
        let event = client.say(text, text).await;
        if event["type"] == "ack" {
            return event;
        }
        assert_eq!(event["error"]["type"], "UNAVAILABLE", "{event}");
        assert!(Instant::now() < deadline, "{text} is not taken: {event}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn unavailable(client: &mut Client, text: &str) {
    let begun = Instant::now();
    let event = client.say(text, text).await;
    assert_eq!(event["error"]["type"], "UNAVAILABLE", "{event}");
    assert!(begun.elapsed() < ANSWER, "an answer took {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_freezes_is_noticed_and_used_again_when_it_thaws() {
    let options = Options {
        replicas: 2,
        proxied: true,
        ..Options::default()
    };
    let cluster = Cluster::start_with(binary(), options).await;
    let replica = cluster.replica(0);
    let mut sender = somebody(replica).await;
    let mut reader = Client::connect(cluster.replica(1), "hall", None, "")
        .await
        .unwrap();
    assert_eq!(sender.say("before", "before").await["seq"], 1);

    cluster.database_proxy().freeze();
    // On a connection that was open, and on one that is accepted and never answered.
    unavailable(&mut sender, "during").await;
    told(replica).await;
    unavailable(&mut sender, "later").await;
    let begun = Instant::now();
    // A join makes its room heard of by Redis, and its head is asked for then.
    let (history, joined) = tokio::join!(
        replica.get("/api/v1/rooms/hall/messages", None),
        Client::connect(replica, "another", None, "")
    );
    assert_eq!(history.status, 503, "{}", history.body);
    assert!(joined.is_err());
    assert!(begun.elapsed() < ANSWER);
    let metrics = replica.metrics().await;
    assert!(
        !metrics.contains("chat_store_failures_total{cause=\"timed_out\"} 0\n"),
        "{metrics}"
    );
    assert!(replica.log().contains("no answer within our time limit"));
    assert!(replica.hears_redis().await, "one outage is not the other");
    assert!(!replica.log().contains("not hearing Redis"), "{}", replica.log());

    cluster.database_proxy().thaw();
    // What was sent into the ice arrives now: the same nonce is the same message.
    for text in ["during", "later", "after"] {
        say_until_acked(&mut sender, text, HEALED).await;
    }
    until("it is up again", HEALED, async || is_up(replica).await).await;
    let stored = replica.history("hall").await;
    let texts: Vec<&str> = stored.iter().map(|m| m["text"].as_str().unwrap()).collect();
    assert_eq!(texts.len(), 4, "{texts:?}");
    for (n, message) in stored.iter().enumerate() {
        assert_eq!(message["seq"], n + 1, "no hole");
        let seen = reader.next("message").await;
        assert_eq!((&seen["seq"], &seen["id"]), (&message["seq"], &message["id"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_behind_one_address_heals_without_a_restart() {
    let server = PostgresServer::start().await;
    let cluster = proxied(Some(server.database().await)).await;
    let replica = cluster.replica(0);
    let mut sender = somebody(replica).await;
    sender.say("before", "before").await;
    let standby = server.standby().await;
    server.followed_by(&standby).await;

    // The address leads to the standby before that has been promoted.
    cluster.database_proxy().redirect(standby.port());
    server.stop().await;
    cluster.database_proxy().cut();
    let deadline = Instant::now() + PATIENCE;
    while !replica.log().contains("the server is read-only") {
        unavailable(&mut sender, "during").await;
        assert!(Instant::now() < deadline, "nothing says read-only");
    }
    told(replica).await;
    standby.promote().await;
    let ack = say_until_acked(&mut sender, "during", HEALED).await;
    assert_eq!(ack["seq"], 2);
    until("it is up again", HEALED, async || is_up(replica).await).await;
}

/// A connection to the standby that outlives the failover answers reads for ever, and no write.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_answers_read_only_is_not_used_again() {
    let server = PostgresServer::start().await;
    let cluster = proxied(Some(server.database().await)).await;
    let replica = cluster.replica(0);
    let mut sender = somebody(replica).await;
    let standby = server.standby().await;
    server.followed_by(&standby).await;
    cluster.database_proxy().redirect(standby.port());
    cluster.database_proxy().cut();
    until("reads are answered by the standby", PATIENCE, async || {
        replica.get("/api/v1/rooms/hall/messages", None).await.status == 200
            && standby
                .sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chat-gateway'")
                .await
                != "0"
    })
    .await;
    // The primary is back behind the address; what is open still leads to the standby.
    cluster.database_proxy().redirect(server.port());
    say_until_acked(&mut sender, "again", HEALED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_leaves_in_time_whatever_hangs() {
    let cluster = proxied(None).await;
    let replica = cluster.replica(0);
    let mut sender = somebody(replica).await;
    sender.say("before", "before").await;
    cluster.database_proxy().freeze();
    cluster.redis_proxy().freeze();
    for n in 0..5 {
        sender
            .send(json!({"text": "under way", "nonce": n.to_string()}))
            .await;
    }
    let told = Instant::now();
    replica.terminate().await;
    replica.wait().await;
    // The window of one second, the deadline of ten, saying goodbye, and a busy machine.
    assert!(
        told.elapsed() < Duration::from_secs(15),
        "it took {:?}",
        told.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_what_was_wrong_and_says_it_once() {
    let cluster = proxied(None).await;
    let replica = cluster.replica(0);
    let mut sender = somebody(replica).await;
    sender.say("before", "before").await;
    cluster.database_proxy().refuse().await;
    cluster.database_proxy().cut();
    for n in 0..40 {
        unavailable(&mut sender, &format!("{n}")).await;
        let history = replica.get("/api/v1/rooms/other/messages", None).await;
        assert_eq!(history.status, 503);
    }
    let log = replica.log();
    assert!(log.to_lowercase().contains("connection refused"), "{log}");
    let lines = log.lines().filter(|line| line.contains("ERROR")).count();
    assert!((1..=4).contains(&lines), "{lines} lines for one outage:\n{log}");
    cluster.database_proxy().accept().await;
    say_until_acked(&mut sender, "0", HEALED).await;
    until("it says that it is over", HEALED, async || {
        replica.log().contains("the database answers again")
    })
    .await;
}

/// A connection costs Postgres a process.
#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_costs_no_connection() {
    let cluster = proxied(None).await;
    let (replica, proxy) = (cluster.replica(0), cluster.database_proxy());
    replica.history("hall").await;
    proxy.delay(Duration::from_millis(50));
    for _ in 0..20 {
        let asked = replica.try_get("/api/v1/rooms/hall/messages", None);
        let hung_up = tokio::time::timeout(Duration::from_millis(30), asked).await;
        assert!(hung_up.is_err(), "the answer was there before");
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    assert!(
        proxy.accepted() < 10,
        "{} connections were made",
        proxy.accepted()
    );
    proxy.delay(Duration::ZERO);
    replica.history("hall").await;
}

/// 1013 is "not now", as API.md says, and not "too many" alone.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_behind_what_cannot_be_read_is_told_to_come_back_later() {
    let options = Options {
        settings: &[("WARM_LOG_MESSAGES", "1")],
        proxied: true,
        ..Options::default()
    };
    let cluster = Cluster::start_with(binary(), options).await;
    let replica = cluster.replica(0);
    let mut sender = somebody(replica).await;
    for text in ["1", "2", "3"] {
        assert_eq!(sender.say(text, text).await["type"], "ack");
    }
    cluster.database_proxy().refuse().await;
    cluster.database_proxy().cut();
    // The room is there, what lies behind its last message is not.
    let mut late = Client::connect(replica, "hall", None, "last=3").await.unwrap();
    assert_eq!(late.joined["recovered"], true);
    assert_eq!(late.closed().await, 1013);
    let mut early = Client::connect(replica, "hall", None, "last=1").await.unwrap();
    assert_eq!(early.next("message").await["text"], "3");
    cluster.database_proxy().accept().await;
    until("it is read again", HEALED, async || {
        let mut late = Client::connect(replica, "hall", None, "last=3").await.unwrap();
        let event = late.try_next_event(HEALED).await;
        event.is_ok_and(|event| event["text"] == "1")
    })
    .await;
}
