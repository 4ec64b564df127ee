//! `deploy/three-replicas`, as a person runs it: through HAProxy, with a replica killed, watched, until Ctrl-C.
#![cfg(test)]

#[path = "three_replicas/script.rs"]
mod script;
#[path = "three_replicas/session.rs"]
mod session;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use script::{Script, has_setting, runs, signal};
use session::{Session, log_in};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn people_chat_through_haproxy_while_a_replica_is_killed_until_ctrl_c() {
    // A person's own endpoint stays theirs, whatever is installed; nobody listens there, and nobody in the chat minds.
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    let collector = testkit::collector_binary().await;
    let mut script = Script::start(collector.as_deref(), &[endpoint]);
    script.prints("three replicas are ready").await;
    assert!(has_setting(
        script.replica(2),
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:9"
    ));
    assert!(collector.is_none_or(|collector| script.child(&collector).is_none()));
    let token = log_in(&script).await;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(Session::join(&script, &token, "").await);
    }
    sessions[0].send("one").await;
    for session in &mut sessions {
        assert!(session.hears("one").await);
    }

    signal("KILL", script.replica(1)).await;
    script
        .prints("replica-1 ended with status 137; it is started again")
        .await;
    testkit::http()
        .post(script.url("http", "/rooms/lobby/messages"))
        .bearer_auth(&token)
        .json(&json!({"text": "two"}))
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .expect("HAProxy finds a replica that lives");
    let mut lost = 0;
    for session in &mut sessions {
        if !session.hears("two").await {
            lost += 1;
            *session = Session::join(&script, &token, "?after=1").await;
            assert!(session.hears("two").await);
        }
    }
    assert!(
        (1..6).contains(&lost),
        "{lost} of 6 sessions were on the replica that was killed"
    );

    // It is for this machine alone: on every address HAProxy would answer at this one too.
    let elsewhere = tokio::net::TcpStream::connect(("127.0.0.2", script.port())).await;
    assert!(elsewhere.is_err(), "HAProxy listens beyond 127.0.0.1");

    assert!(
        script.children().len() >= 6,
        "Postgres, Redis, HAProxy and three replicas"
    );
    script.ends_at_ctrl_c(&mut sessions).await;
}

/// Where Prometheus is, if it is installed.
fn prometheus() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join("prometheus"))
        .find(|program| program.is_file())
}

/// Which replicas' deliveries are in the collector's file.
fn delivered(file: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let resources = lines.flat_map(|line| line["resourceSpans"].as_array().cloned().unwrap_or_default());
    resources
        .filter(|resource| resource["scopeSpans"].to_string().contains("\"deliver room\""))
        .flat_map(|resource| resource["resource"]["attributes"].as_array().cloned())
        .flatten()
        .filter(|attribute| attribute["key"] == "service.instance.id")
        .map(|attribute| attribute["value"]["stringValue"].to_string())
        .collect()
}

#[tokio::test]
async fn it_is_watched_by_what_is_installed() {
    let Some(prometheus) = prometheus() else {
        return testkit::skipped("Prometheus is not installed");
    };
    let Some(collector) = testkit::collector_binary().await else {
        return;
    };
    let mut script = Script::start(Some(&collector), &[]);
    script.prints("Prometheus has their metrics").await;
    let line = script.prints("the collector writes their traces: ").await;
    let traces = PathBuf::from(line.split(": ").nth(1).expect("a path"));

    let token = log_in(&script).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(Session::join(&script, &token, "").await); // one on each replica
    }
    sessions[0].send("one").await;
    for session in &mut sessions {
        assert!(session.hears("one").await);
    }
    let api = format!("http://127.0.0.1:{}/api/v1", script.prometheus_port);
    let ask = async |path: &str| -> Value {
        let answer = testkit::http()
            .get(format!("{api}/{path}"))
            .send()
            .await
            .expect("it answers");
        answer.json().await.expect("JSON")
    };
    testkit::until("three targets are up", PATIENCE, async || {
        let targets = ask("targets").await;
        let targets = targets["data"]["activeTargets"]
            .as_array()
            .expect("targets")
            .clone();
        targets.len() == 3 && targets.iter().all(|target| target["health"] == "up")
    })
    .await;
    let groups = ask("rules").await["data"]["groups"].as_array().cloned();
    assert!(groups.expect("groups").len() > 1, "the rules are loaded");
    testkit::until("each replica's delivery is in the traces", PATIENCE, async || {
        delivered(&traces).len() == 3
    })
    .await;

    for (name, program) in [("prometheus", &prometheus), ("collector", &collector)] {
        signal("KILL", script.child(program).expect("it runs")).await;
        script
            .prints(&format!("{name} ended with status 137; it is started again"))
            .await;
        testkit::until("it runs again", PATIENCE, async || {
            script.child(program).is_some()
        })
        .await;
    }
    script.ends_at_ctrl_c(&mut sessions).await;
}

#[tokio::test]
async fn what_it_started_ends_with_it_even_when_it_is_killed() {
    let collector = testkit::collector_binary().await;
    let mut script = Script::start(collector.as_deref(), &[]);
    script.prints("three replicas are ready").await;
    let started = script.children();
    script.process.kill().await.unwrap();
    let ended = async {
        while started.iter().any(|&pid| runs(pid)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("the kernel tells them");
}

/// What the script says with these arguments, before it starts anything.
async fn refused(args: &[&str]) -> Output {
    let mut script = testkit::command(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/three-replicas"));
    script
        .args(["--binary", env!("CARGO_BIN_EXE_chat-gateway")])
        .args(args);
    testkit::ended("the script refuses", PATIENCE, script).await
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_before_anything_is_started() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = refused(&["--port", &port]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("port {port} is taken")));
}

#[tokio::test]
async fn what_does_not_fit_together_is_said_before_anything_is_started() {
    let misfits: [(&[&str], &str); 3] = [
        (&["--prometheus-port", "70000x"], "70000x is not a port"),
        (&["--collector", "/there/is/none"], "cannot run /there/is/none"),
        (
            &["--collector-port", "0", "--collector", "/bin/true"],
            "--collector gets nothing",
        ),
    ];
    for (args, sentence) in misfits {
        let output = refused(args).await;
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(sentence), "{args:?}: {said}");
    }
}
