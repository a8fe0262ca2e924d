//! What Levada says over HTTP: whether it is alive, its figures, and the REST API.
//!
//! Takes a [`Door`] (what there is to serve, and who may ask) and an address, and answers until it is
//! told to stop. The Iceberg catalog and the console are not here yet.
//!
//! Architecture invariant: it only reads; whatever changes something goes through the commands. It
//! reads no files and no git: revisions come in as values.

mod api;
mod metrics;
mod snapshot;

pub use api::auth::Token;
pub use snapshot::{Refused, Revision, Served, Snapshot};

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use levada_state::State;
use std::net::SocketAddr;
use tokio::sync::watch;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Everybody could ask from everywhere.
    #[error("listen on {address}, which is no loopback address, without a token")]
    Open {
        /// The address.
        address: SocketAddr,
    },
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

/// What there is to serve, and who may ask.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// The state of a worker; an API brings its own.
    pub state: Option<State>,
    /// The revisions of the API; `None`: there is no API. The newest one is served; requests that
    /// have begun keep theirs.
    pub served: Option<watch::Receiver<Served>>,
    /// What requests have to carry; `None`: nothing, and only loopback addresses are listened on.
    pub token: Option<Token>,
}

impl Door {
    /// Whether this door may be at an address.
    ///
    /// # Errors
    /// [`ServerError::Open`]
    pub fn check(&self, address: SocketAddr) -> Result<(), ServerError> {
        match address.ip().is_loopback() || self.token.is_some() {
            true => Ok(()),
            false => Err(ServerError::Open { address }),
        }
    }

    fn state(&self) -> Option<State> {
        let of_api = || self.served.as_ref().and_then(|served| served.borrow().state.clone());
        self.state.clone().or_else(of_api)
    }
}

/// Serves until `stop` turns true; `listening` is told the address, which may have asked for any port.
///
/// # Errors
/// [`ServerError::Open`]; the address can't be listened on, or the socket breaks.
pub async fn serve(
    door: Door,
    address: SocketAddr,
    mut stop: watch::Receiver<bool>,
    listening: impl FnOnce(SocketAddr),
) -> Result<(), ServerError> {
    door.check(address)?;
    let listener = tokio::net::TcpListener::bind(address).await;
    let listener = listener.map_err(|source| ServerError::Listen { address, source })?;
    listening(listener.local_addr().map_err(ServerError::Serve)?);
    let stopped = async move {
        // A sender that is gone stops the server, too.
        while !*stop.borrow() && stop.changed().await.is_ok() {}
    };
    // Answers are written whole: there is nothing to wait for.
    let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
    axum::serve(listener, router(door)).with_graceful_shutdown(stopped).await.map_err(ServerError::Serve)
}

fn router(door: Door) -> Router {
    let mut router = Router::new().route("/healthz", get(healthz)).route("/metrics", get(metrics));
    if door.served.is_some() {
        router = router.merge(api::router(&door));
    }
    let router = router.fallback(api::no_path).method_not_allowed_fallback(api::no_method);
    router.layer(from_fn_with_state(door.clone(), api::with_token)).with_state(door)
}

/// 200 while the state answers, and where there is none yet.
async fn healthz(Shared(door): Shared<Door>) -> impl IntoResponse {
    let Some(state) = door.state() else { return (StatusCode::OK, "ok, nothing is applied yet\n".to_owned()) };
    match state.generation_in_force().await {
        Ok(_) => (StatusCode::OK, "ok\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("the state does not answer: {error}\n")),
    }
}

async fn metrics(Shared(door): Shared<Door>) -> Response {
    let Some(state) = door.state() else {
        return (StatusCode::OK, [(CONTENT_TYPE, metrics::CONTENT)], String::new()).into_response();
    };
    match metrics::text(&state).await {
        Ok(text) => (StatusCode::OK, [(CONTENT_TYPE, metrics::CONTENT)], text).into_response(),
        Err(error) => {
            (StatusCode::SERVICE_UNAVAILABLE, [(CONTENT_TYPE, "text/plain")], format!("{error}\n")).into_response()
        }
    }
}
