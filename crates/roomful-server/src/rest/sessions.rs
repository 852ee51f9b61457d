//! Sessions of rooms: what moderators do to them.

use axum::Json;
use roomful_sfu::{ModerationError, ModerationRequest, Selection};
use roomful_types::{MediaKind, ParticipantId, StreamKey};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Api, body::Fields};
use crate::error::ApiError;

/// A session, and what is done to it.
#[derive(Debug, Deserialize)]
pub(super) struct SessionPath {
    session: String,
    action: String,
}

/// A stream in a session, and what is done to it.
#[derive(Debug, Deserialize)]
pub(super) struct StreamPath {
    session: String,
    participant: String,
    key: String,
    action: String,
}

/// `end`, `kick`, `mute` and `unmute` of a whole session.
pub(super) async fn act(api: &Api, path: SessionPath, mut fields: Fields) -> Result<Json<Value>, ApiError> {
    let SessionPath { session, action } = path;
    let request = match action.as_str() {
        "end" => ModerationRequest::EndSession,
        "kick" => ModerationRequest::Kick(fields.selection()),
        "mute" | "unmute" => ModerationRequest::Censor {
            who: fields.selection(),
            stream: None,
            kind: fields.media_kind("kind").unwrap_or(MediaKind::Audio),
            censored: action == "mute",
        },
        _ => return Err(ApiError::action_not_found(&action)),
    };
    fields.finish()?;
    moderate(api, &session, request).await
}

/// `mute` and `unmute` of one stream.
pub(super) async fn act_on_stream(
    api: &Api,
    path: StreamPath,
    mut fields: Fields,
) -> Result<Json<Value>, ApiError> {
    let StreamPath { session, participant, key, action } = path;
    if !matches!(action.as_str(), "mute" | "unmute") {
        return Err(ApiError::action_not_found(&action));
    }
    let kind = fields.media_kind("kind").unwrap_or(MediaKind::Audio);
    fields.finish()?;
    let participant: ParticipantId =
        participant.parse().map_err(|_| ApiError::participant_not_found(&participant))?;
    let stream: StreamKey = key.parse().map_err(|_| ApiError::stream_not_found(&key))?;
    let who = Selection::These([participant].into());
    let censored = action == "mute";
    moderate(api, &session, ModerationRequest::Censor { who, stream: Some(stream), kind, censored }).await
}

async fn moderate(api: &Api, session: &str, request: ModerationRequest) -> Result<Json<Value>, ApiError> {
    let id: Uuid = session.parse().map_err(|_| ApiError::session_not_found(session))?;
    tracing::info!(session = %id, ?request, "moderation");
    match api.live_rooms.moderate(id, request).await {
        Ok(()) => Ok(Json(json!({"data": {"result": "ok"}}))),
        Err(ModerationError::UnknownSession) => Err(ApiError::session_not_found(session)),
        Err(ModerationError::UnknownParticipant(id)) => Err(ApiError::participant_not_found(&id.to_string())),
        Err(ModerationError::UnknownStream(id)) => Err(ApiError::stream_not_found(&id.to_string())),
    }
}
