//! Forwarding: packets of sources in, each subscriber's share out.

mod keyframe;
mod slot;
mod source;
mod speech;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use roomful_types::{AudioLevel, Bitrate, Codec, MediaKind, Mid, ParticipantId, Rid};

use crate::media::{MediaCommand, MediaNotice, SourceId};
use keyframe::KeyframeRequests;
use slot::{Change, Slot};
use source::Source;

/// Forwards media among the peers of one shard.
///
/// Per turn of the shard: [`ingest`](Self::ingest) everything that has arrived, then [`forward`](Self::forward) once, then
/// drain [`poll_notice`](Self::poll_notice).
#[derive(Debug, Default)]
pub struct Forwarder {
    sources: BTreeMap<SourceId, Source>,
    /// Which source a section of a publisher carries.
    ingress: BTreeMap<(ParticipantId, Mid), SourceId>,
    subscribers: BTreeMap<ParticipantId, BTreeMap<Mid, Slot>>,
    /// Sources with packets that are not forwarded yet.
    fresh: BTreeSet<SourceId>,
    /// Encodings that owe a key frame.
    owing: BTreeSet<(SourceId, Rid)>,
    /// Sources on which somebody may be heard.
    heard: BTreeSet<SourceId>,
    /// Sections whose history is nobody's any more.
    forgotten: Vec<(ParticipantId, Mid)>,
    notices: VecDeque<MediaNotice>,
    /// Who was served first in the last turn; the next one begins behind it.
    served_first: Option<ParticipantId>,
    /// Reused for every subscriber's share.
    share: Vec<OutgoingPacket>,
    forwarded: u64,
    rates_at: Option<Instant>,
    seed: u64,
    /// The time of the latest turn or command.
    now: Option<Instant>,
}

/// Where a subscriber's packets and a publisher's key-frame requests go.
pub trait Egress {
    /// Sends packets to one subscriber, in this order.
    fn send(&mut self, peer: ParticipantId, packets: &[OutgoingPacket]);

    /// Asks a publisher for a key frame of an encoding on one of its sections.
    fn request_keyframe(&mut self, peer: ParticipantId, mid: Mid, rid: Rid);

    /// Drops what was sent to a subscriber on a section: none of it may be sent again.
    fn forget(&mut self, peer: ParticipantId, mid: Mid);
}

/// One RTP packet as it came from a publisher.
#[derive(Debug, Clone)]
pub struct SourcePacket {
    /// Extended sequence number (RFC 3550 appendix A.1).
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// RTP payload; empty for padding.
    pub payload: Arc<[u8]>,
    /// When it was captured, on the publisher's clock moved by one constant per publisher; none until that is known.
    pub captured: Option<Instant>,
    /// How loud it is, if it says so.
    pub audio_level: Option<AudioLevel>,
}

/// One RTP packet for a subscriber.
#[derive(Debug, Clone)]
pub struct OutgoingPacket {
    /// The section of the subscriber that carries it.
    pub mid: Mid,
    /// How it is encoded.
    pub codec: Codec,
    /// The packet, with the sequence number and timestamp of the slot.
    pub packet: SourcePacket,
}

impl Forwarder {
    /// Makes an empty forwarder. The seed decides where sequence numbers and timestamps begin.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Carries out what concerns routes; peers and their descriptions are the shard's.
    pub fn handle_command(&mut self, command: &MediaCommand, now: Instant) {
        self.now = Some(now);
        match *command {
            MediaCommand::AcceptOffer { peer, ref slots, .. } => {
                let sections = self.subscribers.entry(peer).or_default();
                for mid in slots.iter().flat_map(|slot| [slot.audio, slot.video]) {
                    sections.entry(mid).or_default();
                }
            }
            MediaCommand::RemovePeer { peer } => self.remove_peer(peer),
            MediaCommand::PutSource { source, peer, mid, codec, first_timestamp, simulcast } => {
                let fresh = Source::new(peer, mid, codec, first_timestamp, simulcast, now);
                self.put_source(source, fresh, now);
            }
            MediaCommand::EnableSource { source, enabled } => self.enable_source(source, enabled, now),
            MediaCommand::RemoveSource { source } => self.remove_source(source),
            MediaCommand::Bind { peer, mid, source, layer } => self.bind(peer, mid, source, layer, now),
            MediaCommand::SetLayer { peer, mid, layer } => self.set_layer(peer, mid, layer, now),
            MediaCommand::Unbind { peer, mid } => self.unbind(peer, mid),
        }
    }

    /// Takes one packet in. What belongs to no source, or to a disabled one, is dropped.
    pub fn ingest(&mut self, peer: ParticipantId, mid: Mid, rid: Rid, packet: SourcePacket) {
        let Some(id) = self.ingress.get(&(peer, mid)) else { return };
        let Some(source) = self.sources.get_mut(id) else { return };
        let level = packet.audio_level;
        if source.ingest(rid, packet, self.now) {
            self.fresh.insert(*id);
            if let (Some(level), Some(now)) = (level, self.now) {
                source.speech.hear(level, now);
                self.heard.insert(*id);
            }
        }
    }

