//! API.md's examples, run against a real replica.
#![cfg(test)]

mod api_md {
    pub mod compare;
    pub mod gate;
    pub mod mutate;
    pub mod notation;
    pub mod programs;
    pub mod run;
    pub mod scenarios;
    pub mod tables;
}
use std::path::Path;

use serde_json::Value;
use testkit::{Backend, Cluster};

use api_md::compare::{Names, check};
use api_md::mutate::mutations;
use api_md::notation::{Example, Kind, parse};
use api_md::{run::run, tables};

const PAGE: &str = include_str!("../API.md");

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_chat-gateway"))
}

fn examples() -> Vec<Example> {
    parse(PAGE).expect("API.md's notation")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_example_is_answered_as_shown() {
    // The default, which the kit switches off.
    let settings = [("DRAIN_SECONDS", "1"), ("LIMIT_MESSAGES_PER_SECOND", "20")];
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &settings).await;
    let examples = examples();
    let mut names = Names::default();
    let mut transcripts = Vec::new();
    let mut wrong = Vec::new();
    covers_every_route(&examples, &openapi(&cluster).await);
    for example in &examples {
        let transcript = run(example, cluster.replica(0), &names).await;
        wrong.extend(check(example, &transcript, &mut names).err());
        transcripts.push(transcript);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // Each thing that is shown counts: with any of them changed, some example no longer matches.
    let mut missed = Vec::new();
    for (index, example) in examples.iter().enumerate() {
        for (what, changed) in mutations(example) {
            let mut names = Names::default();
            let matches = examples
                .iter()
                .zip(&transcripts)
                .enumerate()
                .all(|(at, (example, transcript))| {
                    check(
                        if at == index { &changed } else { example },
                        transcript,
                        &mut names,
                    )
                    .is_ok()
                });
            if matches {
                missed.push(format!("line {}: {what}", example.line));
            }
        }
    }
    assert!(
        missed.is_empty(),
        "these could be wrong without a test failing:\n{}",
        missed.join("\n")
    );
}

async fn openapi(cluster: &Cluster) -> Value {
    let url = format!("{}/api/v1/openapi.json", cluster.replica(0).base_url());
    testkit::http()
        .get(url)
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON")
}

/// Every operation that the server describes has an example that succeeds.
fn covers_every_route(examples: &[Example], openapi: &Value) {
    let base = openapi["servers"][0]["url"]
        .as_str()
        .unwrap_or_default()
        .trim_end_matches('/');
    let shown: Vec<_> = examples
        .iter()
        .filter_map(|example| match &example.kind {
            Kind::Http { request, answer } | Kind::WebSocket { request, answer, .. } => {
                let success = answer.word(1).starts_with(['1', '2']);
                success.then(|| (request.word(0).to_owned(), request.word(1).to_owned()))
            }
            Kind::Program { .. } => None,
        })
        .collect();
    for (path, operations) in openapi["paths"].as_object().expect("paths") {
        let path = if path.starts_with("/api/") {
            path.clone()
        } else {
            format!("{base}{path}")
        };
        for method in operations.as_object().expect("operations").keys() {
            let found = shown
                .iter()
                .any(|(m, p)| m.eq_ignore_ascii_case(method) && is_of(p, &path));
            assert!(found, "no example shows {method} {path}");
        }
    }
}

fn is_of(path: &str, template: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    path.split('/').count() == template.split('/').count()
        && path
            .split('/')
            .zip(template.split('/'))
            .all(|(a, b)| a == b || b.starts_with('{'))
}

fn program(language: &str) -> String {
    let found = examples().into_iter().find_map(|example| match example.kind {
        Kind::Program { language: l, text } if l == language => Some(text),
        _ => None,
    });
    found.expect("API.md has such a program")
}

/// Each scenario for each program, as a test of its own.
macro_rules! programs {
    ($($module:ident: $language:ident),*; $scenarios:tt) => {
        $(mod $module { programs! { @tests $language $scenarios } })*
    };
    (@tests $language:ident [$($scenario:ident),* $(,)?]) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $scenario() {
            crate::api_md::scenarios::$scenario(crate::api_md::programs::Language::$language).await;
        })*
    };
}

programs! {
    javascript: JavaScript, python: Python;
    [
        follows_a_room_through_restarts,
        sends_no_faster_than_it_may,
        notices_a_dead_path,
        ends_with_a_dead_token_and_goes_on_with_a_fresh_one,
        waits_as_a_refusal_says,
        catches_up_however_the_history_is_answered,
        gives_up_a_handshake_that_hangs,
        does_at_each_close_what_the_table_says,
        drops_what_is_too_long,
    ]
}

#[test]
fn the_errors_are_those_that_the_server_sends() {
    tables::of_errors(PAGE);
}

#[test]
fn the_close_codes_are_those_that_the_server_sends() {
    tables::of_close_codes(PAGE);
}

#[test]
fn the_page_waits_as_long_as_the_table_of_close_codes_says() {
    tables::of_waits(PAGE);
}

#[test]
fn a_block_that_nothing_would_run_is_an_error() {
    for block in [
        "```ruby\nputs 1\n```",
        "```http\nGET /\n```",
        "```http\nGET /\n\nHTTP/1.1 200 OK\n\n{nonsense}\n```",
        "```http\nGET /\n\nHTTP/1.1 200 OK\n",
        "```websocket\nGET /\n\nHTTP/1.1 101 Switching Protocols\n```",
        "```websocket\nGET /\n\nHTTP/1.1 101 Switching Protocols\n\n< {\"type\": \"not an array\"}\n```",
        "```websocket\nGET /\n\nHTTP/1.1 101 Switching Protocols\n\n> nonsense\n```",
    ] {
        assert!(parse(block).is_err(), "{block}");
    }
}
