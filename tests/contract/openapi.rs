//! The OpenAPI document against the contract and against what the server does. What is generated from it is tried by
//! tests/openapi/run.

use std::collections::{BTreeMap, BTreeSet};

use chat_gateway::http::Bounds;
use chat_gateway::protocol::ErrorType;
use serde_json::{Value, json};
use strum::VariantArray;
use testkit::{Backend, Cluster, Options, Replica};

use super::http::Api;
use super::raw::{Raw, handshake};
use crate::binary;

const BOUNDS: Bounds = Bounds {
    message_max_bytes: 4096,
    password_min_bytes: 1,
};

fn document(bounds: Bounds) -> Value {
    serde_json::from_str(&chat_gateway::http::openapi(bounds)).expect("JSON")
}

/// Each with its method and path.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let mut all = Vec::new();
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().expect("operations") {
            all.push((method.as_str(), path.as_str(), operation));
        }
    }
    all
}

fn schemas(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    document["components"]["schemas"]
        .as_object()
        .expect("schemas")
        .iter()
}

/// What of a text stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_document_names_each_operation_and_says_who_may() {
    let document = document(BOUNDS);
    assert_eq!(document["servers"][0]["url"], "/api/v1");
    let said: BTreeMap<_, _> = operations(&document)
        .into_iter()
        .map(|(_, _, operation)| {
            let name = operation["operationId"].as_str().expect("a name");
            (name, operation["security"].to_string())
        })
        .collect();
    let (nobody, token, either) = ("[]", r#"[{"token":[]}]"#, r#"[{},{"token":[]}]"#);
    let expected = [
        ("followRoom", either),
        ("logIn", nobody),
        ("me", token),
        ("readHistory", nobody),
        ("sendMessage", token),
        ("signUp", nobody),
    ];
    assert_eq!(
        said.len(),
        operations(&document).len(),
        "a name that is not used twice"
    );
    assert_eq!(
        said,
        expected
            .map(|(name, security)| (name, security.to_owned()))
            .into()
    );
    assert_eq!(
        document["components"]["securitySchemes"]["token"]["scheme"],
        "bearer"
    );
}

/// Go makes `NewUser` and `NullableUser` of `User`, and languages differ in how they write a name.
#[test]
fn names_of_the_document_do_not_collide_in_generated_code() {
    let document = document(BOUNDS);
    let plain = |name: &str| name.replace(['_', '-'], "").to_lowercase();
    let names: BTreeSet<_> = schemas(&document).map(|(name, _)| plain(name)).collect();
    assert_eq!(names.len(), schemas(&document).count(), "{names:?}");
    for name in &names {
        for made in [
            format!("new{name}"),
            format!("nullable{name}"),
            format!("new{name}withdefaults"),
        ] {
            assert!(!names.contains(&made), "{made} is made of {name}");
        }
    }
    for (name, schema) in schemas(&document) {
        let properties = schema["properties"].as_object().into_iter().flatten();
        let mut seen = BTreeSet::new();
        for (property, _) in properties {
            assert!(
                seen.insert(plain(property)),
                "{name} has {property} in two spellings"
            );
        }
    }
}

#[test]
fn error_types_of_the_document_are_the_protocol_s_and_api_md_s() {
    let document = document(BOUNDS);
    let types: Vec<_> = ErrorType::VARIANTS.iter().map(|kind| kind.name()).collect();
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["ErrorType"]["enum"], json!(types));
    let stands_open = &schemas["ErrorBody"]["properties"]["type"];
    assert_eq!(stands_open["x-extensible-enum"], json!(types));
    assert!(stands_open["enum"].is_null() && stands_open["type"] == "string");
    for operation in operations(&document) {
        for (status, name) in refusals(operation.2) {
            let kind = ErrorType::VARIANTS.iter().find(|kind| kind.name() == name);
            assert_eq!(
                kind.map(|kind| kind.status()),
                Some(status),
                "{name} at {operation:?}"
            );
        }
    }
    // | `BAD_ROOM` | 400 | …
    let table: BTreeMap<_, _> = include_str!("../../API.md")
        .lines()
        .filter_map(|line| {
            let mut cells = line
                .strip_prefix("| `")?
                .split('|')
                .map(|cell| cell.trim().trim_matches('`'));
            Some((cells.next()?, cells.next()?.parse::<u16>().ok()?))
        })
        .collect();
    for kind in ErrorType::VARIANTS {
        let listed = *kind != ErrorType::TextTooLong; // which the table of events has
        let status = listed.then(|| kind.status());
        assert_eq!(
            table.get(kind.name()).copied(),
            status,
            "{} in API.md",
            kind.name()
        );
    }
}

