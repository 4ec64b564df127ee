//! Connections that say nothing, say it slowly, or are too many.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Backend, Cluster, until};
use tokio::time::sleep;

use super::raw::{CLOSE, PING, PONG, Raw, TEXT, handshake};
use crate::{Site, binary};

suite!(
    strangers,
    [],
    [
        says_nothing,
        trickles_its_headers,
        trickles_its_body,
        stops_in_a_handshake,
        comes_back_on_its_connection,
        does_not_take_its_answers,
        disturbs_nobody
    ]
);
suite!(
    heartbeats,
    [("PING_SECONDS", "1"), ("IDLE_SECONDS", "3")],
    [no_sign_of_life, every_frame_is_one, half_a_frame_is_none]
);

suite!(slow_readers, [("SLOW_SECONDS", "1")], [falls_behind]);

/// A header may take 10 seconds; a little more for a busy machine.
const ABOUT_TEN: std::ops::Range<f64> = 8.0..14.0;

async fn ends_after(begun: Instant, raw: &mut Raw) -> f64 {
    raw.ended_within(Duration::from_secs(30)).await;
    begun.elapsed().as_secs_f64()
}

async fn says_nothing(site: Site) {
    let begun = Instant::now();
    let mut raw = Raw::connect(site.replica()).await;
    let seconds = ends_after(begun, &mut raw).await;
    assert!(ABOUT_TEN.contains(&seconds), "closed after {seconds} s");
}

