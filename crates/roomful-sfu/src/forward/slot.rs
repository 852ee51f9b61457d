//! One section of a subscriber: one outgoing RTP stream that sources occupy one after another.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use roomful_rtp::{Mapped, Rewriter};
use roomful_types::{Mid, Rid};

use super::{
    encoding::{Encoding, Kept},
    repair::Repairs,
    source::Source,
};

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) mid: Mid,
    /// Made at the first binding; its numbers live as long as the peer, whoever occupies the slot.
    rewriter: Option<Rewriter>,
    /// The place of the source among all.
    occupant: Option<usize>,
    /// The encoding that was told to come; none before the occupant has begun.
    told: Option<Rid>,
    /// The encoding that is wanted, and the one that comes until it does.
    wanted: Rid,
    current: Option<Rid>,
    /// The highest number of the encoding that comes, and how many may be missing behind it.
    newest: u64,
    slack: u64,
    /// Whether the numbers of the encoding are others than before: its timestamps may be too.
    is_torn: bool,
    /// When the newest packet came, if it was not the last of its picture.
    mid_picture: Option<Instant>,
    /// Up to which place each encoding was read. What is behind waits to be sent: it has no number yet.
    read: [u64; 3],
    /// Where numbers of the occupant were mapped otherwise than before, oldest first.
    breakpoints: VecDeque<Breakpoint>,
    repairs: Repairs,
}

/// From here on, numbers of an encoding are mapped like this.
#[derive(Debug, Clone, Copy)]
struct Breakpoint {
    rid: Rid,
    sequence: u64,
    source_sequence: u64,
    timestamp_offset: u32,
}

/// A packet to be sent: where it is kept, and the numbers that it gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reference {
    pub(super) rid: Rid,
    pub(super) place: u64,
    pub(super) mapped: Mapped,
}

/// What became of a slot in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The occupant begins with these numbers.
    Began(Mapped),
    /// The occupant goes on in another encoding.
    Switched,
}

/// What came of a slot's share of a turn.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) change: Option<Change>,
    /// Whether some of it was given up: too much waited, or a publisher's gap is too long to be passed on.
    pub(super) is_cut: bool,
}

/// Packets that wait for one subscriber at most; more than that are given up to the next key frame. Half a second at 4 Mbit/s.
const WAITING_MAX: u64 = 256;

/// Longest gap of a publisher that stays one, and so long they may be together, beyond one per packet. A longer one is closed: receivers
/// of SRTP lose count over half a wrap (RFC 3711 §3.3.1), and another source of the publisher's, whose numbers go on further ahead, has
/// timestamps of its own.
const GAP_MAX: u64 = 512;

/// How long the rest of a picture takes to come, at most: publishers send one within the time of a frame.
const REST_OF_PICTURE: Duration = Duration::from_millis(100);

/// Mappings that are remembered: as many switches within the history are more than any allocation makes.
const BREAKPOINTS_MAX: usize = 8;

impl Slot {
    pub(super) fn new(mid: Mid) -> Self {
        Self {
            mid,
            rewriter: None,
            occupant: None,
            told: None,
            wanted: Rid::High,
            current: None,
            newest: 0,
            slack: GAP_MAX,
            is_torn: false,
            mid_picture: None,
            read: [0; 3],
            breakpoints: VecDeque::new(),
            repairs: Repairs::default(),
        }
    }

    /// Takes a source, from what has not been forwarded yet.
    pub(super) fn bind(&mut self, place: usize, source: &Source, layer: Rid, seed: &mut u64) {
        self.occupant = Some(place);
        self.wanted = layer;
        for rid in Rid::ALL {
            self.read[rid as usize] = source.encoding(rid).map_or(0, Encoding::settled);
        }
        self.rewriter.get_or_insert_with(|| {
            *seed = seed.wrapping_add(1);
            let mut random = SmallRng::seed_from_u64(*seed);
            // Below 2^15, so that an early loss cannot confuse the rollover counter (RFC 3711 §3.3.1).
            Rewriter::new(source.codec.clock_rate(), u64::from(random.random::<u16>() >> 1), random.random())
        });
    }

