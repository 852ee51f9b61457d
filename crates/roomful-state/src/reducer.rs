//! The one place where a room's state changes.

use std::{collections::BTreeSet, sync::Arc};

use roomful_types::{DisconnectReason, MediaKind, ParticipantId, Rid, StreamId, StreamKey};

use crate::{
    action::Action,
    event::{Event, EventKind, LeaveReason},
    metrics::Quality,
    state::{Connection, Origin, Participant, State, Status, Stream, Subscription, TrackId},
};

/// Applies one action and adds the events that tell of it, in the order of the Room contract.
///
/// Total: any action is legal in any state; a stale one changes nothing and tells nothing.
pub fn apply(state: &mut State, action: Action, events: &mut Vec<Event>) {
    let mut room = Reduction { state, events };
    match action {
        Action::Connecting => room.on_connecting(),
        Action::Joined { local, version, participants, streams } => {
            room.on_joined(local, version, participants, streams);
        }
        Action::Reconnecting => room.on_reconnecting(),
        Action::Resumed { version, participants, streams } => room.on_resumed(version, participants, streams),
        Action::Disconnecting => room.on_disconnecting(),
        Action::Disconnected { reason } => room.on_disconnected(reason),
        Action::VersionReached { version } => room.state.version = room.state.version.max(version),
        Action::ParticipantJoined { participant } => room.on_participant_joined(participant),
        Action::ParticipantLeft { participant, reason } => room.on_participant_left(participant, reason),
        Action::StreamPublished { stream } => room.on_stream_published(stream),
        Action::StreamUnpublished { stream } => room.on_stream_unpublished(stream),
        Action::TrackToggled { stream, kind, enabled } => room.on_track_toggled(stream, kind, enabled),
        Action::TrackCensored { stream, kind, censored } => room.on_track_censored(stream, kind, censored),
        Action::SpeakingChanged { participant, stream, speaking } => {
            room.on_speaking_changed(participant, stream, speaking);
        }
        Action::DominantSpeakerChanged { participant } => room.on_dominant_speaker_changed(participant),
        Action::TokenExpiring { remaining } => {
            if room.is_connected() {
                room.tell(EventKind::TokenExpiring { remaining });
            }
        }
        Action::NetworkMetricsMeasured { metrics } => {
            if room.is_connected() {
                room.tell(EventKind::NetworkMetricsReport { metrics });
            }
        }
        Action::LayerChanged { stream, layer } => room.on_layer_changed(stream, layer),
        Action::StreamQualityChanged { stream, quality } => room.on_stream_quality_changed(stream, quality),
        Action::Faulted { fault } => {
            if room.is_connected() {
                room.tell(EventKind::Error { fault });
            }
        }
        Action::TrackReplaced { stream, kind, track } => room.on_track_replaced(stream, kind, track),
        Action::SubscriptionStarted { subscription, audio_track, video_track } => {
            room.on_subscription_started(subscription, audio_track, video_track);
        }
        Action::SubscriptionReconfigured { subscription, audio_track, video_track } => {
            room.on_subscription_reconfigured(subscription, audio_track, video_track);
        }
        Action::SubscriptionEnded { participant, key } => room.end_subscription(participant, &key),
        Action::MessageReceived { sender, message, recipients } => {
            if room.is_connected() {
                room.tell(EventKind::MessageReceived { sender, message, recipients });
            }
        }
    }
}

struct Reduction<'a> {
    state: &'a mut State,
    events: &'a mut Vec<Event>,
}

