//! What is the same for everybody: made once, sent from memory, and not again to who has it.

use std::io::Write;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, StatusCode, header};
use poem::web::headers::{ETag, HeaderMapExt, IfNoneMatch};
use poem::{Body, Request, Response};

/// Beside an answer whose body is an asset's: it takes no memory of its own.
#[derive(Debug, Clone, Copy)]
pub struct Constant;

/// A document and how it is sent. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Asset(Arc<Document>);

#[derive(Debug)]
struct Document {
    kind: &'static str,
    /// Its Content-Security-Policy.
    policy: String,
    plain: Bytes,
    /// Made when it is asked for: not everybody who starts a replica reads its documentation.
    sent: [OnceLock<Sent>; 2],
}

/// The bytes of one encoding, and their name.
#[derive(Debug, Clone)]
struct Sent {
    bytes: Bytes,
    tag: Option<ETag>,
}

impl Asset {
    pub fn new(kind: &'static str, policy: String, body: impl Into<Bytes>) -> Self {
        Self(Arc::new(Document {
            kind,
            policy,
            plain: body.into(),
            sent: Default::default(),
        }))
    }

    /// Answers GET and HEAD; with 304 who has these very bytes.
    pub fn answer(&self, request: &Request) -> Response {
        let packed = takes_gzip(request.headers());
        let Sent { bytes, tag } = self.0.sent(packed);
        let known = request.headers().typed_get::<IfNoneMatch>();
        let is_known = matches!((&known, tag), (Some(known), Some(tag)) if !known.precondition_passes(tag));
        let mut response = Response::builder()
            .header(header::CONTENT_SECURITY_POLICY, &self.0.policy)
            .header(header::REFERRER_POLICY, "no-referrer")
            // Kept, and asked for again each time: a new release is seen at once, an old one costs its headers.
            .header(header::CACHE_CONTROL, "no-cache")
            .header(header::VARY, "Accept-Encoding");
        if !is_known {
            response = response.content_type(self.0.kind);
        }
        if packed && !is_known {
            response = response.header(header::CONTENT_ENCODING, "gzip");
        }
        let mut response = match is_known {
            true => response.status(StatusCode::NOT_MODIFIED).finish(),
            false => response.body(Body::from(bytes.clone())),
        };
        if let Some(tag) = tag {
            response.headers_mut().typed_insert(tag.clone());
        }
        response.set_data(Constant);
        response
    }
}

impl Document {
    fn sent(&self, packed: bool) -> &Sent {
        self.sent[usize::from(packed)].get_or_init(|| match packed {
            true => Sent::of(gzip(&self.plain)),
            false => Sent::of(self.plain.clone()),
        })
    }
}

impl Sent {
    fn of(bytes: Bytes) -> Self {
        let tag = format!("\"{}\"", super::page::digest(&bytes)).parse().ok();
        Self { bytes, tag }
    }
}

fn gzip(plain: &[u8]) -> Bytes {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    // A Vec takes whatever is written.
    let written = gzip.write_all(plain).and_then(|()| gzip.finish());
    written.map(Bytes::from).unwrap_or_default()
}

/// Whether `Accept-Encoding` has gzip, by its name or as whatever there is, and does not rule it out (RFC 9110, 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING);
    let codings = values.iter().filter_map(|value| value.to_str().ok());
    let (mut gzip, mut any) = (None, None);
    for coding in codings.flat_map(|value| value.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let wanted = weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0));
        match name {
            "*" => any = Some(wanted),
            name if name.eq_ignore_ascii_case("gzip") => gzip = Some(wanted),
            _ => {}
        }
    }
    gzip.or(any).unwrap_or(false)
}
