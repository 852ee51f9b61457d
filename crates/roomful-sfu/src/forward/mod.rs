//! Forwarding: packets of sources in, each subscriber's share out.

mod encoding;
mod keyframe;
mod repair;
mod slot;
mod source;
mod speech;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use roomful_types::{Codec, MediaKind, Mid, ParticipantId, PassedExtensions, Rid};
use slab::Slab;

use crate::media::{MediaCommand, MediaNotice, SourceId};
use encoding::Spare;
use keyframe::KeyframeRequests;
use slot::{Change, Collected, Reference, Slot};
use source::{Source, Taker};

/// Forwards media among the peers of one shard.
///
/// Per turn of the shard: [`ingest`](Self::ingest) everything that has arrived, then [`forward`](Self::forward) once, then
/// drain [`poll_notice`](Self::poll_notice).
#[derive(Debug, Default)]
pub struct Forwarder {
    sources: Slab<Source>,
    by_id: BTreeMap<SourceId, usize>,
    /// Which source a section of a publisher carries.
    ingress: BTreeMap<(ParticipantId, Mid), usize>,
    subscribers: Slab<Subscriber>,
    by_peer: BTreeMap<ParticipantId, usize>,
    /// Sources with packets that are not forwarded yet.
    fresh: Vec<usize>,
    /// Encodings that owe a key frame.
    owing: BTreeSet<(usize, Rid)>,
    /// Sources on which somebody may be heard.
    heard: BTreeSet<usize>,
    /// Sections whose occupant has gone.
    left: Vec<(ParticipantId, Mid)>,
    notices: VecDeque<MediaNotice>,
    /// Who is served first, among those that get something; another one each time.
    first: usize,
    /// Who is to be served with what came, in this order.
    waiting: VecDeque<usize>,
    /// Sources that not everybody was served with.
    unsettled: Vec<usize>,
    /// Used again and again: the share of one slot.
    share: Vec<Reference>,
    spare: Spare,
    forwarded: u64,
    rates_at: Option<Instant>,
    seed: u64,
}

/// Somebody who may take something.
#[derive(Debug)]
struct Subscriber {
    peer: ParticipantId,
    slots: Vec<Slot>,
    /// Slots that get something in this turn.
    due: Vec<usize>,
}

/// Where a subscriber's packets and a publisher's key-frame requests go.
pub trait Egress {
    /// Returns whether anything can be sent now. While it cannot, packets wait without numbers, and old ones are given up.
    fn has_room(&self) -> bool;

    /// Returns whether anything can be sent to this subscriber: its path is up. Until then its packets wait without numbers too.
    fn is_ready(&self, peer: ParticipantId) -> bool;

    /// Returns whether a subscriber can take a codec on a section. What it cannot gets no numbers there: a receiver of SRTP that misses half
    /// a wrap of them loses count (RFC 3711 §3.3.1).
    fn takes(&self, peer: ParticipantId, mid: Mid, codec: Codec) -> bool;

    /// Sends packets to one subscriber, in this order.
    fn send<'a>(&mut self, peer: ParticipantId, packets: impl ExactSizeIterator<Item = OutgoingPacket<'a>>);

    /// Sends a packet again as a repair (RFC 4588), if it was sent before.
    fn repair(&mut self, peer: ParticipantId, packet: OutgoingPacket<'_>);

    /// Asks a publisher for a key frame of an encoding on one of its sections.
    fn request_keyframe(&mut self, peer: ParticipantId, mid: Mid, rid: Rid);

    /// What occupied a section of a subscriber has gone; the next occupant has a time of its own.
    fn leave(&mut self, peer: ParticipantId, mid: Mid);
}

/// One RTP packet as it came from a publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePacket {
    /// How it is encoded, by its payload type.
    pub codec: Codec,
    /// Extended sequence number (RFC 3550 appendix A.1).
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// RTP payload; empty for padding. Best in a buffer of [`Forwarder::take_buffer`].
    pub payload: Vec<u8>,
    /// When it was captured, on the publisher's clock moved by one distance per publisher; none until that is known.
    pub captured: Option<Instant>,
    /// What else it says of itself.
    pub extensions: PassedExtensions,
}

