//! Limits of connections: the time for the body of a request, the time for which an answer may stay
//! unread, and the number of connections. [`serve`](super::serve) applies them; [`head`](super::head)
//! limits the wait for a request, and [`connections`](super::connections) counts and closes
//! connections.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{BoxError, body::Body as AnswerBody, response::Response};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};

use super::{connections::State, head::HeadTimer, lists::ListPlace};

/// The part of a body that must arrive in each [`Limits::pace`]. A client that sends less keeps its
/// connection busy on purpose, or is too slow to be served.
const MIN_BODY_BYTES: u64 = 4 << 10;

/// The limits of a service's connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most open connections that may send any request.
    pub connections: usize,
    /// The longest time for the head of a request, from the start of the connection or, on a
    /// connection that was idle, from its first byte.
    pub head: Duration,
    /// The longest time for which a connection may be idle between two requests.
    pub idle: Duration,
    /// The longest time for the whole body of a request.
    pub body: Duration,
    /// The time in which at least 4 KiB of a body must arrive, or the rest of it.
    pub pace: Duration,
    /// The longest time for which a client may read nothing of an answer.
    pub unread: Duration,
    /// The longest time for the answers in flight after the shutdown has begun.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            head: Duration::from_secs(6),
            idle: Duration::from_secs(30),
            body: Duration::from_secs(30),
            pace: Duration::from_secs(6),
            unread: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the body did not arrive in time")]
struct TooSlow;

/// The body of a request. It fails when it takes too long as a whole, even if it arrives steadily,
/// and earlier when it almost stops.
pub(crate) struct BodyInTime {
    body: Incoming,
    limits: Limits,
    /// Set at the first wait for the body.
    wait: Option<Wait>,
}

/// The wait for a body.
struct Wait {
    timer: Pin<Box<Sleep>>,
    /// The end of the time for the whole body.
    end: Instant,
    /// The bytes that have arrived since the timer was set.
    arrived: u64,
}

impl BodyInTime {
    pub(crate) fn new(body: Incoming, limits: Limits) -> Self {
        Self { body, limits, wait: None }
    }
}

impl Wait {
    fn new(limits: &Limits) -> Self {
        let pace = limits.pace.min(limits.body);
        Self { timer: Box::pin(sleep(pace)), end: Instant::now() + limits.body, arrived: 0 }
    }

    fn poll_too_slow(&mut self, pace: Duration, context: &mut Context<'_>) -> Poll<TooSlow> {
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            if now >= self.end || self.arrived < MIN_BODY_BYTES {
                return Poll::Ready(TooSlow);
            }
            self.arrived = 0;
            self.timer.as_mut().reset(self.end.min(now + pace));
        }
        Poll::Pending
    }
}

impl Body for BodyInTime {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            if let (Some(wait), Some(Ok(frame))) = (&mut this.wait, &frame) {
                wait.arrived += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let wait = this.wait.get_or_insert_with(|| Wait::new(&this.limits));
        wait.poll_too_slow(this.limits.pace, context).map(|slow| Some(Err(slow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer. Its connection is answering a request until this is dropped.
pub(crate) struct Answering {
    body: AnswerBody,
    state: Arc<State>,
    _place: Option<ListPlace>,
}

impl Answering {
    /// Returns the answer with this body, which also keeps the place of a list.
    pub(crate) fn answer(mut answer: Response, state: Arc<State>) -> http::Response<Self> {
        let place = answer.extensions_mut().remove::<ListPlace>();
        answer.map(|body| Self { body, state, _place: place })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.state.end_request();
    }
}

impl Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that fails when the client sends no request or reads no answer for too long.
pub(crate) struct ClientStream {
    stream: TcpStream,
    head: HeadTimer,
    unread: Duration,
    state: Arc<State>,
    /// Set while no more bytes can be written. Each written byte resets it, so a slow client is not
    /// disconnected while it reads.
    end: Option<Pin<Box<Sleep>>>,
}

impl ClientStream {
    pub(crate) fn new(stream: TcpStream, limits: &Limits, state: Arc<State>) -> Self {
        let head = HeadTimer::new(limits.head, limits.idle);
        Self { stream, head, unread: limits.unread, state, end: None }
    }

    fn in_time(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            if self.end.take().is_some() {
                self.state.set_unread(false);
            }
            return written;
        }
        if self.end.is_none() {
            self.state.set_unread(true);
        }
        let limit = self.unread;
        let end = self.end.get_or_insert_with(|| Box::pin(sleep(limit)));
        end.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        match read {
            Poll::Ready(_) => {
                this.head.note_bytes(&this.state);
                read
            }
            Poll::Pending => this
                .head
                .poll_too_late(&this.state, context)
                .map(|()| Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.in_time(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
