//! What a client meets, for both of API.md's programs.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use testkit::{Account, Backend, Cluster, Proxy, Replica, until};

use super::gate::{Gate, Instead, Of};
use super::programs::{Language, PATIENCE, Program};
use super::tables;
use crate::{PAGE, binary, program};

const KEY: &str = "the key of these tests, long enough for a replica to take it";

impl Language {
    async fn load(self, waits: &[(&str, &str)], port: u16) -> Program {
        let text = program(match self {
            Self::JavaScript => "javascript",
            Self::Python => "python",
        });
        Program::load(self, &text, waits, port).await
    }

    /// How many requests a refused handshake is: a browser asks why.
    const fn questions(self) -> usize {
        match self {
            Self::JavaScript => 2,
            Self::Python => 1,
        }
    }

    const fn pick<'a>(
        self,
        javascript: &'a [(&'a str, &'a str)],
        python: &'a [(&'a str, &'a str)],
    ) -> &'a [(&'a str, &'a str)] {
        match self {
            Self::JavaScript => javascript,
            Self::Python => python,
        }
    }
}

async fn site(settings: &[(&str, &str)]) -> (Cluster, Account) {
    let settings = [settings, &[("JWT_SECRET", KEY)]].concat();
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &settings).await;
    let account = cluster.replica(0).account("ann").await;
    (cluster, account)
}

/// Says these texts over HTTP; gives where the first of them stands.
async fn post(replica: &Replica, account: &Account, texts: &[&str]) -> Value {
    let mut first = Value::Null;
    for text in texts {
        let body = json!({"text": text});
        let answer = replica
            .post("/api/v1/rooms/room/messages", Some(&account.token), &body)
            .await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        if first.is_null() {
            first = json!({"seq": answer.body["data"]["seq"], "id": answer.body["data"]["id"]});
        }
    }
    first
}

pub async fn follows_a_room_through_restarts(language: Language) {
    let (cluster, account) = site(&[("RESUME_LIMIT", "3"), ("DRAIN_SECONDS", "1")]).await;
    let replica = cluster.replica(0);
    let gate = Gate::before(replica.port()).await;
    // Ten messages behind with a resume limit of three: caught up over HTTP.
    let texts = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
    let first = post(replica, &account, &texts).await;
    let mut program = language.load(&[], gate.port()).await;
    let other = json!({"seq": 1, "id": "019bb2c4-7a10-7cc3-98d1-4f1d2a3b5c01"});
    program.start("room", &account.token, other).await;
    program.until("resets", json!(1)).await;
    program.command(json!({"stop": true})).await;
    program.until("ended", json!([1000])).await;
    program.start("room", &account.token, first).await;
    let mut all = texts[1..].to_vec();
    program.until("seen", json!(all)).await;
    program.say(&["live"]).await;
    all.push("live");
    program.until("seen", json!(all)).await;

    // What is said between attempts keeps its place behind what was sent before and got no answer.
    replica.freeze();
    program.say(&["away"]).await;
    replica.kill().await;
    let before = gate.handshakes().len();
    let tried = || async { gate.handshakes().len() > before };
    until("it tries again", PATIENCE, tried).await;
    program.say(&["further", "furthest"]).await;
    replica.start_again().await;
    all.extend(["away", "further", "furthest"]);
    program.until("seen", json!(all)).await;
    replica.terminate().await;
    replica.wait().await;
    replica.start_again().await;
    post(replica, &account, &["others"]).await;
    all.push("others");
    program.until("seen", json!(all)).await;
    program.end().await;
}

