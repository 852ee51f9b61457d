//! Who takes which encoding of what, and what publishers hear of it.

use std::collections::{BTreeMap, BTreeSet};

use roomful_protocol::{
    LayerChangedNotice, RequestId, SlotBoundNotice, SourcePausedNotice, SubscribeRequest,
    UpdateSubscriptionRequest,
};
use roomful_scheduler::{Wish, allocate};
use roomful_types::{Bitrate, MediaKind, Mid, ParticipantId, Rid, StreamId};

use crate::{
    media::{MediaCommand, SourceId},
    room::{Participant, Room},
    sfu::Outbox,
};

/// One track of a stream.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) mid: Mid,
    is_simulcast: bool,
    takers: BTreeMap<ParticipantId, Taker>,
    /// The encodings that the publisher was last told are taken.
    told: BTreeSet<Rid>,
    /// What each encoding last took.
    rates: [Option<Bitrate>; Rid::ALL.len()],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taker {
    wanted: Rid,
    /// What comes until the wanted one does.
    flowing: Option<Rid>,
}

/// What a participant takes of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subscription {
    /// The request that made it.
    pub(crate) request: RequestId,
    pub(crate) slot: u16,
    audio: bool,
    video: bool,
    is_paused: bool,
    preferred: Rid,
    priority: u8,
    /// The encoding of the video that there is room for.
    pub(crate) allocated: Option<Rid>,
    /// What is on the two sections of the slot, as far as the media shard told.
    pub(crate) bound: [Option<SlotBoundNotice>; 2],
}

/// What an audio track is taken to need until that was measured; Opus speech is below it.
const AUDIO: Bitrate = Bitrate::from_kbps(64);

/// What the headers and tags of fifty packets a second take, which are not measured.
const AUDIO_HEADERS: Bitrate = Bitrate::from_kbps(16);

impl Subscription {
    pub(crate) fn new(request: &SubscribeRequest) -> Self {
        let SubscribeRequest { slot, audio, video, paused: is_paused, preferred_layer, priority, .. } =
            *request;
        let preferred = preferred_layer.unwrap_or_default();
        let (allocated, bound) = (Some(preferred), [None; 2]);
        Self {
            request: request.request,
            slot,
            audio,
            video,
            is_paused,
            preferred,
            priority,
            allocated,
            bound,
        }
    }

    pub(crate) fn update(&mut self, request: &UpdateSubscriptionRequest) {
        let UpdateSubscriptionRequest { audio, video, paused: is_paused, preferred_layer, priority, .. } =
            *request;
        let preferred = preferred_layer.unwrap_or_default();
        *self = Self { audio, video, is_paused, preferred, priority, ..*self };
    }

    /// Returns whether media of this kind is to be forwarded.
    pub(crate) const fn wants(&self, kind: MediaKind) -> bool {
        !self.is_paused
            && match kind {
                MediaKind::Audio => self.audio,
                MediaKind::Video => self.video && self.allocated.is_some(),
            }
    }

    /// Returns the best encoding that is of use.
    pub(crate) const fn preferred(&self) -> Rid {
        self.preferred
    }
}

impl Track {
    pub(crate) fn new(kind: MediaKind, mid: Mid, is_simulcast: bool) -> Self {
        let told = if kind == MediaKind::Audio { BTreeSet::from([Rid::High]) } else { BTreeSet::new() };
        Self { mid, is_simulcast, takers: BTreeMap::new(), told, rates: [None; Rid::ALL.len()] }
    }

    /// Another track takes this one's place; who took that one takes this.
    pub(crate) fn replace(&mut self, mid: Mid, is_simulcast: bool) {
        (self.mid, self.is_simulcast) = (mid, is_simulcast);
        // What is not offered any more is told anew if it comes again.
        self.told.retain(|rid| is_simulcast || *rid == Rid::High);
        self.rates = [None; Rid::ALL.len()];
        for taker in self.takers.values_mut() {
            taker.flowing = None;
            if !is_simulcast {
                taker.wanted = Rid::High;
            }
        }
    }

    pub(crate) fn is_taken_by(&self, id: ParticipantId) -> bool {
        self.takers.contains_key(&id)
    }

    pub(crate) fn takers(&self) -> impl Iterator<Item = ParticipantId> {
        self.takers.keys().copied()
    }

    /// Returns what the publisher is told of every encoding.
    pub(crate) fn pauses(&self, stream_id: StreamId, kind: MediaKind) -> Vec<SourcePausedNotice> {
        let notice =
            |rid: &Rid| SourcePausedNotice { stream_id, kind, paused: !self.told.contains(rid), rid: *rid };
        self.encodings().iter().map(notice).collect()
    }

