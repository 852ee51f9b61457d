//! Client tokens: issue a pair for a room, and renew the first with the second.

use std::time::Duration;

use axum::{Json, http::StatusCode};

use super::{
    Api,
    body::Fields,
    view::{Data, RefreshedToken, TokenPair, rfc3339},
};
use crate::{
    error::ApiError,
    token::{JoinGrant, TokenKind, expiry_unix},
};

pub(super) fn generate(
    api: &Api,
    name: &str,
    mut fields: Fields,
) -> Result<(StatusCode, Json<Data<TokenPair>>), ApiError> {
    let room = api.room(name)?;
    let ttl = access_ttl(&mut fields);
    let refresh_ttl = seconds(&mut fields, "refresh_token_ttl_secs", 60, 86_400, 3600);
    let grant = JoinGrant {
        room: room.id,
        identity: fields.text("identity", JoinGrant::check_identity).flatten(),
        context: fields.text("context", JoinGrant::check_context).flatten(),
        permissions: fields.permissions("permissions"),
        grant: uuid::Builder::from_random_bytes(api.random()).into_uuid(),
    };
    fields.finish()?;
    let now = api.now_unix_ms();
    let pair = TokenPair {
        token: api.tokens.issue(&grant, TokenKind::Access, ttl, now, api.random()),
        token_expires_at: expires_at(ttl, now),
        refresh_token: api.tokens.issue(&grant, TokenKind::Refresh, refresh_ttl, now, api.random()),
        refresh_token_expires_at: expires_at(refresh_ttl, now),
        record_type: "client_token",
    };
    Ok((StatusCode::CREATED, Json(Data { data: pair })))
}

pub(super) fn refresh(
    api: &Api,
    name: &str,
    mut fields: Fields,
) -> Result<(StatusCode, Json<Data<RefreshedToken>>), ApiError> {
    let ttl = access_ttl(&mut fields);
    let token = fields.required_text("refresh_token");
    fields.finish()?;
    let now = api.now_unix_ms();
    let grant = api.tokens.verify_refresh(&token, now).map_err(ApiError::token_refused)?.grant;
    // Compared with the token's own room, so that a token does not tell which other rooms there are.
    let room = api.store.room(grant.room).ok_or_else(|| ApiError::room_not_found(name))?;
    let is_named = name.parse() == Ok(room.id) || room.unique_name.as_deref() == Some(name);
    if !is_named {
        return Err(ApiError::token_for_other_room());
    }
    let refreshed = RefreshedToken {
        token: api.tokens.issue(&grant, TokenKind::Access, ttl, now, api.random()),
        token_expires_at: expires_at(ttl, now),
    };
    Ok((StatusCode::CREATED, Json(Data { data: refreshed })))
}

fn access_ttl(fields: &mut Fields) -> Duration {
    seconds(fields, "token_ttl_secs", 10, 3600, 600)
}

fn seconds(fields: &mut Fields, name: &str, min: u32, max: u32, default: u32) -> Duration {
    let seconds = fields.integer(name, min..=max).flatten().unwrap_or(default);
    Duration::from_secs(seconds.into())
}

fn expires_at(ttl: Duration, now_unix_ms: u64) -> String {
    rfc3339(expiry_unix(ttl, now_unix_ms).saturating_mul(1000))
}
