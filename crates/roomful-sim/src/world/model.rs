//! What the room must look like, worked out from nothing but what was asked and answered.

use std::collections::{BTreeMap, BTreeSet};

use roomful_protocol::{
    ClientMessage, OfferResponse, PublishedTrack, RequestId, ServerMessage, SlotMids, SubscribeRequest,
    UpdateSubscriptionRequest,
};
use roomful_sfu::{ModerationRequest, SessionId};
use roomful_state::State;
use roomful_types::{MediaKind, Mid, ParticipantId, StreamKey};

use super::frames::Owner;
use crate::{ServerMachine, server::Observation};

/// The room by the book.
#[derive(Debug, Default)]
pub(super) struct Model {
    members: BTreeMap<ParticipantId, Member>,
    sessions: BTreeMap<SessionId, ParticipantId>,
    /// What was asked and not answered yet.
    asked: BTreeMap<(SessionId, RequestId), ClientMessage>,
    /// What was carried out: a request that is repeated after a resume is carried out once.
    done: BTreeSet<(ParticipantId, RequestId)>,
    /// Which request made a subscription. When its stream goes, the request is asked anew if it is repeated.
    made_by: BTreeMap<(ParticipantId, ParticipantId, StreamKey), RequestId>,
    /// Of one stream, or of all.
    censored: BTreeSet<(ParticipantId, Option<StreamKey>, MediaKind)>,
    /// What everybody must be told, in order; kept for those who left too.
    inboxes: BTreeMap<ParticipantId, Vec<String>>,
    /// On which section of whom each source of the server's is, by the answers to offers, and which one repairs which.
    sources: BTreeMap<u32, (ParticipantId, Mid)>,
    repairs: BTreeMap<u32, u32>,
}

