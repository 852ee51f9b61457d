//! One source: the packets of one track in its encodings, and who takes them.

use std::time::{Duration, Instant};

use roomful_rtp::starts_keyframe;
use roomful_types::{Codec, Mid, ParticipantId, Rid};

use super::{
    SourcePacket,
    encoding::{Encoding, Spare},
    speech::Speech,
};
use crate::media::SourceId;

/// How long packets of a section's earlier occupant may still come. Longer than any retransmission takes, and far shorter
/// than the 6.6 hours after which a timestamp seems to be older than the first: a source may be paused for a day.
const CHANGEOVER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Source {
    pub(super) id: SourceId,
    pub(super) peer: ParticipantId,
    pub(super) mid: Mid,
    pub(super) codec: Codec,
    pub(super) enabled: bool,
    pub(super) is_simulcast: bool,
    /// Whether packets wait to be forwarded.
    pub(super) is_fresh: bool,
    /// Whether not everybody was served with what came.
    pub(super) is_unsettled: bool,
    /// Who takes it.
    pub(super) takers: Vec<Taker>,
    pub(super) speech: Speech,
    /// By their names.
    encodings: [Option<Encoding>; Rid::ALL.len()],
    first_timestamp: u32,
    /// Until when packets of an earlier occupant are told by their timestamps.
    changeover_ends: Instant,
}

/// A slot of a subscriber, by their places among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taker {
    pub(super) subscriber: usize,
    pub(super) slot: usize,
}

impl Source {
    pub(super) fn new(
        id: SourceId,
        (peer, mid): (ParticipantId, Mid),
        codec: Codec,
        first_timestamp: u32,
        is_simulcast: bool,
        now: Instant,
    ) -> Self {
        Self {
            id,
            peer,
            mid,
            codec,
            enabled: true,
            is_simulcast,
            is_fresh: false,
            is_unsettled: false,
            takers: Vec::new(),
            speech: Speech::default(),
            encodings: [const { None }; Rid::ALL.len()],
            first_timestamp,
            changeover_ends: now + CHANGEOVER,
        }
    }

    /// Takes a packet in; gives it back when it is not forwarded.
    pub(super) fn ingest(
        &mut self,
        rid: Rid,
        packet: SourcePacket,
        now: Instant,
        spare: &mut Spare,
    ) -> Result<(), SourcePacket> {
        let is_expected = self.is_simulcast || rid == Rid::High;
        if !self.enabled || !is_expected || self.is_of_an_earlier_occupant(rid, &packet, now) {
            return Err(packet);
        }
        let codec = self.codec;
        let encoding = self.encodings[rid as usize].get_or_insert_default();
        let is_start = starts_keyframe(codec, &packet.payload)
            && (!is_lone_slice(codec, &packet.payload) || begins_frame(encoding, &packet));
        encoding.push(packet, is_start, now, spare);
        Ok(())
    }

    /// Everybody has been served.
    pub(super) fn settle(&mut self) {
        self.encodings.iter_mut().flatten().for_each(Encoding::settle);
    }

    /// Forgets every packet: nobody shall get any of them. Returns whether somebody was heard, who is not any more.
    pub(super) fn clear(&mut self, spare: &mut Spare) -> bool {
        self.encodings.iter_mut().flatten().for_each(|encoding| encoding.clear(spare));
        std::mem::take(&mut self.speech).is_active()
    }

    /// Returns an encoding, once something came of it or was wanted of it.
    pub(super) const fn encoding(&self, rid: Rid) -> Option<&Encoding> {
        self.encodings[rid as usize].as_ref()
    }

    /// Returns an encoding that something is wanted of.
    pub(super) fn encoding_mut(&mut self, rid: Rid) -> &mut Encoding {
        self.encodings[rid as usize].get_or_insert_default()
    }

    pub(super) fn encodings_mut(&mut self) -> impl Iterator<Item = (Rid, &mut Encoding)> {
        let mut rids = Rid::ALL;
        rids.sort_unstable();
        let all = rids.into_iter().zip(&mut self.encodings);
        all.filter_map(|(rid, encoding)| Some((rid, encoding.as_mut()?)))
    }

    /// Returns the encoding that is there of one that is asked for.
    pub(super) const fn offered(&self, layer: Rid) -> Rid {
        if self.is_simulcast { layer } else { Rid::High }
    }

    /// Panics when more is kept than may be.
    pub(super) fn check_invariants(&self) {
        self.encodings.iter().flatten().for_each(Encoding::check_invariants);
    }

    fn is_of_an_earlier_occupant(&mut self, rid: Rid, packet: &SourcePacket, now: Instant) -> bool {
        let is_changeover = now < self.changeover_ends;
        let (first_timestamp, clock_rate) = (self.first_timestamp, self.codec.clock_rate());
        let encoding = self.encoding_mut(rid);
        if encoding.first_sequence.is_some_and(|first| packet.sequence >= first) {
            return false;
        }
        // Encodings of browsers count from elsewhere each: what is further behind than an earlier occupant can be is none of it.
        let behind = first_timestamp.wrapping_sub(packet.timestamp);
        let furthest = CHANGEOVER.as_secs() as u32 * clock_rate;
        let is_earlier = is_changeover && (1..=furthest).contains(&behind);
        if !is_earlier {
            encoding.first_sequence = Some(packet.sequence);
        }
        is_earlier
    }
}

/// Returns whether the packet before this one is known, and of another frame.
fn begins_frame(encoding: &mut Encoding, packet: &SourcePacket) -> bool {
    encoding.index();
    let before = packet.sequence.checked_sub(1).and_then(|before| encoding.find(before));
    let before = before.and_then(|place| encoding.at(place));
    before.is_some_and(|kept| kept.packet.timestamp != packet.timestamp)
}

/// Returns whether a payload is an IDR slice of H.264, or its beginning, without the parameter sets that it needs. They
/// may be in the packet before (RFC 6184 §5.6: single NAL unit, §5.8: FU-A).
fn is_lone_slice(codec: Codec, payload: &[u8]) -> bool {
    const IDR: u8 = 5;
    const FU_A: u8 = 28;
    codec == Codec::H264 && payload.first().is_some_and(|byte| matches!(byte & 0x1f, IDR | FU_A))
}
