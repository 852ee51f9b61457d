//! One section of a subscriber: one outgoing RTP stream that sources occupy one after another.

use std::time::Instant;

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use roomful_rtp::{Mapped, Rewriter};
use roomful_types::{Codec, Mid};

use super::{OutgoingPacket, SourcePacket, source::Source};
use crate::media::SourceId;

#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Made at the first binding; its numbers live as long as the peer, whoever occupies the slot.
    rewriter: Option<Rewriter>,
    occupant: Option<SourceId>,
}

impl Slot {
    pub(super) fn bind(&mut self, source: SourceId, codec: Codec, seed: &mut u64) {
        self.occupant = Some(source);
        self.rewriter.get_or_insert_with(|| {
            *seed = seed.wrapping_add(1);
            let mut random = SmallRng::seed_from_u64(*seed);
            // Below 2^15, so that an early loss cannot confuse the rollover counter (RFC 3711 §3.3.1).
            Rewriter::new(codec.clock_rate(), u64::from(random.random::<u16>() >> 1), random.random())
        });
    }

    pub(super) fn unbind(&mut self) -> Option<SourceId> {
        if let Some(rewriter) = &mut self.rewriter {
            rewriter.unbind();
        }
        self.occupant.take()
    }

    pub(super) const fn source(&self) -> Option<SourceId> {
        self.occupant
    }

    /// Adds the occupant's fresh packets to a subscriber's share. Returns the occupant's first numbers if it begins now.
    pub(super) fn collect(
        &mut self,
        mid: Mid,
        source: &Source,
        now: Instant,
        share: &mut Vec<OutgoingPacket>,
    ) -> Option<Mapped> {
        let rewriter = self.rewriter.as_mut()?;
        let mut start = None;
        for (place, kept) in source.fresh() {
            let packet = &kept.packet;
            let mut add = |packet: &SourcePacket, mapped: Mapped| {
                let Mapped { sequence, timestamp } = mapped;
                let packet = SourcePacket { sequence, timestamp, ..packet.clone() };
                share.push(OutgoingPacket { mid, codec: source.codec, packet });
            };
            if rewriter.is_bound() {
                if let Some(mapped) = rewriter.map(packet.sequence, packet.timestamp, now) {
                    add(packet, mapped);
                }
            } else if kept.is_start {
                let mapped = rewriter.bind(packet.sequence, packet.timestamp, now);
                add(packet, mapped);
                start = Some(mapped);
                for late in source.overtakers_of(place) {
                    if let Some(mapped) = rewriter.map(late.sequence, late.timestamp, now) {
                        add(late, mapped);
                    }
                }
            }
        }
        start
    }
}