#[derive(Debug, Default)]
struct Member {
    has_messages: bool,
    streams: BTreeMap<StreamKey, BTreeMap<MediaKind, Track>>,
    subscriptions: BTreeMap<(ParticipantId, StreamKey), Taken>,
    slots: Vec<SlotMids>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Track {
    enabled: bool,
    censored: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taken {
    slot: u16,
    audio: bool,
    video: bool,
    paused: bool,
}

impl Taken {
    const fn wants(self, kind: MediaKind) -> bool {
        !self.paused
            && match kind {
                MediaKind::Audio => self.audio,
                MediaKind::Video => self.video,
            }
    }
}

impl Model {
    /// Takes in what the server heard and said.
    pub(super) fn observe(&mut self, server: &mut ServerMachine) {
        for observation in server.take_observations() {
            match observation {
                Observation::Heard(session, message) => {
                    self.asked.insert((session, message.request()), message);
                }
                Observation::Said(session, message) => self.on_said(session, &message),
            }
        }
    }

    fn on_said(&mut self, session: SessionId, message: &ServerMessage) {
        match message {
            ServerMessage::JoinResponse(response) => {
                let asked = self.asked.remove(&(session, response.request));
                let Some(ClientMessage::JoinRequest(join)) = asked else {
                    panic!("a join is answered that nobody asked for, or twice");
                };
                // Who was alone may have left without anybody to be told.
                let present: BTreeSet<ParticipantId> =
                    response.participants.iter().map(|one| one.id).collect();
                for gone in
                    self.members.keys().copied().filter(|id| !present.contains(id)).collect::<Vec<_>>()
                {
                    self.leave(gone);
                }
                let member = Member { has_messages: join.enable_messages, ..Member::default() };
                self.members.insert(response.participant_id, member);
                self.inboxes.entry(response.participant_id).or_default();
                self.sessions.insert(session, response.participant_id);
            }
            ServerMessage::ResumeResponse(response) => {
                let asked = self.asked.remove(&(session, response.request));
                if let Some(ClientMessage::ResumeRequest(resume)) = asked {
                    self.sessions.insert(session, resume.participant_id);
                }
            }
            ServerMessage::PublishResponse(response) => self.on_done(session, response.request),
            ServerMessage::DoneResponse(response) => self.on_done(session, response.request),
            ServerMessage::ErrorResponse(response) => {
                self.asked.remove(&(session, response.request));
            }
            ServerMessage::ParticipantLeftNotice(notice) => self.leave(notice.participant_id),
            ServerMessage::DisconnectNotice(_) => {
                if let Some(id) = self.sessions.remove(&session) {
                    self.leave(id);
                }
            }
            ServerMessage::OfferResponse(response) => self.on_answer(session, response),
            ServerMessage::TokenResponse(_)
            | ServerMessage::ParticipantJoinedNotice(_)
            | ServerMessage::StreamPublishedNotice(_)
            | ServerMessage::StreamUpdatedNotice(_)
            | ServerMessage::StreamUnpublishedNotice(_)
            | ServerMessage::SlotBoundNotice(_)
            | ServerMessage::SourcePausedNotice(_)
            | ServerMessage::MessageNotice(_)
            | ServerMessage::SpeakingNotice(_)
            | ServerMessage::DominantSpeakerNotice(_)
            | ServerMessage::NetworkMetricsNotice(_)
            | ServerMessage::LayerChangedNotice(_)
            | ServerMessage::QualityNotice(_) => {}
        }
    }

    /// Sources are those of the answer (RFC 5576 §4).
    fn on_answer(&mut self, session: SessionId, response: &OfferResponse) {
        let Some(ClientMessage::OfferRequest(offer)) = self.asked.remove(&(session, response.request)) else {
            return;
        };
        let Some(id) = self.sessions.get(&session).copied() else { return };
        let Some(member) = self.members.get_mut(&id) else { return };
        member.slots = offer.slots;
        let number = |text: &str| text.split([' ', ':']).next().and_then(|word| word.parse().ok());
        for section in response.sdp.split("\nm=").skip(1) {
            let value = |name: &str| section.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let Some(mid) = value("a=mid:").and_then(|mid| Mid::new(mid).ok()) else { continue };
            let lines = section.lines().filter_map(|line| line.strip_prefix("a=ssrc:"));
            self.sources.extend(lines.filter_map(number).map(|ssrc| (ssrc, (id, mid))));
            if let Some((main, repair)) = value("a=ssrc-group:FID ").and_then(|pair| pair.split_once(' ')) {
                self.repairs.extend(number(repair).zip(number(main)));
            }
        }
    }

    /// A request was carried out.
    fn on_done(&mut self, session: SessionId, request: RequestId) {
        let Some(asked) = self.asked.remove(&(session, request)) else { return };
        let Some(id) = self.sessions.get(&session).copied() else { return };
        if !self.done.insert((id, request)) {
            return;
        }
        let censored = &self.censored;
        let track = |key: &StreamKey, kind, enabled| {
            let rules = [None, Some(key.clone())].map(|key| (id, key, kind));
            Track { enabled, censored: rules.iter().any(|rule| censored.contains(rule)) }
        };
        let Some(member) = self.members.get_mut(&id) else { return };
        match asked {
            ClientMessage::PublishRequest(request) => {
                let key = &request.key;
                let published =
                    |kind, one: Option<PublishedTrack>| one.map(|_| (kind, track(key, kind, true)));
                let audio = published(MediaKind::Audio, request.audio);
                let video = published(MediaKind::Video, request.video);
                member.streams.insert(request.key, audio.into_iter().chain(video).collect());
            }
            ClientMessage::UpdateStreamRequest(request) => {
                let Some(tracks) = member.streams.get_mut(&request.key) else { return };
                let changes = [
                    (MediaKind::Audio, request.audio.is_some(), request.audio_enabled),
                    (MediaKind::Video, request.video.is_some(), request.video_enabled),
                ];
                for (kind, is_new, enabled) in changes {
                    if is_new {
                        tracks.entry(kind).or_insert_with(|| track(&request.key, kind, true));
                    }
                    if let (Some(track), Some(enabled)) = (tracks.get_mut(&kind), enabled) {
                        track.enabled = enabled;
                    }
                }
            }
            ClientMessage::UnpublishRequest(request) => {
                member.streams.remove(&request.key);
                self.end_subscriptions(|publisher, key| *publisher == id && *key == request.key);
            }
            ClientMessage::SubscribeRequest(request) => {
                let SubscribeRequest { slot, audio, video, paused, .. } = request;
                let taken = Taken { slot, audio, video, paused };
                self.made_by.insert((id, request.participant_id, request.key.clone()), request.request);
                member.subscriptions.insert((request.participant_id, request.key), taken);
            }
            ClientMessage::UpdateSubscriptionRequest(request) => {
                let UpdateSubscriptionRequest { audio, video, paused, .. } = request;
                if let Some(taken) = member.subscriptions.get_mut(&(request.participant_id, request.key)) {
                    *taken = Taken { audio, video, paused, ..*taken };
                }
            }
            ClientMessage::UnsubscribeRequest(request) => {
                member.subscriptions.remove(&(request.participant_id, request.key));
            }
            ClientMessage::MessageRequest(request) => {
                let payload = request.message.payload.to_string();
                let everybody = self.members.iter().filter(|(_, one)| one.has_messages).map(|(id, _)| *id);
                let recipients: BTreeSet<ParticipantId> =
                    request.recipients.map_or_else(|| everybody.collect(), |list| list.into_iter().collect());
                for recipient in recipients {
                    self.inboxes.entry(recipient).or_default().push(payload.clone());
                }
            }
            ClientMessage::LeaveRequest(_) => self.leave(id),
            ClientMessage::JoinRequest(_)
            | ClientMessage::ResumeRequest(_)
            | ClientMessage::PingRequest(_)
            | ClientMessage::OfferRequest(_)
            | ClientMessage::UpdateTokenRequest(_)
            | ClientMessage::EnableMetricsRequest(_)
            | ClientMessage::DisableMetricsRequest(_) => {}
        }
    }

    /// A moderator's wish was carried out.
    pub(super) fn on_moderated(&mut self, request: &ModerationRequest) {
        let ModerationRequest::Censor { who, stream, kind, censored } = request else { return };
        for (id, member) in self.members.iter_mut().filter(|(id, _)| who.has(**id)) {
            let is_meant = |key: &StreamKey| stream.as_ref().is_none_or(|stream| stream == key);
            if *censored {
                self.censored.insert((*id, stream.clone(), *kind));
            } else {
                // Lifting it of all lifts it of each.
                self.censored.retain(|(of, key, ruled)| {
                    (of, ruled) != (id, kind) || (stream.is_some() && key != stream)
                });
            }
            let meant = member.streams.iter_mut().filter(|(key, _)| is_meant(key));
            for track in meant.filter_map(|(_, tracks)| tracks.get_mut(kind)) {
                track.censored = *censored;
            }
        }
    }

    fn leave(&mut self, id: ParticipantId) {
        self.members.remove(&id);
        self.end_subscriptions(|publisher, _| *publisher == id);
    }

    /// Ends subscriptions whose streams are gone.
    fn end_subscriptions(&mut self, is_gone: impl Fn(&ParticipantId, &StreamKey) -> bool) {
        for (subscriber, member) in &mut self.members {
            let gone = member.subscriptions.extract_if(.., |(publisher, key), _| is_gone(publisher, key));
            for ((publisher, key), _) in gone {
                let request = self.made_by.remove(&(*subscriber, publisher, key));
                request.map(|request| self.done.remove(&(*subscriber, request)));
            }
        }
    }

    /// Says why a packet may not go to somebody at this moment, if so.
    pub(super) fn grants(&self, peer: ParticipantId, owner: &Owner) -> Result<(), &'static str> {
        let Owner { publisher, key, kind } = owner;
        let member = self.members.get(&peer).ok_or("to somebody who is not in the room")?;
        let taken = member.subscriptions.get(&(*publisher, key.clone())).ok_or("without a subscription")?;
        if !taken.wants(*kind) {
            return Err("that is not wanted, or paused");
        }
        let track = self.members.get(publisher).and_then(|one| one.streams.get(key)?.get(kind));
        match track.ok_or("after it was unpublished")? {
            Track { enabled: false, .. } => Err("while it is muted"),
            Track { censored: true, .. } => Err("while it is censored"),
            Track { .. } => Ok(()),
        }
    }

    /// Says why a packet of a source of the server's may not leave at this moment, if so. Whose media it is, it does not show; but a slot is
    /// one subscription's.
    pub(super) fn grants_source(&self, ssrc: u32) -> Result<(), &'static str> {
        let (peer, mid) = *self.sources.get(&ssrc).ok_or("of a source that no answer names")?;
        let member = self.members.get(&peer).ok_or("to somebody who is not in the room")?;
        let kind = |slot: &SlotMids| MediaKind::ALL.into_iter().find(|kind| slot.of(*kind) == mid);
        let mut slots = (0..).zip(&member.slots);
        let (slot, kind) = slots.find_map(|(index, slot)| Some((index, kind(slot)?))).ok_or("on no slot")?;
        let name = member.subscriptions.iter().find(|(_, taken)| taken.slot == slot);
        let ((publisher, key), _) = name.ok_or("on a slot that is free")?;
        self.grants(peer, &Owner { publisher: *publisher, key: key.clone(), kind })
    }

