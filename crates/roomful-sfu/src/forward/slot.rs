//! One section of a subscriber: one outgoing RTP stream that sources occupy one after another.

use std::time::Instant;

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use roomful_rtp::{Mapped, Rewriter};
use roomful_types::{Codec, Mid, Rid};

use super::{OutgoingPacket, SourcePacket, source::Source};
use crate::media::SourceId;

#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Made at the first binding; its numbers live as long as the peer, whoever occupies the slot.
    rewriter: Option<Rewriter>,
    occupant: Option<SourceId>,
    /// The encoding that is wanted, and the one that comes until it does.
    wanted: Rid,
    current: Option<Rid>,
}

/// What became of a slot in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The occupant begins with these numbers.
    Began(Mapped),
    /// The occupant goes on in another encoding.
    Switched,
}

impl Slot {
    pub(super) fn bind(&mut self, source: SourceId, layer: Rid, codec: Codec, seed: &mut u64) {
        self.occupant = Some(source);
        self.wanted = layer;
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
        self.current = None;
        self.occupant.take()
    }

    /// Wants another encoding of the occupant from its next key frame on.
    pub(super) const fn set_layer(&mut self, layer: Rid) {
        self.wanted = layer;
    }

    /// Returns the encoding that is wanted.
    pub(super) const fn wanted(&self) -> Rid {
        self.wanted
    }

    /// Returns the encoding that comes, or is waited for while none does.
    pub(super) fn layer(&self) -> Rid {
        self.current.unwrap_or(self.wanted)
    }

    pub(super) const fn source(&self) -> Option<SourceId> {
        self.occupant
    }

    /// Adds the occupant's fresh packets to a subscriber's share. Returns what changed, if anything did.
    pub(super) fn collect(
        &mut self,
        mid: Mid,
        source: &Source,
        now: Instant,
        share: &mut Vec<OutgoingPacket>,
    ) -> Option<Change> {
        let mut change = None;
        // What came of the encoding before it still belongs before a switch.
        let before = self.current.filter(|current| *current != self.wanted);
        for rid in before.into_iter().chain([self.wanted]) {
            let Some(encoding) = source.encoding(rid) else { continue };
            for (place, kept) in encoding.fresh() {
                let packet = &kept.packet;
                let rewriter = self.rewriter.as_mut()?;
                let mut add = |packet: &SourcePacket, mapped: Mapped| {
                    let Mapped { sequence, timestamp } = mapped;
                    let packet = SourcePacket { sequence, timestamp, ..packet.clone() };
                    share.push(OutgoingPacket { mid, codec: source.codec, packet });
                };
                if self.current == Some(rid) {
                    if let Some(mapped) = rewriter.map(packet.sequence, packet.timestamp, now) {
                        add(packet, mapped);
                    }
                } else if kept.is_start && rid == self.wanted {
                    let (mapped, changed) = match self.current {
                        None => {
                            let mapped = rewriter.bind(packet.sequence, packet.timestamp, now);
                            (mapped, Change::Began(mapped))
                        }
                        Some(_) => {
                            (rewriter.switch(packet.sequence, packet.timestamp, now), Change::Switched)
                        }
                    };
                    (self.current, change) = (Some(rid), Some(changed));
                    add(packet, mapped);
                    for late in encoding.overtakers_of(place) {
                        if let Some(mapped) = rewriter.map(late.sequence, late.timestamp, now) {
                            add(late, mapped);
                        }
                    }
                }
            }
        }
        change
    }
}
