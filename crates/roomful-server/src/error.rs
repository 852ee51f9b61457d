//! The one shape in which the REST interface says what went wrong: `{errors: [{code, title, detail, source}]}`.

use std::fmt;

use axum::{
    Json,
    extract::rejection::{BytesRejection, PathRejection, QueryRejection},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{store::StoreError, token::TokenError};

/// A refusal: a status, and one or more reasons. `code` and `title` are stable; `detail` is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    problems: Vec<Problem>,
}

impl ApiError {
    /// 400: the body is not JSON.
    #[must_use]
    pub(crate) fn malformed_json(error: &serde_json::Error) -> Self {
        let detail = format!("the body is not JSON: {error}; send one JSON object or no body");
        Self::new(StatusCode::BAD_REQUEST, Problem::new("malformed_json", "malformed json", detail))
    }

    /// 400: the request cannot be read, for a reason that has no name of its own.
    #[must_use]
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Problem::new("bad_request", "bad request", detail))
    }

    /// 401: no API key, or a wrong one.
    #[must_use]
    pub(crate) fn unauthorized(seen: &str) -> Self {
        let detail =
            format!("{seen}; send the api key of this server in the header `authorization: Bearer KEY`");
        Self::new(StatusCode::UNAUTHORIZED, Problem::new("unauthorized", "not authenticated", detail))
    }

    /// 403: a refresh token is refused.
    #[must_use]
    pub(crate) fn token_refused(error: TokenError) -> Self {
        Self::refresh_refused(error.code(), error.to_string())
    }

    /// 403: a refresh token is good, but for another room.
    #[must_use]
    pub(crate) fn token_for_other_room() -> Self {
        let detail =
            "the token is for another room than the address; the application must name the token's own room";
        Self::refresh_refused("token_for_other_room", detail)
    }

    /// 404: no room with this id or unique name.
    #[must_use]
    pub(crate) fn room_not_found(name: &str) -> Self {
        let detail = format!(
            "no room has the id or unique name `{}`; list the rooms with GET /v2/rooms",
            excerpt(name)
        );
        Self::new(StatusCode::NOT_FOUND, Problem::new("room_not_found", "no such room", detail))
    }

    /// 404: no session with this id is active.
    #[must_use]
    pub(crate) fn session_not_found(id: &str) -> Self {
        let detail = format!(
            "no session with the id `{}` is active; the active session of a room is in its active_session_id",
            excerpt(id)
        );
        Self::new(StatusCode::NOT_FOUND, Problem::new("session_not_found", "no such session", detail))
    }

    /// 404: no such participant in the session.
    #[must_use]
    pub(crate) fn participant_not_found(id: &str) -> Self {
        let detail =
            format!("no participant with the id `{}` is in the session; nothing was done", excerpt(id));
        Self::new(StatusCode::NOT_FOUND, Problem::new("participant_not_found", "no such participant", detail))
    }

    /// 404: the participant publishes no such stream.
    #[must_use]
    pub(crate) fn stream_not_found(what: &str) -> Self {
        let detail = format!("no such stream is published by `{}`; nothing was done", excerpt(what));
        Self::new(StatusCode::NOT_FOUND, Problem::new("stream_not_found", "no such stream", detail))
    }

    /// 404: nothing of this name can be done.
    #[must_use]
    pub(crate) fn action_not_found(action: &str) -> Self {
        let detail = format!(
            "there is no action `{}`; a session has end, kick, mute and unmute, a stream mute and unmute",
            excerpt(action)
        );
        Self::new(StatusCode::NOT_FOUND, Problem::new("action_not_found", "no such action", detail))
    }

    /// 404: nothing is served at the path.
    #[must_use]
    pub(crate) fn route_not_found(path: &str) -> Self {
        let detail = format!("nothing is served at `{}`; rooms are at /v2/rooms", excerpt(path));
        Self::new(StatusCode::NOT_FOUND, Problem::new("route_not_found", "no such path", detail))
    }

    /// 405: the path has no such method. The reply's `allow` header lists those that it has.
    #[must_use]
    pub(crate) fn method_not_allowed(method: &Method, path: &str) -> Self {
        let detail = format!(
            "`{}` has no method {}; the allow header lists those that it has",
            excerpt(path),
            excerpt(method.as_str())
        );
        let problem = Problem::new("method_not_allowed", "method not allowed", detail);
        Self::new(StatusCode::METHOD_NOT_ALLOWED, problem)
    }

    /// 413: the body is longer than `limit` bytes.
    #[must_use]
    pub(crate) fn body_too_large(limit: usize) -> Self {
        let detail = format!("the body exceeds the limit of {limit} bytes; send a smaller one");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Problem::new("body_too_large", "body too large", detail))
    }

    /// 422: what is asked for cannot be; one problem for each field that is at fault.
    #[must_use]
    pub(crate) const fn unprocessable(problems: Vec<Problem>) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, problems }
    }

    /// 500: the server is at fault. What happened goes to the log, not to the caller.
    #[must_use]
    pub(crate) fn internal(what: &(dyn fmt::Display + '_)) -> Self {
        tracing::error!(%what, "request failed");
        let detail = "the server failed; its log has the reason; try again later";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Problem::new("internal", "server error", detail))
    }

    fn new(status: StatusCode, problem: Problem) -> Self {
        Self { status, problems: vec![problem] }
    }

    fn refresh_refused(code: &'static str, detail: impl Into<String>) -> Self {
        let problem = Problem::new(code, "refresh token refused", detail);
        Self::new(StatusCode::FORBIDDEN, problem.at(Source::Pointer("/refresh_token".to_owned())))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(Body { errors: &self.problems })).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §11.6.1 wants the scheme with every 401.
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { .. } => {
                Self::unprocessable(vec![Problem::new("too_many_rooms", "too many rooms", error.to_string())])
            }
            StoreError::NameTaken => Self::unprocessable(vec![
                Problem::new("unique_name_taken", "unique name taken", error.to_string())
                    .at(Source::Pointer("/unique_name".to_owned())),
            ]),
            StoreError::NotFound => Self::new(
                StatusCode::NOT_FOUND,
                Problem::new(
                    "room_not_found",
                    "no such room",
                    "the room was deleted meanwhile; create a new one",
                ),
            ),
            StoreError::IdTaken => Self::internal(&error),
        }
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Self::body_too_large(MAX_BODY_BYTES);
        }
        Self::bad_request("the body ended before it was complete; send the request again")
    }
}

