//! The numbers of what the server sends, as anybody on the wire sees them: headers are in the clear.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use roomful_types::{Mid, ParticipantId};

use super::parameters::Parameters;
use crate::LinkConfig;

/// The observer of everything that leaves the server.
#[derive(Debug, Default)]
pub(super) struct Wire {
    numbers: HashMap<(usize, Stream), Numbers>,
    /// What left of late of each source, and how often each was sent again.
    sent: HashMap<(usize, u32), VecDeque<Sent>>,
}

/// What anybody sees of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rtp {
    pub(super) ssrc: u32,
    sequence: u16,
    timestamp: u32,
    is_padded: bool,
    /// Bytes of payload and authentication tag.
    length: usize,
}

#[derive(Debug)]
struct Sent {
    at: Instant,
    packet: Rtp,
    repairs: u32,
}

/// One outgoing stream of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Stream {
    /// By its source.
    Real(u32),
    /// By the stay and its section.
    Faked(ParticipantId, Mid),
}

/// The numbers of one stream.
#[derive(Debug)]
struct Numbers {
    first: u64,
    highest: u64,
    count: u64,
    /// Which number of each remainder was there last.
    latest: Vec<u64>,
}

/// Numbers that are remembered: what is further behind would be taken for one of the next round.
const KEPT: u64 = 1 << 14;

/// How long something may be sent again, at most, and how often.
const REPAIRED_FOR: Duration = Duration::from_millis(1500);
const REPAIRS_MAX: u32 = 5;

/// Bytes by which packets may be padded, so that those of a frame are of one size.
const PADDING_MAX: usize = 2;

impl Rtp {
    /// Reads a datagram, if it is RTP (RFC 7983 §7, and RFC 5761 §4).
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let [flags @ 128..=191, 0..192 | 224.., s0, s1, t0, t1, t2, t3, c0, c1, c2, c3, ref rest @ ..] =
            *bytes
        else {
            return None;
        };
        // RFC 3550 §5.3.1.
        let extensions = match rest {
            [_, _, high, low, ..] if flags & 0x10 != 0 => {
                4 + 4 * usize::from(u16::from_be_bytes([*high, *low]))
            }
            _ => 0,
        };
        Some(Self {
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            is_padded: flags & 0x20 != 0,
            length: rest.len().checked_sub(extensions)?,
        })
    }

    /// Returns whether this could be what that repairs (RFC 4588 §4): of the same time, and shorter by the number that repairs begin with.
    fn is_repaired_by(&self, repair: &Self) -> bool {
        let shortest = self.length - if self.is_padded { PADDING_MAX } else { 0 };
        self.timestamp == repair.timestamp && (shortest + 2..=self.length + 2).contains(&repair.length)
    }
}

impl Wire {
    /// Notes a packet to a participant, and checks that it repairs only what was sent, if it repairs anything.
    ///
    /// * `repaired`: the source that its source repairs.
    pub(super) fn note_rtp(&mut self, node: usize, packet: &Rtp, repaired: Option<u32>, now: Instant) {
        self.note(node, Stream::Real(packet.ssrc), packet.sequence);
        let Some(repaired) = repaired else {
            let sent = self.sent.entry((node, packet.ssrc)).or_default();
            while sent.pop_front_if(|sent| now > sent.at + REPAIRED_FOR).is_some() {}
            return sent.push_back(Sent { at: now, packet: *packet, repairs: 0 });
        };
        let sent = self.sent.entry((node, repaired)).or_default().iter_mut();
        let mut fitting =
            sent.filter(|sent| now <= sent.at + REPAIRED_FOR && sent.packet.is_repaired_by(packet));
        let original = fitting.find(|sent| sent.repairs < REPAIRS_MAX);
        let original = original
            .unwrap_or_else(|| panic!("{packet:?} to participant {node} repairs nothing that was sent"));
        original.repairs += 1;
    }

