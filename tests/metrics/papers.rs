//! Reads what is in `deploy/`: the table of metrics, the queries of the rules and of the dashboard.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::Metric;

const README: &str = include_str!("../../deploy/README.md");
const RULES: &str = include_str!("../../deploy/prometheus/rules.yaml");
const RULES_TEST: &str = include_str!("../../deploy/prometheus/rules_test.yaml");
const DASHBOARD: &str = include_str!("../../deploy/grafana/chat-gateway.json");

/// What names of metrics begin with.
const OURS: [&str; 3] = ["chat_", "process_", "http_server_"];

/// The cells of rows like "| `chat_sessions` | gauge | sessions | | what it is |".
fn rows() -> impl Iterator<Item = Vec<&'static str>> {
    README
        .lines()
        .filter(|line| {
            OURS.iter().any(|start| {
                line.strip_prefix("| `")
                    .is_some_and(|name| name.starts_with(start))
            })
        })
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
}

/// `chat_refusals_total` and so on, by name.
pub fn table() -> BTreeMap<String, Metric> {
    let metric = |cells: Vec<&str>| {
        assert_eq!(cells.len(), 5, "{cells:?}");
        assert!(!cells[4].is_empty(), "{} has no meaning", cells[0]);
        let metric = Metric {
            kind: cells[1].to_owned(),
            labels: cells[3]
                .split(',')
                .map(|label| label.trim().trim_matches('`').to_owned())
                .filter(|label| !label.is_empty())
                .collect(),
        };
        (cells[0].trim_matches('`').to_owned(), metric)
    };
    let table: BTreeMap<_, _> = rows().map(metric).collect();
    assert_eq!(table.len(), rows().count(), "a metric has two rows");
    table
}

/// What the table says that a metric is measured in.
pub fn unit(name: &str) -> &'static str {
    let row = rows().find(|cells| cells[0].trim_matches('`') == name);
    row.expect("it has a row")[2]
}

/// One line a metric, so that a difference can be read.
pub fn by_line(metrics: &BTreeMap<String, Metric>) -> Vec<String> {
    let line = |(name, metric): (&String, &Metric)| format!("{name} {} {:?}", metric.kind, metric.labels);
    metrics.iter().map(line).collect()
}

/// The queries of all rules. In the file an `expr` is one line, or a block of lines that are indented further.
pub fn rules() -> Vec<String> {
    let mut queries = Vec::new();
    let mut lines = RULES.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(rest) = line.trim_start().strip_prefix("expr: ") else {
            continue;
        };
        let depth = |line: &str| line.len() - line.trim_start().len();
        let mut query = rest.trim_start_matches(['|', '>', '-']).to_owned();
        while let Some(more) = lines.next_if(|more| depth(more) > depth(line)) {
            query = format!("{query} {}", more.trim());
        }
        queries.push(query.trim().to_owned());
    }
    assert!(queries.len() > 15, "found {} rules: {queries:?}", queries.len());
    queries
}

/// What recording rules make.
pub fn recorded() -> BTreeSet<String> {
    RULES
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("- record: "))
        .map(str::to_owned)
        .collect()
}

/// Each alert's name and what its rule says.
pub fn alerts() -> Vec<(&'static str, &'static str)> {
    let rules = RULES.split("- alert: ").skip(1);
    rules
        .map(|rule| rule.split_once('\n').expect("a rule has lines"))
        .collect()
}

/// Whether promtool's tests expect this alert to fire at some time.
pub fn is_made_to_fire(alert: &str) -> bool {
    let expected = format!("exp_samples: [{{ labels: '{{alertname=\"{alert}\"");
    RULES_TEST.contains(&expected)
}

/// The queries of all panels.
pub fn dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("the dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut queries = Vec::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{} asks for nothing", panel["title"]);
        for target in targets {
            queries.push(target["expr"].as_str().expect("a query").to_owned());
        }
    }
    assert!(
        (12..=80).contains(&queries.len()),
        "{} queries in the dashboard",
        queries.len()
    );
    queries
}

/// Names of our metrics in a query: of the table, and recorded ones, which have colons.
pub fn names(query: &str) -> BTreeSet<String> {
    query
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.starts_with("chat:") || OURS.iter().any(|start| word.starts_with(start)))
        .map(str::to_owned)
        .collect()
}

/// Labels that a query selects a metric by: `name{code="4409"}`.
pub fn labels_of(query: &str, name: &str) -> Vec<String> {
    let selectors = query.split(name).skip(1).filter_map(|rest| {
        let inside = rest.strip_prefix('{')?;
        inside.split_once('}').map(|(labels, _)| labels)
    });
    selectors
        .flat_map(|labels| labels.split("\","))
        .filter_map(|label| label.split(['=', '!']).next())
        .map(|label| label.trim().to_owned())
        .filter(|label| !label.is_empty())
        .collect()
}
