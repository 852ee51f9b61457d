//! One room: who is in it, what they publish and what they take.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use roomful_protocol::{
    DoneResponse, ErrorCode, LeaveReason, MessageNotice, MessageRequest, OfferId, OfferRequest,
    OfferResponse, ParticipantInfo, ParticipantJoinedNotice, ParticipantLeftNotice, PublishRequest,
    PublishResponse, PublishedTrack, RequestId, RoomVersion, ServerMessage, SlotBoundNotice, SlotMids,
    SourcePausedNotice, StreamInfo, StreamPublishedNotice, StreamUnpublishedNotice, StreamUpdatedNotice,
    SubscribeRequest, TrackInfo, UnpublishRequest, UnsubscribeRequest, UpdateStreamRequest,
    UpdateSubscriptionRequest, limits,
};
use roomful_types::{MediaKind, Mid, ParticipantId, Permissions, StreamId, StreamKey};

use crate::{
    media::{MediaCommand, MediaNotice, OfferError, SourceId},
    sfu::{Outbox, SessionId},
};

/// What a request comes to.
pub(crate) type Reply = Result<ServerMessage, ErrorCode>;

/// What is forwarded where, and all that could be.
#[cfg(test)]
pub(crate) type Routes = (BTreeMap<(ParticipantId, Mid), SourceId>, BTreeSet<SourceId>);

#[derive(Debug, Default)]
pub(crate) struct Room {
    version: RoomVersion,
    participants: BTreeMap<ParticipantId, Participant>,
    streams: BTreeMap<StreamId, Stream>,
}

#[derive(Debug)]
pub(crate) struct Participant {
    pub(crate) info: ParticipantInfo,
    pub(crate) session: SessionId,
    pub(crate) permissions: Permissions,
    streams: BTreeMap<StreamKey, StreamId>,
    subscriptions: BTreeMap<StreamId, Subscription>,
    slots: Vec<SlotMids>,
    /// The newest offer, and its answer once the media shard gave it.
    offer: Option<Offer>,
}

#[derive(Debug)]
struct Offer {
    id: OfferId,
    /// The requests that wait for the answer.
    requests: Vec<RequestId>,
    slots: Vec<SlotMids>,
    answer: Option<Result<Arc<str>, OfferError>>,
}

#[derive(Debug)]
struct Stream {
    info: StreamInfo,
    tracks: BTreeMap<MediaKind, Track>,
}

#[derive(Debug)]
struct Track {
    mid: Mid,
    takers: BTreeSet<ParticipantId>,
}

#[derive(Debug, Clone, Copy)]
struct Subscription {
    slot: u16,
    audio: bool,
    video: bool,
}

impl Subscription {
    const fn wants(&self, kind: MediaKind) -> bool {
        match kind {
            MediaKind::Audio => self.audio,
            MediaKind::Video => self.video,
        }
    }
}

impl Offer {
    const fn is_pending(&self) -> bool {
        self.answer.is_none()
    }
}

impl Participant {
    pub(crate) const fn new(info: ParticipantInfo, session: SessionId, permissions: Permissions) -> Self {
        Self {
            info,
            session,
            permissions,
            streams: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            slots: Vec::new(),
            offer: None,
        }
    }
}

impl Room {
    pub(crate) fn len(&self) -> usize {
        self.participants.len()
    }

    pub(crate) const fn version(&self) -> RoomVersion {
        self.version
    }

    pub(crate) fn participant_infos(&self) -> Vec<ParticipantInfo> {
        self.participants.values().map(|participant| participant.info.clone()).collect()
    }

    pub(crate) fn stream_infos(&self) -> Vec<StreamInfo> {
        self.streams.values().map(|stream| stream.info.clone()).collect()
    }

    pub(crate) fn sessions(&self) -> Vec<SessionId> {
        self.participants.values().map(|participant| participant.session).collect()
    }

    /// Lets a participant in and tells the others.
    pub(crate) fn enter(&mut self, participant: Participant, outbox: &mut Outbox) {
        let version = self.next_version();
        let notice = ParticipantJoinedNotice { version, participant: participant.info.clone() };
        outbox.send_all(self.sessions(), notice);
        self.participants.insert(participant.info.id, participant);
    }

