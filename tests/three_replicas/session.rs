//! A person in the lobby, through HAProxy.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::PATIENCE;
use crate::script::Script;

pub struct Session {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    events: Vec<Value>,
}

impl Session {
    pub async fn join(script: &Script, token: &str, query: &str) -> Self {
        let mut request = script
            .url("ws", &format!("/rooms/lobby/messages/ws{query}"))
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
        let (socket, _) = timeout(PATIENCE, tokio_tungstenite::connect_async(request))
            .await
            .expect("HAProxy answers in time")
            .expect("the upgrade passes HAProxy");
        let mut session = Self {
            socket,
            events: Vec::new(),
        };
        assert_eq!(session.next().await.unwrap()["type"], "joined");
        session
    }

    /// The next event, or the close code (1006 where the connection just ends).
    pub async fn next(&mut self) -> Result<Value, u16> {
        while self.events.is_empty() {
            match timeout(PATIENCE, self.socket.next())
                .await
                .expect("something comes")
            {
                Some(Ok(Message::Text(frame))) => {
                    self.events = serde_json::from_str(&frame).expect("an array of events");
                }
                Some(Ok(Message::Close(Some(close)))) => return Err(close.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
        Ok(self.events.remove(0))
    }

    pub async fn send(&mut self, text: &str) {
        self.socket
            .send(Message::text(json!({ "text": text }).to_string()))
            .await
            .expect("it is written");
    }

    /// Reads on until this message; the other end of the connection may be gone instead.
    pub async fn hears(&mut self, text: &str) -> bool {
        while let Ok(event) = self.next().await {
            if event["text"] == text {
                return true;
            }
        }
        false
    }
}

pub async fn log_in(script: &Script) -> String {
    let client = testkit::http();
    let account = json!({"username": "ann", "secret": "a secret"});
    let answer = client
        .post(script.url("http", "/users"))
        .json(&account)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    let answer = client
        .post(script.url("http", "/login"))
        .json(&account)
        .send()
        .await
        .unwrap();
    let body: Value = answer.json().await.unwrap();
    body["data"]["token"].as_str().expect("a token").to_owned()
}
