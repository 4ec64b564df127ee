//! What a client may send: one JSON object a frame.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};

use super::{ErrorType, TraceContext};
use crate::ids::Nonce;

/// A client's command, valid.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Message(NewMessage),
    /// Is anybody there? Answered by a pong; not a write, so guests may ask too.
    Ping(Option<Nonce>),
}

/// What somebody wants to say.
#[derive(Debug, PartialEq, Eq)]
pub struct NewMessage {
    pub text: String,
    pub nonce: Option<Nonce>,
    /// Where the client's own trace goes on.
    pub trace: Option<TraceContext>,
}

/// A command that is refused; the connection stays.
#[derive(Debug, PartialEq, Eq)]
pub struct BadCommand {
    pub error: ErrorType,
    /// A sentence for the developer who sent it.
    pub message: String,
    /// The command's nonce, where it could be read.
    pub nonce: Option<Nonce>,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default, deserialize_with = "present", rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "present")]
    text: Option<String>,
    #[serde(default, deserialize_with = "present")]
    nonce: Option<String>,
    #[serde(borrow, default)]
    traceparent: Option<Traceparent<'a>>,
}

/// What is malformed is ignored, whatever its type.
#[derive(Deserialize)]
#[serde(untagged)]
enum Traceparent<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct NonceAlone {
    nonce: String,
}

/// An optional field that is there is not null.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// Reads an object. serde would take an array for a struct too. A byte order mark before it is passed over (RFC 8259 §8.1):
/// some clients cannot do without.
pub(crate) fn read_object<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, serde_json::Error> {
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    match json.trim_ascii_start().first() {
        Some(b'{') | None => serde_json::from_slice(json),
        Some(_) => Err(serde::de::Error::custom("expected an object")),
    }
}

/// Reads one frame's text. `max_bytes` bounds the message's text in UTF-8 bytes.
pub fn parse_command(frame: &str, max_bytes: usize) -> Result<Command, BadCommand> {
    let bad = |message: String, nonce| BadCommand {
        error: ErrorType::BadBinding,
        message,
        nonce,
    };
    let raw: Raw<'_> = match read_object(frame.as_bytes()) {
        Ok(raw) => raw,
        Err(e) => {
            // The sender waits for an answer to its nonce, whatever is wrong with the rest.
            let alone = read_object::<NonceAlone>(frame.as_bytes()).ok();
            let nonce = alone.and_then(|alone| Nonce::parse(alone.nonce).ok());
            let message = format!("the frame is not a command of the form {{\"text\": …}}: {e}");
            return Err(bad(message, nonce));
        }
    };
    let nonce = raw
        .nonce
        .map(Nonce::parse)
        .transpose()
        .map_err(|e| bad(e.to_string(), None))?;
    match raw.kind.as_deref() {
        None | Some("message") => {}
        Some("ping") => return Ok(Command::Ping(nonce)),
        Some(_) => {
            return Err(bad(
                "the type of a command is \"message\" or \"ping\"".to_owned(),
                nonce,
            ));
        }
    }
    let Some(text) = raw.text else {
        return Err(bad("a message has a `text`".to_owned(), nonce));
    };
    let trace = match &raw.traceparent {
        Some(Traceparent::Text(text)) => TraceContext::parse(text),
        Some(Traceparent::Other(_)) | None => None,
    };
    match check_text(&text, max_bytes) {
        Ok(()) => Ok(Command::Message(NewMessage { text, nonce, trace })),
        Err((error, message)) => Err(BadCommand {
            error,
            message,
            nonce,
        }),
    }
}

/// What a message may say: 1 to `max_bytes` bytes, not only white space, no U+0000.
pub fn check_text(text: &str, max_bytes: usize) -> Result<(), (ErrorType, String)> {
    if text.len() > max_bytes {
        return Err((
            ErrorType::TextTooLong,
            format!("the text has {} bytes, the limit is {max_bytes}", text.len()),
        ));
    }
    if text.trim().is_empty() {
        return Err((
            ErrorType::BadBinding,
            "the text is empty or only white space".to_owned(),
        ));
    }
    if text.contains('\0') {
        return Err((ErrorType::BadBinding, "the text contains U+0000".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(frame: &str) -> NewMessage {
        match parse_command(frame, 10) {
            Ok(Command::Message(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_message_is_text_and_perhaps_a_nonce() {
        let message = message(r#"{"text":"hi","nonce":"n1","type":"message","other":[1]}"#);
        assert_eq!(message.text, "hi");
        assert_eq!(message.nonce.unwrap().as_str(), "n1");
    }

    #[test]
    fn a_ping_is_a_type_and_perhaps_a_nonce() {
        assert_eq!(parse_command(r#"{"type":"ping"}"#, 10), Ok(Command::Ping(None)));
        let nonce = Nonce::parse("n1".to_owned()).unwrap();
        assert_eq!(
            parse_command(r#"{"type":"ping","nonce":"n1"}"#, 10),
            Ok(Command::Ping(Some(nonce)))
        );
    }

    #[test]
    fn a_malformed_traceparent_is_ignored() {
        for odd in [r#""nonsense""#, "7", "null", "[{}]"] {
            let message = message(&format!(r#"{{"text":"hi","traceparent":{odd}}}"#));
            assert_eq!(message.trace, None);
        }
        let valid =
            r#"{"text":"hi","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}"#;
        assert!(message(valid).trace.is_some());
    }

    #[test]
    fn malformed_commands_are_named() {
        let deep = format!("{{\"text\":{}", "[".repeat(10_000));
        for bad in [
            "",
            "hi",
            "[]",
            "{}",
            "null",
            r#"{"text":1}"#,
            r#"{"text":null}"#,
            r#"{"text":""}"#,
            r#"{"text":" \n"}"#,
            r#"{"text":"a\u0000b"}"#,
            r#"{"text":"a","nonce":null}"#,
            r#"{"text":"a","nonce":""}"#,
            r#"["hi"]"#,
            r#"{"text":"a","type":"join"}"#,
            r#"{"type":"message"}"#,
            r#"{"type":"ping","nonce":1}"#,
            r#"{"text":"a","text":"b"}"#,
            r#"{"text":"\ud800"}"#,
            &deep,
        ] {
            assert_eq!(
                parse_command(bad, 10).unwrap_err().error,
                ErrorType::BadBinding,
                "{bad}"
            );
        }
        let ill_typed = parse_command(r#"{"text":42,"nonce":"n"}"#, 10).unwrap_err();
        assert_eq!(ill_typed.nonce.unwrap().as_str(), "n");
        let long = parse_command(r#"{"text":"ééé","nonce":"n"}"#, 5).unwrap_err();
        assert_eq!(
            (long.error, long.nonce.unwrap().as_str()),
            (ErrorType::TextTooLong, "n")
        );
    }
}
