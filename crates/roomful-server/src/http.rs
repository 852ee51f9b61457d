//! HTTP connections: each has its time to say what it wants.

use std::{io, time::Duration};

use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

/// How long to wait when the system has no descriptor left for another connection.
const BREATH: Duration = Duration::from_millis(200);

/// Serves connections until it is dropped, and all of them with it; those that became WebSockets go on.
///
/// * `patience`: how long a request, and the pause before it, may take to be said whole.
pub(crate) async fn serve(listener: TcpListener, router: Router, patience: Duration) {
    let router = router.layer(middleware::from_fn(move |request, next| in_time(request, next, patience)));
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve_one(stream, router.clone(), patience));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted; raise the limit of open files");
                sleep(BREATH).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_one(stream: TcpStream, router: Router, patience: Duration) {
    // Messages are small, and somebody waits for each.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(%error, "HTTP connection ended");
    }
}

/// Answers within a time, whatever becomes of the body.
async fn in_time(request: Request, next: Next, patience: Duration) -> Response {
    match timeout(patience, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What comes back for this on a connection that says nothing more.
    async fn answer(said: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("bound");
        let router = Router::new().route("/", post(async |body: String| body));
        let server = tokio::spawn(serve(listener, router, Duration::from_millis(100)));
        let mut stream = TcpStream::connect(address).await.expect("listens");
        stream.write_all(said).await.expect("connected");
        let mut text = String::new();
        let ended = timeout(Duration::from_secs(20), stream.read_to_string(&mut text)).await;
        ended.expect("it is ended").expect("with whole characters");
        server.abort();
        text
    }

    #[tokio::test]
    async fn who_says_nothing_or_half_of_it_is_not_waited_for() {
        assert_eq!(answer(b"").await, "");
        assert_eq!(answer(b"POST / HTTP/1.1\r\nhost: a\r\n").await, "");
        let half = answer(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab").await;
        assert!(half.starts_with("HTTP/1.1 408 "), "{half}");
        let whole = answer(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nabcde").await;
        assert!(whole.starts_with("HTTP/1.1 200 ") && whole.ends_with("abcde"), "{whole}");
    }
}
