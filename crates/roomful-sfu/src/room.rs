//! One room: who is in it, what they publish and what they take.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use roomful_protocol::{
    DoneResponse, ErrorCode, LayerChangedNotice, LeaveReason, MessageNotice, MessageRequest, OfferId,
    OfferRequest, OfferResponse, ParticipantInfo, ParticipantJoinedNotice, ParticipantLeftNotice,
    PublishRequest, PublishResponse, PublishedTrack, RequestId, ResumeKey, RoomVersion, ServerMessage,
    SlotBoundNotice, SlotMids, SourcePausedNotice, StreamInfo, StreamPublishedNotice,
    StreamUnpublishedNotice, StreamUpdatedNotice, SubscribeRequest, TokenTerm, TrackInfo, UnpublishRequest,
    UnsubscribeRequest, UpdateStreamRequest, UpdateSubscriptionRequest, limits,
};
use roomful_types::{Bitrate, MediaKind, Mid, ParticipantId, Permissions, StreamId, StreamKey};

use crate::{
    admission::{Grant, GrantId},
    allowance::Allowances,
    layers::{Subscription, Track},
    line::Line,
    media::{MediaCommand, MediaNotice, OfferError, SourceId},
    moderation::Moderation,
    quality::Quality,
    report::Report,
    sfu::{Outbox, SessionId},
    snapshot::{self, SNAPSHOT_MAX},
    speakers::Speakers,
};

/// What a request comes to.
pub(crate) type Reply = Result<ServerMessage, ErrorCode>;

/// What is forwarded where, and all that could be.
#[cfg(test)]
pub(crate) type Routes = (BTreeMap<(ParticipantId, Mid), SourceId>, BTreeSet<SourceId>);

#[derive(Debug, Default)]
pub(crate) struct Room {
    version: RoomVersion,
    pub(crate) participants: BTreeMap<ParticipantId, Participant>,
    pub(crate) streams: BTreeMap<StreamId, Stream>,
    pub(crate) moderation: Moderation,
    pub(crate) speakers: Speakers,
    last_delivery: u64,
    /// The most that its participants and streams need in a snapshot, in bytes.
    snapshot_size: usize,
}

#[derive(Debug)]
pub(crate) struct Participant {
    pub(crate) info: ParticipantInfo,
    pub(crate) line: Line,
    pub(crate) admitted: Admitted,
    /// By which it was admitted before, the latest first.
    earlier_grants: VecDeque<GrantId>,
    /// What a resume must show.
    pub(crate) resume_key: ResumeKey,
    pub(crate) streams: BTreeMap<StreamKey, StreamId>,
    pub(crate) subscriptions: BTreeMap<StreamId, Subscription>,
    pub(crate) slots: Vec<SlotMids>,
    /// The newest offer, and its answer once the media shard gave it.
    offer: Option<Offer>,
    /// How much gets through to it, once that was estimated.
    pub(crate) available: Option<Bitrate>,
    pub(crate) quality: Quality,
    pub(crate) report: Option<Report>,
    /// When it was reported to last.
    pub(crate) reported_at: Option<Instant>,
    /// What it may ask, whatever connection it comes on.
    allowances: Allowances,
}

#[derive(Debug)]
struct Offer {
    id: OfferId,
    /// The requests that wait for the answer.
    requests: Vec<RequestId>,
    slots: Vec<SlotMids>,
    answer: Option<Result<Arc<str>, OfferError>>,
}

/// What the newest token of a participant grants, and until when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admitted {
    pub(crate) permissions: Permissions,
    pub(crate) grant: GrantId,
    pub(crate) expires_at: Instant,
    pub(crate) life: Duration,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) info: StreamInfo,
    pub(crate) tracks: BTreeMap<MediaKind, Track>,
}

impl Admitted {
    pub(crate) fn new(grant: &Grant, now: Instant) -> Self {
        let Grant { permissions, id, remaining, life, .. } = *grant;
        Self { permissions, grant: id, expires_at: now + remaining, life }
    }

    pub(crate) fn term(&self, now: Instant) -> TokenTerm {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let remaining = self.expires_at.saturating_duration_since(now);
        TokenTerm { remaining_ms: millis(remaining), life_ms: millis(self.life) }
    }
}

impl Stream {
    /// Returns whether a track is to be forwarded: its publisher means it to be, and no moderator withholds it.
    pub(crate) fn flows(&self, kind: MediaKind) -> bool {
        self.track_info(kind).is_some_and(|track| track.enabled && !track.censored)
    }

