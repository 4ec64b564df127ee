//! How long requests take: by route, method and status, with names that a stranger cannot make up.

use std::time::Duration;

use serde_json::json;
use testkit::{Backend, Client, Cluster, Options, Target, until};

use crate::{PATIENCE, binary};

const NAME: &str = "http_server_request_duration_seconds";

/// How many requests the series with all of these labels, and no route if none is among them, have counted.
fn counted(text: &str, labels: &[&str]) -> u64 {
    let counts = text.lines().filter_map(|line| {
        let (labels, count) = line
            .strip_prefix(NAME)?
            .strip_prefix("_count{")?
            .rsplit_once("} ")?;
        Some((labels, count.parse::<u64>().expect("a count")))
    });
    let routed = labels.iter().any(|label| label.starts_with("http_route"));
    counts
        .filter(|(of, _)| {
            labels.iter().all(|label| of.contains(label)) && of.contains("http_route") == routed
        })
        .map(|(_, count)| count)
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_timed_by_route_method_and_status_and_no_stranger_makes_a_series() {
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &[]).await;
    let to = cluster.replica(0);
    let ann = to.account("ann").await;
    let wrong = json!({"username": "ann", "secret": "a guess"});
    assert_eq!(to.post("/api/v1/login", None, &wrong).await.status, 401);
    to.get(&Target::history_path("a hall", ""), None).await;
    to.get(&Target::history_path("another hall", ""), None).await;
    let mut client = Client::connect(to, "a hall", Some(&ann.token), "").await.unwrap();
    client.say("hello", "1").await;
    let strange = reqwest::Client::builder().no_proxy().build().unwrap();
    for n in 0..20 {
        let url = format!("{}/{n}/of-nothing", to.base_url());
        let method = reqwest::Method::from_bytes(format!("WORD{n}").as_bytes()).unwrap();
        assert_eq!(strange.get(&url).send().await.unwrap().status(), 404);
        assert!(
            !strange
                .request(method, &url)
                .send()
                .await
                .unwrap()
                .status()
                .is_success()
        );
    }
    let text = to.metrics().await;
    let (get, post) = (r#"http_request_method="GET""#, r#"http_request_method="POST""#);
    let history = r#"http_route="/api/v1/rooms/{room}/messages""#;
    let join = r#"http_route="/api/v1/rooms/{room}/messages/ws""#;
    let login = r#"http_route="/api/v1/login""#;
    let status = |code: u16| format!("http_response_status_code=\"{code}\"");
    for (labels, count) in [
        (vec![get, history, &status(200)], 2),
        (vec![get, join, &status(101)], 1),
        (vec![post, login, &status(401)], 1),
        (vec![get, &status(404)], 20),
        (vec![r#"http_request_method="_OTHER""#], 20),
    ] {
        assert_eq!(counted(&text, &labels), count, "{labels:?}\n{text}");
    }
    assert!(
        counted(&text, &[post, r#"http_route="/api/v1/users""#, &status(201)]) >= 1,
        "{text}"
    );
    let requests: String = text.lines().filter(|line| line.starts_with(NAME)).collect();
    for made_up in ["WORD", "of-nothing", "hall"] {
        assert!(!requests.contains(made_up), "{requests}");
    }
    let series = text
        .lines()
        .filter(|line| line.starts_with(&format!("{NAME}_count")));
    assert!(series.count() < 12, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_its_client_gives_up_is_timed_too() {
    let options = Options {
        proxied: true,
        ..Options::default()
    };
    let cluster = Cluster::start_with(binary(), options).await;
    let to = cluster.replica(0);
    cluster.database_proxy().freeze();
    let impatient = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_millis(300));
    let url = to.base_url() + &Target::history_path("hall", "");
    assert!(impatient.build().unwrap().get(url).send().await.is_err());
    until("the request is counted", PATIENCE, async || {
        counted(&to.metrics().await, &[r#"error_type="cancelled""#]) == 1
    })
    .await;
    cluster.database_proxy().thaw();
}
