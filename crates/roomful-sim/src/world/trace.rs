//! A hash of everything that is said, told and shown, in order. With real media for each participant by itself, and without what that draws
//! from the operating system: the keys of session descriptions, the names of their sections, and what is measured of its packets.

#![expect(clippy::wildcard_enum_match_arm, reason = "an observer looks at a few of many messages")]

use roomful_protocol::{ClientMessage, Encoding, PublishedTrack, ServerMessage};
use roomful_state::{Event, EventKind};
use roomful_types::Mid;

use super::MediaMode;

/// Two runs of one seed have the same.
#[derive(Debug)]
pub(super) struct Trace {
    /// Of each participant; with faked media one of all, because everything is in one order there.
    values: Vec<u64>,
    media: MediaMode,
}

/// FNV-1a's offset basis.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

impl Trace {
    pub(super) const fn new(media: MediaMode) -> Self {
        Self { values: Vec::new(), media }
    }

    pub(super) fn value(&self) -> u64 {
        self.values.iter().flat_map(|value| value.to_be_bytes()).fold(BASIS, add_byte)
    }

    /// A participant sees an event, and the room as it is then.
    pub(super) fn happened(&mut self, index: usize, event: &Event) {
        match (self.media, &event.kind) {
            (MediaMode::Faked, EventKind::StateChanged) => {}
            (MediaMode::Faked, kind) => {
                let people = event.state.participants().count();
                let (streams, taken) = (event.state.streams().count(), event.state.subscriptions().count());
                self.add(index, format!("{index} {kind:?} {people} {streams} {taken}").as_bytes());
            }
            // How well packets come is measured, not drawn from the seed.
            (MediaMode::Real, EventKind::StateChanged | EventKind::StreamQualityChanged { .. }) => {}
            (MediaMode::Real, _) => self.add(index, event.name().as_bytes()),
        }
    }

    /// A participant says something.
    pub(super) fn said(&mut self, index: usize, message: &ClientMessage) {
        let mut message = message.clone();
        match &mut message {
            ClientMessage::OfferRequest(offer) => {
                offer.sdp.clear();
                offer.slots.clear();
            }
            ClientMessage::PublishRequest(publish) => hide_sections([&mut publish.audio, &mut publish.video]),
            ClientMessage::UpdateStreamRequest(update) => {
                hide_sections([&mut update.audio, &mut update.video]);
            }
            _ => {}
        }
        self.add(index, &Encoding::Binary.encode(&message));
    }

    /// A participant is told something.
    pub(super) fn told(&mut self, index: usize, message: &ServerMessage) {
        let mut message = message.clone();
        match &mut message {
            ServerMessage::OfferResponse(answer) => answer.sdp.clear(),
            // Timestamps begin where the clock of the operating system says.
            ServerMessage::ResumeResponse(response) if self.media == MediaMode::Real => {
                response.slots.clear()
            }
            ServerMessage::QualityNotice(_)
            | ServerMessage::NetworkMetricsNotice(_)
            | ServerMessage::SlotBoundNotice(_)
                if self.media == MediaMode::Real =>
            {
                return;
            }
            _ => {}
        }
        self.add(index, &Encoding::Binary.encode(&message));
    }

    /// Anything else happens to a participant.
    pub(super) fn add(&mut self, index: usize, bytes: &[u8]) {
        let index = if self.media == MediaMode::Real { index } else { 0 };
        if self.values.len() <= index {
            self.values.resize(index + 1, BASIS);
        }
        self.values[index] = bytes.iter().copied().fold(self.values[index], add_byte);
    }
}

const fn add_byte(value: u64, byte: u8) -> u64 {
    (value ^ byte as u64).wrapping_mul(0x0100_0000_01b3)
}

/// Forgets where tracks are sent.
fn hide_sections(tracks: [&mut Option<PublishedTrack>; 2]) {
    for track in tracks.into_iter().flatten() {
        track.mid = Mid::new("x").expect("short");
        track.first_timestamp = 0;
    }
}
