//! One source: the packets of one track in its encodings, and who takes them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use roomful_rtp::starts_keyframe;
use roomful_types::{Codec, Mid, ParticipantId, Rid};

use super::{SourcePacket, keyframe::KeyframeRequests, speech::Speech};

/// Packets kept after forwarding. A key frame's first packet may come after its others, repaired or reordered; a
/// subscriber that begins there still gets them. Two key frames of 720p, chosen; no data yet.
const KEPT: usize = 128;

/// How long packets of a section's earlier occupant may still come. Longer than any retransmission takes, and far shorter
/// than the 6.6 hours after which a timestamp seems to be older than the first: a source may be paused for a day.
const CHANGEOVER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Source {
    pub(super) peer: ParticipantId,
    pub(super) mid: Mid,
    pub(super) codec: Codec,
    pub(super) enabled: bool,
    pub(super) is_simulcast: bool,
    /// Who takes it, and on which of their sections.
    pub(super) sections: BTreeSet<(ParticipantId, Mid)>,
    pub(super) speech: Speech,
    encodings: BTreeMap<Rid, Encoding>,
    first_timestamp: u32,
    /// Until when packets of an earlier occupant are told by their timestamps.
    changeover_ends: Instant,
}

/// The packets of one encoding.
#[derive(Debug, Default)]
pub(super) struct Encoding {
    pub(super) keyframe: KeyframeRequests,
    /// The earliest number accepted; timestamps wrap after hours, numbers do not.
    first_sequence: Option<u64>,
    /// In the order of arrival; the last `fresh` of them are not forwarded yet.
    packets: VecDeque<Kept>,
    fresh: usize,
    /// Bytes that came since the last report.
    bytes: u64,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) packet: SourcePacket,
    /// Whether a subscriber may begin here.
    pub(super) is_start: bool,
}

impl Source {
    pub(super) fn new(
        peer: ParticipantId,
        mid: Mid,
        codec: Codec,
        first_timestamp: u32,
        is_simulcast: bool,
        now: Instant,
    ) -> Self {
        Self {
            peer,
            mid,
            codec,
            enabled: true,
            is_simulcast,
            sections: BTreeSet::new(),
            speech: Speech::default(),
            encodings: BTreeMap::new(),
            first_timestamp,
            changeover_ends: now + CHANGEOVER,
        }
    }

    /// Takes a packet in; false when it is not forwarded.
    pub(super) fn ingest(&mut self, rid: Rid, packet: SourcePacket, now: Option<Instant>) -> bool {
        let is_expected = self.is_simulcast || rid == Rid::High;
        if !self.enabled || !is_expected || self.is_of_an_earlier_occupant(rid, &packet, now) {
            return false;
        }
        let codec = self.codec;
        let encoding = self.encodings.entry(rid).or_default();
        encoding.bytes += packet.payload.len() as u64;
        let is_start = starts_keyframe(codec, &packet.payload)
            && (!is_lone_slice(codec, &packet.payload) || encoding.begins_frame(&packet));
        if is_start {
            encoding.keyframe.satisfy();
        }
        encoding.packets.push_back(Kept { packet, is_start });
        encoding.fresh += 1;
        true
    }

    /// Forgets what is too old, once everything is forwarded.
    pub(super) fn settle(&mut self) {
        for encoding in self.encodings.values_mut() {
            encoding.fresh = 0;
            let surplus = encoding.packets.len().saturating_sub(KEPT);
            encoding.packets.drain(..surplus);
        }
    }

    /// Forgets every packet: nobody shall get any of them.
    pub(super) fn clear(&mut self) {
        for encoding in self.encodings.values_mut() {
            encoding.packets.clear();
            encoding.fresh = 0;
        }
        self.speech = Speech::default();
    }

    /// Returns an encoding, once something came of it or was wanted of it.
    pub(super) fn encoding(&self, rid: Rid) -> Option<&Encoding> {
        self.encodings.get(&rid)
    }

    /// Returns an encoding that something is wanted of.
    pub(super) fn encoding_mut(&mut self, rid: Rid) -> &mut Encoding {
        self.encodings.entry(rid).or_default()
    }

    /// Returns how many bytes came of each encoding since the last call.
    pub(super) fn take_bytes(&mut self) -> impl Iterator<Item = (Rid, u64)> {
        let bytes = self.encodings.iter_mut();
        bytes
            .map(|(rid, encoding)| (*rid, std::mem::take(&mut encoding.bytes)))
            .filter(|(_, bytes)| *bytes > 0)
    }

    /// Returns the encoding that is there of one that is asked for.
    pub(super) const fn offered(&self, layer: Rid) -> Rid {
        if self.is_simulcast { layer } else { Rid::High }
    }

    pub(super) fn subscribers(&self) -> impl Iterator<Item = ParticipantId> {
        self.sections.iter().map(|(peer, _)| *peer)
    }

    pub(super) fn leave(&mut self, peer: ParticipantId, mid: Mid) {
        self.sections.remove(&(peer, mid));
    }

    fn is_of_an_earlier_occupant(&mut self, rid: Rid, packet: &SourcePacket, now: Option<Instant>) -> bool {
        let is_changeover = now.is_none_or(|now| now < self.changeover_ends);
        let (first_timestamp, encoding) = (self.first_timestamp, self.encoding_mut(rid));
        if encoding.first_sequence.is_some_and(|first| packet.sequence >= first) {
            return false;
        }
        let is_earlier = is_changeover && packet.timestamp.wrapping_sub(first_timestamp).cast_signed() < 0;
        if !is_earlier {
            encoding.first_sequence = Some(packet.sequence);
        }
        is_earlier
    }
}

impl Encoding {
    /// Returns the packets that are not forwarded yet, each with its place in the order of arrival.
    pub(super) fn fresh(&self) -> impl Iterator<Item = (usize, &Kept)> {
        self.packets.iter().enumerate().skip(self.packets.len() - self.fresh)
    }

    /// Returns the packets that follow the one at this place but came before it.
    pub(super) fn overtakers_of(&self, place: usize) -> impl Iterator<Item = &SourcePacket> {
        let sequence = self.packets[place].packet.sequence;
        let earlier = self.packets.range(..place).map(|kept| &kept.packet);
        earlier.filter(move |packet| packet.sequence > sequence)
    }

    /// Returns whether the packet before this one is known, and of another frame.
    fn begins_frame(&self, packet: &SourcePacket) -> bool {
        self.packets.iter().any(|Kept { packet: other, .. }| {
            other.sequence.checked_add(1) == Some(packet.sequence) && other.timestamp != packet.timestamp
        })
    }
}

/// Returns whether a payload is an IDR slice of H.264, or its beginning, without the parameter sets that it needs. They
/// may be in the packet before (RFC 6184 §5.6: single NAL unit, §5.8: FU-A).
fn is_lone_slice(codec: Codec, payload: &[u8]) -> bool {
    const IDR: u8 = 5;
    const FU_A: u8 = 28;
    codec == Codec::H264 && payload.first().is_some_and(|byte| matches!(byte & 0x1f, IDR | FU_A))
}