    /// Returns what one encoding takes: as measured last, or as is usual.
    pub(crate) fn rate(&self, rid: Rid) -> Bitrate {
        self.rates[rid as usize].unwrap_or(match rid {
            Rid::High => Bitrate::from_kbps(1200),
            Rid::Medium => Bitrate::from_kbps(400),
            Rid::Low => Bitrate::from_kbps(120),
        })
    }

    const fn encodings(&self) -> &'static [Rid] {
        if self.is_simulcast { &Rid::ALL } else { &[Rid::High] }
    }

    const fn offered(&self, layer: Rid) -> Rid {
        if self.is_simulcast { layer } else { Rid::High }
    }

    /// Returns the notices by which the publisher learns what is taken now.
    fn tell_taken(&mut self, source: SourceId) -> Vec<SourcePausedNotice> {
        let mut notices = Vec::new();
        for rid in self.encodings() {
            let is_taken = |taker: &Taker| taker.wanted == *rid || taker.flowing == Some(*rid);
            // Sound is needed here too, to know who speaks.
            let taken = source.kind == MediaKind::Audio || self.takers.values().any(is_taken);
            let is_new = if taken { self.told.insert(*rid) } else { self.told.remove(rid) };
            if is_new {
                let SourceId { stream: stream_id, kind } = source;
                notices.push(SourcePausedNotice { stream_id, kind, paused: !taken, rid: *rid });
            }
        }
        notices
    }
}

impl Room {
    /// Returns the participant that takes a source on this section, and its slot, if it still does.
    pub(crate) fn taken_on(
        &mut self,
        peer: ParticipantId,
        mid: Mid,
        source: SourceId,
    ) -> Option<(&mut Participant, u16)> {
        let participant = self.participants.get_mut(&peer)?;
        let subscription = participant.subscriptions.get(&source.stream)?;
        let slot = subscription.slot;
        let section = participant.slots.get(usize::from(slot))?.of(source.kind);
        (subscription.wants(source.kind) && section == mid).then_some((participant, slot))
    }

    /// An encoding flows to a subscriber: the one before it is no longer needed there.
    pub(crate) fn on_flowing(
        &mut self,
        peer: ParticipantId,
        source: SourceId,
        layer: Rid,
        outbox: &mut Outbox,
    ) {
        let track = self.streams.get_mut(&source.stream).and_then(|one| one.tracks.get_mut(&source.kind));
        let Some(taker) = track.and_then(|track| track.takers.get_mut(&peer)) else { return };
        taker.flowing = Some(layer);
        self.tell_publisher(source, outbox);
    }

    /// Notes what the encodings of a source take. Who has a budget may get something else for it.
    pub(crate) fn on_rates(
        &mut self,
        source: SourceId,
        rates: [Option<Bitrate>; Rid::ALL.len()],
        outbox: &mut Outbox,
    ) {
        let track = self.streams.get_mut(&source.stream).and_then(|one| one.tracks.get_mut(&source.kind));
        let Some(track) = track else { return };
        for (known, rate) in track.rates.iter_mut().zip(rates) {
            *known = rate.or(*known);
        }
        let is_limited = |id: &ParticipantId| {
            self.participants.get(id).is_some_and(|participant| participant.available.is_some())
        };
        for taker in track.takers().filter(is_limited).collect::<Vec<_>>() {
            self.allocate(taker, None, outbox);
        }
    }

    /// Decides anew which encodings a participant gets, and makes routes agree: those that changed, and those of `stream`.
    pub(crate) fn allocate(&mut self, id: ParticipantId, stream: Option<StreamId>, outbox: &mut Outbox) {
        let Some(participant) = self.participants.get(&id) else { return };
        let wanted = |one: &StreamId| {
            participant.subscriptions.get(one).is_some_and(|one| one.video && !one.is_paused)
        };
        let videos: Vec<StreamId> =
            participant.subscriptions.keys().filter(|one| wanted(one)).copied().collect();
        let layers: Vec<Option<Rid>> = match participant.available {
            None => videos.iter().map(|one| Some(participant.subscriptions[one].preferred)).collect(),
            Some(available) => {
                let audios = participant.subscriptions.iter().filter(|(_, one)| one.audio && !one.is_paused);
                let reserved: u64 = audios.map(|(stream, _)| self.audio_rate(*stream).as_bps()).sum();
                let budget = Bitrate::from_bps(available.as_bps().saturating_sub(reserved));
                let wishes: Vec<Wish> = videos.iter().map(|one| self.wish(id, participant, *one)).collect();
                allocate(budget, &wishes)
            }
        };
        let mut changed: BTreeSet<StreamId> = stream.into_iter().collect();
        for (video, layer) in videos.into_iter().zip(layers) {
            let participant = self.participants.get_mut(&id).expect("looked up above");
            let Some(subscription) = participant.subscriptions.get_mut(&video) else { continue };
            if subscription.allocated != layer {
                subscription.allocated = layer;
                changed.insert(video);
                if layer.is_none() {
                    let notice = LayerChangedNotice { stream_id: video, rid: None };
                    outbox.send_all(participant.line.session().into_iter().collect(), notice);
                }
            }
        }
        for stream in changed {
            self.take(id, stream, outbox);
        }
    }

