//! Hashing: whose turn it is, and what becomes of its memory.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Backend, Cluster, Target, until};
use tokio::task::JoinSet;

use crate::binary;

/// A login as the balancer passes it on from this address.
async fn login(http: &reqwest::Client, target: &Target, from: &str, username: &str, secret: &str) -> u16 {
    let credentials: Value = json!({"username": username, "secret": secret});
    let answer = http
        .post(target.base_url() + "/api/v1/login")
        .header("x-forwarded-for", from)
        .json(&credentials)
        .send();
    answer.await.expect("an answer").status().as_u16()
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_guesses_keeps_nobody_else_out() {
    let settings = [("TRUSTED_PROXIES", "127.0.0.1"), ("PASSWORD_WORKERS", "1")];
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &settings).await;
    let target = cluster.replica(0).target();
    let ann = cluster.replica(0).account("ann").await;
    let ben = cluster.replica(0).account("ben").await;
    let mut flood = JoinSet::new();
    for _ in 0..150 {
        let (target, ann) = (target.clone(), ann.username.clone());
        flood.spawn(async move {
            let http = client();
            loop {
                login(&http, &target, "198.51.100.1", &ann, "a guess").await;
            }
        });
    }
    until("the queue is full", Duration::from_secs(30), || async {
        let metrics = cluster.replica(0).metrics().await;
        metrics.contains("chat_refusals_total{type=\"OVERLOADED\"")
            && !metrics.contains("chat_refusals_total{type=\"OVERLOADED\"} 0")
    })
    .await;
    let http = client();
    for n in 0..10 {
        // From elsewhere; and somebody else behind the same address.
        let elsewhere = format!("203.0.113.{n}");
        assert_eq!(
            login(&http, &target, &elsewhere, &ann.username, "correct horse").await,
            200
        );
        assert_eq!(
            login(&http, &target, "198.51.100.1", &ben.username, "correct horse").await,
            200
        );
    }
}

/// glibc keeps blocks of 19 MiB once it has seen some come back: 1.3 GB after 64 logins on eight workers.
#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_hashing_is_bounded_and_comes_back() {
    const WORKERS: u64 = 8;
    let settings = [("PASSWORD_WORKERS", "8"), ("PASSWORD_QUEUE", "64")];
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &settings).await;
    let replica = cluster.replica(0);
    let ann = replica.account("ann").await;
    // The one that hashed at the start is idle.
    until("idle", Duration::from_secs(40), || async {
        replica
            .metrics()
            .await
            .contains("chat_memory_held_bytes{share=\"passwords\"} 0\n")
    })
    .await;
    let before = replica.resident_kib();
    let mut logins = JoinSet::new();
    for _ in 0..64 {
        let (target, ann) = (replica.target(), ann.username.clone());
        logins.spawn(async move { login(&client(), &target, "", &ann, "correct horse").await });
    }
    let mut peak = 0;
    while let Some(status) = logins.join_next().await {
        assert_eq!(status.unwrap(), 200);
        peak = peak.max(replica.resident_kib());
    }
    let (more, most) = (peak.saturating_sub(before), (WORKERS * 19 + 40) << 10);
    assert!(more < most, "{more} KiB more while {WORKERS} hash at a time");
    until("it comes back", Duration::from_secs(60), || async {
        replica.resident_kib() < before + (20 << 10)
    })
    .await;
}
