//! The REST interface: rooms and client tokens under `/v2`, for the application's backend.
//!
//! Every request but a token refresh and `GET /healthz` carries the API key as bearer token (RFC 6750). Bodies are JSON,
//! whatever their content type; a field that is not known is skipped. Single replies are `{data: {…}}`, lists
//! `{data: […], meta: {…}}`, refusals an [`ApiError`].
//!
//! It does not speak to participants and knows no media: what concerns a running session goes through [`LiveRooms`].

use std::{fmt, pin::Pin, sync::Arc};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State},
    http::{Method, Uri},
    middleware,
    routing::{get, post},
};
use roomful_sfu::{ModerationError, ModerationRequest};
use roomful_types::RoomId;
use serde_json::json;
use uuid::Uuid;

use self::{
    auth::require_api_key,
    body::{Fields, RoomName},
    query::ListQuery,
};
use crate::{
    error::{ApiError, MAX_BODY_BYTES},
    store::{Room, Store},
    token::TokenAuthority,
};

mod auth;
mod body;
mod query;
mod rooms;
mod sessions;
mod tokens;
mod view;

pub(crate) use auth::ApiKey;

/// Tells the current time, in milliseconds since 1970.
pub(crate) type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Draws 16 bytes that nobody can guess.
pub(crate) type RandomBytes = Arc<dyn Fn() -> [u8; 16] + Send + Sync>;

/// What the REST interface works with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    /// Where rooms are kept.
    pub store: Arc<dyn Store>,
    /// Signs and verifies client tokens; made from the same key as `api_key`.
    pub tokens: Arc<TokenAuthority>,
    /// The running sessions.
    pub live_rooms: Arc<dyn LiveRooms>,
    /// The key that requests must carry.
    pub api_key: ApiKey,
    /// What a room gets when the request does not say.
    pub defaults: RoomDefaults,
    /// The wall clock.
    pub clock: Clock,
    /// The source of ids.
    pub random: RandomBytes,
}

impl Api {
    fn now_unix_ms(&self) -> u64 {
        (self.clock)()
    }

    fn random(&self) -> [u8; 16] {
        (self.random)()
    }

    /// Finds a room by its id or its unique name. A name never reads as an id.
    fn room(&self, name: &str) -> Result<Room, ApiError> {
        let found = match name.parse() {
            Ok(id) => self.store.room(id),
            Err(_) => self.store.room_by_name(name),
        };
        found.ok_or_else(|| ApiError::room_not_found(name))
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("store", &self.store)
            .field("live_rooms", &self.live_rooms)
            .field("defaults", &self.defaults)
            .finish_non_exhaustive()
    }
}

/// What a room gets when the request does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RoomDefaults {
    /// How many may be in a room at a time; ≥ 1. 100 by default, and no ceiling is built in; the cost of a room grows
    /// with what its participants subscribe to.
    pub max_participants: u32,
}

impl Default for RoomDefaults {
    fn default() -> Self {
        Self { max_participants: 100 }
    }
}

/// What a moderator's wish comes to.
pub(crate) type Moderated = Pin<Box<dyn Future<Output = Result<(), ModerationError>> + Send>>;

/// The running sessions of rooms, as the REST interface sees them. Calls must not block.
pub(crate) trait LiveRooms: fmt::Debug + Send + Sync {
    /// Returns the session that runs in a room now.
    fn active_session(&self, room: RoomId) -> Option<Uuid>;

    /// The room was deleted: whoever is in must go.
    fn room_deleted(&self, room: RoomId);

    /// Does to a session what a moderator wants.
    ///
    /// # Errors
    /// See [`ModerationError`]; nothing was done then.
    fn moderate(&self, session: Uuid, request: ModerationRequest) -> Moderated;
}

/// Makes the routes.
///
/// The router has a fallback for unknown paths and for unknown methods of its own paths, both in the shape of
/// [`ApiError`]. Routes that are merged into it share the first; another fallback must not be merged in.
pub(crate) fn router(api: Api) -> Router {
    type S = State<Api>;
    let with_key = Router::new()
        .route(
            "/v2/rooms",
            post(async |State(api): S, fields: Fields| rooms::create(&api, fields))
                .get(async |State(api): S, query: ListQuery| rooms::list(&api, &query)),
        )
        .route(
            "/v2/rooms/{id}",
            get(async |State(api): S, RoomName(name)| rooms::show(&api, &name))
                .patch(async |State(api): S, RoomName(name), fields: Fields| {
                    rooms::update(&api, &name, fields)
                })
                .delete(async |State(api): S, RoomName(name)| rooms::delete(&api, &name)),
        )
        .route(
            "/v2/rooms/{id}/actions/generate_join_client_token",
            post(async |State(api): S, RoomName(name), fields: Fields| tokens::generate(&api, &name, fields)),
        )
        .route(
            "/v2/room_sessions/{session}/actions/{action}",
            post(async |State(api): S, Path(path): Path<sessions::SessionPath>, fields: Fields| {
                sessions::act(&api, path, fields).await
            }),
        )
        .route(
            "/v2/room_sessions/{session}/participants/{participant}/streams/{key}/actions/{action}",
            post(async |State(api): S, Path(path): Path<sessions::StreamPath>, fields: Fields| {
                sessions::act_on_stream(&api, path, fields).await
            }),
        )
        .route_layer(middleware::from_fn_with_state(api.clone(), require_api_key));
    let without_key = Router::new()
        .route(
            "/v2/rooms/{id}/actions/refresh_client_token",
            post(async |State(api): S, RoomName(name), fields: Fields| tokens::refresh(&api, &name, fields)),
        )
        .route("/healthz", get(async || Json(json!({"status": "ok"}))));
    with_key
        .merge(without_key)
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            ApiError::method_not_allowed(&method, uri.path())
        })
        .fallback(async |uri: Uri| ApiError::route_not_found(uri.path()))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(api)
}

#[cfg(test)]
mod tests;