impl Reduction<'_> {
    fn on_connecting(&mut self) {
        if matches!(self.state.status, Status::Initialized | Status::Disconnected) {
            *self.state = State { status: Status::Connecting, ..State::default() };
            self.tell(EventKind::StateChanged);
        }
    }

    fn on_joined(
        &mut self,
        local: ParticipantId,
        version: u64,
        participants: Vec<Participant>,
        streams: Vec<Stream>,
    ) {
        let is_listed = participants.iter().any(|participant| participant.id == local);
        if self.state.status != Status::Connecting || !is_listed {
            return;
        }
        self.state.status = Status::Connected;
        self.state.local_participant_id = Some(local);
        self.state.version = version;
        for participant in participants {
            self.insert_participant(participant);
        }
        for stream in streams {
            self.insert_stream(stream);
        }
        self.tell(EventKind::StateChanged);
        self.tell(EventKind::Connected);
    }

    fn on_reconnecting(&mut self) {
        if self.is_connected() && self.state.connection == Connection::Stable {
            self.state.connection = Connection::Reconnecting;
            self.tell(EventKind::StateChanged);
            self.tell(EventKind::Reconnecting);
        }
    }

    /// Turns a fresh snapshot into the differences to what was known. What went is told before what came, so that a key that
    /// was used again is free when its new stream appears.
    fn on_resumed(&mut self, version: u64, participants: Vec<Participant>, streams: Vec<Stream>) {
        let is_listed = |id| participants.iter().any(|participant| Some(participant.id) == id);
        if self.state.connection != Connection::Reconnecting || !is_listed(self.state.local_participant_id) {
            return;
        }
        self.state.version = self.state.version.max(version);
        let present: BTreeSet<ParticipantId> =
            participants.iter().map(|participant| participant.id).collect();
        let published: BTreeSet<StreamId> = streams.iter().map(|stream| stream.id).collect();
        let known = self.state.participants.keys().copied();
        for gone in known.filter(|id| !present.contains(id)).collect::<Vec<_>>() {
            self.on_participant_left(gone, None);
        }
        let known = self.state.streams.keys().copied();
        for gone in known.filter(|id| !published.contains(id)).collect::<Vec<_>>() {
            self.on_stream_unpublished(gone);
        }
        for participant in participants {
            self.on_participant_joined(participant);
        }
        for stream in streams {
            let (id, flags) = (stream.id, stream.clone());
            self.on_stream_published(stream);
            for kind in MediaKind::ALL {
                self.on_track_toggled(id, kind, flags.is_enabled(kind));
                self.on_track_censored(id, kind, flags.is_censored(kind));
            }
        }
        self.state.connection = Connection::Stable;
        self.tell(EventKind::StateChanged);
        self.tell(EventKind::Reconnected);
    }

    fn on_disconnecting(&mut self) {
        if matches!(self.state.status, Status::Connecting | Status::Connected) {
            self.state.status = Status::Disconnecting;
            self.state.connection = Connection::Stable;
            self.tell(EventKind::StateChanged);
        }
    }

    fn on_disconnected(&mut self, reason: DisconnectReason) {
        if matches!(self.state.status, Status::Initialized | Status::Disconnected) {
            return;
        }
        if let (DisconnectReason::Kicked, Some(participant)) = (reason, self.state.local_participant_id) {
            let reason = Some(LeaveReason::Kicked);
            self.tell(EventKind::ParticipantLeaving { participant, reason });
        }
        *self.state = State {
            status: Status::Disconnected,
            version: self.state.version,
            disconnect_reason: Some(reason),
            ..State::default()
        };
        self.tell(EventKind::StateChanged);
        self.tell(EventKind::Disconnected { reason });
    }

    fn on_participant_joined(&mut self, participant: Participant) {
        let id = participant.id;
        if self.is_connected() && self.insert_participant(participant) {
            self.tell(EventKind::StateChanged);
            self.tell(EventKind::ParticipantJoined { participant: id });
        }
    }

    fn on_participant_left(&mut self, id: ParticipantId, reason: Option<LeaveReason>) {
        let Some(participant) = self.state.participants.get(&id).cloned() else { return };
        if participant.origin == Origin::Local {
            return;
        }
        self.tell(EventKind::ParticipantLeaving { participant: id, reason });
        for stream in participant.streams.values() {
            self.on_stream_unpublished(*stream);
        }
        self.on_speaking_changed(id, None, false);
        if self.state.dominant_speaker == Some(id) {
            self.on_dominant_speaker_changed(None);
        }
        self.state.participants.remove(&id);
        self.tell(EventKind::StateChanged);
        self.tell(EventKind::ParticipantLeft { participant: id });
    }

    fn on_stream_published(&mut self, stream: Stream) {
        let (participant, key) = (stream.participant_id, stream.key.clone());
        if self.is_connected() && self.insert_stream(stream) {
            self.tell(EventKind::StateChanged);
            self.tell(EventKind::StreamPublished { participant, key });
        }
    }

    fn on_stream_unpublished(&mut self, id: StreamId) {
        let Some(stream) = self.state.streams.get(&id).cloned() else { return };
        self.on_speaking_changed(stream.participant_id, Some(id), false);
        self.end_subscription(stream.participant_id, &stream.key);
        self.state.streams.remove(&id);
        if let Some(publisher) = self.state.participants.get_mut(&stream.participant_id) {
            Arc::make_mut(publisher).streams.remove(&stream.key);
        }
        self.tell(EventKind::StateChanged);
        self.tell(EventKind::StreamUnpublished {
            participant: stream.participant_id,
            key: stream.key.clone(),
        });
    }

    fn on_track_toggled(&mut self, id: StreamId, kind: MediaKind, enabled: bool) {
        let Some(stream) = self.state.streams.get_mut(&id) else { return };
        if stream.is_enabled(kind) == enabled {
            return;
        }
        let (participant, key) = (stream.participant_id, stream.key.clone());
        Arc::make_mut(stream).set_enabled(kind, enabled);
        self.tell(EventKind::StateChanged);
        self.tell(match enabled {
            true => EventKind::TrackEnabled { participant, key, kind },
            false => EventKind::TrackDisabled { participant, key, kind },
        });
    }

    fn on_track_censored(&mut self, id: StreamId, kind: MediaKind, censored: bool) {
        let Some(stream) = self.state.streams.get_mut(&id) else { return };
        if stream.is_censored(kind) == censored {
            return;
        }
        let (participant, key) = (stream.participant_id, stream.key.clone());
        Arc::make_mut(stream).set_censored(kind, censored);
        self.tell(EventKind::StateChanged);
        self.tell(match censored {
            true => EventKind::TrackCensored { participant, key, kind },
            false => EventKind::TrackUncensored { participant, key, kind },
        });
    }

    fn on_speaking_changed(&mut self, participant: ParticipantId, stream: Option<StreamId>, speaking: bool) {
        let key = match stream {
            Some(id) => match self.state.streams.get(&id) {
                Some(stream) if stream.participant_id == participant => Some(stream.key.clone()),
                _ => return,
            },
            None if self.state.participants.contains_key(&participant) => None,
            None => return,
        };
        let speaker = (participant, stream);
        if self.state.speakers.contains(&speaker) == speaking {
            return;
        }
        match speaking {
            true => self.state.speakers.insert(speaker),
            false => self.state.speakers.remove(&speaker),
        };
        self.tell(EventKind::StateChanged);
        self.tell(match speaking {
            true => EventKind::AudioActivity { participant, key },
            false => EventKind::AudioActivityEnded { participant, key },
        });
    }

    fn on_dominant_speaker_changed(&mut self, participant: Option<ParticipantId>) {
        let is_here = participant.is_none_or(|id| self.state.participants.contains_key(&id));
        if is_here && self.state.dominant_speaker != participant {
            self.state.dominant_speaker = participant;
            self.tell(EventKind::StateChanged);
            self.tell(EventKind::DominantSpeakerChanged { participant });
        }
    }

    fn on_layer_changed(&mut self, id: StreamId, layer: Option<Rid>) {
        let Some(stream) = self.state.streams.get(&id) else { return };
        let (participant, key) = (stream.participant_id, stream.key.clone());
        let Some(subscription) = self.state.subscriptions.get_mut(&(participant, key.clone())) else {
            return;
        };
        let before = (subscription.layer, subscription.is_paused);
        // What was held back for want of room comes again; what the application paused is not told of.
        let is_paused = layer.is_none();
        if before == (layer, is_paused) {
            return;
        }
        let subscription = Arc::make_mut(subscription);
        (subscription.layer, subscription.is_paused) = (layer, is_paused);
        self.tell(EventKind::StateChanged);
        if before.1 != is_paused {
            let (participant, key) = (participant, key.clone());
            self.tell(match is_paused {
                true => EventKind::SubscriptionPaused { participant, key },
                false => EventKind::SubscriptionResumed { participant, key },
            });
        }
        if let (Some(_), Some(layer)) = (before.0.filter(|before| Some(*before) != layer), layer) {
            self.tell(EventKind::LayerChanged { participant, key, layer });
        }
    }

    fn on_stream_quality_changed(&mut self, id: StreamId, quality: Quality) {
        let Some(stream) = self.state.streams.get(&id) else { return };
        let (participant, key) = (stream.participant_id, stream.key.clone());
        if self.is_connected() {
            self.tell(EventKind::StreamQualityChanged { participant, key, quality });
        }
    }

    fn on_track_replaced(&mut self, id: StreamId, kind: MediaKind, track: TrackId) {
        let Some(stream) = self.state.streams.get_mut(&id) else { return };
        if stream.origin != Origin::Local {
            return;
        }
        let stream = Arc::make_mut(stream);
        match kind {
            MediaKind::Audio => stream.audio_track = Some(track),
            MediaKind::Video => stream.video_track = Some(track),
        }
        self.tell(EventKind::StateChanged);
    }

    fn on_subscription_started(
        &mut self,
        subscription: Subscription,
        audio_track: Option<TrackId>,
        video_track: Option<TrackId>,
    ) {
        let (participant, key) = (subscription.participant_id, subscription.key.clone());
        let is_new = self.state.subscription(participant, &key).is_none();
        if is_new && self.put_subscription(subscription, audio_track, video_track) {
            self.tell(EventKind::StateChanged);
            self.tell(EventKind::SubscriptionStarted { participant, key });
        }
    }

    fn on_subscription_reconfigured(
        &mut self,
        subscription: Subscription,
        audio_track: Option<TrackId>,
        video_track: Option<TrackId>,
    ) {
        let (participant, key) = (subscription.participant_id, subscription.key.clone());
        let Some(before) = self.state.subscription(participant, &key).cloned() else { return };
        let is_paused = subscription.is_paused;
        if self.put_subscription(subscription, audio_track, video_track) {
            self.tell(EventKind::StateChanged);
            self.tell(EventKind::SubscriptionReconfigured { participant, key: key.clone() });
            if is_paused != before.is_paused {
                self.tell(match is_paused {
                    true => EventKind::SubscriptionPaused { participant, key },
                    false => EventKind::SubscriptionResumed { participant, key },
                });
            }
        }
    }

    fn end_subscription(&mut self, participant: ParticipantId, key: &StreamKey) {
        if self.state.subscriptions.remove(&(participant, key.clone())).is_none() {
            return;
        }
        self.set_tracks(participant, key, None, None, false);
        self.tell(EventKind::StateChanged);
        self.tell(EventKind::SubscriptionEnded { participant, key: key.clone() });
    }

    /// Enters a subscription and its tracks; false when there is no such remote stream.
    fn put_subscription(
        &mut self,
        subscription: Subscription,
        audio_track: Option<TrackId>,
        video_track: Option<TrackId>,
    ) -> bool {
        let (participant, key) = (subscription.participant_id, subscription.key.clone());
        let stream = self.state.participant_stream(participant, &key);
        if stream.is_none_or(|stream| stream.origin == Origin::Local) {
            return false;
        }
        self.set_tracks(participant, &key, audio_track, video_track, true);
        self.state.subscriptions.insert((participant, key), Arc::new(subscription));
        true
    }

    fn set_tracks(
        &mut self,
        participant: ParticipantId,
        key: &StreamKey,
        audio_track: Option<TrackId>,
        video_track: Option<TrackId>,
        is_configured: bool,
    ) {
        let Some(id) = self.state.participant_stream(participant, key).map(|stream| stream.id) else {
            return;
        };
        if let Some(stream) = self.state.streams.get_mut(&id) {
            let stream = Arc::make_mut(stream);
            (stream.audio_track, stream.video_track) = (audio_track, video_track);
            stream.is_configured = is_configured;
        }
    }

    /// Enters a participant without streams; false when it is known already.
    fn insert_participant(&mut self, mut participant: Participant) -> bool {
        let id = participant.id;
        if self.state.participants.contains_key(&id) {
            return false;
        }
        participant.streams.clear();
        participant.origin = self.origin_of(id, participant.origin);
        self.state.participants.insert(id, Arc::new(participant));
        true
    }

    /// Enters a stream under its publisher; false when the publisher is unknown, or id or key are taken.
    fn insert_stream(&mut self, mut stream: Stream) -> bool {
        let publisher = self.state.participants.get(&stream.participant_id);
        stream.origin = publisher.map_or(stream.origin, |publisher| publisher.origin);
        if self.state.streams.contains_key(&stream.id) {
            return false;
        }
        let Some(publisher) = self.state.participants.get_mut(&stream.participant_id) else { return false };
        if publisher.streams.contains_key(&stream.key) {
            return false;
        }
        Arc::make_mut(publisher).streams.insert(stream.key.clone(), stream.id);
        self.state.streams.insert(stream.id, Arc::new(stream));
        true
    }

    fn origin_of(&self, id: ParticipantId, claimed: Origin) -> Origin {
        match (self.state.local_participant_id == Some(id), claimed) {
            (true, _) => Origin::Local,
            (false, Origin::TelephonyEngine) => Origin::TelephonyEngine,
            (false, Origin::Local | Origin::Remote) => Origin::Remote,
        }
    }

    fn is_connected(&self) -> bool {
        self.state.status == Status::Connected
    }

    fn tell(&mut self, kind: EventKind) {
        self.events.push(Event { kind, state: self.state.clone() });
    }
}
