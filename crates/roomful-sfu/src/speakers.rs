//! Who speaks in a room, and who speaks loudest.

use std::collections::BTreeMap;

use roomful_protocol::{DominantSpeakerNotice, SpeakingNotice};
use roomful_types::{AudioLevel, ParticipantId, StreamId};

use crate::{room::Room, sfu::Outbox};

/// Who speaks in a room.
#[derive(Debug, Default)]
pub(crate) struct Speakers {
    /// Streams that are heard, by whom and how loud.
    active: BTreeMap<StreamId, (ParticipantId, AudioLevel)>,
    dominant: Option<ParticipantId>,
}

/// How much louder than the dominant speaker somebody must be to take its place, in dB: twice as loud is about 10, and less
/// than 6 makes two people who talk together take turns.
const LOUDER: u8 = 6;

impl Speakers {
    pub(crate) const fn dominant(&self) -> Option<ParticipantId> {
        self.dominant
    }

    /// Returns in which streams somebody is heard, and who speaks loudest, to be checked.
    pub(crate) fn all(&self) -> (impl Iterator<Item = (StreamId, ParticipantId)>, Option<ParticipantId>) {
        (self.active.iter().map(|(stream, (participant, _))| (*stream, *participant)), self.dominant)
    }

    pub(crate) fn notices(&self) -> Vec<SpeakingNotice> {
        let active = self.active.iter();
        let notice = |(id, (participant_id, _)): (&StreamId, &(ParticipantId, AudioLevel))| SpeakingNotice {
            participant_id: *participant_id,
            stream_id: Some(*id),
            speaking: true,
        };
        active.map(notice).collect()
    }

    /// Forgets a stream. That it ended says that nobody speaks in it.
    pub(crate) fn forget_stream(&mut self, id: StreamId) {
        self.active.remove(&id);
    }

    pub(crate) fn forget_participant(&mut self, id: ParticipantId) {
        self.active.retain(|_, (participant, _)| *participant != id);
        if self.dominant == Some(id) {
            // Everybody knows: who left speaks no longer.
            self.dominant = None;
        }
    }

    /// Returns who speaks loudest by what is known now. Whoever was it stays it while nobody is clearly louder.
    fn loudest(&self) -> Option<ParticipantId> {
        let level = |id| {
            let own = self.active.values().filter(|(participant, _)| *participant == id);
            own.map(|(_, level)| level.as_negative_dbov()).min()
        };
        let (loudest, quiet) = self
            .active
            .values()
            .map(|(participant, level)| (*participant, level.as_negative_dbov()))
            .min_by_key(|(participant, quiet)| (*quiet, *participant))?;
        match self.dominant.and_then(|dominant| Some((dominant, level(dominant)?))) {
            Some((dominant, current)) if current <= quiet.saturating_add(LOUDER) => Some(dominant),
            _ => Some(loudest),
        }
    }
}

impl Room {
    /// A stream is heard this loud, or no longer.
    pub(crate) fn on_speaking(&mut self, id: StreamId, level: Option<AudioLevel>, outbox: &mut Outbox) {
        let Some(stream) = self.streams.get(&id) else { return };
        let participant_id = stream.info.participant_id;
        let level = level.filter(|_| stream.flows(roomful_types::MediaKind::Audio));
        let was_active = match level {
            Some(level) => self.speakers.active.insert(id, (participant_id, level)),
            None => self.speakers.active.remove(&id),
        }
        .is_some();
        if was_active != level.is_some() {
            let speaking = level.is_some();
            let notice = SpeakingNotice { participant_id, stream_id: Some(id), speaking };
            outbox.send_all(self.sessions(), notice);
        }
        self.tell_dominant_speaker(outbox);
    }

    /// Tells everybody when another one speaks loudest.
    pub(crate) fn tell_dominant_speaker(&mut self, outbox: &mut Outbox) {
        let loudest = self.speakers.loudest();
        if loudest != self.speakers.dominant {
            self.speakers.dominant = loudest;
            outbox.send_all(self.sessions(), DominantSpeakerNotice { participant_id: loudest });
        }
    }
}
