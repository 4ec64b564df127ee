//! Whose trace a message belongs to: its own, its session's, its request's, or a new one.

use serde_json::{Value, json};
use testkit::{Client, Cluster};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::collector::{Collector, Span};
use crate::{PARENT, TRACE, exporting};

fn sends(spans: Vec<Span>) -> Vec<Span> {
    let is_send = |span: &Span| span.name() == "send room";
    spans.into_iter().filter(is_send).collect()
}

/// The publishes so far, once there are so many.
async fn all_sends(collector: &Collector, least: usize) -> Vec<Span> {
    let limit = std::time::Duration::from_secs(20);
    testkit::until("the publishes have arrived", limit, async || {
        sends(collector.spans()).len() >= least
    })
    .await;
    sends(collector.spans())
}

/// The `send room` span of the message with this id.
fn of<'a>(sends: &'a [Span], id: &Value) -> &'a Span {
    let id = id.as_str();
    let found = sends
        .iter()
        .find(|span| span.attribute("messaging.message.id").as_deref() == id);
    found.unwrap_or_else(|| panic!("no publish of {id:?}: {sends:#?}"))
}

/// Joins with this `traceparent`, sends one message with each of these and returns the ids, in their order.
async fn say_under(cluster: &Cluster, handshake: &str, messages: &[Option<&str>]) -> Vec<Value> {
    let ann = cluster.replica(0).account("ann").await;
    let mut reader = Client::connect(cluster.replica(1), "context", None, "")
        .await
        .unwrap();
    let url = cluster.replica(0).ws_url("context", "");
    let mut request = url.into_client_request().unwrap();
    let bearer = format!("Bearer {}", ann.token);
    request
        .headers_mut()
        .insert("authorization", bearer.parse().unwrap());
    request
        .headers_mut()
        .insert("traceparent", handshake.parse().unwrap());
    let (mut socket, _) = tokio::time::timeout(std::time::Duration::from_secs(30), connect_async(request))
        .await
        .expect("a handshake in time")
        .unwrap();
    let mut ids = Vec::new();
    for (n, traceparent) in messages.iter().enumerate() {
        let mut command = json!({"text": "hello", "nonce": n.to_string()});
        if let Some(traceparent) = traceparent {
            command["traceparent"] = json!(traceparent);
        }
        let frame = Message::text(command.to_string());
        futures_util::SinkExt::send(&mut socket, frame).await.unwrap();
        ids.push(reader.next("message").await["id"].clone());
    }
    ids
}

#[tokio::test]
async fn a_sessions_context_counts_until_a_message_brings_its_own() {
    let Some(collector) = Collector::start().await else {
        return;
    };
    let cluster = exporting(&collector, &[]).await;
    let own = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01";
    let handshake = format!("00-{TRACE}-{PARENT}-01");
    let ids = say_under(
        &cluster,
        &handshake,
        &[None, Some(own), Some("00-nonsense"), None],
    )
    .await;
    let sends = all_sends(&collector, 4).await;
    for (n, id) in ids.iter().enumerate() {
        let send = of(&sends, id);
        let expected = match n {
            1 => ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"),
            _ => (TRACE, PARENT),
        };
        assert_eq!((send.trace(), send.parent()), expected, "message {n}");
    }
}

#[tokio::test]
async fn what_is_malformed_begins_a_trace_of_its_own() {
    let Some(collector) = Collector::start().await else {
        return;
    };
    let cluster = exporting(&collector, &[]).await;
    let upper = format!("00-{}-{PARENT}-01", TRACE.to_uppercase());
    let ids = say_under(&cluster, "ff-nonsense", &[None, Some(&upper), Some("")]).await;
    let sends = all_sends(&collector, 3).await;
    let mut traces: Vec<&str> = ids
        .iter()
        .map(|id| of(&sends, id))
        .map(|send| {
            assert_eq!(send.parent(), "", "a root");
            assert_ne!(send.trace(), TRACE);
            send.trace()
        })
        .collect();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 3, "one trace for each message");
}

/// Posts a message with this `traceparent` and returns its id.
async fn post(cluster: &Cluster, token: &str, traceparent: &str) -> Value {
    let to = cluster.replica(0);
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("{}/api/v1/rooms/context/messages", to.base_url()))
        .bearer_auth(token)
        .header("traceparent", traceparent)
        .json(&json!({"text": "hello"}))
        .send()
        .await
        .unwrap();
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    assert!(status.is_success(), "{status} {body}");
    body["data"]["id"].clone()
}

#[tokio::test]
async fn a_message_by_http_stands_below_its_request() {
    let Some(collector) = Collector::start().await else {
        return;
    };
    let cluster = exporting(&collector, &[]).await;
    let ann = cluster.replica(0).account("ann").await;
    // What the client does not sample leaves nothing; the one after it shows that spans have come.
    let unsampled = post(&cluster, &ann.token, &format!("00-{TRACE}-{PARENT}-00")).await;
    let other = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01";
    let sampled = post(&cluster, &ann.token, other).await;
    let spans = collector.trace("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 6).await;
    let request = spans
        .iter()
        .find(|span| span.kind() == 2)
        .expect("a server's span");
    assert_eq!(request.parent(), "bbbbbbbbbbbbbbbb");
    assert_eq!(request.name(), "POST /api/v1/rooms/{room}/messages");
    assert_eq!(request.attribute("http.request.method").as_deref(), Some("POST"));
    assert!(request.attribute("http.route").is_some());
    assert!(request.attribute("http.response.status_code").is_some());
    let published = sends(spans.clone());
    assert_eq!(of(&published, &sampled).parent(), request.id());
    let unwanted: Vec<Span> = sends(collector.spans())
        .into_iter()
        .filter(|span| span.attribute("messaging.message.id").as_deref() == unsampled.as_str())
        .collect();
    assert!(unwanted.is_empty(), "not sampled by the client: {unwanted:#?}");
}
