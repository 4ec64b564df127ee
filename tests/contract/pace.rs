//! How fast a session may go on: slowed down before it is refused, and answered before it is closed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::Api;
use super::raw::{BINARY, CLOSE, PING, PONG, Raw, TEXT, frame, unmasked};
use crate::Site;

suite!(
    paced,
    [("LIMIT_MESSAGES_PER_SECOND", "20")],
    [
        an_outbox_over_the_rate_is_stored_once_and_acked_whole,
        what_the_journal_took_is_acked_before_a_close,
        joined_says_the_rate
    ]
);
suite!(
    pressed,
    [("LIMIT_MESSAGES_PER_SECOND", "2"), ("SLOW_SECONDS", "1")],
    [
        who_keeps_it_up_is_refused_and_closed,
        repeats_cost_little_over_http
    ]
);
suite!(
    control,
    [],
    [
        pings_before_a_message_delay_nothing,
        a_ping_is_answered_by_a_pong,
        of_many_pings_the_last_is_answered,
        a_flood_of_pings_disturbs_nobody
    ]
);

fn said(n: usize) -> Vec<u8> {
    let command = json!({"text": n.to_string(), "nonce": n.to_string()});
    frame(TEXT, command.to_string().as_bytes())
}

/// Reads until so many nonces are acked: each one's `id` and `seq`.
async fn acks(raw: &mut Raw, count: usize) -> BTreeMap<String, (Value, Value)> {
    let mut acks = BTreeMap::new();
    while acks.len() < count {
        let event = raw.event().await;
        assert_ne!(event["type"], "error", "{event}");
        if event["type"] == "ack" {
            let nonce = event["nonce"].as_str().expect("a nonce").to_owned();
            acks.insert(nonce, (event["id"].clone(), event["seq"].clone()));
        }
    }
    acks
}

async fn an_outbox_over_the_rate_is_stored_once_and_acked_whole(site: Site) {
    const OUTBOX: usize = 61;
    let account = site.replica().account("outbox").await;
    let outbox: Vec<u8> = (0..OUTBOX).flat_map(said).collect();
    let mut first = BTreeMap::new();
    for round in 0..3 {
        let begun = Instant::now();
        let (mut raw, _) = Raw::join(site.replica(), "outbox", Some(&account.token), "").await;
        raw.write(&outbox).await;
        let acked = acks(&mut raw, OUTBOX).await;
        if round == 0 {
            first = acked;
            // A burst of forty, and twenty a second.
            assert!(
                begun.elapsed() > Duration::from_millis(900),
                "{:?}",
                begun.elapsed()
            );
        } else {
            assert_eq!(acked, first, "the first ones' ids and places");
        }
    }
    let history = Api::of(site.replica())
        .get("/rooms/outbox/messages?limit=200")
        .await
        .ok(200);
    assert_eq!(history["seq"], OUTBOX, "each is stored once");
}

async fn what_the_journal_took_is_acked_before_a_close(site: Site) {
    let account = site.replica().account("closed").await;
    let bye = |code: u16| frame(CLOSE, &code.to_be_bytes());
    for (last, code) in [
        (unmasked(TEXT, b"{}"), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(BINARY, b"nonsense").repeat(10), 4400),
        (bye(1000), 1000),
    ] {
        let (mut raw, joined) = Raw::join(site.replica(), "closed", Some(&account.token), "").await;
        let so_far = joined["seq"].as_u64().expect("a seq") as usize;
        let messages: Vec<u8> = (so_far..so_far + 30).flat_map(said).collect();
        raw.write(&[messages, last].concat()).await;
        let mut acked = 0;
        let closed = loop {
            match raw.frame().await {
                Some((TEXT, events)) => {
                    let events: Vec<Value> = serde_json::from_slice(&events).expect("events");
                    acked += events.iter().filter(|event| event["type"] == "ack").count();
                }
                Some((CLOSE, payload)) => break u16::from_be_bytes([payload[0], payload[1]]),
                Some(_) => {}
                None => break 1006,
            }
        };
        assert_eq!((acked, closed), (30, code));
    }
}

async fn joined_says_the_rate(site: Site) {
    let account = site.replica().account("rated").await;
    let (_raw, joined) = Raw::join(site.replica(), "rated", Some(&account.token), "").await;
    assert_eq!(joined["rate"], json!({"perSecond": 20, "burst": 40}));
    let (_raw, joined) = Raw::join(site.replica(), "rated", None, "").await;
    assert_eq!(joined["rate"], Value::Null, "a guest sends nothing");
}