    /// Returns what the audio of a stream takes: as measured last, headers included, or as is usual.
    fn audio_rate(&self, stream: StreamId) -> Bitrate {
        let track = self.streams.get(&stream).and_then(|one| one.tracks.get(&MediaKind::Audio));
        let measured = track.and_then(|track| track.rates[Rid::High as usize]);
        measured.map_or(AUDIO, |rate| Bitrate::from_bps(rate.as_bps() + AUDIO_HEADERS.as_bps()))
    }

    fn wish(&self, id: ParticipantId, participant: &Participant, stream: StreamId) -> Wish {
        let subscription = &participant.subscriptions[&stream];
        let track = self.streams.get(&stream).and_then(|one| one.tracks.get(&MediaKind::Video));
        let encodings = track.map(|track| {
            let mut encodings: Vec<_> =
                track.encodings().iter().map(|rid| (*rid, track.rate(*rid))).collect();
            // What is better never counts as cheaper: it was measured at another time.
            for better in (1..encodings.len()).rev() {
                encodings[better - 1].1 = encodings[better - 1].1.max(encodings[better].1);
            }
            encodings
        });
        Wish {
            priority: subscription.priority,
            limit: subscription.preferred,
            encodings: encodings.unwrap_or_default(),
            current: track.and_then(|track| track.takers.get(&id)?.flowing),
        }
    }

    /// Makes routes agree with what a subscription wants.
    fn take(&mut self, id: ParticipantId, stream_id: StreamId, outbox: &mut Outbox) {
        let Some(participant) = self.participants.get(&id) else { return };
        let Some(subscription) = participant.subscriptions.get(&stream_id).copied() else { return };
        let Some(slot) = participant.slots.get(usize::from(subscription.slot)).copied() else { return };
        let Some(stream) = self.streams.get_mut(&stream_id) else { return };
        for (kind, track) in &mut stream.tracks {
            let (source, mid) = (SourceId { stream: stream_id, kind: *kind }, slot.of(*kind));
            let layer = match kind {
                MediaKind::Audio => Rid::High,
                MediaKind::Video => track.offered(subscription.allocated.unwrap_or_default()),
            };
            if !subscription.wants(*kind) {
                if track.takers.remove(&id).is_some() {
                    outbox.media(MediaCommand::Unbind { peer: id, mid });
                }
                continue;
            }
            match track.takers.get_mut(&id) {
                None => {
                    track.takers.insert(id, Taker { wanted: layer, flowing: None });
                    outbox.media(MediaCommand::Bind { peer: id, mid, source, layer });
                }
                Some(taker) if taker.wanted != layer => {
                    taker.wanted = layer;
                    outbox.media(MediaCommand::SetLayer { peer: id, mid, layer });
                }
                Some(_) => {}
            }
        }
        for kind in MediaKind::ALL {
            self.tell_publisher(SourceId { stream: stream_id, kind }, outbox);
        }
    }

    /// Returns whose video does not come to a participant that wants it, because not everything gets through.
    pub(crate) fn held_back_from(&self, id: ParticipantId) -> Vec<StreamId> {
        let Some(participant) = self.participants.get(&id) else { return Vec::new() };
        let is_held_back = |one: &Subscription| one.video && !one.is_paused && one.allocated.is_none();
        let subscriptions = participant.subscriptions.iter();
        subscriptions.filter(|(_, one)| is_held_back(one)).map(|(stream, _)| *stream).collect()
    }

    /// Forgets that a participant takes a stream.
    pub(crate) fn untake(&mut self, id: ParticipantId, stream: StreamId, outbox: &mut Outbox) {
        let Some(found) = self.streams.get_mut(&stream) else { return };
        for track in found.tracks.values_mut() {
            track.takers.remove(&id);
        }
        for kind in MediaKind::ALL {
            self.tell_publisher(SourceId { stream, kind }, outbox);
        }
    }

    /// Tells a publisher which encodings of a track have gained their first taker or lost their last.
    pub(crate) fn tell_publisher(&mut self, source: SourceId, outbox: &mut Outbox) {
        let Some(stream) = self.streams.get_mut(&source.stream) else { return };
        let publisher = self.participants.get(&stream.info.participant_id);
        let publisher = publisher.and_then(|publisher| publisher.line.session());
        let Some(track) = stream.tracks.get_mut(&source.kind) else { return };
        for notice in track.tell_taken(source) {
            outbox.send_all(publisher.into_iter().collect(), notice);
        }
    }
}
