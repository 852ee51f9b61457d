//! Rooms: make, list, show, change, delete.

use axum::{Json, http::StatusCode};
use roomful_types::RoomId;

use super::{
    Api,
    body::{Fields, check_unique_name},
    query::ListQuery,
    view::{Data, List, Meta, RoomView},
};
use crate::{
    error::ApiError,
    store::{Room, RoomChange},
};

pub(super) fn create(api: &Api, fields: Fields) -> Result<(StatusCode, Json<Data<RoomView>>), ApiError> {
    let change = room_change(api, fields)?;
    let id = RoomId::from_random(api.random());
    let mut room = Room::new(id, api.defaults.max_participants, api.now_unix_ms());
    room.apply(change);
    api.store.create_room(room.clone())?;
    tracing::info!(room = %id, "room created");
    Ok((StatusCode::CREATED, reply(api, room)))
}

pub(super) fn list(api: &Api, query: &ListQuery) -> Json<List<RoomView>> {
    let page = api.store.rooms(&query.filter, query.page);
    let data = page.rooms.into_iter().map(|room| view(api, room)).collect();
    Json(List { data, meta: Meta::new(query.page, page.total) })
}

pub(super) fn show(api: &Api, name: &str) -> Result<Json<Data<RoomView>>, ApiError> {
    Ok(reply(api, api.room(name)?))
}

pub(super) fn update(api: &Api, name: &str, fields: Fields) -> Result<Json<Data<RoomView>>, ApiError> {
    let id = api.room(name)?.id;
    let change = room_change(api, fields)?;
    let room = api.store.update_room(id, change, api.now_unix_ms())?;
    Ok(reply(api, room))
}

pub(super) fn delete(api: &Api, name: &str) -> Result<StatusCode, ApiError> {
    let id = api.room(name)?.id;
    // First from the store, so that nobody can join behind those who are told to go.
    api.store.delete_room(id)?;
    api.live_rooms.room_deleted(id);
    tracing::info!(room = %id, "room deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// Reads the fields of a room; null stands for the default.
fn room_change(api: &Api, mut fields: Fields) -> Result<RoomChange, ApiError> {
    let max_participants = fields.integer("max_participants", 1..=u32::MAX);
    let change = RoomChange {
        unique_name: fields.text("unique_name", check_unique_name),
        max_participants: max_participants.map(|max| max.unwrap_or(api.defaults.max_participants)),
        enable_recording: fields.boolean("enable_recording").map(Option::unwrap_or_default),
        webhook_event_url: fields.url("webhook_event_url"),
        webhook_event_failover_url: fields.url("webhook_event_failover_url"),
        webhook_timeout_secs: fields.integer("webhook_timeout_secs", 0..=30),
    };
    fields.finish()?;
    Ok(change)
}

fn reply(api: &Api, room: Room) -> Json<Data<RoomView>> {
    Json(Data { data: view(api, room) })
}

fn view(api: &Api, room: Room) -> RoomView {
    let active_session_id = api.live_rooms.active_session(room.id);
    RoomView::new(room, active_session_id)
}
