//! What the Grafana dashboard asks, its variables filled in as Grafana fills them in.

use serde_json::Value;
use testkit::Prometheus;

const DASHBOARD: &str = include_str!("../../deploy/grafana/chat-gateway.json");
/// What Grafana knows itself, for a minute of one scrape a second; the longer name first.
const BUILT_IN: [(&str, &str); 4] = [
    ("__rate_interval", "15s"),
    ("__range_s", "60"),
    ("__interval", "5s"),
    ("__range", "60s"),
];

pub struct Dashboard {
    /// Title and query.
    pub panels: Vec<(String, String)>,
    pub annotations: Vec<String>,
}

pub async fn read(prometheus: &Prometheus) -> Dashboard {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("the dashboard is JSON");
    let mut variables: Vec<(String, String)> = Vec::new();
    for variable in dashboard["templating"]["list"].as_array().into_iter().flatten() {
        if variable["type"] != "datasource" {
            let value = value(variable, &variables, prometheus).await;
            variables.push((variable["name"].as_str().expect("a name").to_owned(), value));
        }
    }
    let mut found = Dashboard {
        panels: Vec::new(),
        annotations: Vec::new(),
    };
    panels(&dashboard["panels"], &variables, &mut found.panels);
    assert!(!found.panels.is_empty(), "no panel asks anything");
    for annotation in dashboard["annotations"]["list"].as_array().into_iter().flatten() {
        if let Some(query) = annotation["expr"].as_str() {
            found.annotations.push(filled_in(query, &variables));
        }
    }
    found
}

/// Of rows that are folded, too.
fn panels(list: &Value, variables: &[(String, String)], found: &mut Vec<(String, String)>) {
    for panel in list.as_array().into_iter().flatten() {
        panels(&panel["panels"], variables, found);
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().expect("a query");
            let title = panel["title"].as_str().unwrap_or_default().to_owned();
            found.push((title, filled_in(query, variables)));
        }
    }
}

/// Of a variable at which a person has chosen "All".
async fn value(variable: &Value, earlier: &[(String, String)], prometheus: &Prometheus) -> String {
    assert_eq!(variable["type"], "query", "this test knows no other: {variable}");
    let query = &variable["query"];
    let query = query["query"].as_str().or(query.as_str()).expect("a query");
    let inside = query
        .strip_prefix("label_values(")
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap_or_else(|| panic!("this test knows no other: {query}"));
    let (series, label) = inside.rsplit_once(',').unwrap_or(("up", inside));
    let path = format!("label/{}/values", label.trim());
    let found = prometheus
        .ask(&path, &[("match[]", &filled_in(series, earlier))])
        .await;
    let values: Vec<String> = serde_json::from_value(found.expect("values")).expect("strings");
    // Where targets have no such label, all are those without it.
    let all = variable["allValue"].as_str();
    assert!(!values.is_empty() || all == Some(".*"), "{query} finds nothing");
    match all {
        Some(all) if !all.is_empty() => all.to_owned(),
        _ => format!("({})", values.join("|").replace('.', r"\\.")),
    }
}

fn filled_in(query: &str, variables: &[(String, String)]) -> String {
    let mut query = query.to_owned();
    let variables = variables.iter().map(|(name, value)| (&**name, &**value));
    for (name, value) in BUILT_IN.into_iter().chain(variables) {
        for form in [
            format!("${{{name}}}"),
            format!("${{{name}:regex}}"),
            format!("${name}"),
        ] {
            query = query.replace(&form, value);
        }
    }
    assert!(!query.contains('$'), "not a variable of the dashboard: {query}");
    query
}