async fn who_keeps_it_up_is_refused_and_closed(site: Site) {
    let account = site.replica().account("presser").await;
    let (mut raw, _) = Raw::join(site.replica(), "pressed", Some(&account.token), "").await;
    let begun = Instant::now();
    raw.write(&(0..60).flat_map(said).collect::<Vec<u8>>()).await;
    let (mut acked, mut refused) = (0, 0);
    let code = loop {
        match raw.frame().await {
            Some((TEXT, events)) => {
                for event in serde_json::from_slice::<Vec<Value>>(&events).expect("events") {
                    acked += usize::from(event["type"] == "ack");
                    if event["type"] == "error" {
                        assert_eq!(event["error"]["type"], "RATE_LIMITED");
                        assert!((1..=1000).contains(&event["retryAfter"].as_u64().expect("milliseconds")));
                        refused += 1;
                    }
                }
            }
            Some((CLOSE, payload)) => break u16::from_be_bytes([payload[0], payload[1]]),
            Some(_) => {}
            None => break 1006,
        }
    };
    assert_eq!((code, refused), (4429, 20));
    assert!(
        begun.elapsed() > Duration::from_secs(1),
        "it was slowed down first: {:?}",
        begun.elapsed()
    );
    let stored = Api::of(site.replica())
        .get("/rooms/pressed/messages")
        .await
        .ok(200);
    assert_eq!(stored["seq"], acked, "what was stored was acked");
    assert!(acked >= 5, "a burst of four, and two a second: {acked}");
}

async fn repeats_cost_little_over_http(site: Site) {
    let api = Api::of(site.replica());
    let account = site.replica().account("repeater").await;
    let body = json!({"text": "once", "nonce": "n"});
    let path = "/rooms/repeated/messages";
    let first = api.post_as(&account, path, &body).await.ok(201);
    for _ in 0..15 {
        assert_eq!(api.post_as(&account, path, &body).await.ok(200), first);
    }
}

async fn pings_before_a_message_delay_nothing(site: Site) {
    let account = site.replica().account("pinger").await;
    for pings in [600, 2000] {
        let (mut raw, _) = Raw::join(site.replica(), "pinged", Some(&account.token), "").await;
        let begun = Instant::now();
        raw.write(&[frame(PING, b"").repeat(pings), said(pings)].concat())
            .await;
        acks(&mut raw, 1).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(1), "{pings} pings, then {took:?}");
    }
}

async fn a_ping_is_answered_by_a_pong(site: Site) {
    let account = site.replica().account("asker").await;
    for token in [Some(account.token.as_str()), None] {
        let (mut raw, _) = Raw::join(site.replica(), "asked", token, "").await;
        raw.say(&json!({"type": "ping"})).await;
        assert_eq!(raw.event().await, json!({"type": "pong"}));
        raw.say(&json!({"type": "ping", "nonce": "n-1", "unknown": [1]}))
            .await;
        assert_eq!(raw.event().await, json!({"type": "pong", "nonce": "n-1"}));
    }
}

async fn of_many_pings_the_last_is_answered(site: Site) {
    let (mut raw, _) = Raw::join(site.replica(), "several", None, "").await;
    let pings: Vec<u8> = (0..50u8).flat_map(|n| frame(PING, &[n])).collect();
    raw.write(&pings).await;
    let mut pongs = 0;
    loop {
        let (first, payload) = raw.frame().await.expect("a pong");
        assert_eq!(first, PONG);
        pongs += 1;
        if payload == [49] {
            break;
        }
    }
    assert!(pongs < 25, "{pongs} pongs for 50 pings");
}

/// The slowest of some messages from one client to another, in seconds.
async fn slowest(writer: &mut Raw, reader: &mut Raw) -> Duration {
    let mut slowest = Duration::ZERO;
    for n in 0..100 {
        let begun = Instant::now();
        writer.say(&json!({"text": n.to_string()})).await;
        assert_eq!(reader.event_of("message").await["text"], n.to_string());
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}

async fn a_flood_of_pings_disturbs_nobody(site: Site) {
    let account = site.replica().account("calm").await;
    let (mut writer, _) = Raw::join(site.replica(), "calm", Some(&account.token), "").await;
    let (mut reader, _) = Raw::join(site.replica(), "calm", None, "").await;
    let mut flood = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (mut guest, _) = Raw::join(site.replica(), "flooded", None, "").await;
        flood.spawn(async move {
            // Three megabytes; the server need not read them.
            let pings = frame(PING, b"").repeat(500_000);
            let written = tokio::time::timeout(Duration::from_secs(5), guest.try_write(&pings)).await;
            (guest, written.is_ok())
        });
    }
    let slowest = slowest(&mut writer, &mut reader).await;
    assert!(slowest < Duration::from_millis(500), "{slowest:?} beside a flood");
}
