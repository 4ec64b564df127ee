//! Makes every metric of replica 0 count, by what people and outages do.

use std::time::Duration;

use serde_json::json;
use testkit::{Client, Cluster, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{PATIENCE, ROOM, USER};

/// Replicas that keep one message of a room in memory, refuse to resume over more than two, let one person log in a minute, and
/// have a collector that is not there.
pub fn settings(nowhere: &str) -> [(&str, &str); 12] {
    [
        ("WARM_LOG_MESSAGES", "1"),
        ("RESUME_LIMIT", "2"),
        ("HEAD_CHECK_MS", "100"),
        ("KEEP_ALIVE_SECONDS", "1"),
        ("LIMIT_LOGINS_PER_MINUTE", "1"),
        ("LIMIT_SIGNUPS_PER_MINUTE", "1000"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", nowhere),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.9"),
        ("TRACE_CLIENT_SAMPLED_PER_SECOND", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
    ]
}

/// Wants two replicas with these settings, and logs in once.
pub async fn everything(cluster: &Cluster) {
    let (here, there) = (cluster.replica(0), cluster.replica(1));
    let user = here.account(USER).await;
    let mut client = Client::connect(here, ROOM, Some(&user.token), "").await.unwrap();
    for n in 1..=4 {
        assert_eq!(client.say("a message", &n.to_string()).await["seq"], n);
    }
    // Resumes: one that is too far behind, one that the memory does not reach.
    let lost = Client::connect(here, ROOM, None, "after=0").await.unwrap();
    assert_eq!(lost.joined["recovered"], false);
    let mut cold = Client::connect(here, ROOM, None, "after=2").await.unwrap();
    assert_eq!(cold.next("message").await["seq"], 3);
    cold.leave().await;
    let path = format!("/api/v1/rooms/{ROOM}/messages");
    let refused = here
        .post(&path, Some("no token"), &json!({"text": "hello"}))
        .await;
    assert_eq!(refused.status, 401);

    let again = json!({"username": user.username, "secret": "a guess"});
    // The log-in that the sign-up brought is not counted; the one of this minute is the first guess.
    for status in [401, 429] {
        assert_eq!(here.post("/api/v1/login", None, &again).await.status, status);
    }

    // One in ten is not sampled but by its client's wish, which is not followed here.
    for n in 0..200 {
        let traceparent = format!("00-{n:032x}-{n:016x}-01", n = n + 1);
        let message = json!({"text": "a message", "nonce": format!("wish {n}"), "traceparent": traceparent});
        client.send(message).await;
    }
    client.next_where(|event| event["nonce"] == "wish 199").await;

    strangers_publish(cluster).await;

    // A commit fails, and a request.
    cluster.sql("ALTER TABLE messages RENAME TO elsewhere").await;
    assert!(here.get(&path, None).await.status >= 500);
    assert_eq!(client.say("a message", "5").await["type"], "error");
    cluster.sql("ALTER TABLE elsewhere RENAME TO messages").await;

    // Redis is away: what is said here is dropped on the way there, what is said there is a hole here, and limits are not
    // shared.
    cluster.redis().stop();
    let account = json!({"username": "latecomer", "secret": "correct horse"});
    assert_eq!(here.post("/api/v1/users", None, &account).await.status, 201);
    client.say("a message", "6").await;
    there
        .post(&path, Some(&user.token), &json!({"text": "over there"}))
        .await;
    client
        .next_where(|event| event["text"] == "over there" && event["type"] == "message")
        .await;
    cluster.redis().start_again().await;

    // The database forgets a message.
    let mut follower = Client::connect(here, "forgotten", Some(&user.token), "")
        .await
        .unwrap();
    follower.say("a message", "7").await;
    let forget = "WITH room AS (UPDATE rooms SET last_seq = 0 WHERE name = 'forgotten' RETURNING id)
        DELETE FROM messages WHERE room_id IN (SELECT id FROM room)";
    cluster.sql(forget).await;
    assert_eq!(follower.closed().await, 4410);

    keeps_a_connection(here).await;
    no_descriptors_are_left(here).await;
}

/// Something else publishes on the channels that the replicas hear.
async fn strangers_publish(cluster: &Cluster) {
    until("a replica has heard them", PATIENCE, || async {
        for channel in cluster.redis().cli(&["PUBSUB", "CHANNELS"]).await.lines() {
            // The second is of the version and kind that they speak, and of nobody's key.
            for envelope in ["no envelope", "\x02\x01and no tag of any key"] {
                cluster.redis().cli(&["PUBLISH", channel, envelope]).await;
            }
        }
        let metrics = cluster.replica(0).metrics().await;
        let is_zero = |name| {
            metrics.contains(&format!(
                "{name}_total 0
"
            ))
        };
        !is_zero("chat_relay_unreadable") && !is_zero("chat_relay_forged")
    })
    .await;
}

/// Somebody asks once, and then nothing more.
async fn keeps_a_connection(replica: &testkit::Replica) {
    let mut connection = TcpStream::connect(("127.0.0.1", replica.port())).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    connection.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let end = connection.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), end)
        .await
        .expect("cut")
        .unwrap();
}

/// Somebody connects while the process may open nothing more.
async fn no_descriptors_are_left(replica: &testkit::Replica) {
    let limits = async |soft: &str| {
        let pid = replica.pid().to_string();
        let limit = format!("--nofile={soft}:");
        let mut prlimit = testkit::command("prlimit");
        prlimit.args(["--pid", &pid, &limit]);
        let ended = testkit::ended("prlimit", PATIENCE, prlimit).await;
        assert!(ended.status.success());
    };
    limits("3").await;
    until("a connection could not be accepted", PATIENCE, || async {
        let connection = TcpStream::connect(("127.0.0.1", replica.port())).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(connection);
        replica.log().contains("a connection could not be accepted")
    })
    .await;
    limits("1024").await;
}