    /// Takes a participant and all that is its own away, and tells the others.
    pub(crate) fn leave(&mut self, id: ParticipantId, reason: Option<LeaveReason>, outbox: &mut Outbox) {
        let Some(participant) = self.participants.remove(&id) else { return };
        for stream in participant.subscriptions.keys() {
            self.untake(id, *stream, outbox);
        }
        for stream in participant.streams.values() {
            self.drop_stream(*stream, outbox);
        }
        outbox.media(MediaCommand::RemovePeer { peer: id });
        let version = self.next_version();
        outbox.send_all(self.sessions(), ParticipantLeftNotice { version, participant_id: id, reason });
    }

    /// Tells the media shard to forget everybody.
    pub(crate) fn remove_peers(&self, outbox: &mut Outbox) {
        for peer in self.participants.keys() {
            outbox.media(MediaCommand::RemovePeer { peer: *peer });
        }
    }

    /// Passes an offer to the media shard, or repeats the answer that it had already.
    pub(crate) fn offer(
        &mut self,
        id: ParticipantId,
        request: OfferRequest,
        outbox: &mut Outbox,
    ) -> Result<Option<ServerMessage>, ErrorCode> {
        let participant = self.participants.get_mut(&id).ok_or(ErrorCode::BadRequest)?;
        if request.sdp.len() > limits::SDP_MAX {
            return Err(ErrorCode::TooLarge);
        }
        if request.slots.len() > limits::SLOTS_MAX {
            return Err(ErrorCode::LimitReached);
        }
        if let Some(offer) = participant.offer.as_mut().filter(|offer| offer.id >= request.offer) {
            if offer.id != request.offer {
                return Err(ErrorCode::BadRequest);
            }
            return match &offer.answer {
                Some(Ok(sdp)) => {
                    let sdp = sdp.to_string();
                    Ok(Some(OfferResponse { request: request.request, offer: offer.id, sdp }.into()))
                }
                Some(Err(OfferError)) => Err(ErrorCode::BadOffer),
                None => {
                    offer.requests.push(request.request);
                    Ok(None)
                }
            };
        }
        if participant.offer.as_ref().is_some_and(Offer::is_pending) {
            // One offer after the other (RFC 3264 §4): what the next one builds on is not settled yet.
            return Err(ErrorCode::BadRequest);
        }
        let mids = request.slots.iter().flat_map(|slot| [slot.audio, slot.video]);
        let distinct: BTreeSet<Mid> = mids.collect();
        if distinct.len() != request.slots.len() * 2 || !request.slots.starts_with(&participant.slots) {
            return Err(ErrorCode::BadOffer);
        }
        let tracks = participant.streams.values().filter_map(|stream| self.streams.get(stream));
        if tracks.flat_map(|stream| stream.tracks.values()).any(|track| distinct.contains(&track.mid)) {
            return Err(ErrorCode::MidUnavailable);
        }
        participant.offer = Some(Offer {
            id: request.offer,
            requests: vec![request.request],
            slots: request.slots.clone(),
            answer: None,
        });
        outbox.media(MediaCommand::AcceptOffer {
            peer: id,
            offer: request.offer,
            sdp: request.sdp,
            slots: request.slots,
        });
        Ok(None)
    }