impl From<PathRejection> for ApiError {
    fn from(_: PathRejection) -> Self {
        Self::bad_request(
            "the path is not UTF-8 once its percent signs are decoded; encode it as RFC 3986 says",
        )
    }
}

impl From<QueryRejection> for ApiError {
    fn from(_: QueryRejection) -> Self {
        Self::bad_request("the query is not a list of names and values; encode it as `name=value&name=value`")
    }
}

/// One reason of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    code: &'static str,
    title: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
}

impl Problem {
    /// Describes what is wrong.
    ///
    /// * `code`: a stable word for programs.
    /// * `title`: the same for people, the same text for the same code.
    /// * `detail`: what was seen, what is allowed, what to do.
    #[must_use]
    pub(crate) fn new(code: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { code, title, detail: detail.into(), source: None }
    }

    /// Names the part of the request that is at fault.
    #[must_use]
    pub(crate) fn at(self, source: Source) -> Self {
        Self { source: Some(source), ..self }
    }

    /// A field or parameter has a value that is not allowed.
    #[must_use]
    pub(crate) fn invalid(source: Source, detail: impl Into<String>) -> Self {
        Self::new("invalid_value", "value not allowed", detail).at(source)
    }

    /// A field that must be there is not.
    #[must_use]
    pub(crate) fn missing(source: Source, detail: impl Into<String>) -> Self {
        Self::new("missing_field", "field missing", detail).at(source)
    }

    /// A name is none of those that are known where a wrong one must not be skipped.
    #[must_use]
    pub(crate) fn unknown(source: Source, detail: impl Into<String>) -> Self {
        Self::new("unknown_name", "unknown name", detail).at(source)
    }
}

/// Where in the request a problem is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    /// In the body: a JSON pointer (RFC 6901).
    Pointer(String),
    /// In the query: the name of the parameter.
    Parameter(String),
}

/// The JSON around the reasons.
#[derive(Serialize)]
struct Body<'a> {
    errors: &'a [Problem],
}

/// Longest body of a request, in bytes: a context of 8 KiB in its most wasteful JSON, or the longest token, with room.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;

/// Shortens what a caller sent before it is repeated.
pub(crate) fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    if text.chars().nth(MAX_CHARS).is_none() {
        return text.to_owned();
    }
    text.chars().take(MAX_CHARS).chain(['…']).collect()
}
