//! API.md with one thing changed, so that a test can see that each thing counts.

use serde_json::{Value, json};

use super::notation::{Example, Head, Kind, Step};

/// Every way in which `example` could be wrong in one place.
pub fn mutations(example: &Example) -> Vec<(String, Example)> {
    match &example.kind {
        Kind::Http { request, answer } => heads(answer)
            .into_iter()
            .map(|(what, answer)| {
                (
                    what,
                    with(
                        example,
                        Kind::Http {
                            request: request.clone(),
                            answer,
                        },
                    ),
                )
            })
            .collect(),
        Kind::WebSocket {
            request,
            answer,
            steps,
            leaving,
        } => {
            let kind = |answer: Head, steps: Vec<Step>| {
                with(
                    example,
                    Kind::WebSocket {
                        request: request.clone(),
                        answer,
                        steps,
                        leaving: *leaving,
                    },
                )
            };
            let mut all: Vec<_> = heads(answer)
                .into_iter()
                .map(|(what, answer)| (what, kind(answer, steps.clone())))
                .collect();
            for (index, step) in steps.iter().enumerate() {
                for (what, step) in step_mutations(step) {
                    let mut steps = steps.clone();
                    steps[index] = step;
                    all.push((what, kind(answer.clone(), steps)));
                }
            }
            all
        }
        Kind::Program { .. } => Vec::new(),
    }
}

fn with(example: &Example, kind: Kind) -> Example {
    Example {
        line: example.line,
        kind,
    }
}

fn heads(head: &Head) -> Vec<(String, Head)> {
    let mut all = vec![(
        "the status".to_owned(),
        Head {
            first: "HTTP/1.1 299 Odd".into(),
            ..head.clone()
        },
    )];
    for index in 0..head.headers.len() {
        let mut changed = head.clone();
        changed.headers[index].1.push('x');
        all.push((format!("the header {}", head.headers[index].0), changed));
    }
    for (what, body) in head.body.iter().flat_map(|body| values(body, "")) {
        all.push((
            what,
            Head {
                body: Some(body),
                ..head.clone()
            },
        ));
    }
    all
}

fn step_mutations(step: &Step) -> Vec<(String, Step)> {
    match step {
        Step::Send(_) => Vec::new(),
        Step::Close(code) => vec![("the close code".into(), Step::Close(code + 1))],
        Step::Events(events) => values(&Value::from(events.clone()), "")
            .into_iter()
            .filter_map(|(what, value)| Some((what, Step::Events(value.as_array()?.clone()))))
            .collect(),
    }
}

/// `value` with one leaf changed, one key taken away or one added.
fn values(value: &Value, key: &str) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    match value {
        Value::Object(object) => {
            for (name, inner) in object {
                let mut without = object.clone();
                without.remove(name);
                all.push((format!("without {name}"), without.into()));
                for (what, changed) in values(inner, name) {
                    let mut with = object.clone();
                    with.insert(name.clone(), changed);
                    all.push((what, with.into()));
                }
            }
            let mut more = object.clone();
            more.insert("surplus".into(), Value::Null);
            all.push((format!("a key more in {key}"), more.into()));
        }
        Value::Array(array) => {
            for (index, inner) in array.iter().enumerate() {
                for (what, changed) in values(inner, key) {
                    let mut with = array.clone();
                    with[index] = changed;
                    all.push((what, with.into()));
                }
            }
            let mut more = array.clone();
            more.push(json!({"type": "surplus"}));
            all.push((format!("an element more in {key}"), more.into()));
        }
        // A sentence's words are free, and so is a time; its being one is not.
        Value::String(text) if text == "…" => all.push((format!("{key} a number"), json!(1))),
        Value::Number(_) if key == "createTime" || key == "after" => {
            all.push((format!("{key} negative"), json!(-1)));
        }
        Value::String(text) => all.push((format!("{key} {text}"), json!(format!("{text}x")))),
        Value::Number(n) => all.push((format!("{key} {n}"), json!(n.as_u64().unwrap_or_default() + 1))),
        Value::Bool(is) => all.push((format!("{key} {is}"), json!(!is))),
        Value::Null => all.push((format!("{key} null"), json!(0))),
    }
    all
}