    pub(crate) fn publish(
        &mut self,
        id: ParticipantId,
        request: &PublishRequest,
        outbox: &mut Outbox,
    ) -> Reply {
        let participant = self.participants.get(&id).ok_or(ErrorCode::BadRequest)?;
        if !participant.permissions.publish {
            return Err(ErrorCode::Forbidden);
        }
        if participant.streams.contains_key(&request.key) {
            return Err(ErrorCode::KeyInUse);
        }
        if participant.streams.len() >= outbox.config.max_streams_per_participant {
            return Err(ErrorCode::LimitReached);
        }
        self.check_tracks(participant, None, request.audio, request.video)?;

        let stream_id = StreamId::from_random(outbox.random_bytes());
        let info = |track: PublishedTrack| TrackInfo { codec: track.codec, enabled: true };
        let stream = StreamInfo {
            id: stream_id,
            participant_id: id,
            key: request.key.clone(),
            audio: request.audio.map(info),
            video: request.video.map(info),
        };
        self.streams.insert(stream_id, Stream { info: stream.clone(), tracks: BTreeMap::new() });
        if let Some(participant) = self.participants.get_mut(&id) {
            participant.streams.insert(request.key.clone(), stream_id);
        }
        let version = self.next_version();
        outbox.send_all(self.sessions(), StreamPublishedNotice { version, stream });
        self.put_tracks(stream_id, request.audio, request.video, outbox);
        Ok(PublishResponse { request: request.request, stream_id }.into())
    }

    pub(crate) fn update_stream(
        &mut self,
        id: ParticipantId,
        request: &UpdateStreamRequest,
        outbox: &mut Outbox,
    ) -> Reply {
        let participant = self.participants.get(&id).ok_or(ErrorCode::BadRequest)?;
        let stream_id = *participant.streams.get(&request.key).ok_or(ErrorCode::UnknownStream)?;
        self.check_tracks(participant, Some(stream_id), request.audio, request.video)?;
        let stream = self.streams.get_mut(&stream_id).ok_or(ErrorCode::UnknownStream)?;

        let before = stream.info.clone();
        let mut toggles = Vec::new();
        let changes = [
            (MediaKind::Audio, &mut stream.info.audio, request.audio, request.audio_enabled),
            (MediaKind::Video, &mut stream.info.video, request.video, request.video_enabled),
        ];
        for (kind, track, replacement, enabled) in changes {
            if let Some(PublishedTrack { codec, .. }) = replacement {
                *track = Some(TrackInfo { codec, enabled: track.is_none_or(|track| track.enabled) });
            }
            if let (Some(track), Some(enabled)) = (track, enabled) {
                track.enabled = enabled;
                let source = SourceId { stream: stream_id, kind };
                toggles.push(MediaCommand::EnableSource { source, enabled });
            }
        }
        let stream = stream.info.clone();
        if stream != before {
            let version = self.next_version();
            outbox.send_all(self.sessions(), StreamUpdatedNotice { version, stream });
        }
        self.put_tracks(stream_id, request.audio, request.video, outbox);
        // Afterwards: only a source that is there can be turned off.
        toggles.into_iter().for_each(|toggle| outbox.media(toggle));
        Ok(DoneResponse { request: request.request }.into())
    }

    pub(crate) fn unpublish(
        &mut self,
        id: ParticipantId,
        request: &UnpublishRequest,
        outbox: &mut Outbox,
    ) -> Reply {
        let participant = self.participants.get_mut(&id).ok_or(ErrorCode::BadRequest)?;
        let stream_id = participant.streams.remove(&request.key).ok_or(ErrorCode::UnknownStream)?;
        self.drop_stream(stream_id, outbox);
        let version = self.next_version();
        outbox.send_all(self.sessions(), StreamUnpublishedNotice { version, stream_id });
        Ok(DoneResponse { request: request.request }.into())
    }

    pub(crate) fn subscribe(
        &mut self,
        id: ParticipantId,
        request: &SubscribeRequest,
        outbox: &mut Outbox,
    ) -> Reply {
        let stream = self.stream_id(request.participant_id, &request.key)?;
        let participant = self.participants.get_mut(&id).ok_or(ErrorCode::BadRequest)?;
        if !participant.permissions.subscribe {
            return Err(ErrorCode::Forbidden);
        }
        if request.participant_id == id {
            return Err(ErrorCode::OwnStream);
        }
        if participant.subscriptions.contains_key(&stream) {
            return Err(ErrorCode::AlreadySubscribed);
        }
        let is_taken = participant.subscriptions.values().any(|taken| taken.slot == request.slot);
        if is_taken || usize::from(request.slot) >= participant.slots.len() {
            return Err(ErrorCode::SlotUnavailable);
        }
        let subscription = Subscription { slot: request.slot, audio: request.audio, video: request.video };
        participant.subscriptions.insert(stream, subscription);
        self.take(id, stream, outbox);
        Ok(DoneResponse { request: request.request }.into())
    }