    /// Hands everything that was taken in to its subscribers, one subscriber after the other, and asks publishers for
    /// the key frames that are due.
    pub fn forward(&mut self, egress: &mut impl Egress, now: Instant) {
        self.now = Some(now);
        for (peer, mid) in self.forgotten.drain(..) {
            egress.forget(peer, mid);
        }
        let targets: BTreeSet<ParticipantId> = self.fresh_sources().flat_map(Source::subscribers).collect();
        // Whoever comes first gets the shortest delay; taking turns shares it.
        let first = self.served_first.and_then(|last| targets.range(last..).find(|id| **id != last)).copied();
        let behind = first.map_or_else(Vec::new, |first| targets.range(first..).copied().collect());
        let before = targets.iter().copied().take_while(|id| first.is_none_or(|first| *id < first));
        for peer in behind.into_iter().chain(before) {
            self.serve(peer, egress, now);
        }
        self.served_first = first.or_else(|| targets.first().copied()).or(self.served_first);
        for id in std::mem::take(&mut self.fresh) {
            if let Some(source) = self.sources.get_mut(&id) {
                source.settle();
            }
        }
        self.request_keyframes(egress, now);
        self.report_speech(now);
        self.report_rates(now);
    }

    /// Notes that a subscriber lost its picture on a section and asks for a key frame.
    pub fn keyframe_requested(&mut self, peer: ParticipantId, mid: Mid, now: Instant) {
        let slot = self.subscribers.get(&peer).and_then(|sections| sections.get(&mid));
        if let Some((slot, source)) = slot.and_then(|slot| Some((slot, slot.source()?))) {
            self.owe_keyframe(source, slot.layer(), |requests| requests.want(now));
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
        let due = |(id, rid): &(SourceId, Rid)| self.sources.get(id)?.encoding(*rid)?.keyframe.due();
        let keyframes = self.owing.iter().filter_map(due);
        let speech = self.heard.iter().filter_map(|id| self.sources.get(id)?.speech.deadline());
        keyframes.chain(speech).min()
    }

    /// Returns how many packets were handed to subscribers since the start.
    #[must_use]
    pub const fn packets_forwarded(&self) -> u64 {
        self.forwarded
    }

    /// Returns whether nothing is left of any peer.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
            && self.ingress.is_empty()
            && self.subscribers.is_empty()
            && self.fresh.is_empty()
            && self.owing.is_empty()
            && self.heard.is_empty()
            && self.notices.is_empty()
            && self.share.is_empty()
    }

    fn fresh_sources(&self) -> impl Iterator<Item = &Source> {
        self.fresh.iter().filter_map(|id| self.sources.get(id))
    }

    fn serve(&mut self, peer: ParticipantId, egress: &mut impl Egress, now: Instant) {
        let Some(sections) = self.subscribers.get_mut(&peer) else { return };
        for (mid, slot) in sections {
            let Some(id) = slot.source().filter(|id| self.fresh.contains(id)) else { continue };
            let Some(source) = self.sources.get(&id) else { continue };
            let Some(change) = slot.collect(*mid, source, now, &mut self.share) else { continue };
            let (mid, layer) = (*mid, slot.layer());
            self.notices.push_back(match change {
                Change::Began(start) => MediaNotice::Bound {
                    peer,
                    mid,
                    source: id,
                    codec: source.codec,
                    first_sequence: start.sequence as u16,
                    first_timestamp: start.timestamp,
                    layer,
                },
                Change::Switched => MediaNotice::Switched { peer, mid, source: id, layer },
            });
        }
        if !self.share.is_empty() {
            self.forwarded += self.share.len() as u64;
            egress.send(peer, &self.share);
            self.share.clear();
        }
    }

