//! A hash of everything that is said and told, in order, without what real media draws from the operating system: the keys of session
//! descriptions and the names of their sections.

#![expect(clippy::wildcard_enum_match_arm, reason = "an observer looks at a few of many messages")]

use roomful_protocol::{ClientMessage, Encoding, PublishedTrack, ServerMessage};
use roomful_types::Mid;

/// Two runs of one seed have the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        // FNV-1a's offset basis.
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    pub(super) const fn value(self) -> u64 {
        self.0
    }

    /// A participant says something.
    pub(super) fn said(&mut self, message: &ClientMessage) {
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
        self.add(&Encoding::Binary.encode(&message));
    }

    /// A participant is told something.
    pub(super) fn told(&mut self, message: &ServerMessage) {
        let mut message = message.clone();
        match &mut message {
            ServerMessage::OfferResponse(answer) => answer.sdp.clear(),
            ServerMessage::QualityNotice(_) | ServerMessage::SlotBoundNotice(_) => return,
            _ => {}
        }
        self.add(&Encoding::Binary.encode(&message));
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Forgets where tracks are sent.
fn hide_sections(tracks: [&mut Option<PublishedTrack>; 2]) {
    for track in tracks.into_iter().flatten() {
        track.mid = Mid::new("x").expect("short");
        track.first_timestamp = 0;
    }
}