    /// Notes a packet to a participant.
    pub(super) fn note(&mut self, node: usize, stream: Stream, number: u16) {
        // Room before the first, for those that it has overtaken.
        let first = u64::from(number) + (1 << 16);
        let numbers = self.numbers.entry((node, stream)).or_insert_with(|| Numbers {
            first,
            highest: first,
            count: 0,
            latest: vec![0; KEPT as usize],
        });
        let distance = number.wrapping_sub(numbers.highest as u16).cast_signed();
        let extended = numbers.highest.saturating_add_signed(distance.into());
        let latest = &mut numbers.latest[(extended % KEPT) as usize];
        assert_ne!(*latest, extended, "number {number} of {stream:?} is sent to participant {node} twice");
        *latest = extended;
        numbers.first = numbers.first.min(extended);
        numbers.highest = numbers.highest.max(extended);
        numbers.count += 1;
    }

    /// Checks that the server made no gap where no publisher had any, whatever is lost behind it.
    pub(super) fn check_gaps(&self, parameters: &Parameters) {
        let LinkConfig { jitter, loss, burst, reorder, rate, .. } = parameters.up();
        let is_perfect = jitter.is_zero() && loss == 0.0 && burst == 0.0 && reorder == 0.0 && rate.is_none();
        if !is_perfect || parameters.disturbance.is_some() {
            return;
        }
        for ((node, stream), numbers) in &self.numbers {
            let expected = numbers.highest - numbers.first + 1;
            assert_eq!(
                numbers.count, expected,
                "a gap of the server's own in {stream:?} to participant {node}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(ssrc: u32, sequence: u16, length: usize, is_padded: bool) -> Rtp {
        Rtp { ssrc, sequence, timestamp: 9, is_padded, length }
    }

    #[test]
    fn a_packet_is_read_as_anybody_can() {
        let plain = [0x80, 96, 1, 2, 0, 0, 0, 9, 0, 0, 0, 7, 1, 2, 3];
        assert_eq!(Rtp::read(&plain), Some(packet(7, 258, 3, false)));
        let extended = [0xb0, 96, 1, 2, 0, 0, 0, 9, 0, 0, 0, 7, 0xbe, 0xde, 0, 1, 0, 0, 0, 0, 5];
        assert_eq!(Rtp::read(&extended), Some(packet(7, 258, 1, true)));
        assert_eq!(Rtp::read(&[0x80, 200, 1, 2, 0, 0, 0, 9, 0, 0, 0, 7]), None, "RTCP");
        assert_eq!(Rtp::read(&[0x90, 96, 1, 2, 0, 0, 0, 9, 0, 0, 0, 7, 0, 0, 0, 9]), None, "cut off");
    }

    #[test]
    fn repairs_are_of_what_was_sent_and_not_too_many() {
        let now = Instant::now();
        let check = |repairs: &[(usize, u64)]| {
            let mut wire = Wire::default();
            wire.note_rtp(0, &packet(7, 1, 100, false), None, now);
            wire.note_rtp(0, &packet(7, 2, 80, true), None, now);
            for (number, (length, millis)) in repairs.iter().enumerate() {
                let at = now + Duration::from_millis(*millis);
                wire.note_rtp(0, &packet(8, number as u16, *length, false), Some(7), at);
            }
        };
        let is_seen = |repairs: &[(usize, u64)]| std::panic::catch_unwind(|| check(repairs)).is_err();
        assert!(!is_seen(&[(102, 5), (80, 5), (82, 5)]));
        assert!(is_seen(&[(101, 5)]) && is_seen(&[(103, 5)]), "another length");
        assert!(is_seen(&[(102, 2000)]), "too late");
        assert!(is_seen(&[(102, 5); 6]) && !is_seen(&[(102, 5); 5]), "too often");
    }

    #[test]
    fn numbers_wrap_and_none_comes_twice() {
        let mut wire = Wire::default();
        for number in [65_534, 0, 65_535, 1] {
            wire.note(0, Stream::Real(7), number);
        }
        let numbers = &wire.numbers[&(0, Stream::Real(7))];
        assert_eq!((numbers.highest - numbers.first + 1, numbers.count), (4, 4));
        let twice = std::panic::catch_unwind(move || wire.note(0, Stream::Real(7), 65_535));
        assert!(twice.is_err());
    }
}
