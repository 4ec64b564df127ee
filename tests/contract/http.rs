//! HTTP against a replica; every answer must have the envelope.

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use testkit::{Account, Replica};

pub struct Api {
    base: String,
    client: Client,
}

/// An answer whose envelope has been checked.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub data: Value,
    pub error: Value,
}

impl Api {
    pub fn of(replica: &Replica) -> Self {
        Self {
            base: replica.base_url(),
            client: testkit::http(),
        }
    }

    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.client.request(method, format!("{}/api/v1{path}", self.base))
    }

    pub async fn get(&self, path: &str) -> Answer {
        answer(self.request("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        answer(self.request("POST", path).json(body)).await
    }

    pub async fn post_as(&self, account: &Account, path: &str, body: &Value) -> Answer {
        answer(self.request("POST", path).bearer_auth(&account.token).json(body)).await
    }

    pub async fn sign_up(&self, username: &str, secret: &str) -> Answer {
        self.post("/users", &json!({"username": username, "secret": secret}))
            .await
    }

    pub async fn login(&self, username: &str, secret: &str) -> Answer {
        self.post("/login", &json!({"username": username, "secret": secret}))
            .await
    }

    /// What `GET /users/me` says to this token.
    pub async fn me(&self, token: &str) -> Answer {
        answer(self.request("GET", "/users/me").bearer_auth(token)).await
    }

    /// Publishes, and gives the message.
    pub async fn say(&self, account: &Account, room: &str, text: &str) -> Value {
        let answer = self
            .post_as(
                account,
                &format!("/rooms/{room}/messages"),
                &json!({"text": text}),
            )
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.data
    }
}

pub async fn answer(request: RequestBuilder) -> Answer {
    let answer = request.send().await.expect("an answer");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = answer.bytes().await.expect("a body");
    Answer::new(status, headers, &body)
}

impl Answer {
    pub fn new(status: u16, headers: HeaderMap, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let envelope: Value = serde_json::from_slice(body)
            .unwrap_or_else(|_| panic!("{status} {text:?} has no envelope: {headers:?}"));
        assert_eq!(envelope.as_object().map(|object| object.len()), Some(2), "{text}");
        assert!(
            envelope["error"].is_null() != envelope["data"].is_null(),
            "just one of error and data: {text}"
        );
        assert_eq!(envelope["error"].is_null(), status < 400, "{status} {text}");
        let kind = headers
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        assert!(
            kind.starts_with("application/json"),
            "content type {kind:?} of {text}"
        );
        let error = envelope["error"].clone();
        if !error.is_null() {
            assert!(
                error["type"].is_string() && error["type"] == error["Type"],
                "type and Type: {text}"
            );
            let message = error["message"].as_str().unwrap_or_default();
            assert!(!message.trim().is_empty(), "a message: {text}");
            for leak in [
                "SELECT", "INSERT", "sqlx", "sqlite", "SQLITE", "postgres", "src/", "panicked",
            ] {
                assert!(!message.contains(leak), "the message tells of the inside: {text}");
            }
        }
        Self {
            status,
            headers,
            data: envelope["data"].clone(),
            error,
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    #[track_caller]
    pub fn refused(&self, status: u16, kind: &str, about: &str) {
        let got = (self.status, self.error["type"].as_str().unwrap_or("none"));
        assert_eq!(got, (status, kind), "{about}: {}{}", self.error, self.data);
        if status == 429 || status == 503 {
            let seconds = self
                .header("retry-after")
                .and_then(|value| value.parse::<u64>().ok());
            assert!(
                seconds.is_some_and(|seconds| (1..=60).contains(&seconds)),
                "Retry-After {seconds:?}"
            );
        }
    }

    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.error);
        self.data
    }
}