    pub(crate) fn update_subscription(
        &mut self,
        id: ParticipantId,
        request: &UpdateSubscriptionRequest,
        outbox: &mut Outbox,
    ) -> Reply {
        let stream = self.stream_id(request.participant_id, &request.key)?;
        let participant = self.participants.get_mut(&id).ok_or(ErrorCode::BadRequest)?;
        let subscription = participant.subscriptions.get_mut(&stream).ok_or(ErrorCode::NotSubscribed)?;
        (subscription.audio, subscription.video) = (request.audio, request.video);
        self.take(id, stream, outbox);
        Ok(DoneResponse { request: request.request }.into())
    }

    pub(crate) fn unsubscribe(
        &mut self,
        id: ParticipantId,
        request: &UnsubscribeRequest,
        outbox: &mut Outbox,
    ) -> Reply {
        let stream = self.stream_id(request.participant_id, &request.key)?;
        let participant = self.participants.get_mut(&id).ok_or(ErrorCode::BadRequest)?;
        let subscription = participant.subscriptions.remove(&stream).ok_or(ErrorCode::NotSubscribed)?;
        if let Some(slot) = participant.slots.get(usize::from(subscription.slot)) {
            for mid in [slot.audio, slot.video] {
                outbox.media(MediaCommand::Unbind { peer: id, mid });
            }
        }
        self.untake(id, stream, outbox);
        Ok(DoneResponse { request: request.request }.into())
    }

    pub(crate) fn message(&self, id: ParticipantId, request: MessageRequest, outbox: &mut Outbox) -> Reply {
        let sender = self.participants.get(&id).ok_or(ErrorCode::BadRequest)?;
        if !sender.permissions.message {
            return Err(ErrorCode::Forbidden);
        }
        let meta = request.message.meta.as_ref().map_or(0, |meta| meta.len());
        if request.message.payload.len().max(meta) > limits::MESSAGE_TEXT_MAX {
            return Err(ErrorCode::TooLarge);
        }
        let receives = |participant: &&Participant| participant.info.can_receive_messages;
        let sessions: BTreeSet<SessionId> = match &request.recipients {
            Some(recipients) if recipients.len() > limits::RECIPIENTS_MAX => {
                return Err(ErrorCode::LimitReached);
            }
            Some(recipients) => {
                let found = recipients.iter().map(|id| self.participants.get(id).filter(receives));
                let found: Option<BTreeSet<SessionId>> = found.map(|one| Some(one?.session)).collect();
                found.ok_or(ErrorCode::UnknownRecipient)?
            }
            None => self.participants.values().filter(receives).map(|one| one.session).collect(),
        };
        let recipients = request.recipients.map(Into::into);
        let notice = MessageNotice { sender: id, message: request.message, recipients };
        outbox.send_all(sessions.into_iter().collect(), notice);
        Ok(DoneResponse { request: request.request }.into())
    }

    /// Passes on what the media shard reports, as far as it still holds.
    pub(crate) fn on_media(&mut self, notice: MediaNotice, outbox: &mut Outbox) {
        match notice {
            MediaNotice::Answered { peer, offer, answer } => {
                let Some(participant) = self.participants.get_mut(&peer) else { return };
                let is_this = |pending: &&mut Offer| pending.id == offer && pending.is_pending();
                let Some(pending) = participant.offer.as_mut().filter(is_this) else { return };
                let slots = std::mem::take(&mut pending.slots);
                if answer.is_ok() {
                    participant.slots = slots;
                }
                for request in std::mem::take(&mut pending.requests) {
                    let answer = answer.clone().map_err(|OfferError| ErrorCode::BadOffer);
                    let reply = answer.map(|sdp| OfferResponse { request, offer, sdp }.into());
                    outbox.reply(participant.session, request, reply);
                }
                pending.answer = Some(answer.map(Into::into));
            }
            MediaNotice::Bound { peer, mid, source, codec, first_sequence, first_timestamp } => {
                let Some(participant) = self.participants.get(&peer) else { return };
                let subscription = participant.subscriptions.get(&source.stream);
                let Some(Subscription { slot, .. }) = subscription.filter(|one| one.wants(source.kind))
                else {
                    return;
                };
                let section = participant.slots.get(usize::from(*slot)).map(|slot| slot.of(source.kind));
                if section == Some(mid) {
                    let (slot, kind, stream_id) = (*slot, source.kind, source.stream);
                    let notice =
                        SlotBoundNotice { slot, kind, stream_id, codec, first_sequence, first_timestamp };
                    outbox.send_all(vec![participant.session], notice);
                }
            }
        }
    }

