//! The OpenAPI document: what poem-openapi makes of the code, and what it cannot say.
//!
//! Clients are generated from it. So a request is described by what it has to be and by nothing more: whom the document
//! refuses the server refuses, too, but not the other way round (it counts bytes, and knows names that look alike). And an
//! answer may hold more than is described: keys and types of errors are added within version 1.

use poem_openapi::{OpenApi, OpenApiService, Webhook};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};
use strum::VariantArray;

use super::accounts::SECRET_MAX_BYTES;
use super::messages::{DEFAULT_PAGE, MAX_LAST, MAX_PAGE};
use crate::ids::{Nonce, RoomName, Seq, Username};
use crate::protocol::ErrorType;

/// The version of the format that the library's document has.
const VERSION: &str = "3.0.3";
/// What paths begin with, which a client has as the server's address.
const BASE: &str = "/api/v1";

/// A name of a person: no control characters, and not only spaces.
const USERNAME: &str = r"^[^\u0000-\u001f\u007f-\u009f]*[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000][^\u0000-\u001f\u007f-\u009f]*$";
/// A name of a room: no control characters, and no slash at either end.
const ROOM: &str =
    r"^[^/\u0000-\u001f\u007f-\u009f]([^\u0000-\u001f\u007f-\u009f]*[^/\u0000-\u001f\u007f-\u009f])?$";
/// A message's text: no U+0000, and not only white space.
const TEXT: &str = r"^[^\u0000]*[^\u0000\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000][^\u0000]*$";
const NONCE: &str = r"^[^\u0000]*$";

/// What an operation of any kind may be refused with.
const ALWAYS: [ErrorType; 5] = [
    ErrorType::BadBinding,
    ErrorType::BadHost,
    ErrorType::RateLimited,
    ErrorType::Internal,
    ErrorType::Unavailable,
];

/// What else this one may be refused with.
fn refusals(operation: &str) -> &'static [ErrorType] {
    use ErrorType::{
        BadOrigin, BadPassword, BadRoom, InvalidAuthToken, Overloaded, PasswordMatchFailed, TooLarge,
        UserExists, UserNotFound,
    };
    match operation {
        "signUp" => &[BadPassword, UserExists, TooLarge, Overloaded],
        "logIn" => &[UserNotFound, PasswordMatchFailed, TooLarge, Overloaded],
        "me" => &[InvalidAuthToken],
        "readHistory" => &[BadRoom, Overloaded],
        "sendMessage" => &[BadRoom, InvalidAuthToken, TooLarge, Overloaded],
        "followRoom" => &[BadRoom, InvalidAuthToken, BadOrigin],
        _ => &[],
    }
}

/// What a deployment may set, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub message_max_bytes: usize,
    pub password_min_bytes: usize,
}

/// The document of a deployment.
pub fn describe<T: OpenApi, W: Webhook>(service: &OpenApiService<T, W>, bounds: Bounds) -> String {
    let mut document: Value = serde_json::from_str(&service.spec()).unwrap_or_default();
    let mut paths = Map::new();
    for (path, operations) in entries(&mut document["paths"]) {
        entries(operations).for_each(|(_, operation)| describe_operation(operation));
        let path = path.strip_prefix(BASE).unwrap_or(path);
        paths.insert(path.to_owned(), operations.take());
    }
    let schemas = &mut document["components"]["schemas"];
    entries(schemas).for_each(|(name, schema)| describe_answer(name, schema));
    bound_fields(schemas, bounds);
    add(schemas, errors());
    let server = json!({ "url": BASE, "description": "the server that this document came from" });
    add(
        &mut document,
        json!({ "openapi": VERSION, "servers": [server], "paths": paths }),
    );
    serde_json::to_string(&Ordered(&document)).unwrap_or_default()
}

/// Its parameters, what it refuses, and whether it wants a token.
fn describe_operation(operation: &mut Value) {
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    parameters.into_iter().flatten().for_each(bound_parameter);
    let besides = refusals(operation["operationId"].as_str().unwrap_or_default());
    if let Some(responses) = operation["responses"].as_object_mut() {
        for kind in ALWAYS.iter().chain(besides) {
            let response = responses.entry(kind.status().to_string()).or_insert(Value::Null);
            *response = refusal(*kind, response["description"].as_str());
        }
    }
    for (_, response) in entries(&mut operation["responses"]) {
        // A charset is no part of what JSON is, and generators take it for another format.
        let body = response
            .get_mut("content")
            .and_then(|content| entries(content).next());
        if let Some(body) = body.map(|(_, body)| body.take()) {
            response["content"] = json!({ "application/json": body });
        }
    }
    if operation["security"].is_null() {
        operation["security"] = match besides.contains(&ErrorType::InvalidAuthToken) {
            true => json!([{}, { "token": [] }]),
            false => json!([]),
        };
    }
}

fn bound_parameter(parameter: &mut Value) {
    let bounds = match parameter["name"].as_str().unwrap_or_default() {
        "room" => json!({ "minLength": 1, "maxLength": RoomName::MAX_BYTES, "pattern": ROOM }),
        "before" | "after" => json!({ "format": "int64", "minimum": 0, "maximum": Seq::MAX.0 }),
        "limit" => json!({ "format": "int32", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE }),
        "last" => json!({ "format": "int32", "minimum": 0, "maximum": MAX_LAST }),
        "id" => json!({ "format": "uuid" }),
        _ => json!({}),
    };
    add(&mut parameter["schema"], bounds);
}

