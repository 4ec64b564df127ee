//! Tokens that the server did not make.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::Value;

/// The claims of a token, read without its key.
pub fn claims(token: &str) -> Value {
    part(token, 1)
}

pub fn header(token: &str) -> Value {
    part(token, 0)
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).expect("three parts");
    serde_json::from_slice(&from_base64url(part)).expect("JSON")
}

pub fn sign(claims: &Value, secret: &str) -> String {
    sign_with(Algorithm::HS256, claims, secret)
}

pub fn sign_with(algorithm: Algorithm, claims: &Value, secret: &str) -> String {
    encode(
        &Header::new(algorithm),
        claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .expect("a token")
}

/// `alg: none` and an empty signature.
pub fn unsigned(claims: &Value) -> String {
    let header = br#"{"alg":"none","typ":"JWT"}"#;
    format!(
        "{}.{}.",
        to_base64url(header),
        to_base64url(claims.to_string().as_bytes())
    )
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn to_base64url(bytes: &[u8]) -> String {
    let encode = |chunk: &[u8]| {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        (0..=chunk.len())
            .map(|i| char::from(ALPHABET[(bits >> (18 - 6 * i)) as usize & 63]))
            .collect::<String>()
    };
    bytes.chunks(3).map(encode).collect()
}

fn from_base64url(text: &str) -> Vec<u8> {
    let value = |byte| {
        ALPHABET
            .iter()
            .position(|known| *known == byte)
            .expect("base64url") as u32
    };
    let decode = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0, |bits, byte| bits << 6 | value(*byte)) << (6 * (4 - chunk.len()));
        (0..chunk.len() - 1)
            .map(move |i| (bits >> (16 - 8 * i)) as u8)
            .collect::<Vec<_>>()
    };
    text.as_bytes().chunks(4).flat_map(decode).collect()
}
