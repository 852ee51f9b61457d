//! A hash of everything that is said, told and shown, in order. With real media without what that draws from the operating system: the keys
//! of session descriptions, the names of their sections, and what follows from when its packets come.

#![expect(clippy::wildcard_enum_match_arm, reason = "an observer looks at a few of many messages")]

use roomful_protocol::{ClientMessage, Encoding, PublishedTrack, ServerMessage};
use roomful_state::{Event, EventKind};
use roomful_types::Mid;

use super::MediaMode;

/// Two runs of one seed have the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trace {
    value: u64,
    media: MediaMode,
}

impl Trace {
    pub(super) const fn new(media: MediaMode) -> Self {
        // FNV-1a's offset basis.
        Self { value: 0xcbf2_9ce4_8422_2325, media }
    }

    pub(super) const fn value(self) -> u64 {
        self.value
    }

    /// A participant sees an event, and the room as it is then.
    pub(super) fn happened(&mut self, index: usize, event: &Event) {
        self.add(&[index as u8]);
        self.add(event.name().as_bytes());
        if self.media == MediaMode::Faked && event.kind != EventKind::StateChanged {
            self.add(format!("{:?}", event.kind).as_bytes());
            let people = event.state.participants().count();
            let (streams, taken) = (event.state.streams().count(), event.state.subscriptions().count());
            self.add(&[people, streams, taken].map(|count| count as u8));
        }
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
            ServerMessage::QualityNotice(_) | ServerMessage::SlotBoundNotice(_)
                if self.media == MediaMode::Real =>
            {
                return;
            }
            _ => {}
        }
        self.add(&Encoding::Binary.encode(&message));
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.value = (self.value ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
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
