//! What a request is refused with: the findings format of `levada check --format json`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request has no answer.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: Option<String>,
}

/// Findings, as all commands print them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Findings {
    pub(crate) findings: Vec<Finding>,
}

/// One finding.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Finding {
    /// Stable; `E-API-…` for requests.
    code: String,
    /// `error` or `warning`.
    severity: String,
    /// What it is about.
    address: Option<String>,
    /// A sentence.
    message: String,
    /// What to do.
    hint: Option<String>,
    /// From the model's root.
    file: Option<String>,
    /// From 1.
    line: Option<u32>,
    /// From 1, in characters.
    column: Option<u32>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), hint: None }
    }

    /// 404: nothing is served under this path.
    pub(crate) fn no_path(path: &str) -> Self {
        let problem = Self::new(StatusCode::NOT_FOUND, "E-API-001", format!("nothing is served at {path}"));
        problem.hint("GET /openapi.json has all paths")
    }

    /// 404: the model has no such thing.
    pub(crate) fn unknown(what: &str, name: &str) -> Self {
        let message = format!("there is no {what} {name} in this revision");
        Self::new(StatusCode::NOT_FOUND, "E-API-002", message).hint("GET /api/v1/search?q=PART finds names")
    }

    /// 400: a parameter can't be used.
    pub(crate) fn parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "E-API-003", message).hint("GET /openapi.json has all parameters")
    }

    /// 405: everything is read only.
    pub(crate) fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "E-API-004", "everything here is read only")
            .hint("use GET; what changes something are files in git and the commands")
    }

    /// 401: a token is needed.
    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "E-API-005", "this server asks for a token, and this one is not it")
            .hint("send `Authorization: Bearer TOKEN`")
    }

    /// 503: the state does not answer.
    pub(crate) fn state(error: &dyn std::error::Error) -> Self {
        let mut message = format!("failed to {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(&format!(": {error}"));
            cause = error.source();
        }
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "E-API-006", message)
    }

    /// 409: the model can't be planned on what is in force.
    pub(crate) fn no_plan(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "E-API-007", message).hint("`levada plan` has the findings with their places")
    }

    fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, code, message, hint } = self;
        let finding = Finding {
            code: code.to_owned(),
            severity: "error".to_owned(),
            address: None,
            message,
            hint,
            file: None,
            line: None,
            column: None,
        };
        let mut response = (status, json(&Findings { findings: vec![finding] })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A value as a JSON response.
pub(crate) fn json<T: Serialize>(value: &T) -> Response {
    let text = serde_json::to_string(value).expect("plain data with text keys always serialises");
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
