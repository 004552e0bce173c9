//! Limits of connections: the time for the head and the body of a request, the time for which an
//! answer may stay unread, and the number of connections. [`serve`](super::serve) applies them;
//! [`connections`](super::connections) counts and closes connections.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{BoxError, body::Body as AnswerBody};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use super::connections::State;

/// The limits of a service's connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most open connections that may send any request.
    pub connections: usize,
    /// The longest wait for the head of a request, from the start of the connection or the last
    /// answer.
    pub head: Duration,
    /// The longest time for the whole body of a request.
    pub body: Duration,
    /// The longest time for which a client may read nothing of an answer.
    pub unread: Duration,
    /// The longest time for the answers in flight after the shutdown has begun.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            head: Duration::from_secs(30),
            body: Duration::from_secs(30),
            unread: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the body did not arrive in time")]
struct TooSlow;

/// The body of a request. It fails when it takes too long as a whole, even if it arrives steadily.
pub(crate) struct BodyInTime {
    body: Incoming,
    limit: Duration,
    /// Set at the first wait for the body, and not reset by data that arrives.
    end: Option<Pin<Box<Sleep>>>,
}

impl BodyInTime {
    pub(crate) fn new(body: Incoming, limit: Duration) -> Self {
        Self { body, limit, end: None }
    }
}

impl Body for BodyInTime {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let limit = self.limit;
        let end = self.end.get_or_insert_with(|| Box::pin(sleep(limit)));
        end.as_mut().poll(context).map(|()| Some(Err(TooSlow.into())))
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
}

impl Answering {
    pub(crate) fn new(body: AnswerBody, state: Arc<State>) -> Self {
        Self { body, state }
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

/// A connection that fails when the client reads nothing for too long.
pub(crate) struct ReadInTime {
    stream: TcpStream,
    limit: Duration,
    state: Arc<State>,
    /// Set while no more bytes can be written. Each written byte resets it, so a slow client is not
    /// disconnected while it reads.
    end: Option<Pin<Box<Sleep>>>,
}

impl ReadInTime {
    pub(crate) fn new(stream: TcpStream, limit: Duration, state: Arc<State>) -> Self {
        Self { stream, limit, state, end: None }
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
        let limit = self.limit;
        let end = self.end.get_or_insert_with(|| Box::pin(sleep(limit)));
        end.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for ReadInTime {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for ReadInTime {
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