/// Keys, types of errors and larger numbers come within version 1, and generated code has to live with them.
#[test]
fn answers_of_the_document_may_grow() {
    let document = document(BOUNDS);
    for (name, schema) in schemas(&document) {
        let asked = ["Credentials", "MessageDraft", "ErrorType"].contains(&name.as_str());
        assert_eq!(schema["additionalProperties"] == true, !asked, "{name}");
        for (property, schema) in schema["properties"].as_object().into_iter().flatten() {
            assert!(schema["enum"].is_null(), "{name}.{property} is closed");
            assert!(
                schema["type"] != "integer" || schema["format"] == "int64",
                "{name}.{property}"
            );
        }
    }
    for name in [
        "Envelope_User",
        "Envelope_Login",
        "Envelope_Message",
        "Envelope_History",
    ] {
        let envelope = &document["components"]["schemas"][name];
        assert_eq!(envelope["required"], json!(["error", "data"]), "{name}");
        assert_eq!(envelope["properties"]["error"]["nullable"], true, "{name}");
    }
    let refusal = &document["components"]["schemas"]["Refusal"];
    assert_eq!(refusal["required"], json!(["error", "data"]));
    assert_eq!(refusal["properties"]["data"]["nullable"], true);
}

#[test]
fn what_can_be_said_of_a_request_is() {
    let field = |document: &Value, pointer: &str| {
        let found = document["components"]["schemas"].pointer(pointer);
        found.cloned().unwrap_or_default()
    };
    let said = document(BOUNDS);
    for (pointer, least, most) in [
        ("/Credentials/properties/username", 1, 64),
        ("/Credentials/properties/secret", 1, 1024),
        ("/MessageDraft/properties/text", 1, 4096),
        ("/MessageDraft/properties/nonce", 1, 64),
    ] {
        let field = field(&said, pointer);
        assert_eq!(
            (&field["minLength"], &field["maxLength"]),
            (&json!(least), &json!(most)),
            "{pointer}"
        );
    }
    // A deployment's document says what the deployment has set: 8 bytes may be two characters.
    let own = document(Bounds {
        message_max_bytes: 100,
        password_min_bytes: 8,
    });
    assert_eq!(field(&own, "/MessageDraft/properties/text/maxLength"), 100);
    assert_eq!(field(&own, "/Credentials/properties/secret/minLength"), 2);
    // What Go makes the parameters of a constructor of: by the alphabet the secret would come first.
    let text = chat_gateway::http::openapi(BOUNDS);
    let (username, secret) = (text.find("\"username\":{"), text.find("\"secret\":{"));
    assert!(
        username.is_some() && username < secret,
        "fields stand in the order of their declaration"
    );
    for (method, path, operation) in operations(&said) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let schema = &parameter["schema"];
            let bounded = ["maxLength", "maximum", "format"]
                .iter()
                .any(|key| !schema[key].is_null());
            assert!(bounded, "{method} {path}: {parameter}");
            assert!(
                schema["type"] != "integer" || schema["minimum"].is_u64(),
                "{parameter}"
            );
        }
    }
}

/// Status and type of each refusal that the document gives an operation.
fn refusals(operation: &Value) -> BTreeSet<(u16, String)> {
    let responses = operation["responses"].as_object().expect("responses");
    let of = |(status, response): (&String, &Value)| {
        let status: u16 = status.parse().expect("a status");
        let names = quoted(response["description"].as_str().unwrap_or_default());
        names.map(|name| (status, name.to_owned())).collect::<Vec<_>>()
    };
    responses
        .iter()
        .flat_map(of)
        .filter(|(status, _)| *status >= 400)
        .collect()
}

/// A request that succeeds, in parts that can be spoilt.
#[derive(Clone)]
struct Request<'a> {
    operation: &'a str,
    room: &'a str,
    headers: Vec<(&'static str, String)>,
    body: Value,
}

impl<'a> Request<'a> {
    fn of(operation: &'a str, username: &str, token: &str) -> Self {
        let mut headers = vec![("Host", "127.0.0.1".to_owned())];
        if ["me", "sendMessage", "followRoom"].contains(&operation) {
            headers.push(("Authorization", format!("Bearer {token}")));
        }
        let body = match operation {
            "signUp" => json!({"username": format!("{username} {operation}"), "secret": "correct horse"}),
            "logIn" => json!({"username": username, "secret": "correct horse"}),
            "sendMessage" => json!({"text": "hello"}),
            _ => Value::Null,
        };
        Self {
            operation,
            room: "described",
            headers,
            body,
        }
    }

    /// Spoilt so that it would be refused with this type, if this operation can be; `None`: by other means alone.
    fn spoilt(&self, kind: ErrorType) -> Option<Self> {
        let mut spoilt = self.clone();
        let headers = &mut spoilt.headers;
        match kind {
            ErrorType::BadBinding => headers.push(("Host", "127.0.0.1".to_owned())),
            ErrorType::BadHost => headers[0].1 = "elsewhere.example".to_owned(),
            ErrorType::BadOrigin => headers.push(("Origin", "https://elsewhere.example".to_owned())),
            ErrorType::BadRoom => spoilt.room = "%2e%2e",
            ErrorType::TooLarge => headers.push(("Content-Length", "1000000".to_owned())),
            ErrorType::BadPassword => spoilt.body["secret"] = "".into(),
            ErrorType::UserExists => spoilt.body["username"] = "described".into(),
            ErrorType::UserNotFound => spoilt.body["username"] = "nobody".into(),
            ErrorType::PasswordMatchFailed => spoilt.body["secret"] = "battery staple".into(),
            ErrorType::InvalidAuthToken => {
                headers.retain(|(name, _)| *name != "Authorization");
                headers.push(("Authorization", "Bearer forged".to_owned()));
            }
            _ => return None,
        }
        Some(spoilt)
    }

