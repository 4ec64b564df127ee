//! What clients are told while the database is away, or broken.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{Backend, Cluster};
use tokio::time::sleep;

use super::http::{Answer, Api};
use super::raw::{PATIENCE, Raw, handshake};
use crate::binary;

/// Runs SQL in another database of the same server, since one that is shut lets nobody in.
async fn from_outside(cluster: &Cluster, sql: &[&str]) {
    let (server, database) = cluster
        .database_url()
        .rsplit_once('/')
        .expect("a URL with a database");
    let mut psql = testkit::command("psql");
    psql.args([
        "-X",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-d",
        &format!("{server}/postgres"),
    ]);
    for statement in sql {
        psql.args(["-c", &statement.replace("{database}", database)]);
    }
    let output = testkit::ended("psql", PATIENCE, psql).await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

const SHUT: [&str; 2] = [
    "ALTER DATABASE {database} ALLOW_CONNECTIONS false",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'",
];
const OPEN: [&str; 1] = ["ALTER DATABASE {database} ALLOW_CONNECTIONS true"];

fn unavailable(answer: &Answer, about: &str) {
    answer.refused(503, "UNAVAILABLE", about);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_away() {
    let cluster = Cluster::start(binary(), Backend::Clustered, 1, &[]).await;
    let replica = cluster.replica(0);
    let (api, account) = (Api::of(replica), replica.account("away").await);
    let (mut raw, _) = Raw::join(replica, "away", Some(&account.token), "").await;
    raw.say(&json!({"text": "before", "nonce": "1"})).await;
    assert_eq!(raw.event_of("ack").await["seq"], 1);

    from_outside(&cluster, &SHUT).await;
    let begun = Instant::now();
    raw.say(&json!({"text": "during", "nonce": "2"})).await;
    let event = raw.event_of("error").await;
    assert_eq!(
        (&event["error"]["type"], &event["nonce"]),
        (&json!("UNAVAILABLE"), &json!("2")),
        "{event}"
    );
    assert!(
        event["retryAfter"].as_u64().is_some_and(|millis| millis > 0),
        "{event}"
    );
    let body = json!({"text": "during", "nonce": "3"});
    unavailable(
        &api.post_as(&account, "/rooms/away/messages", &body).await,
        "publishing",
    );
    unavailable(&api.get("/rooms/away/messages").await, "history");
    unavailable(&api.sign_up("somebody", "x").await, "signing up");
    unavailable(&api.login(&account.username, "correct horse").await, "logging in");
    let (_, refusal) = Raw::ask(replica, &handshake(replica, "another-room", "last=5", &[])).await;
    unavailable(&refusal.expect("no upgrade"), "joining");
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "six answers took {:?}",
        begun.elapsed()
    );
    raw.alive().await;
    from_outside(&cluster, &OPEN).await;

    // The same nonces again, until they are taken: each is stored once, whatever became of it before.
    for nonce in ["2", "3"] {
        loop {
            raw.say(&json!({"text": "during", "nonce": nonce})).await;
            let event = loop {
                match raw.event().await {
                    message if message["type"] == "message" => {}
                    answer => break answer,
                }
            };
            if event["type"] == "ack" {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "{event}");
            sleep(Duration::from_millis(
                event["retryAfter"].as_u64().expect("millis"),
            ))
            .await;
        }
    }
    raw.alive().await;
    let history = api.get("/rooms/away/messages").await.ok(200);
    assert_eq!(history["seq"], 3, "{history}");
    assert!(!replica.log().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_broken() {
    let cluster = Cluster::start(binary(), Backend::Clustered, 1, &[]).await;
    let replica = cluster.replica(0);
    let (api, account) = (Api::of(replica), replica.account("broken").await);
    cluster.sql("ALTER TABLE accounts RENAME TO elsewhere").await;
    for answer in [
        api.login(&account.username, "correct horse").await,
        api.sign_up("somebody", "x").await,
    ] {
        // The envelope is checked for what it must not tell.
        assert!(answer.status >= 500, "{answer:?}");
    }
    cluster.sql("ALTER TABLE elsewhere RENAME TO accounts").await;
    api.login(&account.username, "correct horse").await.ok(200);
    assert!(!replica.log().contains("panicked"));
}
