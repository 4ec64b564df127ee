//! Runs an example against a real replica and notes what came back.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use testkit::Replica;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::compare::{Names, Transcript, runs};
use super::notation::{Example, Head, Kind, Step};

/// How long an answer may take, and how long nothing more may come before we believe that nothing does.
const PATIENCE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(150);

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

pub async fn run(example: &Example, replica: &Replica, names: &Names) -> Transcript {
    match &example.kind {
        Kind::Http { request, .. } => http(request, replica, names).await,
        Kind::WebSocket {
            request,
            steps,
            leaving,
            ..
        } => websocket(request, steps, *leaving, replica, names).await,
        Kind::Program { .. } => Transcript::default(),
    }
}

async fn http(request: &Head, replica: &Replica, names: &Names) -> Transcript {
    let url = format!("{}{}", replica.base_url(), names.fill_in(request.word(1)));
    let method = request.word(0).parse().expect("a method");
    let mut builder = testkit::http().request(method, url);
    for (name, value) in &request.headers {
        builder = builder.header(name, names.fill_in(value));
    }
    if let Some(body) = &request.body {
        builder = builder.body(body.to_string());
    }
    let answer = builder.send().await.expect("an answer");
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await.expect("a body");
    Transcript {
        answer: head(status.as_u16(), status.canonical_reason(), &headers, &body),
        ..Transcript::default()
    }
}

fn head(status: u16, reason: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Head {
    Head {
        first: format!("HTTP/1.1 {status} {}", reason.unwrap_or_default()),
        headers: headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect(),
        body: (!body.is_empty()).then(|| {
            serde_json::from_slice(body)
                .unwrap_or_else(|error| panic!("not JSON ({error}): {}", String::from_utf8_lossy(body)))
        }),
    }
}

async fn websocket(
    request: &Head,
    steps: &[Step],
    leaving: bool,
    replica: &Replica,
    names: &Names,
) -> Transcript {
    let base = replica.base_url().replace("http://", "ws://");
    let url = format!("{base}{}", names.fill_in(request.word(1)));
    let mut handshake = url.into_client_request().expect("a URL");
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
        handshake.headers_mut().insert(
            name,
            HeaderValue::from_str(&names.fill_in(value)).expect("a header"),
        );
    }
    let (mut socket, answer) = match timeout(PATIENCE, connect_async(handshake))
        .await
        .expect("a handshake in time")
    {
        Ok(upgraded) => upgraded,
        Err(Error::Http(refusal)) => {
            let body = refusal.body().clone().unwrap_or_default();
            return Transcript {
                answer: status_head(refusal.status(), refusal.headers(), &body),
                ..Transcript::default()
            };
        }
        Err(error) => panic!("no handshake: {error}"),
    };
    let mut transcript = Transcript {
        answer: status_head(answer.status(), answer.headers(), b""),
        ..Transcript::default()
    };

    let shown = runs(steps);
    let mut frames = steps.iter().filter_map(|step| {
        if let Step::Send(frame) = step {
            Some(frame)
        } else {
            None
        }
    });
    let closes = steps.iter().any(|step| matches!(step, Step::Close(_)));
    for (index, run) in shown.iter().enumerate() {
        let last = index + 1 == shown.len();
        // The leaving replica is told to leave when its session stands.
        let first = if leaving { 1 } else { run.len() };
        let mut received = Vec::new();
        receive(&mut socket, first, &mut received, &mut transcript.closed).await;
        if leaving {
            replica.terminate().await;
        }
        if last {
            let more = if closes || leaving { usize::MAX } else { run.len() };
            receive(&mut socket, more, &mut received, &mut transcript.closed).await;
            if !closes {
                silence(&mut socket, &mut received).await;
            }
        }
        transcript.received.push(received);
        if let Some(frame) = frames.next() {
            socket
                .send(Message::text(frame.as_str()))
                .await
                .expect("a frame sent");
        }
    }
    transcript
}

fn status_head(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Head {
    head(status.as_u16(), status.canonical_reason(), headers, body)
}

/// Reads until there are `count` events, or the close.
async fn receive(socket: &mut Socket, count: usize, events: &mut Vec<Value>, closed: &mut Option<u16>) {
    while events.len() < count {
        match timeout(PATIENCE, socket.next()).await {
            Ok(Some(Ok(Message::Text(frame)))) => events.extend(parse(&frame)),
            Ok(Some(Ok(Message::Close(frame)))) => {
                *closed = Some(frame.map_or(1005, |frame| frame.code.into()));
                return;
            }
            Ok(Some(Ok(_))) => {}
            // What is missing shows in the comparison.
            Ok(Some(Err(_)) | None) | Err(_) => return,
        }
    }
}

async fn silence(socket: &mut Socket, events: &mut Vec<Value>) {
    while let Ok(Some(Ok(message))) = timeout(SILENCE, socket.next()).await {
        if let Message::Text(frame) = message {
            events.extend(parse(&frame));
        }
    }
}

fn parse(frame: &str) -> Vec<Value> {
    serde_json::from_str(frame).unwrap_or_else(|error| panic!("not an array of events ({error}): {frame}"))
}
