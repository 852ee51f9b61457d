//! A hash of everything that is said and told, in order.

use roomful_protocol::{ClientMessage, Encoding, ServerMessage};

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
        if let ClientMessage::OfferRequest(offer) = &mut message {
            // Real descriptions have keys of the operating system's.
            offer.sdp.clear();
        }
        self.add(&Encoding::Binary.encode(&message));
    }

    /// A participant is told something.
    pub(super) fn told(&mut self, message: &ServerMessage) {
        let mut message = message.clone();
        if let ServerMessage::OfferResponse(answer) = &mut message {
            answer.sdp.clear();
        }
        self.add(&Encoding::Binary.encode(&message));
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