/// More to say than it may at once, on a replica that refuses who presses for a second.
pub async fn sends_no_faster_than_it_may(language: Language) {
    let (cluster, account) = site(&[("LIMIT_MESSAGES_PER_SECOND", "5"), ("SLOW_SECONDS", "1")]).await;
    let replica = cluster.replica(0);
    let mut program = language.load(&[], replica.port()).await;
    let texts: Vec<String> = (0..30).map(|n| n.to_string()).collect();
    program.start("room", &account.token, Value::Null).await;
    program
        .say(&texts.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    program.until("seen", json!(texts)).await;
    let refused = r#"chat_refusals_total{type="RATE_LIMITED"} 0"#;
    assert!(
        replica.metrics().await.contains(refused),
        "it paces what it sends"
    );
    program.end().await;
}

/// A path that swallows everything: first when a message is sent, then when nothing is.
pub async fn notices_a_dead_path(language: Language) {
    let (cluster, account) = site(&[]).await;
    let waits = language.pick(
        &[("3_000", "300"), ("6_000", "1_000"), ("25_000", "1_500")],
        &[("recv(), 3)", "recv(), 0.2)"), ("recv(), 6)", "recv(), 1)")],
    );
    let proxy = Proxy::start(cluster.replica(0).port()).await;
    let mut program = language.load(waits, proxy.port()).await;
    program.start("room", &account.token, Value::Null).await;
    program.say(&["1"]).await;
    program.until("seen", json!(["1"])).await;
    proxy.swallow();
    program.say(&["2"]).await;
    program.until("seen", json!(["1", "2"])).await;
    proxy.swallow();
    post(cluster.replica(0), &account, &["3"]).await;
    program.until("seen", json!(["1", "2", "3"])).await;
    program.end().await;
}

pub async fn ends_with_a_dead_token_and_goes_on_with_a_fresh_one(language: Language) {
    let (cluster, account) = site(&[]).await;
    let mut program = language.load(&[], cluster.replica(0).port()).await;
    // Said at once, before anybody can know.
    let start = json!({"room": "room", "token": "not.a.token", "position": null});
    program.command(json!({"start": start, "say": ["early"]})).await;
    program.until("ended", json!([401])).await;
    program.until("unsent", json!(["early"])).await;
    let state = program.say(&["into the void"]).await;
    assert_eq!(state["thrown"], 1, "what nothing would send is refused at once");
    assert_eq!(state["secure"], false, "as on a network of one's own");

    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let claims = json!({"sub": account.id.to_string(), "username": account.username, "iat": now, "exp": now + 6,
        "iss": "chat-gateway", "jti": "x"});
    let mortal = encode(
        &Header::default(),
        &claims,
        &EncodingKey::from_secret(KEY.as_bytes()),
    );
    program.command(json!({"resume": mortal.expect("a token")})).await;
    program.until("seen", json!(["early"])).await;
    program.until("ended", json!([401, 4401])).await;
    post(cluster.replica(0), &account, &["meanwhile"]).await;
    program.command(json!({"resume": account.token})).await;
    program.say(&["late"]).await;
    program.until("seen", json!(["early", "meanwhile", "late"])).await;
    program.end().await;
}

pub async fn waits_as_a_refusal_says(language: Language) {
    let (cluster, account) = site(&[]).await;
    let gate = Gate::before(cluster.replica(0).port()).await;
    let mut program = language.load(&[], gate.port()).await;
    let mut all = Vec::new();
    for (status, text) in [(429, "first"), (503, "second")] {
        let (tried, asked) = (gate.handshakes().len(), gate.requests());
        gate.always(Some(Instead::Answer(status, "Retry-After: 2\r\n", "{}")));
        match all.is_empty() {
            true => program.start("room", &account.token, json!({"seq": 0})).await,
            false => gate.close(1006),
        }
        let answered = || async { gate.requests() >= asked + language.questions() };
        until("the refusals", PATIENCE, answered).await;
        gate.always(None);
        program.say(&[text]).await;
        all.push(text);
        program.until("seen", json!(all)).await;
        let times = gate.handshakes();
        assert!(times.len() >= tried + 2, "after {status} it comes again");
        let waited = times[tried + 1] - times[tried];
        assert!(
            waited >= Duration::from_secs(2),
            "after {status} it came again in {waited:?}"
        );
    }

    // These say that it is of no use.
    let mut ended = Vec::new();
    for status in [400, 403, 404] {
        gate.always(Some(Instead::Answer(status, "", "<html>")));
        gate.close(1006);
        ended.push(status);
        program.until("ended", json!(ended)).await;
        gate.always(None);
        program.command(json!({"resume": account.token})).await;
        program.say(&["and on"]).await;
        all.push("and on");
        program.until("seen", json!(all)).await;
    }
    program.end().await;
}

pub async fn catches_up_however_the_history_is_answered(language: Language) {
    let (cluster, account) = site(&[("RESUME_LIMIT", "3")]).await;
    let replica = cluster.replica(0);
    let gate = Gate::before(replica.port()).await;
    let texts = ["0", "1", "2", "3", "4", "5", "6"];
    let first = post(replica, &account, &texts).await;
    let mut program = language.load(&[], gate.port()).await;
    let answers = [
        (429, "Retry-After: 2\r\n", "{}"),
        (503, "", "busy"),
        (200, "", "<html>"),
        (200, "", r#"{"error": null, "data": null}"#),
        (500, "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT\r\n", ""),
    ];
    for (status, headers, body) in answers {
        gate.next(Of::Histories, Instead::Answer(status, headers, body));
    }
    program.start("room", &account.token, first).await;
    program.until("seen", json!(texts[1..])).await;
    let times = gate.handshakes();
    let tries = times.len() - answers.len();
    assert!((1..5).contains(&tries), "{tries} more than answers that are none");
    assert!(
        times[1] - times[0] >= Duration::from_secs(2),
        "it waits as it is told"
    );
    let state = program.command(json!({})).await;
    assert_eq!(
        (&state["resets"], &state["ended"]),
        (&json!(0), &json!([])),
        "{state}"
    );
    program.end().await;
}

pub async fn gives_up_a_handshake_that_hangs(language: Language) {
    let (cluster, account) = site(&[]).await;
    let gate = Gate::before(cluster.replica(0).port()).await;
    let waits = language.pick(&[("15_000", "500")], &[("open_timeout=15", "open_timeout=0.5")]);
    let mut program = language.load(waits, gate.port()).await;
    gate.next(Of::Handshakes, Instead::Silence);
    program.start("room", &account.token, Value::Null).await;
    program.say(&["there"]).await;
    program.until("seen", json!(["there"])).await;
    assert!(gate.handshakes().len() >= 2, "the first one still hangs");
    program.end().await;
}

pub async fn does_at_each_close_what_the_table_says(language: Language) {
    let (cluster, account) = site(&[]).await;
    let replica = cluster.replica(0);
    let gate = Gate::before(replica.port()).await;
    let waits = language.pick(&[("10_000", "1_000")], &[("least = 10", "least = 1")]);
    let mut program = language.load(waits, gate.port()).await;
    program.start("room", &account.token, Value::Null).await;
    let (mut seen, mut ended) = (Vec::new(), Vec::new());
    let mut codes = tables::closes(PAGE);
    codes.extend([1001, 1011, 4999].map(|unknown| (unknown, "any other".into(), "resume".into())));
    for (code, _, advice) in codes {
        let text = format!("before {code}");
        program.say(&[&text]).await;
        seen.push(text);
        program.until("seen", json!(seen)).await;
        let (tried, at) = (gate.handshakes().len(), Instant::now());
        gate.close(code);
        if advice.contains("don't reconnect") || advice.contains("log in, then") {
            ended.push(code);
            program.until("ended", json!(ended)).await;
            assert_eq!(gate.handshakes().len(), tried, "{code}: {advice}");
            program.command(json!({"resume": account.token})).await;
            continue;
        }
        assert!(advice.contains("resume"), "{code}: {advice}");
        let again = || async { gate.handshakes().len() > tried };
        until(&format!("it comes back after {code}"), PATIENCE, again).await;
        let waited = gate.handshakes()[tried] - at;
        if advice.contains("a first wait of 10 s") {
            assert!(waited >= Duration::from_secs(1), "{code}: {waited:?}");
        }
    }
    program.end().await;
}

pub async fn drops_what_is_too_long(language: Language) {
    let (cluster, account) = site(&[]).await;
    let mut program = language.load(&[], cluster.replica(0).port()).await;
    program.start("room", &account.token, Value::Null).await;
    let (long, longer) = ("l".repeat(5_000), "f".repeat(30_000));
    program.say(&["short", &long, "also", &longer, "and this"]).await;
    program.until("seen", json!(["short", "also", "and this"])).await;
    let refused = json!([
        ["TEXT_TOO_LONG", "l".repeat(10)],
        ["TEXT_TOO_LONG", "f".repeat(10)]
    ]);
    program.until("refused", refused).await;
    program.end().await;
}
