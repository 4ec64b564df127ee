//! What WebDriver has no word for, in those of Chromium's developer tools.

use fantoccini::wd::WebDriverCompatibleCommand;
use serde_json::{Value, json};

use crate::window::Window;

impl Window {
    pub async fn devtools(&self, command: &'static str, parameters: Value) -> Value {
        let asked = self.client.issue_cmd(Devtools(command, parameters)).await;
        asked.unwrap_or_else(|e| panic!("{command}: {e}"))
    }

    /// Runs `script` before any script of the pages to come.
    pub async fn before_each_page(&self, script: &str) {
        self.devtools(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({ "source": script }),
        )
        .await;
    }

    /// Looks as for somebody who has set this; for example `prefers-color-scheme`, `dark`.
    pub async fn prefers(&self, feature: &str, value: &str) {
        let features = json!([{"name": feature, "value": value}]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features }))
            .await;
    }

    /// What a screen reader is told is there: roles and names, top to bottom.
    pub async fn spoken(&self) -> Vec<(String, String)> {
        let tree = self.devtools("Accessibility.getFullAXTree", json!({})).await;
        let nodes = tree["nodes"].as_array().cloned().unwrap_or_default();
        let told = nodes.iter().filter(|node| node["ignored"] == false);
        told.map(|node| {
            let part = |name: &str| node[name]["value"].as_str().unwrap_or_default().to_owned();
            (part("role"), part("name"))
        })
        .collect()
    }

    /// How wide an element is, in CSS pixels, where the page may run no scripts.
    pub async fn width(&self, css: &str) -> f64 {
        let document = self.devtools("DOM.getDocument", json!({})).await;
        let root = &document["root"]["nodeId"];
        let found = self
            .devtools("DOM.querySelector", json!({"nodeId": root, "selector": css}))
            .await;
        let model = self
            .devtools("DOM.getBoxModel", json!({"nodeId": found["nodeId"]}))
            .await;
        model["model"]["width"].as_f64().expect("it is shown")
    }

    pub async fn says(&self, text: &str) -> bool {
        self.spoken().await.iter().any(|(_, name)| name.contains(text))
    }
}

#[derive(Debug)]
struct Devtools(&'static str, Value);

impl WebDriverCompatibleCommand for Devtools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!(
            "session/{}/goog/cdp/execute",
            session.unwrap_or_default()
        ))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        let body = json!({"cmd": self.0, "params": self.1});
        (http::Method::POST, Some(body.to_string()))
    }
}
