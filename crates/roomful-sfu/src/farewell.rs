//! Why a stay ended, for those who did not hear it: they were away when it did, or had lost their connection without anybody knowing.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use roomful_protocol::{DisconnectReason, ResumeKey};
use roomful_types::{ParticipantId, RoomId};

use crate::room::Participant;

/// Reasons that may not have been heard yet, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Farewells(BTreeMap<RoomId, VecDeque<Farewell>>);

#[derive(Debug)]
struct Farewell {
    id: ParticipantId,
    key: ResumeKey,
    reason: DisconnectReason,
    until: Instant,
}

/// Farewells kept of one room: as many as may be away at once in a large one. Whoever was longer away than that many hears that the
/// stay is over.
const FAREWELLS_MAX: usize = 4096;

impl Farewells {
    /// Keeps the reason why a stay ended for whoever comes back to it.
    ///
    /// * `until`: how long one may who seemed to be connected.
    pub(crate) fn on_ended(
        &mut self,
        room: RoomId,
        participant: &Participant,
        reason: DisconnectReason,
        until: Instant,
    ) {
        let of_room = self.0.entry(room).or_default();
        if of_room.len() == FAREWELLS_MAX {
            of_room.pop_front();
        }
        let until = participant.line.detached_until().unwrap_or(until);
        let (id, key) = (participant.info.id, participant.resume_key);
        of_room.push_back(Farewell { id, key, reason, until });
    }

    /// Returns the reason to somebody who proves who it is, as often as it is asked for: the answer may be lost too.
    pub(crate) fn of(&self, room: RoomId, id: ParticipantId, key: ResumeKey) -> Option<DisconnectReason> {
        let mut of_room = self.0.get(&room)?.iter();
        of_room.find(|farewell| farewell.id == id && farewell.key == key).map(|farewell| farewell.reason)
    }

    /// Forgets those that are too old for anybody to come back.
    pub(crate) fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, of_room| {
            of_room.retain(|farewell| farewell.until > now);
            !of_room.is_empty()
        });
    }
}