/// One RTP packet for a subscriber: a publisher's, with the numbers of the subscriber's section.
#[derive(Debug, Clone, Copy)]
pub struct OutgoingPacket<'a> {
    /// The section of the subscriber that carries it.
    pub mid: Mid,
    /// How it is encoded.
    pub codec: Codec,
    /// Extended sequence number.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Bytes of padding that make it as long as those beside it.
    pub padding: u8,
    /// The packet as it came.
    pub source: &'a SourcePacket,
}

impl OutgoingPacket<'_> {
    /// Returns a copy of the packet as the subscriber sees it.
    #[must_use]
    pub fn rewritten(&self) -> SourcePacket {
        SourcePacket { sequence: self.sequence, timestamp: self.timestamp, ..self.source.clone() }
    }
}

impl Forwarder {
    /// Makes an empty forwarder. The seed decides where sequence numbers and timestamps begin.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Carries out what concerns routes; peers and their descriptions are the shard's.
    pub fn handle_command(&mut self, command: &MediaCommand, now: Instant) {
        match *command {
            MediaCommand::AcceptOffer { peer, ref slots, .. } => {
                let mids = slots.iter().flat_map(|slot| [slot.audio, slot.video]);
                self.add_slots(peer, mids);
            }
            MediaCommand::RemovePeer { peer } => self.remove_peer(peer),
            MediaCommand::PutSource { source, peer, mid, codec, first_timestamp, simulcast } => {
                let fresh = Source::new(source, (peer, mid), codec, first_timestamp, simulcast, now);
                self.put_source(fresh, now);
            }
            MediaCommand::EnableSource { source, enabled } => self.enable_source(source, enabled, now),
            MediaCommand::RemoveSource { source } => self.remove_source(source),
            MediaCommand::Bind { peer, mid, source, layer } => {
                let taker = self.taker(peer, mid);
                if let Some(taker) = taker {
                    self.unbind(taker);
                    self.bind(taker, source, layer, now);
                }
            }
            MediaCommand::SetLayer { peer, mid, layer } => self.set_layer(peer, mid, layer, now),
            MediaCommand::Unbind { peer, mid } => {
                if let Some(taker) = self.taker(peer, mid) {
                    self.unbind(taker);
                }
            }
        }
    }

    /// Returns a buffer for the payload of the next packet. Buffers come back when their packets are forgotten.
    #[must_use]
    pub fn take_buffer(&mut self) -> Vec<u8> {
        self.spare.take()
    }

    /// Takes back a buffer that was not used.
    pub fn give_buffer(&mut self, buffer: Vec<u8>) {
        self.spare.give(buffer);
    }

    /// Takes one packet in. What belongs to no source, or to a disabled one, is dropped.
    pub fn ingest(&mut self, peer: ParticipantId, mid: Mid, rid: Rid, packet: SourcePacket, now: Instant) {
        let place = self.ingress.get(&(peer, mid)).copied();
        let source = place.and_then(|place| Some((place, self.sources.get_mut(place)?)));
        // A publisher that goes over to another codec says so first.
        let Some((place, source)) = source.filter(|(_, source)| source.codec == packet.codec) else {
            return self.spare.give(packet.payload);
        };
        let level = packet.extensions.audio_level;
        if let Err(packet) = source.ingest(rid, packet, now, &mut self.spare) {
            return self.spare.give(packet.payload);
        }
        if !std::mem::replace(&mut source.is_fresh, true) {
            self.fresh.push(place);
        }
        if let Some(level) = level {
            source.speech.hear(level, now);
            self.heard.insert(place);
        }
    }

    /// Hands everything that was taken in to its subscribers, one subscriber after the other, and asks publishers for
    /// the key frames that are due.
    pub fn forward(&mut self, egress: &mut impl Egress, now: Instant) {
        for (peer, mid) in self.left.drain(..) {
            egress.leave(peer, mid);
        }
        if egress.has_room() {
            self.serve_all(egress, now);
        }
        self.request_keyframes(egress, now);
        self.report_speech(now);
        self.report_rates(now);
    }