    async fn ask(&self, replica: &Replica) -> Option<(u16, String)> {
        let path = match self.operation {
            "signUp" => "POST /api/v1/users".to_owned(),
            "logIn" => "POST /api/v1/login".to_owned(),
            "me" => "GET /api/v1/users/me".to_owned(),
            "sendMessage" => format!("POST /api/v1/rooms/{}/messages", self.room),
            "readHistory" => format!("GET /api/v1/rooms/{}/messages", self.room),
            _ => String::new(),
        };
        let mut text = match path.is_empty() {
            false => format!("{path} HTTP/1.1\r\n"),
            true => {
                let text = handshake(replica, self.room, "", &[]);
                text.lines()
                    .filter(|line| !line.starts_with("Host"))
                    .map(|line| format!("{line}\r\n"))
                    .collect()
            }
        };
        text = text.trim_end().to_owned() + "\r\n";
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        let body = match &self.body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        if !self.headers.iter().any(|(name, _)| *name == "Content-Length") && !body.is_empty() {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        text += &format!("Content-Type: application/json\r\n\r\n{body}");
        let (head, answer) = Raw::ask(replica, &text).await;
        let refused = answer.filter(|answer| answer.status >= 400)?;
        let kind = refused.error["type"].as_str().expect("a type").to_owned();
        if [429, 503].contains(&head.status) {
            refused.refused(head.status, &kind, "with Retry-After");
        }
        Some((head.status, kind))
    }
}

/// Each that is documented comes, and each that comes is documented. What is not to be had by asking is: an overload has
/// tests of its own, INTERNAL would be a fault.
#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_of_the_document_comes_and_no_other() {
    let named = [("ALLOWED_HOSTS", "chat.example")];
    let plain = Cluster::start(binary(), Backend::Embedded, 1, &named).await;
    let busy = Cluster::start(
        binary(),
        Backend::Embedded,
        1,
        &[("LIMIT_REQUESTS_PER_SECOND", "1")],
    )
    .await;
    let away = Cluster::start_with(
        binary(),
        Options {
            proxied: true,
            ..Options::default()
        },
    )
    .await;
    let sign_up = async |cluster: &Cluster| {
        let api = Api::of(cluster.replica(0));
        api.sign_up("described", "correct horse").await.ok(201);
        let login = api.login("described", "correct horse").await.ok(200);
        login["token"].as_str().expect("a token").to_owned()
    };
    let (token, token_there) = (sign_up(&plain).await, sign_up(&away).await);
    away.database_proxy().refuse().await;
    away.database_proxy().cut();

    let document = document(BOUNDS);
    for (_, _, described) in operations(&document) {
        let operation = described["operationId"].as_str().expect("a name");
        let request = Request::of(operation, "described", &token);
        let mut came = BTreeSet::new();
        for spoilt in ErrorType::VARIANTS
            .iter()
            .filter_map(|kind| request.spoilt(*kind))
        {
            came.extend(spoilt.ask(plain.replica(0)).await);
        }
        for _ in 0..10 {
            came.extend(
                request
                    .ask(busy.replica(0))
                    .await
                    .filter(|(status, _)| *status == 429),
            );
        }
        came.extend(
            Request::of(operation, "described", &token_there)
                .ask(away.replica(0))
                .await,
        );
        let mut said = refusals(described);
        let fault = said.remove(&(500, "INTERNAL".to_owned()));
        said.remove(&(503, "OVERLOADED".to_owned()));
        assert!(fault, "{operation} may fail");
        assert_eq!(came, said, "{operation}: what came, and what is documented");
        for status in ["429", "503"] {
            let header = &described["responses"][status]["headers"]["Retry-After"];
            assert_eq!(header["required"], true, "{operation} {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_that_is_served_and_shown_has_the_limits_of_the_deployment() {
    let settings = [("MESSAGE_MAX_BYTES", "100"), ("PASSWORD_MIN_BYTES", "8")];
    let cluster = Cluster::start(binary(), Backend::Embedded, 1, &settings).await;
    let get = async |path: &str| {
        let url = format!("{}/api/v1/{path}", cluster.replica(0).base_url());
        let answer = testkit::http().get(url).send().await.expect("an answer");
        answer.text().await.expect("text")
    };
    let expected = chat_gateway::http::openapi(Bounds {
        message_max_bytes: 100,
        password_min_bytes: 8,
    });
    assert_eq!(get("openapi.json").await, expected);
    assert!(get("docs/openapi").await.contains(&expected), "the page shows it");
}