/// The response of this type's status, beside the others of which that is said.
fn refusal(kind: ErrorType, others: Option<&str>) -> Value {
    let name = kind.name();
    let mut headers = json!({});
    if matches!(kind.status(), 429 | 503) {
        headers["Retry-After"] = json!({
            "description": "Seconds, after which to try again.",
            "required": true,
            "schema": { "type": "integer", "format": "int32", "minimum": 1 },
        });
    }
    if kind == ErrorType::InvalidAuthToken {
        headers["WWW-Authenticate"] = json!({
            "description": "`Bearer`.",
            "required": true,
            "schema": { "type": "string" },
        });
    }
    json!({
        "description": others.map_or(format!("`{name}`"), |others| format!("{others}, `{name}`")),
        "headers": headers,
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Refusal" } } },
    })
}

/// Says of a schema, if it is an answer's, that there may be keys that are not known yet, and that `error` is null beside data.
fn describe_answer(name: &str, schema: &mut Value) {
    if matches!(name, "Credentials" | "MessageDraft") {
        return;
    }
    for (_, property) in entries(&mut schema["properties"]) {
        // Generators make 32 bits of a format that they don't know.
        if property["format"] == "uint64" {
            property["format"] = "int64".into();
        }
    }
    schema["additionalProperties"] = true.into();
    if name.starts_with("Envelope_") {
        schema["required"] = json!(["error", "data"]);
        schema["properties"]["error"] = json!({
            "description": "Null.",
            "nullable": true,
            "allOf": [{ "$ref": "#/components/schemas/ErrorBody" }],
        });
    }
}

/// A refusal. Its type is a string and no enum, since generated clients fail at a value that their enum does not have, and
/// types are added; the enum stands beside it, for its names.
fn errors() -> Value {
    let names: Vec<_> = ErrorType::VARIANTS.iter().map(|kind| kind.name()).collect();
    json!({
        "ErrorType": {
            "type": "string",
            "description": "The types of errors that there are by now. `TEXT_TOO_LONG` comes on a WebSocket alone.",
            "enum": names,
        },
        "ErrorBody": {
            "type": "object",
            "description": "Clients written for the first draft of the contract read the type at `Type`: it is there too, with the \
                            same value.",
            "required": ["type", "message"],
            "properties": {
                "type": {
                    "type": "string",
                    "description": "What to decide by: an `ErrorType`, or one that was added since; then the status says what to do.",
                    "x-extensible-enum": names,
                },
                "message": { "type": "string", "description": "A sentence for a developer." },
            },
            "additionalProperties": true,
        },
        "Refusal": {
            "type": "object",
            "required": ["error", "data"],
            "properties": {
                "error": { "$ref": "#/components/schemas/ErrorBody" },
                "data": { "type": "object", "nullable": true, "description": "Null." },
            },
            "additionalProperties": true,
        },
    })
}

/// A length here is one in characters. What is counted in bytes has at most as many characters, and at least a quarter.
fn bound_fields(schemas: &mut Value, bounds: Bounds) {
    let fields = [
        (
            "/Credentials/properties/username",
            json!({ "minLength": 1, "maxLength": Username::MAX_CHARS, "pattern": USERNAME }),
        ),
        (
            "/Credentials/properties/secret",
            json!({ "minLength": bounds.password_min_bytes.div_ceil(4), "maxLength": SECRET_MAX_BYTES }),
        ),
        (
            "/MessageDraft/properties/text",
            json!({ "minLength": 1, "maxLength": bounds.message_max_bytes, "pattern": TEXT }),
        ),
        (
            "/MessageDraft/properties/nonce",
            json!({ "minLength": 1, "maxLength": Nonce::MAX_CHARS, "pattern": NONCE }),
        ),
        ("/Message/properties/id", json!({ "format": "uuid" })),
    ];
    for (field, bounds) in fields {
        if let Some(field) = schemas.pointer_mut(field) {
            add(field, bounds);
        }
    }
}

/// What an object has; another value has nothing.
fn entries(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}

fn add(to: &mut Value, more: Value) {
    if let (Some(to), Value::Object(more)) = (to.as_object_mut(), more) {
        to.extend(more);
    }
}

/// A document whose fields stand in the order of `required`, which is that of their declaration. Generators make parameters of
/// them: by the alphabet, which is the order of a `Value`, a secret would come before the username.
struct Ordered<'a>(&'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Value::Object(object) = self.0 else {
            return match self.0 {
                Value::Array(items) => serializer.collect_seq(items.iter().map(Ordered)),
                plain => plain.serialize(serializer),
            };
        };
        let required = object.get("required").and_then(Value::as_array);
        let mut map = serializer.serialize_map(Some(object.len()))?;
        for (key, value) in object {
            match (key.as_str(), required, value) {
                ("properties", Some(required), Value::Object(fields)) => {
                    map.serialize_entry(key, &Fields { fields, required })?;
                }
                _ => map.serialize_entry(key, &Ordered(value))?,
            }
        }
        map.end()
    }
}

struct Fields<'a> {
    fields: &'a Map<String, Value>,
    required: &'a [Value],
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields: Vec<_> = self.fields.iter().collect();
        let place = |name: &str| self.required.iter().position(|required| required == name);
        fields.sort_by_key(|(name, _)| place(name).unwrap_or(usize::MAX));
        serializer.collect_map(fields.into_iter().map(|(name, field)| (name, Ordered(field))))
    }
}