    /// Sends a packet of a subscriber's section again, if it was sent, is left, and has not been sent again too often.
    ///
    /// * `number`: its sequence number there.
    /// * `round_trip`: to the subscriber.
    pub fn repair(
        &mut self,
        (peer, mid): (ParticipantId, Mid),
        number: u16,
        round_trip: Duration,
        egress: &mut impl Egress,
        now: Instant,
    ) {
        let Some(taker) = self.taker(peer, mid) else { return };
        let slot = &mut self.subscribers[taker.subscriber].slots[taker.slot];
        let Some(source) = slot.occupant().and_then(|place| self.sources.get_mut(place)) else { return };
        source.encodings_mut().for_each(|(_, encoding)| encoding.index());
        if let Some(reference) = slot.repair(source, number, round_trip, now)
            && let Some(packet) = outgoing(source, mid, reference)
        {
            egress.repair(peer, packet);
        }
    }

    /// Notes that a subscriber lost its picture on a section and asks for a key frame.
    pub fn keyframe_requested(&mut self, peer: ParticipantId, mid: Mid, now: Instant) {
        let Some(taker) = self.taker(peer, mid) else { return };
        let slot = &self.subscribers[taker.subscriber].slots[taker.slot];
        let (layer, awaited) = (slot.layer(), slot.awaited());
        if let Some(source) = slot.occupant() {
            // One that is to come and did not may be the reason.
            for rid in std::iter::once(layer).chain(awaited.filter(|awaited| *awaited != layer)) {
                self.owe_keyframe(source, rid, |requests| requests.want(now));
            }
        }
    }

    /// Returns the next thing to report.
    #[must_use]
    pub fn poll_notice(&mut self) -> Option<MediaNotice> {
        self.notices.pop_front()
    }