    /// Returns the source that another one repairs.
    pub(super) fn repaired_by(&self, ssrc: u32) -> Option<u32> {
        self.repairs.get(&ssrc).copied()
    }

    /// Checks that somebody's state is the room's.
    pub(super) fn check_state(&self, state: &State) {
        let me = state.local_participant_id().expect("in the room");
        let seen: BTreeSet<ParticipantId> = state.participants().map(|one| one.id).collect();
        assert_eq!(seen, self.members.keys().copied().collect(), "who is in the room");
        let streams: BTreeMap<_, _> = state
            .streams()
            .map(|one| {
                let flags = MediaKind::ALL.map(|kind| (one.is_enabled(kind), one.is_censored(kind)));
                ((one.participant_id, one.key.clone()), flags)
            })
            .collect();
        let flags = |tracks: &BTreeMap<MediaKind, Track>| {
            MediaKind::ALL
                .map(|kind| tracks.get(&kind).map_or((false, false), |one| (one.enabled, one.censored)))
        };
        let members = self.members.iter();
        let expected: BTreeMap<_, _> = members
            .flat_map(|(id, one)| one.streams.iter().map(|(key, tracks)| ((*id, key.clone()), flags(tracks))))
            .collect();
        assert_eq!(streams, expected, "what is published");
        let taken: BTreeMap<_, _> = state
            .subscriptions()
            .map(|one| ((one.participant_id, one.key.clone()), (one.audio, one.video, one.is_paused)))
            .collect();
        let own = self.members[&me].subscriptions.iter();
        let expected: BTreeMap<_, _> =
            own.map(|(name, one)| (name.clone(), (one.audio, one.video, one.paused))).collect();
        assert_eq!(taken, expected, "what is taken");
    }

    /// Returns whether media of a stream must come to somebody by now.
    pub(super) fn flows(&self, publisher: ParticipantId, key: &StreamKey, kind: MediaKind) -> bool {
        let track = self.members.get(&publisher).and_then(|one| one.streams.get(key)?.get(&kind));
        track.is_some_and(|track| track.enabled && !track.censored)
    }

    /// Returns what somebody must have been told.
    pub(super) fn messages_of(&self, id: Option<ParticipantId>) -> Option<&Vec<String>> {
        self.inboxes.get(&id?)
    }
}
