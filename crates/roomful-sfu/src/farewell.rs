//! Why a stay ended, for those who were away when it did and come back to resume it.

use std::{collections::BTreeMap, time::Instant};

use roomful_protocol::{DisconnectReason, ResumeKey};
use roomful_types::ParticipantId;

use crate::room::Participant;

/// Reasons that nobody has heard yet.
#[derive(Debug, Default)]
pub(crate) struct Farewells(BTreeMap<ParticipantId, Farewell>);

#[derive(Debug)]
struct Farewell {
    key: ResumeKey,
    reason: DisconnectReason,
    until: Instant,
}

/// Farewells kept at once: a few full rooms that end while everybody is away. Whoever comes later hears that the stay is over.
const FAREWELLS_MAX: usize = 1024;

impl Farewells {
    /// Keeps the reason why a stay ended, if whoever stayed is away and may come back.
    pub(crate) fn on_ended(&mut self, participant: &Participant, reason: DisconnectReason) {
        if let Some(until) = participant.line.detached_until().filter(|_| self.0.len() < FAREWELLS_MAX) {
            let key = participant.resume_key;
            self.0.insert(participant.info.id, Farewell { key, reason, until });
        }
    }

    /// Takes the reason for somebody who proves who it is.
    pub(crate) fn take(&mut self, id: ParticipantId, key: ResumeKey) -> Option<DisconnectReason> {
        if self.0.get(&id)?.key != key {
            return None;
        }
        self.0.remove(&id).map(|farewell| farewell.reason)
    }

    /// Forgets those that nobody has asked for in time.
    pub(crate) fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, farewell| farewell.until > now);
    }
}