    /// Checks that the media sections of new tracks are the participant's to send on, and free.
    fn check_tracks(
        &self,
        participant: &Participant,
        stream: Option<StreamId>,
        audio: Option<PublishedTrack>,
        video: Option<PublishedTrack>,
    ) -> Result<(), ErrorCode> {
        let pending = participant.offer.iter().flat_map(|offer| &offer.slots);
        let slots = participant.slots.iter().chain(pending);
        let is_slot = |mid| slots.clone().any(|slot| slot.audio == mid || slot.video == mid);
        let is_in_use = |mid, kind| {
            let streams = participant.streams.values();
            streams.filter_map(|id| Some((id, self.streams.get(id)?))).any(|(id, other)| {
                let mut tracks = other.tracks.iter();
                tracks.any(|(taken, track)| track.mid == mid && !(Some(*id) == stream && *taken == kind))
            })
        };
        for (kind, track) in [(MediaKind::Audio, audio), (MediaKind::Video, video)] {
            let Some(track) = track else { continue };
            if track.codec.kind() != kind {
                return Err(ErrorCode::BadRequest);
            }
            if is_slot(track.mid) || is_in_use(track.mid, kind) {
                return Err(ErrorCode::MidUnavailable);
            }
        }
        match (audio, video) {
            (Some(audio), Some(video)) if audio.mid == video.mid => Err(ErrorCode::MidUnavailable),
            _ => Ok(()),
        }
    }

