//! What Levada says over HTTP: whether it is alive, and its figures.
//!
//! Takes a [`State`] and an address, gives `/healthz` and `/metrics` until it is told to stop. The
//! REST API, the Iceberg catalog and the console are not here yet.
//!
//! Architecture invariant: it only reads; whatever changes something goes through the commands.

mod metrics;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use levada_state::State;
use std::net::SocketAddr;
use tokio::sync::watch;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is taken or not this machine's.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The listening socket broke.
    #[error("serve")]
    Serve(#[source] std::io::Error),
}

/// Serves until `stop` turns true.
///
/// `address` should be a loopback address: nobody is asked who they are.
///
/// # Errors
/// The address can't be listened on, or the socket breaks.
pub async fn serve(state: State, address: SocketAddr, mut stop: watch::Receiver<bool>) -> Result<(), ServerError> {
    let listener = tokio::net::TcpListener::bind(address).await;
    let listener = listener.map_err(|source| ServerError::Listen { address, source })?;
    let stopped = async move {
        // A sender that is gone stops the server, too.
        while !*stop.borrow() && stop.changed().await.is_ok() {}
    };
    axum::serve(listener, router(state)).with_graceful_shutdown(stopped).await.map_err(ServerError::Serve)
}

fn router(state: State) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/metrics", get(metrics)).with_state(state)
}

/// 200 while the state answers.
async fn healthz(Shared(state): Shared<State>) -> impl IntoResponse {
    match state.generation_in_force().await {
        Ok(_) => (StatusCode::OK, "ok\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("the state does not answer: {error}\n")),
    }
}

async fn metrics(Shared(state): Shared<State>) -> impl IntoResponse {
    match metrics::text(&state).await {
        Ok(text) => (StatusCode::OK, [(CONTENT_TYPE, metrics::CONTENT)], text),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, [(CONTENT_TYPE, "text/plain")], format!("{error}\n")),
    }
}
