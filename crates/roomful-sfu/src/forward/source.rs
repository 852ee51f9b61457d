//! One source: the packets of one track, and who takes them.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use roomful_rtp::starts_keyframe;
use roomful_types::{Codec, Mid, ParticipantId};

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
    /// Who takes it, and on which of their sections.
    pub(super) sections: BTreeSet<(ParticipantId, Mid)>,
    pub(super) keyframe: KeyframeRequests,
    pub(super) speech: Speech,
    first_timestamp: u32,
    /// Until when packets of an earlier occupant are told by their timestamps.
    changeover_ends: Instant,
    /// The earliest number accepted; timestamps wrap after hours, numbers do not.
    first_sequence: Option<u64>,
    /// In the order of arrival; the last `fresh` of them are not forwarded yet.
    packets: VecDeque<Kept>,
    fresh: usize,
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
        now: Instant,
    ) -> Self {
        Self {
            peer,
            mid,
            codec,
            enabled: true,
            sections: BTreeSet::new(),
            keyframe: KeyframeRequests::default(),
            speech: Speech::default(),
            first_timestamp,
            changeover_ends: now + CHANGEOVER,
            first_sequence: None,
            packets: VecDeque::new(),
            fresh: 0,
        }
    }

    /// Takes a packet in; false when it is not forwarded.
    pub(super) fn ingest(&mut self, packet: SourcePacket, now: Option<Instant>) -> bool {
        if !self.enabled || self.is_of_an_earlier_occupant(&packet, now) {
            return false;
        }
        let is_start = starts_keyframe(self.codec, &packet.payload)
            && (!is_lone_slice(self.codec, &packet.payload) || self.begins_frame(&packet));
        if is_start {
            self.keyframe.satisfy();
        }
        self.packets.push_back(Kept { packet, is_start });
        self.fresh += 1;
        true
    }

    /// Forgets what is too old, once everything is forwarded.
    pub(super) fn settle(&mut self) {
        self.fresh = 0;
        let surplus = self.packets.len().saturating_sub(KEPT);
        self.packets.drain(..surplus);
    }

    /// Forgets every packet: nobody shall get any of them.
    pub(super) fn clear(&mut self) {
        self.packets.clear();
        self.fresh = 0;
        self.speech = Speech::default();
    }

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

    pub(super) fn subscribers(&self) -> impl Iterator<Item = ParticipantId> {
        self.sections.iter().map(|(peer, _)| *peer)
    }

    pub(super) fn leave(&mut self, peer: ParticipantId, mid: Mid) {
        self.sections.remove(&(peer, mid));
    }

    /// Returns whether the packet before this one is known, and of another frame.
    fn begins_frame(&self, packet: &SourcePacket) -> bool {
        self.packets.iter().any(|Kept { packet: other, .. }| {
            other.sequence.checked_add(1) == Some(packet.sequence) && other.timestamp != packet.timestamp
        })
    }

    fn is_of_an_earlier_occupant(&mut self, packet: &SourcePacket, now: Option<Instant>) -> bool {
        if self.first_sequence.is_some_and(|first| packet.sequence >= first) {
            return false;
        }
        let is_changeover = now.is_none_or(|now| now < self.changeover_ends);
        let is_earlier =
            is_changeover && packet.timestamp.wrapping_sub(self.first_timestamp).cast_signed() < 0;
        if !is_earlier {
            self.first_sequence = Some(packet.sequence);
        }
        is_earlier
    }
}

/// Returns whether a payload is an IDR slice of H.264, or its beginning, without the parameter sets that it needs. They
/// may be in the packet before (RFC 6184 §5.6: single NAL unit, §5.8: FU-A).
fn is_lone_slice(codec: Codec, payload: &[u8]) -> bool {
    const IDR: u8 = 5;
    const FU_A: u8 = 28;
    codec == Codec::H264 && payload.first().is_some_and(|byte| matches!(byte & 0x1f, IDR | FU_A))
}