    /// Gives a stream new tracks and lets those who want them have them.
    fn put_tracks(
        &mut self,
        id: StreamId,
        audio: Option<PublishedTrack>,
        video: Option<PublishedTrack>,
        outbox: &mut Outbox,
    ) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let peer = stream.info.participant_id;
        let mut has_new_track = false;
        for (kind, published) in [(MediaKind::Audio, audio), (MediaKind::Video, video)] {
            let Some(PublishedTrack { mid, codec, first_timestamp }) = published else { continue };
            let source = SourceId { stream: id, kind };
            outbox.media(MediaCommand::PutSource { source, peer, mid, codec, first_timestamp });
            match stream.tracks.get_mut(&kind) {
                Some(track) => track.mid = mid,
                None => {
                    stream.tracks.insert(kind, Track { mid, takers: BTreeSet::new() });
                    has_new_track = true;
                    if let Some(publisher) = self.participants.get(&peer) {
                        let notice = SourcePausedNotice { stream_id: id, kind, paused: true };
                        outbox.send_all(vec![publisher.session], notice);
                    }
                }
            }
        }
        if has_new_track {
            let subscribed = |(peer, participant): (&ParticipantId, &Participant)| {
                participant.subscriptions.contains_key(&id).then_some(*peer)
            };
            let subscribers: Vec<ParticipantId> = self.participants.iter().filter_map(subscribed).collect();
            for subscriber in subscribers {
                self.take(subscriber, id, outbox);
            }
        }
    }

    /// Makes routes agree with what a subscription wants.
    fn take(&mut self, id: ParticipantId, stream_id: StreamId, outbox: &mut Outbox) {
        let Some(participant) = self.participants.get(&id) else { return };
        let Some(subscription) = participant.subscriptions.get(&stream_id).copied() else { return };
        let Some(slot) = participant.slots.get(usize::from(subscription.slot)).copied() else { return };
        let Some(stream) = self.streams.get_mut(&stream_id) else { return };
        let publisher = self.participants.get(&stream.info.participant_id).map(|publisher| publisher.session);
        for (kind, track) in &mut stream.tracks {
            let (source, mid) = (SourceId { stream: stream_id, kind: *kind }, slot.of(*kind));
            let was_paused = track.takers.is_empty();
            if subscription.wants(*kind) {
                if track.takers.insert(id) {
                    outbox.media(MediaCommand::Bind { peer: id, mid, source });
                }
            } else if track.takers.remove(&id) {
                outbox.media(MediaCommand::Unbind { peer: id, mid });
            }
            outbox.tell_pause(publisher, source, was_paused, track.takers.is_empty());
        }
    }

    /// Forgets that a participant takes a stream.
    fn untake(&mut self, id: ParticipantId, stream_id: StreamId, outbox: &mut Outbox) {
        let Some(stream) = self.streams.get_mut(&stream_id) else { return };
        let publisher = self.participants.get(&stream.info.participant_id).map(|publisher| publisher.session);
        for (kind, track) in &mut stream.tracks {
            if track.takers.remove(&id) {
                let source = SourceId { stream: stream_id, kind: *kind };
                outbox.tell_pause(publisher, source, false, track.takers.is_empty());
            }
        }
    }

    /// Takes a stream out of the room and ends every subscription to it.
    fn drop_stream(&mut self, id: StreamId, outbox: &mut Outbox) {
        let Some(stream) = self.streams.remove(&id) else { return };
        for kind in stream.tracks.keys() {
            outbox.media(MediaCommand::RemoveSource { source: SourceId { stream: id, kind: *kind } });
        }
        for participant in self.participants.values_mut() {
            participant.subscriptions.remove(&id);
        }
    }

    fn stream_id(&self, publisher: ParticipantId, key: &StreamKey) -> Result<StreamId, ErrorCode> {
        let publisher = self.participants.get(&publisher).ok_or(ErrorCode::UnknownParticipant)?;
        publisher.streams.get(key).copied().ok_or(ErrorCode::UnknownStream)
    }

    const fn next_version(&mut self) -> RoomVersion {
        self.version.0 += 1;
        self.version
    }

    /// Returns who takes what where, and all that can be taken.
    #[cfg(test)]
    pub(crate) fn routes(&self) -> Routes {
        let mut routes = Routes::default();
        for (id, stream) in &self.streams {
            routes.1.extend(stream.tracks.keys().map(|kind| SourceId { stream: *id, kind: *kind }));
        }
        for (peer, participant) in &self.participants {
            for (stream, subscription) in &participant.subscriptions {
                let kinds = self.streams[stream].tracks.keys().filter(|kind| subscription.wants(**kind));
                let slot = participant.slots[usize::from(subscription.slot)];
                let route = |kind| ((*peer, slot.of(kind)), SourceId { stream: *stream, kind });
                routes.0.extend(kinds.map(|kind| route(*kind)));
            }
        }
        routes
    }

    /// Checks what must be true of every room.
    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        for (id, participant) in &self.participants {
            let mut slots = BTreeSet::new();
            for (stream, subscription) in &participant.subscriptions {
                let stream = self.streams.get(stream).expect("a subscription has its stream");
                assert_ne!(stream.info.participant_id, *id, "nobody subscribes to oneself");
                assert!(slots.insert(subscription.slot), "a slot has one occupant");
                for (kind, track) in &stream.tracks {
                    assert_eq!(track.takers.contains(id), subscription.wants(*kind));
                }
            }
            for (key, stream) in &participant.streams {
                let stream = self.streams.get(stream).expect("a participant's streams exist");
                assert_eq!((&stream.info.key, stream.info.participant_id), (key, *id));
            }
        }
        for stream in self.streams.values() {
            assert!(self.participants.contains_key(&stream.info.participant_id));
            for taker in stream.tracks.values().flat_map(|track| &track.takers) {
                assert!(self.participants[taker].subscriptions.contains_key(&stream.info.id));
            }
        }
    }
}
