//! A real Prometheus scrapes three replicas under load: every panel's and every rule's query returns data.
//!
//! A panel's query and a recording rule have to have a value that is a number, for each of the replicas where they tell
//! replicas apart. Of an alert, which is silent when all is well, it is what it compares that has to: its expression is taken
//! apart at `and`, `or` and `unless`, and each comparison in a part answers 0 or 1 (PromQL's `bool`) instead of filtering, so
//! that only a part that found nothing to compare is empty. (This Prometheus, Debian's, does not have the newer API that
//! hands out a parsed query.) `absent(…)` may say nothing. And of all of them every single selector has to have found series,
//! so that no `or vector(0)` hides one that never does.
#![cfg(test)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use testkit::{Backend, Cluster, Prometheus};

#[path = "prometheus/alertmanager.rs"]
mod alertmanager;
#[path = "prometheus/dashboard.rs"]
mod dashboard;
#[path = "prometheus/load.rs"]
mod load;
#[path = "prometheus/promql.rs"]
mod promql;
#[path = "metrics/provoke.rs"]
mod provoke;

/// How long what must happen may take on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const REPLICAS: usize = 3;
const JOB: &str = "chat-gateway";
/// Of what `provoke` does.
const ROOM: &str = "engine-room";
const USER: &str = "margarethe";

/// What has to be answered.
enum Question {
    /// There are such series.
    Selector(String),
    /// There is a number, from each replica if it says from which.
    Query(String),
}

impl Question {
    /// `None` where the answer is right.
    async fn complaint(&self, prometheus: &Prometheus) -> Option<String> {
        match self {
            Self::Selector(selector) => {
                let found = prometheus.ask("series", &[("match[]", selector)]).await;
                match found {
                    Ok(series) if series.as_array().is_some_and(|series| !series.is_empty()) => None,
                    Ok(_) => Some(format!("{selector} has no series")),
                    Err(error) => Some(format!("{selector}: {error}")),
                }
            }
            Self::Query(query) => {
                let complaint = asked(query, prometheus).await?;
                // A run of a minute has no yesterday: then what is compared with it is asked about today.
                let now = promql::now(query);
                if now == *query {
                    return Some(complaint);
                }
                asked(&now, prometheus).await.map(|_| complaint)
            }
        }
    }
}

/// What is wrong with the answer to a query.
async fn asked(query: &str, prometheus: &Prometheus) -> Option<String> {
    match prometheus.ask("query", &[("query", query)]).await {
        Ok(answer) => numbers(&answer).map(|found| format!("{query} {found}")),
        Err(error) => Some(format!("{query}: {error}")),
    }
}

fn numbers(answer: &Value) -> Option<String> {
    if answer["resultType"] == "scalar" {
        return (answer["result"][1] == "NaN").then(|| "is no number".into());
    }
    let samples = answer["result"].as_array()?;
    let counted: Vec<_> = samples
        .iter()
        .filter(|sample| sample["value"][1] != "NaN")
        .collect();
    if counted.is_empty() {
        return Some(match samples.len() {
            0 => "has no data".into(),
            n => format!("has {n} samples and none is a number"),
        });
    }
    let of: BTreeSet<_> = counted
        .iter()
        .filter_map(|s| s["metric"]["instance"].as_str())
        .collect();
    let all = of.is_empty() || of.len() == REPLICAS;
    (!all).then(|| format!("has data of {} replicas: {of:?}", of.len()))
}

/// Of a query that is silent when all is well.
fn of_alert(query: &str) -> Vec<Question> {
    let parts = promql::parts(query).into_iter().map(Question::Query);
    parts.chain(of_selectors(query)).collect()
}

/// Of a query that always says something.
fn of_value(query: &str) -> Vec<Question> {
    let mut questions = of_selectors(query);
    questions.push(Question::Query(query.to_owned()));
    questions
}

fn of_selectors(query: &str) -> Vec<Question> {
    promql::selectors(query)
        .into_iter()
        .map(Question::Selector)
        .collect()
}