async fn trickles_its_headers(site: Site) {
    let begun = Instant::now();
    let mut raw = Raw::connect(site.replica()).await;
    raw.write(b"GET /api/v1/users/me HTTP/1.1\r\nHost: x\r\n").await;
    let mut number = 0;
    while raw
        .try_write(format!("X-{number}: y\r\n").as_bytes())
        .await
        .is_ok()
        && begun.elapsed() < Duration::from_secs(30)
    {
        number += 1;
        if raw.is_ended_within(Duration::from_millis(500)).await {
            break;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    assert!(ABOUT_TEN.contains(&seconds), "closed after {seconds} s");
}

async fn trickles_its_body(site: Site) {
    let begun = Instant::now();
    let mut raw = Raw::connect(site.replica()).await;
    raw.write(b"POST /api/v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n").await;
    while raw.try_write(b" ").await.is_ok() && begun.elapsed() < Duration::from_secs(40) {
        if raw.is_ended_within(Duration::from_millis(500)).await {
            break;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    assert!(seconds < 35.0, "a body that trickles in is given up, {seconds} s");
}

async fn stops_in_a_handshake(site: Site) {
    let begun = Instant::now();
    let mut raw = Raw::connect(site.replica()).await;
    let request = handshake(site.replica(), "stops", "", &[]);
    raw.write(&request.as_bytes()[..request.len() - 2]).await;
    let seconds = ends_after(begun, &mut raw).await;
    assert!(ABOUT_TEN.contains(&seconds), "closed after {seconds} s");
}

/// Balancers keep idle connections for a minute and send the next request into them; a stranger's half a head is another
/// thing.
async fn comes_back_on_its_connection(site: Site) {
    let mut raw = Raw::connect(site.replica()).await;
    for _ in 0..2 {
        raw.write(b"GET /api/v1/users/me HTTP/1.1\r\nHost: x\r\n\r\n")
            .await;
        let head = raw.head().await;
        raw.body(&head)
            .await
            .refused(401, "INVALID_AUTH_TOKEN", "no token");
        let still_open = Duration::from_secs(11);
        assert!(!raw.is_ended_within(still_open).await, "closed while it was idle");
    }
    let begun = Instant::now();
    raw.write(b"GET /api/v1/users/me HTTP/1.1\r\nHost:").await;
    let seconds = ends_after(begun, &mut raw).await;
    assert!(ABOUT_TEN.contains(&seconds), "closed after {seconds} s");
}

/// What nobody reads fills the kernel's buffers, and then ours.
async fn does_not_take_its_answers(site: Site) {
    let mut raw = Raw::connect(site.replica()).await;
    let request = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
    // More than the buffers of both ends take.
    raw.write(&request.repeat(800)).await;
    until("the connection is cut", Duration::from_secs(40), || async {
        let metrics = site.replica().metrics().await;
        let mut lines = metrics.lines();
        lines.any(|line| {
            line.starts_with("chat_connections_cut_total")
                && line.contains("late=\"answer\"")
                && !line.ends_with(" 0")
        })
    })
    .await;
    raw.ended_within(Duration::from_secs(10)).await;
}

async fn disturbs_nobody(site: Site) {
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(Raw::connect(site.replica()).await);
    }
    let account = site.replica().account("undisturbed").await;
    let (mut raw, _) = Raw::join(site.replica(), "undisturbed", Some(&account.token), "").await;
    for n in 0..20 {
        let begun = Instant::now();
        raw.say(&json!({"text": n.to_string()})).await;
        assert_eq!(raw.event().await["text"], n.to_string());
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
}

async fn no_sign_of_life(site: Site) {
    let (mut raw, _) = Raw::join(site.replica(), "silent", None, "").await;
    let begun = Instant::now();
    let mut pings = 0;
    let code = loop {
        match raw.frame().await {
            Some((PING, _)) => pings += 1,
            Some((_, payload)) => break u16::from_be_bytes([payload[0], payload[1]]),
            None => break 1006,
        }
    };
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(code, 4408);
    assert!(pings >= 1, "it was asked");
    assert!((2.5..8.0).contains(&seconds), "closed after {seconds} s");
    raw.ended().await;
}

async fn every_frame_is_one(site: Site) {
    let account = site.replica().account("lively").await;
    for kind in 0..3 {
        let (mut raw, _) = Raw::join(site.replica(), "lively", Some(&account.token), "").await;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            match kind {
                0 => raw.send(PONG, b"").await,
                1 => raw.send(PING, b"").await,
                _ => raw.say(&json!({"text": "x"})).await,
            }
            sleep(Duration::from_millis(700)).await;
        }
        raw.alive().await;
    }
}

async fn half_a_frame_is_none(site: Site) {
    let account = site.replica().account("half").await;
    let (mut raw, _) = Raw::join(site.replica(), "half", Some(&account.token), "").await;
    raw.write(&[0x81]).await;
    assert_eq!(raw.closed().await, 4408);
}

async fn falls_behind(site: Site) {
    let account = site.replica().account("writer").await;
    let (mut reader, _) = Raw::join(site.replica(), "behind", None, "").await;
    // It does not read, and writes more than the sockets' buffers hold; who writes is not held up by who does not read.
    let (mut writer, _) = Raw::join(site.replica(), "behind", Some(&account.token), "").await;
    let text = "x".repeat(4000);
    let mut sent = 0;
    while !site
        .replica()
        .metrics()
        .await
        .contains(r#"chat_closes_total{code="4409"} 1"#)
    {
        for _ in 0..100 {
            sent += 1;
            writer
                .say(&json!({"text": text, "nonce": sent.to_string()}))
                .await;
            assert_eq!(writer.event_of("ack").await["seq"], sent);
        }
        assert!(sent < 20_000, "80 MB behind, and not closed");
    }
    let mut seen = 0;
    let code = loop {
        match reader.frame().await {
            Some((TEXT, payload)) => {
                for event in serde_json::from_slice::<Vec<Value>>(&payload).expect("events") {
                    seen += 1;
                    assert_eq!(event["seq"], seen, "what came before is whole");
                }
            }
            Some((CLOSE, payload)) => break u16::from_be_bytes([payload[0], payload[1]]),
            Some(_) => {}
            None => break 1006,
        }
    };
    assert_eq!(code, 4409);
    assert!(seen < sent, "{seen} of {sent}");
    // It comes back for the rest.
    let (mut reader, joined) = Raw::join(site.replica(), "behind", None, &format!("after={seen}")).await;
    assert_eq!(joined["recovered"], true);
    assert_eq!(reader.event().await["seq"], seen + 1);
}

/// Seconds of CPU time that a process has used.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("fields")
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .map(|ticks| ticks.parse::<u64>().expect("ticks"))
        .sum();
    ticks as f64 / 100.0
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_descriptors() {
    let folder = tempfile::tempdir().expect("a folder");
    let wrapper = folder.path().join("few-descriptors");
    std::fs::write(
        &wrapper,
        format!("#!/bin/sh\nulimit -n 256\nexec '{}' \"$@\"\n", binary().display()),
    )
    .expect("a script");
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let cluster = Cluster::start(&wrapper, Backend::Embedded, 1, &[]).await;
    let replica = cluster.replica(0);
    let account = replica.account("early").await;
    let (mut raw, _) = Raw::join(replica, "early", Some(&account.token), "").await;

    let mut crowd = Vec::new();
    for _ in 0..400 {
        crowd.push(Raw::connect(replica).await);
    }
    let before = cpu_seconds(replica.pid());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        raw.say(&json!({"text": "still here"})).await;
        assert_eq!(raw.event().await["text"], "still here");
        sleep(Duration::from_millis(100)).await;
    }
    let used = cpu_seconds(replica.pid()) - before;
    assert!(used < 1.0, "{used} s of CPU in 2 s: it spins");
    drop(crowd);
    // And when the crowd has gone, strangers are served again.
    let path = "/api/v1/rooms/early/messages?limit=1";
    until(
        "strangers are served again",
        Duration::from_secs(10),
        async || {
            replica
                .try_get(path, None)
                .await
                .is_ok_and(|answer| answer.status == 200)
        },
    )
    .await;
    raw.alive().await;
    assert!(!replica.log().contains("panicked"));
}
