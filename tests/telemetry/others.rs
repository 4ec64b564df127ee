//! What is traced beside messages: resumes that were served, holes that were repaired, and what the database did.

use std::time::Duration;

use serde_json::json;
use testkit::Client;

use crate::collector::{Collector, Span};
use crate::{PARENT, TRACE, exporting};

/// The spans of that name, once there is one that fits.
async fn found(collector: &Collector, name: &str, fits: impl Fn(&Span) -> bool) -> Span {
    let find = || (collector.spans().into_iter()).find(|span| span.name() == name && fits(span));
    testkit::until(name, Duration::from_secs(30), async || find().is_some()).await;
    find().expect("it was there")
}

#[tokio::test]
async fn a_resume_and_a_repair_are_spans() {
    let Some(collector) = Collector::start().await else {
        return;
    };
    let cluster = exporting(&collector, &[("HEAD_CHECK_MS", "200")]).await;
    let (here, there) = (cluster.replica(0), cluster.replica(1));
    let ann = here.account("ann").await;
    let mut sender = Client::connect(here, "hall", Some(&ann.token), "").await.unwrap();
    for n in 1..=3 {
        sender.say("hello", &n.to_string()).await;
    }

    let mut reader = Client::connect(there, "hall", None, "after=1").await.unwrap();
    let resume = found(&collector, "join room", |span| {
        span.instance == "two" && span.says("chat.resume.behind", "2")
    })
    .await;
    assert!(resume.says("chat.resume.recovered", "true"), "{resume:#?}");
    assert!(resume.says("messaging.destination.name", "hall"), "{resume:#?}");
    let request = found(&collector, "GET /api/v1/rooms/{room}/messages/ws", |span| {
        span.id() == resume.parent()
    })
    .await;
    assert!(request.says("http.response.status_code", "101"), "{request:#?}");
    let query = found(&collector, "SELECT messages", |span| span.parent() == resume.id()).await;
    assert_eq!(query.kind(), 3, "a client of the database");
    assert!(query.says("db.system.name", "postgresql"), "{query:#?}");

    // Redis is away: what is said here is a hole there, until the head check finds it.
    cluster.redis().stop();
    let path = "/api/v1/rooms/hall/messages";
    here.post(path, Some(&ann.token), &json!({"text": "unheard"}))
        .await;
    reader.next_where(|event| event["text"] == "unheard").await;
    let repair = found(&collector, "repair hole", |span| {
        span.instance == "two" && span.says("chat.repaired", "1")
    })
    .await;
    assert!(repair.says("chat.hole.after", "3"), "{repair:#?}");
    assert!(repair.says("chat.hole.upto", "4"), "{repair:#?}");
    assert!(repair.says("messaging.destination.name", "hall"), "{repair:#?}");
}

#[tokio::test]
async fn a_line_of_the_log_says_whose_trace_it_belongs_to() {
    let Some(collector) = Collector::start().await else {
        return;
    };
    let cluster = exporting(&collector, &[("LOG_FORMAT", "json"), ("RUST_LOG", "warn")]).await;
    let to = cluster.replica(0);
    cluster.sql("ALTER TABLE accounts RENAME TO elsewhere").await;
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("{}/api/v1/login", to.base_url()))
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .json(&json!({"username": "ann", "secret": "correct horse"}))
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_server_error(), "{}", answer.status());
    let log = to.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(TRACE)).collect();
    let [line] = lines.as_slice() else {
        panic!("one line for one happening: {lines:#?}");
    };
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["spans"][0]["trace_id"], TRACE);
    let request = found(&collector, "POST /api/v1/login", |span| span.trace() == TRACE).await;
    assert_eq!(request.json["status"]["code"], 2, "an error: {request:#?}");
}
