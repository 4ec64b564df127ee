//! Whether an answer is what API.md shows: equal, but for ids, times and tokens, which are matched by shape and
//! must be the same wherever API.md shows the same one.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::notation::{Example, Head, Kind, Step};

/// What came back for an example.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    pub answer: Head,
    /// One list for each run of `<` lines: the events between two frames of ours.
    pub received: Vec<Vec<Value>>,
    pub closed: Option<u16>,
}

/// What the values of API.md are on this server.
#[derive(Default)]
pub struct Names {
    /// From the key and the value that API.md shows to the real value.
    real: HashMap<(String, String), Value>,
}

impl Names {
    /// `text` with API.md's tokens and ids replaced by the real ones.
    pub fn fill_in(&self, text: &str) -> String {
        let strings = self
            .real
            .iter()
            .filter_map(|((_, shown), real)| Some((shown, real.as_str()?)));
        strings.fold(text.to_owned(), |text, (shown, real)| {
            text.replace(shown.trim_matches('"'), real)
        })
    }

    fn same(&mut self, key: &str, shown: &Value, real: &Value) -> Result<(), String> {
        let name = (key.to_owned(), shown.to_string());
        if let Some(earlier) = self.real.get(&name) {
            let same = earlier == real;
            return same
                .then_some(())
                .ok_or(format!("{key} {shown} was {earlier} before and is {real} now"));
        }
        // Two messages may well be of the same millisecond.
        if key != "createTime" && self.real.iter().any(|((k, _), other)| k == key && other == real) {
            return Err(format!(
                "{key} {real} is shown as {shown}, and was shown as something else before"
            ));
        }
        self.real.insert(name, real.clone());
        Ok(())
    }
}

pub fn check(example: &Example, got: &Transcript, names: &mut Names) -> Result<(), String> {
    let result = match &example.kind {
        Kind::Http { answer, .. } => check_head(answer, &got.answer, names),
        Kind::WebSocket { answer, steps, .. } => check_session(answer, steps, got, names),
        Kind::Program { .. } => Ok(()),
    };
    result.map_err(|error| format!("API.md, line {}: {error}", example.line))
}

fn check_session(answer: &Head, steps: &[Step], got: &Transcript, names: &mut Names) -> Result<(), String> {
    check_head(answer, &got.answer, names)?;
    let offered = answer.header("sec-websocket-protocol").is_some();
    if got.answer.header("sec-websocket-protocol").is_some() != offered {
        return Err(format!("the subprotocol of {:?}", got.answer));
    }
    if steps.is_empty() {
        return Ok(());
    }
    let shown = runs(steps);
    if shown.len() != got.received.len() {
        return Err(format!(
            "{} runs of events are shown, {} came",
            shown.len(),
            got.received.len()
        ));
    }
    for (shown, came) in shown.into_iter().zip(&got.received) {
        // An ack may come before or after the message it is for; everything else has one order.
        let (mut shown, mut came) = (shown, came.clone());
        shown.sort_by_key(|event| event["type"] == "ack");
        came.sort_by_key(|event| event["type"] == "ack");
        same(&Value::from(shown), &Value::from(came), "", names)?;
    }
    let code = steps.iter().find_map(|step| {
        if let Step::Close(code) = step {
            Some(*code)
        } else {
            None
        }
    });
    if code != got.closed {
        return Err(format!("close {code:?} is shown, {:?} came", got.closed));
    }
    Ok(())
}

/// The events shown between two frames of ours.
pub fn runs(steps: &[Step]) -> Vec<Vec<Value>> {
    let mut runs = vec![Vec::new()];
    for step in steps {
        match (step, runs.last_mut()) {
            (Step::Events(events), Some(last)) => last.extend(events.iter().cloned()),
            (Step::Send(_), _) => runs.push(Vec::new()),
            _ => {}
        }
    }
    runs
}

fn check_head(shown: &Head, got: &Head, names: &mut Names) -> Result<(), String> {
    if shown.first != got.first {
        return Err(format!(
            "{} is shown, {} came: {:?}",
            shown.first, got.first, got.body
        ));
    }
    for (name, value) in &shown.headers {
        if got.header(name) != Some(&names.fill_in(value)) {
            return Err(format!("{name}: {value} is shown, {:?} came", got.header(name)));
        }
    }
    match (&shown.body, &got.body) {
        (Some(shown), Some(got)) => same(shown, got, "", names),
        (None, None) => Ok(()),
        (shown, got) => Err(format!("the body {shown:?} is shown, {got:?} came")),
    }
}

fn same(shown: &Value, got: &Value, key: &str, names: &mut Names) -> Result<(), String> {
    let differs = || Err(format!("{key}: {shown} is shown, {got} came"));
    match (shown, got) {
        (Value::Object(a), Value::Object(b)) => {
            // The seed's spelling, which API.md tells of once instead of showing it everywhere.
            let seed_spelling =
                |name: &String| key == "error" && name == "Type" && b.get("Type") == b.get("type");
            if a.keys().any(|k| !b.contains_key(k))
                || b.keys().any(|k| !a.contains_key(k) && !seed_spelling(k))
            {
                return differs();
            }
            a.iter()
                .try_for_each(|(name, value)| same(value, &b[name], name, names))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).try_for_each(|(a, b)| same(a, b, key, names))
        }
        (Value::String(a), Value::String(b)) if a == "…" && !b.trim().is_empty() => Ok(()),
        _ if ["id", "createTime", "token"].contains(&key) => {
            if !shape(key, shown, false) || !shape(key, got, true) {
                return differs();
            }
            names.same(key, shown, got)
        }
        (Value::Number(a), Value::Number(b)) if key == "after" && a.is_u64() && b.is_u64() => Ok(()),
        _ if shown == got => Ok(()),
        _ => differs(),
    }
}

fn shape(key: &str, value: &Value, real: bool) -> bool {
    match (key, value) {
        ("id", Value::Number(n)) => n.as_u64().is_some_and(|id| id > 0),
        ("id", Value::String(id)) => uuid::Uuid::parse_str(id).is_ok_and(|id| id.get_version_num() == 7),
        ("createTime", Value::Number(time)) => {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_millis();
            time.as_u64()
                .is_some_and(|time| !real || now.abs_diff(u128::from(time)) < 600_000)
        }
        ("token", Value::String(token)) => {
            let sound = |part: &str| {
                part.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            };
            token.split('.').count() == 3 && token.split('.').all(|part| !part.is_empty() && sound(part))
        }
        _ => false,
    }
}
