//! What watches replicas: Debian's Prometheus, and an OpenTelemetry Collector built from its Go modules.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use crate::companion::Companion;
use crate::process::{START_LIMIT, command, ended, free_port, until};

/// How long the collector may take to be built, by this test or by another that it waits for.
const BUILD_LIMIT: Duration = Duration::from_secs(1800);

/// Says that a test is skipped for want of something; with `CI=true` that is a failure.
pub fn skipped(why: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{why}");
    println!("SKIPPED: {why}");
}

/// The program that a script of tests/ fetches or builds where it is missing, and prints the path of; `None` where it
/// cannot be had, which has been said as by [`skipped`].
pub(crate) async fn script(name: &'static str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    let done = ended(&format!("tests/{name}"), BUILD_LIMIT, command(script)).await;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        skipped(&format!("tests/{name} failed: {said}"));
        return None;
    }
    let path = String::from_utf8(done.stdout).expect("a path");
    Some(PathBuf::from(path.trim()))
}

/// The collector.
pub async fn collector_binary() -> Option<PathBuf> {
    script("collector").await
}

/// A Prometheus of its own that scrapes and evaluates rules every second.
pub struct Prometheus {
    port: u16,
    http: reqwest::Client,
    process: Companion,
}

impl Prometheus {
    /// Scrapes each target ("127.0.0.1:9090") as one of `job`. `None` where Prometheus is not installed, which has been
    /// said as by [`skipped`].
    pub async fn start(job: &str, targets: &[String], rules: &Path) -> Option<Self> {
        let installed = |folder: PathBuf| folder.join("prometheus").is_file();
        if !std::env::split_paths(&std::env::var_os("PATH")?).any(installed) {
            skipped("Prometheus is not installed");
            return None;
        }
        let folder = Companion::folder("prometheus");
        // JSON is YAML.
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "scrape_configs": [{"job_name": job, "static_configs": [{"targets": targets}]}],
        });
        fs::write(folder.join("prometheus.yml"), config.to_string()).expect("its configuration");
        let port = free_port();
        let listen = format!("--web.listen-address=127.0.0.1:{port}");
        let args = [
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--enable-feature=exemplar-storage",
            &listen,
        ];
        let this = Self {
            port,
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(10))
                .build()
                .expect("a client"),
            process: Companion::start(Path::new("prometheus"), args, folder),
        };
        let ready = async || this.get("/-/ready").await.is_ok_and(|status| status == 200);
        until("Prometheus is ready", START_LIMIT, ready).await;
        Some(this)
    }

    async fn get(&self, path: &str) -> reqwest::Result<u16> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        Ok(self.http.get(url).send().await?.status().as_u16())
    }

    /// What its API (/api/v1/…) answers: `data`, or the error that it says.
    pub async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let mut url = reqwest::Url::parse(&format!("http://127.0.0.1:{}/api/v1/{path}", self.port))
            .map_err(|error| error.to_string())?;
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        let response = self.http.get(url).send().await.map_err(|e| e.to_string())?;
        let mut body: Value = response.json().await.map_err(|e| e.to_string())?;
        if body["status"] != "success" {
            return Err(body["error"].to_string());
        }
        Ok(body["data"].take())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.process.log_tail());
        }
    }
}