    fn request_keyframes(&mut self, egress: &mut impl Egress, now: Instant) {
        let sources = &mut self.sources;
        self.owing.retain(|(id, rid)| {
            let Some(source) = sources.get_mut(id) else { return false };
            let is_idle = source.sections.is_empty() || !source.enabled;
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
        self.heard.retain(|id| {
            let Some(source) = sources.get_mut(id) else { return false };
            if let Some(level) = source.speech.report(now) {
                notices.push_back(MediaNotice::Speaking { peer: source.peer, source: *id, level });
                return level.is_some();
            }
            true
        });
    }

    /// Tells once a second what came in how many bits.
    fn report_rates(&mut self, now: Instant) {
        let since = *self.rates_at.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        if passed < RATES_INTERVAL {
            return;
        }
        self.rates_at = Some(now);
        for (id, source) in &mut self.sources {
            let rates: Vec<_> =
                source.take_bytes().map(|(rid, bytes)| (rid, Bitrate::of(bytes, passed))).collect();
            if !rates.is_empty() {
                self.notices.push_back(MediaNotice::Rates { peer: source.peer, source: *id, rates });
            }
        }
    }

    fn put_source(&mut self, id: SourceId, mut source: Source, now: Instant) {
        if let Some(earlier) = self.sources.remove(&id) {
            self.leave_section(id, &earlier);
            source.enabled = earlier.enabled;
            source.sections = earlier.sections;
        }
        self.ingress.insert((source.peer, source.mid), id);
        self.sources.insert(id, source);
        // A new track has numbers and perhaps a codec of its own.
        self.begin_anew(id, now);
    }

    fn enable_source(&mut self, id: SourceId, enabled: bool, now: Instant) {
        let Some(source) = self.sources.get_mut(&id).filter(|source| source.enabled != enabled) else {
            return;
        };
        source.enabled = enabled;
        source.clear();
        // What is dropped in between must not look like loss.
        self.begin_anew(id, now);
    }

    /// Lets all who take a source begin at its next key frame.
    fn begin_anew(&mut self, id: SourceId, now: Instant) {
        let sections = self.sources.get(&id).map(|source| source.sections.clone()).unwrap_or_default();
        for (peer, mid) in sections {
            let slot = self.subscribers.get(&peer).and_then(|sections| sections.get(&mid));
            let layer = slot.map_or(Rid::High, Slot::wanted);
            self.bind(peer, mid, id, layer, now);
        }
    }

    fn remove_source(&mut self, id: SourceId) {
        let Some(source) = self.sources.remove(&id) else { return };
        self.leave_section(id, &source);
        for (peer, mid) in source.sections {
            if let Some(slot) = self.subscribers.get_mut(&peer).and_then(|sections| sections.get_mut(&mid)) {
                slot.unbind();
                self.forgotten.push((peer, mid));
            }
        }
        self.fresh.remove(&id);
        self.owing.retain(|(owing, _)| *owing != id);
        self.heard.remove(&id);
    }

    /// Frees the section that carried a source, unless another source has it already.
    fn leave_section(&mut self, id: SourceId, source: &Source) {
        let section = (source.peer, source.mid);
        if self.ingress.get(&section) == Some(&id) {
            self.ingress.remove(&section);
        }
    }

    fn remove_peer(&mut self, peer: ParticipantId) {
        for mid in self.subscribers.remove(&peer).unwrap_or_default().into_keys() {
            self.sources.values_mut().for_each(|source| source.leave(peer, mid));
        }
        let own: Vec<SourceId> =
            self.sources.iter().filter(|(_, source)| source.peer == peer).map(|(id, _)| *id).collect();
        for id in own {
            self.remove_source(id);
        }
    }

    fn bind(&mut self, peer: ParticipantId, mid: Mid, id: SourceId, layer: Rid, now: Instant) {
        self.unbind(peer, mid);
        let slot = self.subscribers.get_mut(&peer).and_then(|sections| sections.get_mut(&mid));
        let (Some(slot), Some(source)) = (slot, self.sources.get_mut(&id)) else { return };
        let layer = source.offered(layer);
        slot.bind(id, layer, source.codec, &mut self.seed);
        source.sections.insert((peer, mid));
        self.owe_keyframe(id, layer, |requests| requests.want_first(now));
    }

    fn set_layer(&mut self, peer: ParticipantId, mid: Mid, layer: Rid, now: Instant) {
        let slot = self.subscribers.get_mut(&peer).and_then(|sections| sections.get_mut(&mid));
        let Some((slot, id)) = slot.and_then(|slot| slot.source().map(|id| (slot, id))) else { return };
        let Some(layer) = self.sources.get(&id).map(|source| source.offered(layer)) else { return };
        let is_new = layer != slot.layer();
        slot.set_layer(layer);
        if is_new {
            self.owe_keyframe(id, layer, |requests| requests.want_first(now));
        }
    }

    fn unbind(&mut self, peer: ParticipantId, mid: Mid) {
        let Some(slot) = self.subscribers.get_mut(&peer).and_then(|sections| sections.get_mut(&mid)) else {
            return;
        };
        let Some(occupant) = slot.unbind() else { return };
        self.forgotten.push((peer, mid));
        if let Some(source) = self.sources.get_mut(&occupant) {
            source.leave(peer, mid);
        }
    }

    fn owe_keyframe(&mut self, id: SourceId, rid: Rid, want: impl FnOnce(&mut KeyframeRequests)) {
        if let Some(source) = self.sources.get_mut(&id).filter(|source| source.enabled)
            && id.kind == MediaKind::Video
        {
            want(&mut source.encoding_mut(rid).keyframe);
            self.owing.insert((id, rid));
        }
    }
}

/// How often it is told how much comes of each source.
const RATES_INTERVAL: Duration = Duration::from_secs(1);
