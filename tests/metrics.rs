//! What operators are told in `deploy/` is what the process exports: the table of metrics, the rules, the dashboard.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use testkit::{Backend, Cluster};

mod metrics {
    pub mod papers;
    pub mod provoke;
    pub mod requests;
    pub mod unshared;
}

use metrics::papers;

/// How long what must happen may take on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// A room and a user that no label may show.
const ROOM: &str = "engine-room";
const USER: &str = "margarethe";

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_chat-gateway"))
}

/// A metric as it is exported or as the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
}

/// From the text format of Prometheus: metrics, and every label value.
fn exported(text: &str) -> (BTreeMap<String, Metric>, BTreeSet<String>) {
    let (mut metrics, mut values) = (BTreeMap::<String, Metric>::new(), BTreeSet::new());
    let mut last = String::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            let metric = Metric {
                kind: kind.to_owned(),
                labels: BTreeSet::new(),
            };
            assert!(
                metrics.insert(name.to_owned(), metric).is_none(),
                "{name} is there twice"
            );
            last = name.to_owned();
        } else if !line.starts_with('#') {
            assert!(line.starts_with(&last), "{line:?} does not belong to {last}");
            let Some((_, rest)) = line.split_once('{') else {
                continue;
            };
            let (labels, _) = rest.rsplit_once('}').expect("labels end");
            for label in labels.split("\",") {
                let (name, value) = label.split_once("=\"").expect("name and value");
                if name != "le" {
                    let metric = metrics.get_mut(&last).expect("its TYPE came first");
                    metric.labels.insert(name.to_owned());
                    values.insert(value.trim_end_matches('"').to_owned());
                }
            }
        }
    }
    (metrics, values)
}

/// What each counter and each histogram has counted, over all its labels.
fn counted(text: &str) -> BTreeMap<String, f64> {
    let mut counted = BTreeMap::new();
    let (mut last, mut is_gauge) = (String::new(), false);
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            (last, is_gauge) = (name.to_owned(), kind == "gauge");
        } else if !line.starts_with('#') && !is_gauge {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let value: f64 = line
                .rsplit(' ')
                .next()
                .and_then(|value| value.parse().ok())
                .expect("a value");
            if name == last || name.strip_suffix("_count") == Some(&last) {
                *counted.entry(last.clone()).or_default() += value;
            }
        }
    }
    counted
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_what_a_replica_exports_and_no_label_is_a_room_or_a_user() {
    let nowhere = format!("http://127.0.0.1:{}", testkit::free_port());
    let settings = metrics::provoke::settings(&nowhere);
    let cluster = Cluster::start(binary(), Backend::Clustered, 2, &settings).await;
    let table = papers::table();
    assert!(table.len() > 25, "the table's format has changed");
    tokio::time::timeout(PATIENCE, metrics::provoke::everything(&cluster))
        .await
        .expect("everything happens in time");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = cluster.replica(0).metrics().await;
        let (metrics, values) = exported(&text);
        let counted = counted(&text);
        let idle: Vec<&String> = (table.iter())
            .filter(|(name, metric)| metric.kind != "gauge" && counted.get(*name).is_none_or(|n| *n == 0.0))
            .map(|(name, _)| name)
            .collect();
        if !idle.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        assert!(idle.is_empty(), "these have not counted anything: {idle:?}");
        assert_eq!(
            papers::by_line(&table),
            papers::by_line(&metrics),
            "left: deploy/README.md, right: /metrics"
        );
        for value in &values {
            for secret in [ROOM, USER] {
                assert!(!value.contains(secret), "a label says {value:?}");
            }
        }
        // Codes, types of errors, routes and the version: a label with open ends would show itself here.
        assert!(values.len() < 120, "{values:?}");
        return;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_exports_a_part_of_the_table_and_nothing_of_a_relay() {
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &[]).await;
    cluster.replica(0).account(USER).await;
    let table = papers::table();
    let (metrics, _) = exported(&cluster.replica(0).metrics().await);
    assert!(metrics.contains_key("chat_password_duration_seconds"));
    // SQLite has one connection, which nobody uses for long here.
    testkit::until("the connection is idle", PATIENCE, async || {
        let text = cluster.replica(0).metrics().await;
        ["{state=\"idle\"} 1", "{state=\"used\"} 0", "_limit 1"]
            .iter()
            .all(|part| text.contains(&format!("chat_store_connections{part}\n")))
    })
    .await;
    for (name, metric) in metrics {
        let declared = table
            .get(&name)
            .unwrap_or_else(|| panic!("{name} is not in the table"));
        assert_eq!(metric.kind, declared.kind, "{name}");
        // What has not happened here has no label yet.
        assert!(metric.labels.is_subset(&declared.labels), "{name}: {metric:?}");
        assert!(!name.starts_with("chat_relay_"), "{name} in embedded mode");
    }
}

#[test]
fn names_say_type_and_unit() {
    for (name, metric) in papers::table() {
        let unit = papers::unit(&name);
        assert_eq!(name.ends_with("_total"), metric.kind == "counter", "{name}");
        let base = name.trim_end_matches("_total");
        assert_eq!(base.ends_with("_seconds"), unit == "seconds", "{name}: {unit}");
        assert_eq!(base.ends_with("_bytes"), unit == "bytes", "{name}: {unit}");
    }
}

#[test]
fn rules_and_dashboard_ask_for_nothing_else() {
    let table = papers::table();
    let recorded = papers::recorded();
    let asked = papers::rules().into_iter().chain(papers::dashboard());
    let (mut seen, mut unknown) = (BTreeSet::new(), Vec::new());
    for query in asked {
        for name in papers::names(&query) {
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|part| name.strip_suffix(part))
                .filter(|base| table.get(*base).is_some_and(|metric| metric.kind == "histogram"))
                .unwrap_or(&name);
            let known = match name.contains(':') {
                true => recorded.contains(&name),
                // A histogram has no value of its own name.
                false => table
                    .get(base)
                    .is_some_and(|metric| (metric.kind == "histogram") == (base != name)),
            };
            if !known {
                unknown.push(format!("{name} in {query}"));
            }
            for label in papers::labels_of(&query, &name) {
                let own = table
                    .get(base)
                    .is_some_and(|metric| metric.labels.contains(&label));
                if !own && !["cluster", "namespace", "job", "instance", "le"].contains(&label.as_str()) {
                    unknown.push(format!("{name} by {label} in {query}"));
                }
            }
            seen.insert(base.to_owned());
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(seen.len() > 20, "only {seen:?} are asked for");
}

#[test]
fn each_alert_has_a_runbook_and_a_test() {
    let alerts = papers::alerts();
    assert!(alerts.len() > 20, "found {} alerts", alerts.len());
    for (name, rule) in alerts {
        for annotation in ["summary: ", "description: ", "runbook: ", "severity: "] {
            assert_eq!(rule.matches(annotation).count(), 1, "{annotation} of {name}");
        }
        assert!(papers::is_made_to_fire(name), "no test makes {name} fire");
    }
}
