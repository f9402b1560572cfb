//! Serving connections: HTTP/1.1 with deadlines and bounds that a slow or greedy peer cannot stretch.

use std::{fmt::Debug, future::Future, io, sync::Arc, time::Duration};

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The most connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4_096;
/// How long the head of a request may take to arrive; also how long a connection may be idle.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(30);
/// What is buffered of a request's head, and of a body that nobody reads, in bytes.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How long connections have after `shutdown` to finish their answers.
const FINISH_WAIT_MAX: Duration = Duration::from_secs(10);

/// Serves a listener, TCP or Unix, until `shutdown`; then answers what has begun, for ten seconds at most.
///
/// Set `TCP_NODELAY` with [`axum::serve::ListenerExt::tap_io`], so that log lines are not held back.
///
/// # Errors
///
/// None today: errors of single connections end these, and a listener that has no more descriptors waits for some.
pub async fn serve<L>(mut listener: L, router: Router, shutdown: impl Future<Output = ()>) -> io::Result<()>
where
    L: Listener,
    L::Addr: Debug,
{
    let connections = TaskTracker::new();
    let finish = CancellationToken::new();
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::pin!(shutdown);
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        // Dropping `accepted` loses no connection: accepting is its last step, and cancel-safe.
        let (permit, (stream, _)) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
        };
        let (router, finish) = (router.clone(), finish.clone());
        connections.spawn(async move {
            connection(stream, router, finish).await;
            drop(permit);
        });
    }
    drop(listener);
    finish.cancel();
    connections.close();
    if tokio::time::timeout(FINISH_WAIT_MAX, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(count = connections.len(), "connections were cut off");
    }
    Ok(())
}

async fn connection<S>(stream: S, router: Router, finish: CancellationToken)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = finish.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "connection ended early");
    }
}