    pub(crate) const fn track_info(&self, kind: MediaKind) -> Option<TrackInfo> {
        match kind {
            MediaKind::Audio => self.info.audio,
            MediaKind::Video => self.info.video,
        }
    }

    pub(crate) const fn track_info_mut(&mut self, kind: MediaKind) -> Option<&mut TrackInfo> {
        match kind {
            MediaKind::Audio => self.info.audio.as_mut(),
            MediaKind::Video => self.info.video.as_mut(),
        }
    }
}

impl Offer {
    const fn is_pending(&self) -> bool {
        self.answer.is_none()
    }
}

/// Grants of one stay that are remembered: with a token for every ten seconds, as many as come in the life of a refresh token of an hour, and
/// twice that.
const EARLIER_GRANTS_MAX: usize = 1024;

impl Participant {
    pub(crate) const fn new(
        info: ParticipantInfo,
        session: SessionId,
        admitted: Admitted,
        resume_key: ResumeKey,
        allowances: Allowances,
    ) -> Self {
        Self {
            info,
            line: Line::new(session),
            admitted,
            earlier_grants: VecDeque::new(),
            resume_key,
            streams: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            slots: Vec::new(),
            offer: None,
            available: None,
            quality: Quality::new(),
            report: None,
            reported_at: None,
            allowances,
        }
    }

    /// Lets it stay by another grant.
    pub(crate) fn admit(&mut self, admitted: Admitted) {
        let earlier = std::mem::replace(&mut self.admitted, admitted).grant;
        if earlier != admitted.grant {
            self.earlier_grants.retain(|grant| *grant != earlier);
            self.earlier_grants.push_front(earlier);
            self.earlier_grants.truncate(EARLIER_GRANTS_MAX);
        }
    }

    /// Returns whether it was admitted by a grant in this stay. Others may have the same one, and be kicked.
    pub(crate) fn holds(&self, grant: GrantId) -> bool {
        self.grants().any(|one| one == grant)
    }

    /// Returns every grant by which it was admitted in this stay.
    pub(crate) fn grants(&self) -> impl Iterator<Item = GrantId> {
        self.earlier_grants.iter().copied().chain([self.admitted.grant])
    }
}

