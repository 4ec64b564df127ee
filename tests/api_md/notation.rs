//! The notation of API.md's examples: fenced blocks that read like what goes over the wire.

use serde_json::Value;

/// One fenced block.
#[derive(Clone, Debug)]
pub struct Example {
    /// Where it begins in API.md, for messages.
    pub line: usize,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Http {
        request: Head,
        answer: Head,
    },
    WebSocket {
        request: Head,
        answer: Head,
        steps: Vec<Step>,
        leaving: bool,
    },
    Program {
        language: String,
        text: String,
    },
}

/// A first line, headers and a JSON body.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub first: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Value>,
}

impl Head {
    /// The word at `index` of the first line: method and path, or version and status.
    pub fn word(&self, index: usize) -> &str {
        self.first.split(' ').nth(index).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

#[derive(Clone, Debug)]
pub enum Step {
    /// `> {…}`
    Send(String),
    /// `< [{…}, …]`
    Events(Vec<Value>),
    /// `< close 4403`
    Close(u16),
}

/// All examples of a page; an error for a block that nothing would run.
pub fn parse(page: &str) -> Result<Vec<Example>, String> {
    let mut examples = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        let mut block = String::new();
        loop {
            match lines.next() {
                None => return Err(format!("line {}: the block does not end", number + 1)),
                Some((_, "```")) => break,
                Some((_, line)) => block.extend([line, "\n"]),
            }
        }
        let line = number + 1;
        let kind = parse_block(info, &block).map_err(|error| format!("line {line}: {error}"))?;
        examples.push(Example { line, kind });
    }
    Ok(examples)
}

fn parse_block(info: &str, block: &str) -> Result<Kind, String> {
    match info {
        "http" => {
            let (request, answer) = exchange(block)?;
            Ok(Kind::Http {
                request: head(request)?,
                answer: head(answer)?,
            })
        }
        "websocket" | "websocket leaving" => {
            let (request, rest) = exchange(block)?;
            let (answer, frames) = match rest.split_once("\n\n") {
                Some((answer, frames)) if frames.starts_with(['<', '>']) => (answer, frames),
                _ => (rest, ""),
            };
            let (answer, steps) = (head(answer)?, steps(frames)?);
            if answer.body.is_none() && steps.is_empty() {
                return Err("a WebSocket example needs frames, or a refusal's body".into());
            }
            Ok(Kind::WebSocket {
                request: head(request)?,
                answer,
                steps,
                leaving: info.ends_with("leaving"),
            })
        }
        "javascript" | "python" => Ok(Kind::Program {
            language: info.into(),
            text: block.into(),
        }),
        other => Err(format!("nothing runs a block of the kind {other:?}")),
    }
}

fn exchange(block: &str) -> Result<(&str, &str), String> {
    let at = block
        .find("\nHTTP/1.1 ")
        .ok_or("the answer is missing (a line HTTP/1.1 …)")?;
    let (request, answer) = block.split_at(at);
    Ok((request, answer.trim_start()))
}

fn head(text: &str) -> Result<Head, String> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let mut lines = head.trim_end().lines();
    let first = lines
        .next()
        .filter(|line| line.contains(' '))
        .ok_or("a first line is missing")?
        .to_owned();
    let headers = lines
        .map(|line| {
            line.split_once(": ")
                .ok_or_else(|| format!("not a header: {line}"))
        })
        .map(|header| header.map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect::<Result<_, _>>()?;
    let body = match body.trim() {
        "" => None,
        body => Some(serde_json::from_str(body).map_err(|error| format!("the body is not JSON: {error}"))?),
    };
    Ok(Head { first, headers, body })
}

fn steps(frames: &str) -> Result<Vec<Step>, String> {
    let mut steps: Vec<String> = Vec::new();
    for line in frames.lines().filter(|line| !line.trim().is_empty()) {
        if line.starts_with(['<', '>']) {
            steps.push(line.to_owned());
        } else {
            steps
                .last_mut()
                .ok_or("a frame begins with < or >")?
                .push_str(line);
        }
    }
    steps.iter().map(|step| parse_step(step)).collect()
}

fn parse_step(step: &str) -> Result<Step, String> {
    let not_json = |error| format!("not JSON: {error} in {step}");
    match step.split_at(1) {
        (">", frame) => {
            let frame = frame.trim();
            serde_json::from_str::<Value>(frame).map_err(not_json)?;
            Ok(Step::Send(frame.to_owned()))
        }
        (_, frame) => match frame.trim().strip_prefix("close ") {
            Some(code) => Ok(Step::Close(
                code.parse().map_err(|_| format!("not a close code: {code}"))?,
            )),
            None => Ok(Step::Events(serde_json::from_str(frame).map_err(not_json)?)),
        },
    }
}
