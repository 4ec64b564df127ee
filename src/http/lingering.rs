//! A body that its route did not want is read off and thrown away, within bounds: a client that is still sending when
//! its connection is closed sees a broken pipe, and not the answer that says why.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header;
use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::body::{Body, Frame, SizeHint};
use poem::Request;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

/// The most bytes that are read off.
const MOST: usize = 16 * 1024 * 1024;
/// How long that may take.
const LONGEST: Duration = Duration::from_secs(10);
/// How long a client may send nothing.
const PAUSE: Duration = Duration::from_secs(2);

struct Lingering {
    /// `None`: read to its end.
    rest: Option<BoxBody<Bytes, std::io::Error>>,
    tracker: TaskTracker,
}

/// Lets the request's body be read off by a task of `tracker` once it is dropped.
pub fn linger(request: &mut Request, tracker: &TaskTracker) {
    // Who asks first whether to send a body has the answer before it would.
    if request.headers().contains_key(header::EXPECT) {
        return;
    }
    let body = request.take_body();
    if body.is_empty() {
        return;
    }
    let lingering = Lingering {
        rest: Some(body.into()),
        tracker: tracker.clone(),
    };
    request.set_body(poem::Body::from(lingering.boxed()));
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(rest).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.rest = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.rest
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let Some(rest) = self.rest.take().filter(|rest| !rest.is_end_stream()) {
            self.tracker.spawn(read_off(rest));
        }
    }
}

async fn read_off(mut body: BoxBody<Bytes, std::io::Error>) {
    let end = Instant::now() + LONGEST;
    let mut left = MOST;
    while let Ok(Ok(Some(Ok(frame)))) = timeout_at(end, timeout(PAUSE, body.frame())).await {
        let read = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(read) {
            Some(less) => left = less,
            None => return,
        }
    }
}
