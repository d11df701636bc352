//! Answers: a JSON document, a text, nothing, or lines without end.
//!
//! Owns the body type of every answer. Must not know what the answers say.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::{Body, Frame};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Any answer of this door.
pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Chunks that wait for the connection to take them. A reader that stalls stops its writer here, and the bound of the
/// session's inbox applies.
const STREAM_CHUNKS_MAX: usize = 16;

/// A JSON document. Never cached: every answer is about this moment.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let bytes = serde_json::to_vec(value).expect("our own types have string keys and no failing serializer");
    with_type(status, "application/json", bytes.into())
}

/// A text of the given type.
pub(crate) fn with_type(status: StatusCode, media_type: &'static str, bytes: Bytes) -> Answer {
    finish(status, Some(media_type), Full::new(bytes).boxed_unsync())
}

/// Done, and nothing to say: 204.
pub(crate) fn no_content() -> Answer {
    finish(StatusCode::NO_CONTENT, None, Full::default().boxed_unsync())
}

/// An answer that goes on until its [`Writer`] is dropped.
pub(crate) fn stream(media_type: &'static str) -> (Writer, Answer) {
    let (chunks, reader) = mpsc::channel(STREAM_CHUNKS_MAX);
    let mut answer = finish(StatusCode::OK, Some(media_type), Chunks(reader).boxed_unsync());
    answer.extensions_mut().insert(Endless(chunks.downgrade()));
    (Writer(chunks), answer)
}

/// Marks an answer of [`stream`].
#[derive(Clone)]
pub(crate) struct Endless(mpsc::WeakSender<Bytes>);

impl Endless {
    pub(crate) fn of(answer: &Answer) -> Option<Endless> {
        answer.extensions().get().cloned()
    }

    /// Whether its [`Writer`] may have more to say.
    pub(crate) fn goes_on(&self) -> bool {
        self.0.strong_count() > 0
    }
}

fn finish(
    status: StatusCode,
    media_type: Option<&'static str>,
    body: UnsyncBoxBody<Bytes, Infallible>,
) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(media_type) = media_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    answer
}

/// The writing end of a streamed answer.
pub(crate) struct Writer(mpsc::Sender<Bytes>);

/// The connection of a streamed answer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

impl Writer {
    /// Writes a chunk once there is room for it.
    pub(crate) async fn write(&self, chunk: impl Into<Bytes>) -> Result<(), Gone> {
        self.0.send(chunk.into()).await.map_err(|_| Gone)
    }

    /// Until the connection is gone.
    pub(crate) async fn gone(&self) {
        self.0.closed().await;
    }
}

/// The reading end, as a body.
struct Chunks(mpsc::Receiver<Bytes>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}
