//! Serves HTTP/1.1. The accept loop is our own: the limits of a connection, the number of
//! connections and the fast path come before the router, and axum's own loop has no place for them.
//! TLS is not served here; a proxy in front of the service does that.

use std::{future::ready, time::Duration};

use axum::{Router, response::Response};
use futures_util::{TryFutureExt as _, future::Either};
use http::{Request, StatusCode, header};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown, service::TowerToHyperService};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::http::{
    connections::Connections,
    limits::{Answering, BodyInTime, ClientStream, Limits},
    observe::Guard,
};

const MAX_HEAD_BYTES: usize = 64 << 10;
/// The pause after a failed `accept`.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Serves on `listener` until `shutdown`, then finishes the answers in flight. Requests that
/// neither `guard` nor `fast_path` answers go to the router.
pub async fn serve(
    listener: TcpListener,
    guard: Guard,
    fast_path: impl Fn(&Request<Incoming>) -> Option<Response> + Clone + Send + 'static,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let connections = Connections::new(limits.connections, guard.closed_connections());
    let graceful = GracefulShutdown::new();
    let http = http1();
    let mut http_once = http1();
    http_once.keep_alive(false);
    // One connection is accepted and waits for its place; further ones wait in the queue of the
    // kernel.
    let next = async || {
        let stream = accept(&listener).await;
        (stream, connections.admit().await)
    };
    while let Some((stream, place)) = shutdown.run_until_cancelled(next()).await {
        let (fast_path, router) = (fast_path.clone(), TowerToHyperService::new(router.clone()));
        let (guard, state, is_reserved) =
            (guard.clone(), place.state().clone(), place.is_reserved());
        let stream = ClientStream::new(stream, &limits, state.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            state.begin_request();
            let state = state.clone();
            let answering = |answer: Response| Answering::answer(answer, state);
            let refusal = guard.refuse(&request, is_reserved);
            match refusal.or_else(|| fast_path(&request)) {
                Some(response) => Either::Left(ready(Ok(answering(response)))),
                // Boxed, so that the future of a fast answer stays small.
                None => {
                    let request = request.map(|body| BodyInTime::new(body, limits));
                    let answer = router.call(request).map_ok(without_false_length);
                    Either::Right(Box::pin(answer.map_ok(answering)))
                }
            }
        });
        let http = if is_reserved { &http_once } else { &http };
        let connection = http.serve_connection(TokioIo::new(stream), service);
        // Watched before the task starts, so the shutdown below waits for each accepted connection.
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            tokio::select! {
                // The connection comes first, so that a request that has arrived is answered.
                biased;
                // A client that disconnects before its answer is not a failure of the service.
                _ = connection => {}
                () = place.closing() => {}
            }
        });
    }
    // Closed before the drain: a new client is refused at once and can use another replica, and
    // does not wait in a queue from which nothing is accepted any more.
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            "connections did not end within {:?} after the shutdown began; they are dropped",
            limits.drain
        );
    }
}

fn http1() -> http1::Builder {
    let mut http = http1::Builder::new();
    // `ClientStream` limits the time for a head. Without `pipeline_flush`: it would keep an answer
    // back while the head of the next request is incomplete, and an answer 400 for good.
    http.header_read_timeout(None).max_buf_size(MAX_HEAD_BYTES).max_header_size(MAX_HEAD_BYTES);
    http
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                // The most likely cause is that the process has no free file descriptor. During the
                // pause connections can end; without it, the loop would fail again at once.
                tracing::warn!("accepting a connection: {error}");
                tokio::time::sleep(ACCEPT_RETRY_PAUSE).await;
            }
        }
    }
}

/// Removes the `Content-Length: 0` that axum adds to each answer without a body. In a 304 this
/// header must be the length of the full answer, or absent (RFC 9110, 8.6).
fn without_false_length(mut response: Response) -> Response {
    if response.status() == StatusCode::NOT_MODIFIED {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}
