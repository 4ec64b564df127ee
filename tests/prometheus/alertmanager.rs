//! A real Alertmanager with the rule of deploy/README.md: a page keeps the warnings of its own deployment quiet.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use testkit::{Companion, block, free_port, http, until};

use crate::PATIENCE;

#[tokio::test]
async fn a_page_keeps_the_warnings_of_its_own_deployment_quiet() {
    let (port, folder) = (free_port(), Companion::folder("alertmanager"));
    let rest = "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n";
    fs::write(
        folder.join("config.yml"),
        block("deploy/README.md", "inhibit") + rest,
    )
    .unwrap();
    let listen = format!("--web.listen-address=127.0.0.1:{port}");
    let args = [
        "--config.file=config.yml",
        "--storage.path=data",
        "--cluster.listen-address=",
        &listen,
    ];
    let alertmanager = Companion::start(Path::new("prometheus-alertmanager"), args, folder);
    let alert = |name: &str, severity: &str, namespace: &str| json!({"labels": {"alertname": name, "severity": severity, "cluster": "c", "namespace": namespace, "job": "chat-gateway"}});
    let alerts = json!([
        alert("ChatGatewayStoreDown", "critical", "one"),
        alert("ChatGatewayPoolShort", "warning", "one"),
        alert("ChatGatewayPoolShort", "warning", "two"),
        alert("SomebodyElses", "warning", "one"),
    ]);
    let (client, url) = (http(), format!("http://127.0.0.1:{port}/api/v2/alerts"));
    let what = format!("it takes alerts\n{}", alertmanager.log_tail());
    until(&what, PATIENCE, async || {
        let sent = client.post(&url).json(&alerts).send().await;
        sent.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    let quiet = async || {
        let shown: Value = client.get(&url).send().await.unwrap().json().await.unwrap();
        let inhibited = |alert: &&Value| {
            alert["status"]["inhibitedBy"]
                .as_array()
                .is_some_and(|by| !by.is_empty())
        };
        let name = |alert: &Value| {
            let label = |of: &str| alert["labels"][of].as_str().unwrap_or_default().to_owned();
            format!("{} {}", label("alertname"), label("namespace"))
        };
        shown
            .as_array()
            .unwrap()
            .iter()
            .filter(inhibited)
            .map(name)
            .collect::<Vec<_>>()
    };
    until("a warning is quiet", PATIENCE, async || !quiet().await.is_empty()).await;
    assert_eq!(quiet().await, ["ChatGatewayPoolShort one"]);
}
