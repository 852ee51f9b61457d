//! Who may call: the one who knows the API key.

use std::{fmt, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};
use subtle::ConstantTimeEq;

use super::Api;
use crate::error::ApiError;

/// The API key of a server. Cheap to clone; never printed.
#[derive(Clone)]
pub(crate) struct ApiKey(Arc<[u8]>);

impl ApiKey {
    /// Takes the key as it stands in requests.
    #[must_use]
    pub(crate) fn new(key: &str) -> Self {
        Self(key.as_bytes().into())
    }

    /// Compares in a time that depends on the length of the key only, so that it cannot be guessed piece by piece. An
    /// empty key matches nothing.
    #[must_use]
    pub(crate) fn matches(&self, presented: &[u8]) -> bool {
        !self.0.is_empty() && bool::from(self.0.ct_eq(presented))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// Lets a request pass that carries the key, before its body is read.
pub(super) async fn require_api_key(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let key = bearer(request.headers())?;
    if !api.api_key.matches(key) {
        return Err(ApiError::unauthorized(
            "the api key in the authorization header is not that of this server",
        ));
    }
    Ok(next.run(request).await)
}

/// Takes what stands behind the scheme, whose case does not matter (RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Result<&[u8], ApiError> {
    let value = headers
        .get(header::AUTHORIZATION)
        .ok_or_else(|| ApiError::unauthorized("the request has no authorization header"))?
        .as_bytes();
    match value.split_at_checked(SCHEME.len()) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(SCHEME) => Ok(key.trim_ascii()),
        _ => Err(ApiError::unauthorized("the authorization header is not of the scheme Bearer")),
    }
}

const SCHEME: &[u8] = b"Bearer ";