    /// Ends the occupancy: nothing of it is sent any more, nor again.
    pub(super) fn unbind(&mut self) -> Option<usize> {
        if let Some(rewriter) = &mut self.rewriter {
            rewriter.unbind();
        }
        self.current = None;
        self.told = None;
        self.breakpoints.clear();
        self.occupant.take()
    }

    /// Wants another encoding of the occupant from its next key frame on.
    pub(super) fn set_layer(&mut self, layer: Rid, source: &Source) {
        if self.current != Some(layer) && self.wanted != layer {
            self.read[layer as usize] = source.encoding(layer).map_or(0, Encoding::settled);
        }
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

    /// Returns the encoding that is wanted while it does not come.
    pub(super) fn awaited(&self) -> Option<Rid> {
        (self.current != Some(self.wanted)).then_some(self.wanted)
    }

    /// Returns whether an encoding comes or is waited for.
    pub(super) fn takes(&self, rid: Rid) -> bool {
        self.wanted == rid || self.current == Some(rid)
    }

    /// Returns whether it waits for a packet to begin with.
    pub(super) const fn is_waiting(&self) -> bool {
        self.current.is_none()
    }

    pub(super) const fn occupant(&self) -> Option<usize> {
        self.occupant
    }

    /// Numbers what waits, in the order in which it is sent now. Returns what changed, if anything did.
    pub(super) fn collect(&mut self, source: &Source, now: Instant, share: &mut Vec<Reference>) -> Collected {
        let mut collected = Collected::default();
        // What came of the encoding before it still belongs before a switch.
        let before = self.current.filter(|current| *current != self.wanted);
        for rid in before.into_iter().chain([self.wanted]) {
            let Some(encoding) = source.encoding(rid) else { continue };
            collected.is_cut |= self.skip_what_is_too_much(rid, encoding);
            let mut read = encoding.end();
            for (place, kept) in encoding.from(self.read[rid as usize]) {
                if self.current == Some(rid) && self.gap_before(kept) > self.slack {
                    (self.current, self.is_torn, collected.is_cut) = (None, true, true);
                }
                if self.current == Some(rid) {
                    self.add(rid, place, kept, now, share);
                } else if kept.is_start && rid == self.wanted {
                    if self.would_cut_off(encoding, place, kept) {
                        read = place;
                        break;
                    }
                    let change = self.begin(rid, place, kept, now, share);
                    collected.change = collected.change.or(change);
                    for (place, late) in encoding.overtakers_of(place) {
                        // What is too far ahead is behind a gap that is not passed on.
                        if self.gap_before(late) <= self.slack {
                            self.add(rid, place, late, now, share);
                        }
                    }
                }
            }
            self.read[rid as usize] = read;
        }
        collected
    }

    /// Finds the packet of the occupant that was sent under a number, unless it may not be sent again.
    pub(super) fn repair(
        &mut self,
        source: &Source,
        number: u16,
        round_trip: Duration,
        now: Instant,
    ) -> Option<Reference> {
        let highest = self.rewriter.as_ref()?.highest_sequence()?;
        let sequence = highest.checked_sub((highest as u16).wrapping_sub(number).into())?;
        let breakpoint = self.breakpoints.iter().rev().find(|breakpoint| breakpoint.sequence <= sequence)?;
        let Breakpoint { rid, source_sequence, timestamp_offset, .. } = *breakpoint;
        let encoding = source.encoding(rid)?;
        let place = encoding.find(source_sequence + (sequence - breakpoint.sequence))?;
        let packet = &encoding.at(place)?.packet;
        let is_allowed = self.repairs.spend(sequence, packet.payload.len(), round_trip, now);
        let timestamp = packet.timestamp.wrapping_add(timestamp_offset);
        is_allowed.then_some(Reference { rid, place, mapped: Mapped { sequence, timestamp } })
    }

    /// Panics when more is remembered than may be.
    pub(super) fn check_invariants(&self) {
        assert!(self.breakpoints.len() <= BREAKPOINTS_MAX);
        let sequences = self.breakpoints.iter().map(|breakpoint| breakpoint.sequence);
        assert!(sequences.is_sorted(), "numbers only grow");
        assert!(self.occupant.is_some() || (self.breakpoints.is_empty() && self.current.is_none()));
    }

    /// Gives up what waits when it is too much, or when the history has not got all of it any more. Returns whether it did: there may
    /// have been a key frame in it.
    fn skip_what_is_too_much(&mut self, rid: Rid, encoding: &Encoding) -> bool {
        let read = &mut self.read[rid as usize];
        if *read >= encoding.first() && encoding.end() - *read <= WAITING_MAX {
            return false;
        }
        *read = encoding.latest_start().filter(|start| start >= read).unwrap_or_else(|| encoding.end());
        if self.current == Some(rid) {
            self.current = None;
        }
        true
    }

    /// Returns whether to go on with another encoding from this packet of it on would cut off a picture, the rest of which may still come:
    /// until the next one of the other encoding does, and not when the rest is late already.
    fn would_cut_off(&self, encoding: &Encoding, place: u64, kept: &Kept) -> bool {
        let (Some(_), Some(at)) = (self.current, self.mid_picture) else { return false };
        let is_of_it = |(_, later): (u64, &Kept)| later.packet.timestamp == kept.packet.timestamp;
        kept.arrived <= at + REST_OF_PICTURE && encoding.from(place).all(is_of_it)
    }

    /// Returns how many numbers are missing between the newest packet and this one.
    const fn gap_before(&self, kept: &Kept) -> u64 {
        kept.packet.sequence.saturating_sub(self.newest.saturating_add(1))
    }

    /// Goes on with an encoding from this packet of it on.
    fn begin(
        &mut self,
        rid: Rid,
        place: u64,
        kept: &Kept,
        now: Instant,
        share: &mut Vec<Reference>,
    ) -> Option<Change> {
        let packet = &kept.packet;
        let rewriter = self.rewriter.as_mut()?;
        let at = packet.captured.unwrap_or(now);
        let (mapped, change) = match self.told {
            None => {
                let mapped = rewriter.bind(packet.sequence, packet.timestamp, at);
                (mapped, Some(Change::Began(mapped)))
            }
            Some(told) => {
                let mapped = match self.is_torn {
                    false => rewriter.switch(packet.sequence, packet.timestamp, at),
                    true => rewriter.bind(packet.sequence, packet.timestamp, at),
                };
                (mapped, (told != rid).then_some(Change::Switched))
            }
        };
        self.told = Some(rid);
        (self.newest, self.is_torn) = (packet.sequence, false);
        self.mid_picture = Some(kept.arrived).filter(|_| !packet.marker);
        self.current = Some(rid);
        if self.breakpoints.len() == BREAKPOINTS_MAX {
            self.breakpoints.pop_front();
        }
        self.breakpoints.push_back(Breakpoint {
            rid,
            sequence: mapped.sequence,
            source_sequence: packet.sequence,
            timestamp_offset: mapped.timestamp.wrapping_sub(packet.timestamp),
        });
        self.repairs.earn(packet.payload.len());
        share.push(Reference { rid, place, mapped });
        change
    }

    /// Adds a packet of the encoding that comes; one from before it began is left out.
    fn add(&mut self, rid: Rid, place: u64, kept: &Kept, now: Instant, share: &mut Vec<Reference>) {
        let packet = &kept.packet;
        let Some(rewriter) = &mut self.rewriter else { return };
        let at = packet.captured.unwrap_or(now);
        let Some(mapped) = rewriter.map(packet.sequence, packet.timestamp, at) else { return };
        self.slack = (self.slack.saturating_sub(self.gap_before(kept)) + 1).min(GAP_MAX);
        if packet.sequence > self.newest && !packet.payload.is_empty() {
            self.mid_picture = Some(kept.arrived).filter(|_| !packet.marker);
        }
        self.newest = self.newest.max(packet.sequence);
        self.repairs.earn(packet.payload.len());
        share.push(Reference { rid, place, mapped });
    }
}