    /// Returns when [`forward`](Self::forward) must be called again although nothing arrived.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let due = |(place, rid): &(usize, Rid)| self.sources.get(*place)?.encoding(*rid)?.keyframe.due();
        let keyframes = self.owing.iter().filter_map(due);
        let speech = self.heard.iter().filter_map(|place| self.sources.get(*place)?.speech.deadline());
        keyframes.chain(speech).min()
    }

    /// Returns whether packets wait that could not all be sent in the last turn.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.fresh.is_empty() || !self.waiting.is_empty()
    }

    /// Returns how many packets were handed to subscribers since the start.
    #[must_use]
    pub const fn packets_forwarded(&self) -> u64 {
        self.forwarded
    }

    /// Checks what must be true of every shard. For tests and simulators: costs a walk over everything.
    ///
    /// # Panics
    /// When the forwarder is at fault.
    pub fn check_invariants(&self) {
        for (place, source) in &self.sources {
            assert_eq!(self.by_id.get(&source.id), Some(&place), "every source is found");
            source.check_invariants();
            for taker in &source.takers {
                let slot = &self.subscribers[taker.subscriber].slots[taker.slot];
                assert_eq!(slot.occupant(), Some(place), "whoever is served takes it");
            }
        }
        for (place, subscriber) in &self.subscribers {
            assert_eq!(self.by_peer.get(&subscriber.peer), Some(&place), "every subscriber is found");
            subscriber.slots.iter().for_each(Slot::check_invariants);
        }
        assert!(self.share.is_empty(), "nothing is left of a turn");
        for place in &self.waiting {
            assert!(!self.subscribers[*place].due.is_empty(), "whoever waits waits for something");
        }
        assert_eq!((self.by_id.len(), self.by_peer.len()), (self.sources.len(), self.subscribers.len()));
    }

    /// Returns whether nothing is left of any peer.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
            && self.by_id.is_empty()
            && self.ingress.is_empty()
            && self.subscribers.is_empty()
            && self.by_peer.is_empty()
            && self.fresh.is_empty()
            && self.waiting.is_empty()
            && self.unsettled.is_empty()
            && self.owing.is_empty()
            && self.heard.is_empty()
            && self.notices.is_empty()
            && self.share.is_empty()
    }

    /// Serves everybody for whom something came, as far as there is room: subscribers outside, packets inside, so that the keys of one stay at
    /// hand. Whoever is left comes first when there is room again.
    fn serve_all(&mut self, egress: &mut impl Egress, now: Instant) {
        self.line_up();
        while egress.has_room()
            && let Some(next) = self.waiting.pop_front()
        {
            self.serve(next, egress, now);
        }
        if !self.waiting.is_empty() {
            return;
        }
        for place in self.unsettled.drain(..) {
            let Some(source) = self.sources.get_mut(place) else { continue };
            source.is_unsettled = false;
            source.settle();
        }
    }

    /// Lines up everybody for whom something came.
    fn line_up(&mut self) {
        let Self { sources, subscribers, fresh, unsettled, waiting, .. } = self;
        let before = waiting.len();
        for place in fresh.drain(..) {
            let Some(source) = sources.get_mut(place) else { continue };
            source.is_fresh = false;
            source.encodings_mut().for_each(|(_, encoding)| encoding.even_out());
            for taker in &source.takers {
                let due = &mut subscribers[taker.subscriber].due;
                if due.is_empty() {
                    waiting.push_back(taker.subscriber);
                }
                if !due.contains(&taker.slot) {
                    due.push(taker.slot);
                }
            }
            if !std::mem::replace(&mut source.is_unsettled, true) {
                unsettled.push(place);
            }
        }
        // Whoever comes first gets the shortest delay; taking turns shares it.
        let came = waiting.len() - before;
        if before == 0 && came > 0 {
            waiting.rotate_left(self.first % came);
            self.first = self.first.wrapping_add(1);
        }
    }

    fn serve(&mut self, place: usize, egress: &mut impl Egress, now: Instant) {
        let Self { sources, subscribers, share, notices, forwarded, .. } = self;
        let Subscriber { peer, slots, due } = &mut subscribers[place];
        if !egress.is_ready(*peer) {
            return due.clear();
        }
        let mut starved = Vec::new();
        for slot in due.drain(..) {
            let slot = &mut slots[slot];
            let Some((occupant, source)) = slot.occupant().and_then(|one| Some((one, sources.get(one)?)))
            else {
                continue;
            };
            if slot.is_waiting() && !egress.takes(*peer, slot.mid, source.codec) {
                continue;
            }
            let Collected { change, is_cut } = slot.collect(source, now, share);
            let (peer, mid, layer) = (*peer, slot.mid, slot.layer());
            match change {
                Some(Change::Began(start)) => notices.push_back(MediaNotice::Bound {
                    peer,
                    mid,
                    source: source.id,
                    codec: source.codec,
                    first_sequence: start.sequence as u16,
                    first_timestamp: start.timestamp,
                    layer,
                }),
                Some(Change::Switched) => {
                    notices.push_back(MediaNotice::Switched { peer, mid, source: source.id, layer });
                }
                None => {}
            }
            if is_cut {
                starved.extend(slot.awaited().map(|awaited| (occupant, awaited)));
            }
            if !share.is_empty() {
                *forwarded += share.len() as u64;
                let packets = share.iter().map(|reference| {
                    outgoing(source, mid, *reference).expect("what was numbered just now is there")
                });
                egress.send(peer, packets);
                share.clear();
            }
        }
        for (source, layer) in starved {
            self.owe_keyframe(source, layer, |requests| requests.want(now));
        }
    }

    fn request_keyframes(&mut self, egress: &mut impl Egress, now: Instant) {
        let Self { sources, subscribers, owing, .. } = self;
        owing.retain(|(place, rid)| {
            let Some(source) = sources.get_mut(*place) else { return false };
            let takes = |taker: &Taker| subscribers[taker.subscriber].slots[taker.slot].takes(*rid);
            let is_idle = !source.enabled || !source.takers.iter().any(takes);
            let (peer, mid) = (source.peer, source.mid);
            let requests = &mut source.encoding_mut(*rid).keyframe;
            if is_idle {
                // Its publisher is paused or muted, and would be asked for ever.
                requests.satisfy();
            }
            if requests.take_due(now) {
                egress.request_keyframe(peer, mid, *rid);
            }
            requests.due().is_some()
        });
    }

    fn report_speech(&mut self, now: Instant) {
        let Self { sources, notices, .. } = self;
        self.heard.retain(|place| {
            let Some(source) = sources.get_mut(*place) else { return false };
            if let Some(level) = source.speech.report(now) {
                notices.push_back(MediaNotice::Speaking { peer: source.peer, source: source.id, level });
                return level.is_some();
            }
            true
        });
    }

    /// Tells once a second in how many bits a second everything came of late.
    fn report_rates(&mut self, now: Instant) {
        let since = *self.rates_at.get_or_insert(now);
        if now.saturating_duration_since(since) < RATES_INTERVAL {
            return;
        }
        self.rates_at = Some(now);
        for (_, source) in &mut self.sources {
            let (peer, id) = (source.peer, source.id);
            let mut rates = [None; Rid::ALL.len()];
            for (rid, encoding) in source.encodings_mut() {
                rates[rid as usize] = encoding.take_rate();
            }
            if rates.iter().any(Option::is_some) {
                self.notices.push_back(MediaNotice::Rates { peer, source: id, rates });
            }
        }
    }

    fn add_slots(&mut self, peer: ParticipantId, mids: impl Iterator<Item = Mid>) {
        let subscribers = &mut self.subscribers;
        let place = *self
            .by_peer
            .entry(peer)
            .or_insert_with(|| subscribers.insert(Subscriber { peer, slots: Vec::new(), due: Vec::new() }));
        let slots = &mut subscribers[place].slots;
        for mid in mids {
            if slots.iter().all(|slot| slot.mid != mid) {
                slots.push(Slot::new(mid));
            }
        }
    }

    fn taker(&self, peer: ParticipantId, mid: Mid) -> Option<Taker> {
        let subscriber = *self.by_peer.get(&peer)?;
        let slot = self.subscribers[subscriber].slots.iter().position(|slot| slot.mid == mid)?;
        Some(Taker { subscriber, slot })
    }

    fn put_source(&mut self, mut source: Source, now: Instant) {
        let (id, section) = (source.id, (source.peer, source.mid));
        let place = match self.by_id.get(&id) {
            Some(place) => {
                let place = *place;
                self.leave_section(place);
                let earlier = &mut self.sources[place];
                if earlier.clear(&mut self.spare) {
                    self.notices.push_back(MediaNotice::Speaking {
                        peer: earlier.peer,
                        source: id,
                        level: None,
                    });
                }
                source.enabled = earlier.enabled;
                (source.is_fresh, source.is_unsettled) = (earlier.is_fresh, earlier.is_unsettled);
                source.takers = std::mem::take(&mut earlier.takers);
                *earlier = source;
                place
            }
            None => {
                let place = self.sources.insert(source);
                self.by_id.insert(id, place);
                place
            }
        };
        self.ingress.insert(section, place);
        // A new track has numbers and perhaps a codec of its own.
        self.begin_anew(place, now);
    }

    fn enable_source(&mut self, id: SourceId, enabled: bool, now: Instant) {
        let Some(place) = self.by_id.get(&id).copied() else { return };
        let source = &mut self.sources[place];
        if std::mem::replace(&mut source.enabled, enabled) != enabled {
            if source.clear(&mut self.spare) {
                // A report that somebody is heard may be on its way still.
                self.notices.push_back(MediaNotice::Speaking { peer: source.peer, source: id, level: None });
            }
            // What is dropped in between must not look like loss.
            self.begin_anew(place, now);
        }
    }

    /// Lets all who take a source begin at its next key frame.
    fn begin_anew(&mut self, place: usize, now: Instant) {
        let Some(source) = self.sources.get_mut(place) else { return };
        let id = source.id;
        for taker in std::mem::take(&mut source.takers) {
            let subscriber = &mut self.subscribers[taker.subscriber];
            let slot = &mut subscriber.slots[taker.slot];
            let layer = slot.wanted();
            slot.unbind();
            self.left.push((subscriber.peer, slot.mid));
            self.bind(taker, id, layer, now);
        }
    }

    fn remove_source(&mut self, id: SourceId) {
        let Some(place) = self.by_id.get(&id).copied() else { return };
        self.leave_section(place);
        self.by_id.remove(&id);
        let mut source = self.sources.remove(place);
        source.clear(&mut self.spare);
        for taker in source.takers {
            let subscriber = &mut self.subscribers[taker.subscriber];
            let slot = &mut subscriber.slots[taker.slot];
            slot.unbind();
            self.left.push((subscriber.peer, slot.mid));
        }
        // Its place is another's next.
        self.fresh.retain(|fresh| *fresh != place);
        self.unsettled.retain(|unsettled| *unsettled != place);
        self.owing.retain(|(owing, _)| *owing != place);
        self.heard.remove(&place);
    }

    /// Frees the section that carried a source, unless another source has it already.
    fn leave_section(&mut self, place: usize) {
        let section = (self.sources[place].peer, self.sources[place].mid);
        if self.ingress.get(&section) == Some(&place) {
            self.ingress.remove(&section);
        }
    }

    fn remove_peer(&mut self, peer: ParticipantId) {
        if let Some(place) = self.by_peer.remove(&peer) {
            self.subscribers.remove(place);
            self.waiting.retain(|waiting| *waiting != place);
            for (_, source) in &mut self.sources {
                source.takers.retain(|taker| taker.subscriber != place);
            }
        }
        let own = self.sources.iter().filter(|(_, source)| source.peer == peer);
        for id in own.map(|(_, source)| source.id).collect::<Vec<_>>() {
            self.remove_source(id);
        }
    }

    /// Binds a slot that is free.
    fn bind(&mut self, taker: Taker, id: SourceId, layer: Rid, now: Instant) {
        let Some(place) = self.by_id.get(&id).copied() else { return };
        let source = &mut self.sources[place];
        let layer = source.offered(layer);
        let slot = &mut self.subscribers[taker.subscriber].slots[taker.slot];
        slot.bind(place, source, layer, &mut self.seed);
        source.takers.push(taker);
        self.owe_keyframe(place, layer, |requests| requests.want_first(now));
    }

    fn set_layer(&mut self, peer: ParticipantId, mid: Mid, layer: Rid, now: Instant) {
        let Some(taker) = self.taker(peer, mid) else { return };
        let slot = &mut self.subscribers[taker.subscriber].slots[taker.slot];
        let Some((place, source)) = slot.occupant().and_then(|one| Some((one, self.sources.get(one)?)))
        else {
            return;
        };
        let layer = source.offered(layer);
        let is_new = layer != slot.layer();
        slot.set_layer(layer, source);
        if is_new {
            self.owe_keyframe(place, layer, |requests| requests.want_first(now));
        }
    }

    fn unbind(&mut self, taker: Taker) {
        let subscriber = &mut self.subscribers[taker.subscriber];
        let slot = &mut subscriber.slots[taker.slot];
        let Some(occupant) = slot.unbind() else { return };
        self.left.push((subscriber.peer, slot.mid));
        if let Some(source) = self.sources.get_mut(occupant) {
            source.takers.retain(|one| *one != taker);
        }
    }

    fn owe_keyframe(&mut self, place: usize, rid: Rid, want: impl FnOnce(&mut KeyframeRequests)) {
        if let Some(source) = self.sources.get_mut(place).filter(|source| source.enabled)
            && source.id.kind == MediaKind::Video
        {
            want(&mut source.encoding_mut(rid).keyframe);
            self.owing.insert((place, rid));
        }
    }
}

/// Returns a packet as a subscriber gets it, while it is kept.
fn outgoing(source: &Source, mid: Mid, reference: Reference) -> Option<OutgoingPacket<'_>> {
    let Reference { rid, place, mapped } = reference;
    let kept = source.encoding(rid)?.at(place)?;
    let (sequence, timestamp) = (mapped.sequence, mapped.timestamp);
    let (codec, padding) = (source.codec, kept.padding);
    Some(OutgoingPacket { mid, codec, sequence, timestamp, padding, source: &kept.packet })
}

/// How often it is told how much comes of each source.
const RATES_INTERVAL: Duration = Duration::from_secs(1);
