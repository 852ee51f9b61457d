//! Where rooms are kept.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    ops::Range,
};

use parking_lot::RwLock;
use roomful_types::RoomId;

/// Keeps the rooms. Calls are short and do not block on anything slow.
///
/// Of two rooms, no id and no unique name is the same. Every call is atomic.
pub(crate) trait Store: fmt::Debug + Send + Sync {
    /// Adds a room; it comes last in [`rooms`](Self::rooms).
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::NameTaken`] or [`StoreError::IdTaken`]; then nothing is changed.
    fn create_room(&self, room: Room) -> Result<(), StoreError>;

    /// Returns the room with this id.
    fn room(&self, id: RoomId) -> Option<Room>;

    /// Returns the room with this unique name.
    fn room_by_name(&self, unique_name: &str) -> Option<Room>;

    /// Returns one page of the rooms that pass the filter, in the order in which they were created.
    fn rooms(&self, filter: &RoomFilter, page: Page) -> RoomPage;

    /// Changes a room, and returns it as it is then.
    ///
    /// * `now_unix_ms`: the time of the change, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or [`StoreError::NameTaken`]; then nothing is changed.
    fn update_room(&self, id: RoomId, change: RoomChange, now_unix_ms: u64) -> Result<Room, StoreError>;

    /// Removes a room.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none with this id.
    fn delete_room(&self, id: RoomId) -> Result<(), StoreError>;
}

/// What is kept of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Room {
    /// Made by the server.
    pub id: RoomId,
    /// The application's name for it; no two rooms share one.
    pub unique_name: Option<String>,
    /// How many may be in it at a time; ≥ 1.
    pub max_participants: u32,
    /// Whether its sessions are recorded.
    pub enable_recording: bool,
    /// Where its events are sent.
    pub webhook_event_url: Option<String>,
    /// Where its events are sent when the first address fails.
    pub webhook_event_failover_url: Option<String>,
    /// How long an address may take to answer, 0 ..= 30 s; the server's own choice without.
    pub webhook_timeout_secs: Option<u32>,
    /// When it was made, in milliseconds since 1970.
    pub created_at_unix_ms: u64,
    /// When it was last changed, in milliseconds since 1970.
    pub updated_at_unix_ms: u64,
}

impl Room {
    /// Makes a room without name, recording and webhooks.
    ///
    /// * `max_participants`: ≥ 1.
    /// * `now_unix_ms`: the current time, in milliseconds since 1970.
    #[must_use]
    pub(crate) const fn new(id: RoomId, max_participants: u32, now_unix_ms: u64) -> Self {
        Self {
            id,
            unique_name: None,
            max_participants,
            enable_recording: false,
            webhook_event_url: None,
            webhook_event_failover_url: None,
            webhook_timeout_secs: None,
            created_at_unix_ms: now_unix_ms,
            updated_at_unix_ms: now_unix_ms,
        }
    }

    /// Takes over what the change sets; the times stay.
    pub(crate) fn apply(&mut self, change: RoomChange) {
        let RoomChange {
            unique_name,
            max_participants,
            enable_recording,
            webhook_event_url,
            webhook_event_failover_url,
            webhook_timeout_secs,
        } = change;
        set(&mut self.unique_name, unique_name);
        set(&mut self.max_participants, max_participants);
        set(&mut self.enable_recording, enable_recording);
        set(&mut self.webhook_event_url, webhook_event_url);
        set(&mut self.webhook_event_failover_url, webhook_event_failover_url);
        set(&mut self.webhook_timeout_secs, webhook_timeout_secs);
    }
}

/// New values for some fields of a [`Room`]; none leaves a field as it is, and `Some(None)` clears it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RoomChange {
    /// The application's name for it.
    pub unique_name: Option<Option<String>>,
    /// How many may be in it at a time; ≥ 1.
    pub max_participants: Option<u32>,
    /// Whether its sessions are recorded.
    pub enable_recording: Option<bool>,
    /// Where its events are sent.
    pub webhook_event_url: Option<Option<String>>,
    /// Where its events are sent when the first address fails.
    pub webhook_event_failover_url: Option<Option<String>>,
    /// How long an address may take to answer, 0 ..= 30 s.
    pub webhook_timeout_secs: Option<Option<u32>>,
}

/// Which rooms are wanted: those that pass every part. The default passes all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoomFilter {
    /// Only the room of exactly this name.
    pub unique_name: Option<String>,
    /// Only rooms made at one of these times, in milliseconds since 1970.
    pub created_at_unix_ms: Range<u64>,
    /// Only rooms last changed at one of these times, in milliseconds since 1970.
    pub updated_at_unix_ms: Range<u64>,
}

impl RoomFilter {
    /// Returns whether a room passes.
    #[must_use]
    pub(crate) fn passes(&self, room: &Room) -> bool {
        self.unique_name.as_ref().is_none_or(|name| room.unique_name.as_ref() == Some(name))
            && self.created_at_unix_ms.contains(&room.created_at_unix_ms)
            && self.updated_at_unix_ms.contains(&room.updated_at_unix_ms)
    }
}

impl Default for RoomFilter {
    fn default() -> Self {
        Self { unique_name: None, created_at_unix_ms: 0..u64::MAX, updated_at_unix_ms: 0..u64::MAX }
    }
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    /// The first page is 1; 0 counts as 1.
    pub number: u64,
    /// Rooms on a page, 1 ..= 250.
    pub size: u64,
}

/// A part of a list of rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoomPage {
    /// The rooms of the page; empty after the last page.
    pub rooms: Vec<Room>,
    /// How many rooms are on all pages together.
    pub total: u64,
}

/// Why the rooms are not as they were asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    /// The store is full.
    #[error("all {max} rooms that the server keeps are in use; delete one first")]
    Full {
        /// Rooms allowed.
        max: usize,
    },
    /// Another room has this unique name.
    #[error("another room has this unique name; choose another name or use that room")]
    NameTaken,
    /// Another room has this id: the random source drew the same bytes twice.
    #[error("another room has this id; the random source is broken")]
    IdTaken,
    /// There is no such room, or no longer.
    #[error("there is no such room")]
    NotFound,
}

/// Keeps rooms in memory, until the process ends.
#[derive(Debug)]
pub(crate) struct MemoryStore {
    max_rooms: usize,
    rooms: RwLock<Rooms>,
}

impl MemoryStore {
    /// Most rooms by default. A room takes 200 bytes, and 5 KiB with the longest name and addresses: 50 MiB in all.
    pub(crate) const DEFAULT_MAX_ROOMS: usize = 10_000;

    /// Makes an empty store for at most `max_rooms` rooms.
    #[must_use]
    pub(crate) fn new(max_rooms: usize) -> Self {
        Self { max_rooms, rooms: RwLock::default() }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Self::DEFAULT_MAX_ROOMS)
    }
}

impl Store for MemoryStore {
    fn create_room(&self, room: Room) -> Result<(), StoreError> {
        let mut rooms = self.rooms.write();
        if rooms.by_number.len() >= self.max_rooms {
            return Err(StoreError::Full { max: self.max_rooms });
        }
        if rooms.by_id.contains_key(&room.id) {
            return Err(StoreError::IdTaken);
        }
        if room.unique_name.as_ref().is_some_and(|name| rooms.by_name.contains_key(name)) {
            return Err(StoreError::NameTaken);
        }
        rooms.last_number += 1;
        let number = rooms.last_number;
        rooms.by_id.insert(room.id, number);
        if let Some(name) = &room.unique_name {
            rooms.by_name.insert(name.clone(), number);
        }
        rooms.by_number.insert(number, room);
        Ok(())
    }

    fn room(&self, id: RoomId) -> Option<Room> {
        let rooms = self.rooms.read();
        rooms.by_number.get(rooms.by_id.get(&id)?).cloned()
    }

    fn room_by_name(&self, unique_name: &str) -> Option<Room> {
        let rooms = self.rooms.read();
        rooms.by_number.get(rooms.by_name.get(unique_name)?).cloned()
    }

    fn rooms(&self, filter: &RoomFilter, page: Page) -> RoomPage {
        let rooms = self.rooms.read();
        let first = page.number.saturating_sub(1).saturating_mul(page.size);
        let wanted = first..first.saturating_add(page.size);
        let mut found = RoomPage { rooms: Vec::new(), total: 0 };
        for room in rooms.by_number.values().filter(|room| filter.passes(room)) {
            if wanted.contains(&found.total) {
                found.rooms.push(room.clone());
            }
            found.total += 1;
        }
        found
    }

    fn update_room(&self, id: RoomId, change: RoomChange, now_unix_ms: u64) -> Result<Room, StoreError> {
        let mut rooms = self.rooms.write();
        let number = *rooms.by_id.get(&id).ok_or(StoreError::NotFound)?;
        if let Some(Some(name)) = &change.unique_name
            && rooms.by_name.get(name).is_some_and(|other| *other != number)
        {
            return Err(StoreError::NameTaken);
        }
        let Rooms { by_number, by_name, .. } = &mut *rooms;
        let room = by_number.get_mut(&number).expect("every id has its room");
        if let Some(name) = &room.unique_name {
            by_name.remove(name);
        }
        room.apply(change);
        room.updated_at_unix_ms = now_unix_ms;
        if let Some(name) = &room.unique_name {
            by_name.insert(name.clone(), number);
        }
        Ok(room.clone())
    }

    fn delete_room(&self, id: RoomId) -> Result<(), StoreError> {
        let mut rooms = self.rooms.write();
        let number = rooms.by_id.remove(&id).ok_or(StoreError::NotFound)?;
        let room = rooms.by_number.remove(&number).expect("every id has its room");
        if let Some(name) = &room.unique_name {
            rooms.by_name.remove(name);
        }
        Ok(())
    }
}

/// The rooms by the number of their making, and the ways to that number. The hash maps are only looked up.
#[derive(Debug, Default)]
struct Rooms {
    last_number: u64,
    by_number: BTreeMap<u64, Room>,
    by_id: HashMap<RoomId, u64>,
    by_name: HashMap<String, u64>,
}

/// Replaces a field when there is a new value.
fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

#[cfg(test)]
mod tests;