/// What rules.yaml has, as Prometheus read it; waits until each rule has been evaluated.
async fn rules(prometheus: &Prometheus) -> Vec<Value> {
    let text = std::fs::read_to_string(rules_file()).expect("the rules");
    let written = text.matches("- record: ").count() + text.matches("- alert: ").count();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let data = prometheus.ask("rules", &[]).await.expect("rules");
        let groups = data["groups"].as_array().expect("groups").iter();
        let rules: Vec<Value> = groups
            .flat_map(|group| group["rules"].as_array().cloned())
            .flatten()
            .collect();
        if rules.iter().all(|rule| rule["health"] != "unknown") || Instant::now() > deadline {
            assert_eq!(rules.len(), written, "Prometheus has not read all rules");
            return rules;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn rules_file() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/rules.yaml")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_and_every_rule_has_data_under_load() {
    let nowhere = format!("http://127.0.0.1:{}", testkit::free_port());
    let settings = provoke::settings(&nowhere);
    let bin = Path::new(env!("CARGO_BIN_EXE_chat-gateway"));
    let cluster = Cluster::start(bin, Backend::Clustered, REPLICAS, &settings).await;
    let targets: Vec<String> = (cluster.replicas().iter())
        .map(|replica| replica.ops_url().trim_start_matches("http://").to_owned())
        .collect();
    let Some(prometheus) = Prometheus::start(JOB, &targets, &rules_file()).await else {
        return;
    };
    testkit::until("each replica is scraped", PATIENCE, async || {
        let up = prometheus.ask("query", &[("query", "up == 1")]).await;
        up.is_ok_and(|up| up["result"].as_array().is_some_and(|up| up.len() == REPLICAS))
    })
    .await;
    let _load = load::start(&cluster).await;
    tokio::time::timeout(PATIENCE, provoke::everything(&cluster))
        .await
        .expect("everything happens in time");

    let mut questions = Vec::new();
    for rule in rules(&prometheus).await {
        let query = rule["query"].as_str().expect("a query");
        let asked = if rule["type"] == "alerting" {
            of_alert(query)
        } else {
            of_value(query)
        };
        questions.extend(asked.into_iter().map(|question| (rule["name"].clone(), question)));
    }
    let dashboard = dashboard::read(&prometheus).await;
    for (panel, query) in dashboard.panels {
        questions.extend(of_value(&query).into_iter().map(|q| (Value::from(&*panel), q)));
    }
    for query in dashboard.annotations {
        questions.extend(
            of_alert(&query)
                .into_iter()
                .map(|q| (Value::from("annotation"), q)),
        );
    }
    assert!(questions.len() > 100, "only {} questions", questions.len());

    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut complaints = Vec::new();
        let mut open = Vec::new();
        for (of, question) in questions {
            if let Some(complaint) = question.complaint(&prometheus).await {
                complaints.push(format!("{of}: {complaint}"));
                open.push((of, question));
            }
        }
        if open.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{complaints:#?}");
        questions = open;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    for rule in rules(&prometheus).await {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    has_exemplars(&prometheus).await;
}

/// From a bucket to a trace: Prometheus has read one beside each latency of messages.
async fn has_exemplars(prometheus: &Prometheus) {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock")
        .as_secs();
    let (start, end) = ((since_epoch - 600).to_string(), (since_epoch + 600).to_string());
    for metric in [
        "chat_ack_duration_seconds_bucket",
        "chat_delivery_duration_seconds_bucket",
        "chat_journal_commit_seconds_bucket",
        "http_server_request_duration_seconds_bucket",
    ] {
        testkit::until(metric, PATIENCE, async || {
            let range = [("query", metric), ("start", &start), ("end", &end)];
            let found = prometheus
                .ask("query_exemplars", &range)
                .await
                .expect("exemplars");
            let traces = found.as_array().into_iter().flatten().flat_map(|series| {
                let exemplars = series["exemplars"].as_array().into_iter().flatten();
                exemplars.filter_map(|exemplar| exemplar["labels"]["trace_id"].as_str())
            });
            traces.clone().count() > 0 && { traces }.all(|id| id.len() == 32)
        })
        .await;
    }
}
