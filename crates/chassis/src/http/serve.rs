//! Serving HTTP/1.1: an accept loop of our own, because limits on a connection's first bytes,
//! headers and idleness, a cap on connections, and what need not pass the router, belong before it.

use std::{future::ready, sync::Arc, time::Duration};

use axum::{Router, response::Response};
use futures_util::{TryFutureExt as _, future::Either};
use http::{Request, StatusCode, header};
use hyper::{
    body::Incoming,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use crate::http::limits::{BodyInTime, Limits, ReadInTime};

/// Serves on `listener` until `shutdown`, then finishes what is in flight. What `quick` does not
/// answer goes to the router.
pub async fn serve(
    listener: TcpListener,
    quick: impl Fn(&Request<Incoming>) -> Option<Response> + Clone + Send + 'static,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(64 << 10)
        .pipeline_flush(true);
    loop {
        let permit = tokio::select! {
            () = shutdown.cancelled() => break,
            permit = permits.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
        };
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: give them time to come back.
                    tracing::warn!("accepting a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let _ = stream.set_nodelay(true);
        let (quick, router) = (quick.clone(), TowerToHyperService::new(router.clone()));
        let service = service_fn(move |request: Request<Incoming>| match quick(&request) {
            Some(response) => Either::Left(ready(Ok(response))),
            // In a box, or every quick answer would be moved about in the size of a routed one.
            None => {
                let request = request.map(|body| BodyInTime::new(body, limits.body));
                Either::Right(Box::pin(router.call(request).map_ok(without_false_length)))
            }
        });
        let stream = TokioIo::new(ReadInTime::new(stream, limits.unread));
        let connection = graceful.watch(http.serve_connection(stream, service));
        tokio::spawn(async move {
            // A client that goes away in the midst of something is not our failure.
            let _ = connection.await;
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("left connections that did not end within {:?}", limits.drain);
    }
}

/// The length of a 304 is that of the answer it stands for, or is not told (RFC 9110, 8.6); axum
/// tells 0 of whatever has no body.
fn without_false_length(mut response: Response) -> Response {
    if response.status() == StatusCode::NOT_MODIFIED {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}
