//! A hash of everything that is said, told and shown, in order; without what draws from the operating system all the same: keys and
//! fingerprints in session descriptions, and timestamps, whose line is that of the machine's clock.

#![expect(clippy::wildcard_enum_match_arm, reason = "an observer looks at a few of many messages")]

use roomful_protocol::{ClientMessage, Encoding, ServerMessage};
use roomful_state::{Event, EventKind};

/// Two runs of one seed have the same.
#[derive(Debug)]
pub(super) struct Trace(u64);

impl Default for Trace {
    /// FNV-1a's offset basis.
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    pub(super) const fn value(&self) -> u64 {
        self.0
    }

    /// A participant sees an event, and the room as it is then.
    pub(super) fn happened(&mut self, index: usize, event: &Event) {
        if matches!(event.kind, EventKind::StateChanged) {
            return;
        }
        let people = event.state.participants().count();
        let (streams, taken) = (event.state.streams().count(), event.state.subscriptions().count());
        self.add(format!("{index} {:?} {people} {streams} {taken}", event.kind).as_bytes());
    }

    /// A participant says something.
    pub(super) fn said(&mut self, index: usize, message: &ClientMessage) {
        let mut message = message.clone();
        if let ClientMessage::OfferRequest(offer) = &mut message {
            offer.sdp.clear();
        }
        self.add(&[index as u8]);
        self.add(&Encoding::Binary.encode(&message));
    }

    /// A participant is told something.
    pub(super) fn told(&mut self, index: usize, message: &ServerMessage) {
        let mut message = message.clone();
        match &mut message {
            ServerMessage::OfferResponse(answer) => answer.sdp.clear(),
            ServerMessage::SlotBoundNotice(bound) => bound.first_timestamp = 0,
            ServerMessage::ResumeResponse(resumed) => {
                resumed.slots.iter_mut().for_each(|bound| bound.first_timestamp = 0);
            }
            _ => {}
        }
        self.add(&[index as u8]);
        self.add(&Encoding::Binary.encode(&message));
    }

    /// Anything else happens.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes
            .iter()
            .fold(self.0, |value, byte| (value ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    }
}