impl Room {
    pub(crate) fn allowances(&mut self, id: ParticipantId) -> Option<&mut Allowances> {
        Some(&mut self.participants.get_mut(&id)?.allowances)
    }

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
        self.participants.values().filter_map(|participant| participant.line.session()).collect()
    }

    /// Returns what a resume is told of the room: what is on the participant's slots, and which of its tracks are taken.
    pub(crate) fn media_of(&self, id: ParticipantId) -> (Vec<SlotBoundNotice>, Vec<SourcePausedNotice>) {
        let Some(participant) = self.participants.get(&id) else { return Default::default() };
        // What is paused or held back is on no slot now, whatever was there before.
        let flowing = |one: &Subscription| one.bound.map(|bound| bound.filter(|bound| one.wants(bound.kind)));
        let slots = participant.subscriptions.values().flat_map(flowing).flatten().collect();
        let streams = participant.streams.values().filter_map(|stream| self.streams.get(stream));
        let sources = streams.flat_map(|stream| {
            let stream_id = stream.info.id;
            let tracks = stream.tracks.iter();
            tracks.flat_map(move |(kind, track)| track.pauses(stream_id, *kind))
        });
        (slots, sources.collect())
    }

    /// Returns whether everybody could still be told who is here if this one were, in place of some.
    pub(crate) fn has_room_for(&self, participant: &ParticipantInfo, replaced: &[ParticipantId]) -> bool {
        let replaced = replaced.iter().filter_map(|id| self.participants.get(id)).map(|one| {
            let streams = one.streams.values().filter_map(|id| self.streams.get(id));
            let streams: usize = streams.map(|stream| snapshot::of_stream(&stream.info)).sum();
            snapshot::of_participant(&one.info) + streams
        });
        let rest = self.snapshot_size - replaced.sum::<usize>();
        rest + snapshot::of_participant(participant) <= SNAPSHOT_MAX
    }

    /// Lets a participant in and tells the others.
    pub(crate) fn enter(&mut self, participant: Participant, outbox: &mut Outbox) {
        let version = self.next_version();
        let notice = ParticipantJoinedNotice { version, participant: participant.info.clone() };
        outbox.send_all(self.sessions(), notice);
        let identity = participant.info.identity.as_deref();
        self.moderation.on_entered(participant.info.id, participant.admitted.grant, identity);
        self.snapshot_size += snapshot::of_participant(&participant.info);
        self.participants.insert(participant.info.id, participant);
    }

    /// Takes a participant and all that is its own away, and tells the others.
    pub(crate) fn leave(&mut self, id: ParticipantId, reason: Option<LeaveReason>, outbox: &mut Outbox) {
        let Some(participant) = self.participants.remove(&id) else { return };
        self.snapshot_size -= snapshot::of_participant(&participant.info);
        for stream in participant.subscriptions.keys() {
            self.untake(id, *stream, outbox);
        }
        for stream in participant.streams.values() {
            self.drop_stream(*stream, outbox);
        }
        outbox.media(MediaCommand::RemovePeer { peer: id });
        self.forget_reports_of(id);
        self.moderation.on_left(id);
        self.speakers.forget_participant(id);
        let version = self.next_version();
        outbox.send_all(self.sessions(), ParticipantLeftNotice { version, participant_id: id, reason });
        self.tell_dominant_speaker(outbox);
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
                    // A resumed client repeats what is unanswered, with its old number.
                    if !offer.requests.contains(&request.request) {
                        offer.requests.push(request.request);
                    }
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
        if !participant.admitted.permissions.publish {
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
        let info = |kind, track: Option<PublishedTrack>| {
            let censored = self.moderation.is_censored(id, &request.key, kind);
            track.map(|track| TrackInfo { codec: track.codec, enabled: true, censored })
        };
        let stream = StreamInfo {
            id: stream_id,
            participant_id: id,
            key: request.key.clone(),
            audio: info(MediaKind::Audio, request.audio),
            video: info(MediaKind::Video, request.video),
        };
        let size = snapshot::of_stream(&stream);
        if self.snapshot_size + size > SNAPSHOT_MAX {
            return Err(ErrorCode::LimitReached);
        }
        self.snapshot_size += size;
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
        let brings_tracks = request.audio.is_some() || request.video.is_some();
        if brings_tracks && !participant.admitted.permissions.publish {
            return Err(ErrorCode::Forbidden);
        }
        self.check_tracks(participant, Some(stream_id), request.audio, request.video)?;
        let stream = self.streams.get_mut(&stream_id).ok_or(ErrorCode::UnknownStream)?;

        let before = stream.info.clone();
        let mut toggled = Vec::new();
        let changes = [
            (MediaKind::Audio, &mut stream.info.audio, request.audio, request.audio_enabled),
            (MediaKind::Video, &mut stream.info.video, request.video, request.video_enabled),
        ];
        for (kind, track, replacement, enabled) in changes {
            if let Some(PublishedTrack { codec, .. }) = replacement {
                let censored = self.moderation.is_censored(id, &request.key, kind);
                let enabled = track.is_none_or(|track| track.enabled);
                *track = Some(TrackInfo { codec, enabled, censored });
            }
            if let (Some(track), Some(enabled)) = (track, enabled) {
                track.enabled = enabled;
                toggled.push(kind);
            }
        }
        let stream = stream.info.clone();
        if stream != before {
            let version = self.next_version();
            outbox.send_all(self.sessions(), StreamUpdatedNotice { version, stream });
        }
        self.put_tracks(stream_id, request.audio, request.video, outbox);
        // Afterwards: only a source that is there can be turned off.
        for kind in toggled {
            self.enable_source(stream_id, kind, outbox);
        }
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
        self.tell_dominant_speaker(outbox);
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
        if !participant.admitted.permissions.subscribe {
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
        participant.subscriptions.insert(stream, Subscription::new(request));
        self.allocate(id, Some(stream), outbox);
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
        subscription.update(request);
        self.allocate(id, Some(stream), outbox);
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
        // What it took is free for others.
        self.allocate(id, None, outbox);
        Ok(DoneResponse { request: request.request }.into())
    }

    pub(crate) fn message(
        &mut self,
        id: ParticipantId,
        request: MessageRequest,
        outbox: &mut Outbox,
    ) -> Reply {
        let sender = self.participants.get(&id).ok_or(ErrorCode::BadRequest)?;
        if !sender.admitted.permissions.message {
            return Err(ErrorCode::Forbidden);
        }
        let meta = request.message.meta.as_ref().map_or(0, |meta| meta.len());
        let most = outbox.config.max_message_bytes.min(limits::MESSAGE_TEXT_MAX);
        if request.message.payload.len().max(meta) > most {
            return Err(ErrorCode::TooLarge);
        }
        let receives = |participant: &&Participant| participant.info.can_receive_messages;
        let addressed: BTreeSet<ParticipantId> = match &request.recipients {
            Some(recipients) if recipients.len() > limits::RECIPIENTS_MAX => {
                return Err(ErrorCode::LimitReached);
            }
            Some(recipients) => {
                let found = recipients.iter().map(|id| self.participants.get(id).filter(receives));
                let found: Option<BTreeSet<ParticipantId>> = found.map(|one| Some(one?.info.id)).collect();
                found.ok_or(ErrorCode::UnknownRecipient)?
            }
            None => self.participants.values().filter(receives).map(|one| one.info.id).collect(),
        };
        // Who is named twice is one recipient.
        let mut named = BTreeSet::new();
        let recipients = request.recipients;
        let recipients = recipients.map(|list| list.into_iter().filter(|id| named.insert(*id)).collect());
        self.last_delivery += 1;
        let delivery = self.last_delivery;
        let notice = MessageNotice { delivery, sender: id, message: request.message, recipients };
        let mut sessions = Vec::with_capacity(addressed.len());
        for recipient in addressed {
            let Some(recipient) = self.participants.get_mut(&recipient) else { continue };
            recipient.line.keep(notice.clone(), outbox.config.resume_buffer);
            sessions.extend(recipient.line.session());
        }
        outbox.send_all(sessions, notice);
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
                    if let Some(session) = participant.line.session() {
                        outbox.reply(session, request, reply);
                    }
                }
                pending.answer = Some(answer.map(Into::into));
            }
            MediaNotice::Speaking { source, level, .. } => self.on_speaking(source.stream, level, outbox),
            MediaNotice::Bound { peer, mid, source, codec, first_sequence, first_timestamp, layer } => {
                let Some((participant, slot)) = self.taken_on(peer, mid, source) else { return };
                let (kind, stream_id, rid) = (source.kind, source.stream, layer);
                let notice =
                    SlotBoundNotice { slot, kind, stream_id, codec, first_sequence, first_timestamp, rid };
                if let Some(subscription) = participant.subscriptions.get_mut(&stream_id) {
                    subscription.bound[kind as usize] = Some(notice);
                }
                participant.quality.begin_anew(mid);
                outbox.send_all(participant.line.session().into_iter().collect(), notice);
                self.on_flowing(peer, source, layer, outbox);
            }
            MediaNotice::Switched { peer, mid, source, layer } => {
                let Some((participant, _)) = self.taken_on(peer, mid, source) else { return };
                if let Some(subscription) = participant.subscriptions.get_mut(&source.stream)
                    && let Some(bound) = &mut subscription.bound[source.kind as usize]
                {
                    bound.rid = layer;
                }
                let notice = LayerChangedNotice { stream_id: source.stream, rid: Some(layer) };
                outbox.send_all(participant.line.session().into_iter().collect(), notice);
                self.on_flowing(peer, source, layer, outbox);
            }
            MediaNotice::Rates { source, rates, .. } => self.on_rates(source, rates, outbox),
            MediaNotice::Measured { peer, measure } => self.on_measured(peer, measure, outbox),
            // Who failed leaves, whatever else is told of it.
            MediaNotice::Failed { .. } => {}
            MediaNotice::Estimated { peer, available } => {
                if let Some(participant) = self.participants.get_mut(&peer) {
                    participant.available = available;
                    self.allocate(peer, None, outbox);
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
        let mut replaced = Vec::new();
        for (kind, published) in [(MediaKind::Audio, audio), (MediaKind::Video, video)] {
            let Some(PublishedTrack { mid, codec, first_timestamp, simulcast }) = published else { continue };
            let source = SourceId { stream: id, kind };
            let simulcast = simulcast && kind == MediaKind::Video;
            outbox.media(MediaCommand::PutSource { source, peer, mid, codec, first_timestamp, simulcast });
            let publisher = self.participants.get(&peer).and_then(|publisher| publisher.line.session());
            match stream.tracks.get_mut(&kind) {
                Some(track) => {
                    track.replace(mid, simulcast);
                    replaced.push(source);
                }
                None => {
                    let track = Track::new(kind, mid, simulcast);
                    has_new_track = true;
                    for notice in track.pauses(id, kind) {
                        outbox.send_all(publisher.into_iter().collect(), notice);
                    }
                    stream.tracks.insert(kind, track);
                }
            }
        }
        for (kind, published) in [(MediaKind::Audio, audio), (MediaKind::Video, video)] {
            let track = self.streams.get(&id).and_then(|stream| stream.track_info(kind));
            if published.is_some() && track.is_some_and(|track| track.censored) {
                self.enable_source(id, kind, outbox);
            }
        }
        for source in replaced {
            if source.kind == MediaKind::Audio {
                // Whether the new track is heard is not known yet.
                self.on_speaking(id, None, outbox);
            }
            // Those who took other encodings take what there is now.
            let track = self.streams.get(&id).and_then(|stream| stream.tracks.get(&source.kind));
            for taker in track.map(|track| track.takers().collect::<Vec<_>>()).unwrap_or_default() {
                self.allocate(taker, Some(id), outbox);
            }
            self.tell_publisher(source, outbox);
        }
        if has_new_track {
            let subscribed = |(peer, participant): (&ParticipantId, &Participant)| {
                participant.subscriptions.contains_key(&id).then_some(*peer)
            };
            let subscribers: Vec<ParticipantId> = self.participants.iter().filter_map(subscribed).collect();
            for subscriber in subscribers {
                self.allocate(subscriber, Some(id), outbox);
            }
        }
    }

    /// Makes forwarding agree with what publisher and moderators want. Who is not heard does not speak.
    pub(crate) fn enable_source(&mut self, id: StreamId, kind: MediaKind, outbox: &mut Outbox) {
        let Some(stream) = self.streams.get(&id) else { return };
        let enabled = stream.flows(kind);
        outbox.media(MediaCommand::EnableSource { source: SourceId { stream: id, kind }, enabled });
        if kind == MediaKind::Audio && !enabled {
            self.on_speaking(id, None, outbox);
        }
    }

    /// Takes a stream out of the room and ends every subscription to it.
    fn drop_stream(&mut self, id: StreamId, outbox: &mut Outbox) {
        let Some(stream) = self.streams.remove(&id) else { return };
        self.snapshot_size -= snapshot::of_stream(&stream.info);
        for kind in stream.tracks.keys() {
            outbox.media(MediaCommand::RemoveSource { source: SourceId { stream: id, kind: *kind } });
        }
        for participant in self.participants.values_mut() {
            if let Some(ended) = participant.subscriptions.remove(&id) {
                participant.line.forget(ended.request);
            }
            participant.quality.forget(id);
        }
        self.speakers.forget_stream(id);
    }

    fn stream_id(&self, publisher: ParticipantId, key: &StreamKey) -> Result<StreamId, ErrorCode> {
        let publisher = self.participants.get(&publisher).ok_or(ErrorCode::UnknownParticipant)?;
        publisher.streams.get(key).copied().ok_or(ErrorCode::UnknownStream)
    }

    pub(crate) const fn next_version(&mut self) -> RoomVersion {
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
    pub(crate) fn check_invariants(&self) {
        let people = self.participants.values().map(|one| snapshot::of_participant(&one.info));
        let streams = self.streams.values().map(|one| snapshot::of_stream(&one.info));
        assert_eq!(self.snapshot_size, people.chain(streams).sum::<usize>());
        for (id, participant) in &self.participants {
            let mut slots = BTreeSet::new();
            for (stream, subscription) in &participant.subscriptions {
                let stream = self.streams.get(stream).expect("a subscription has its stream");
                assert_ne!(stream.info.participant_id, *id, "nobody subscribes to oneself");
                assert!(slots.insert(subscription.slot), "a slot has one occupant");
                for (kind, track) in &stream.tracks {
                    assert_eq!(track.is_taken_by(*id), subscription.wants(*kind));
                }
            }
            for (key, stream) in &participant.streams {
                let stream = self.streams.get(stream).expect("a participant's streams exist");
                assert_eq!((&stream.info.key, stream.info.participant_id), (key, *id));
            }
        }
        let (speaking, dominant) = self.speakers.all();
        let mut speakers = BTreeSet::new();
        for (stream, participant) in speaking {
            let stream = self.streams.get(&stream).expect("only what is published is heard");
            assert!(stream.flows(MediaKind::Audio) && stream.info.participant_id == participant);
            speakers.insert(participant);
        }
        assert!(dominant.map_or(speakers.is_empty(), |dominant| speakers.contains(&dominant)));
        for stream in self.streams.values() {
            assert!(self.participants.contains_key(&stream.info.participant_id));
            for taker in stream.tracks.values().flat_map(Track::takers) {
                assert!(self.participants[&taker].subscriptions.contains_key(&stream.info.id));
            }
        }
    }
}
