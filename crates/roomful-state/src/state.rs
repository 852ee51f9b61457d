//! The snapshot and its members.

use std::{collections::BTreeMap, sync::Arc};

use imbl::{OrdMap, OrdSet};
use roomful_types::{DisconnectReason, MediaKind, ParticipantId, Rid, StreamId, StreamKey};

use crate::ids::StreamIds;

/// One immutable snapshot of a room.
///
/// A clone costs O(1) and never changes; a change costs O(log n), and members that it does not touch stay pointer-equal.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub(crate) status: Status,
    pub(crate) local_participant_id: Option<ParticipantId>,
    pub(crate) participants: OrdMap<ParticipantId, Arc<Participant>>,
    pub(crate) streams: OrdMap<StreamId, Arc<Stream>>,
    pub(crate) subscriptions: OrdMap<(ParticipantId, StreamKey), Arc<Subscription>>,
    pub(crate) version: u64,
    pub(crate) disconnect_reason: Option<DisconnectReason>,
    pub(crate) connection: Connection,
    pub(crate) speakers: OrdSet<(ParticipantId, Option<StreamId>)>,
    pub(crate) dominant_speaker: Option<ParticipantId>,
}

impl State {
    /// Makes the state of a room that was never connected.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how far the room is connected.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Returns why the room is disconnected, once it is.
    #[must_use]
    pub const fn disconnect_reason(&self) -> Option<DisconnectReason> {
        self.disconnect_reason
    }

    /// Returns whether the connection to the server stands.
    #[must_use]
    pub const fn connection(&self) -> Connection {
        self.connection
    }

    /// Returns whether a participant speaks, in any of its streams.
    #[must_use]
    pub fn is_speaking(&self, participant: ParticipantId) -> bool {
        self.speakers.range((participant, None)..).next().is_some_and(|speaker| speaker.0 == participant)
    }

    /// Walks over who speaks, and in which stream; none for a participant without streams.
    pub fn speakers(&self) -> impl Iterator<Item = (ParticipantId, Option<StreamId>)> {
        self.speakers.iter().copied()
    }

    /// Returns who speaks loudest now.
    #[must_use]
    pub const fn dominant_speaker(&self) -> Option<ParticipantId> {
        self.dominant_speaker
    }

    /// Returns the version of the room that this snapshot shows; 0 before the first join.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Returns one's own id, known from the join on.
    #[must_use]
    pub const fn local_participant_id(&self) -> Option<ParticipantId> {
        self.local_participant_id
    }

    /// Returns oneself, from the join on.
    #[must_use]
    pub fn local_participant(&self) -> Option<&Arc<Participant>> {
        self.participants.get(&self.local_participant_id?)
    }

    /// Returns a participant.
    #[must_use]
    pub fn participant(&self, id: ParticipantId) -> Option<&Arc<Participant>> {
        self.participants.get(&id)
    }

    /// Walks over all participants, oneself included, in the order of their ids.
    pub fn participants(&self) -> impl ExactSizeIterator<Item = &Arc<Participant>> {
        self.participants.values()
    }

    /// Walks over all participants but oneself.
    pub fn remote_participants(&self) -> impl Iterator<Item = &Arc<Participant>> {
        self.participants.values().filter(|participant| participant.origin != Origin::Local)
    }

    /// Returns a stream by its id.
    #[must_use]
    pub fn stream(&self, id: StreamId) -> Option<&Arc<Stream>> {
        self.streams.get(&id)
    }

    /// Walks over all streams, one's own included, in the order of their ids.
    pub fn streams(&self) -> impl ExactSizeIterator<Item = &Arc<Stream>> {
        self.streams.values()
    }

    /// Returns the stream that a participant publishes under a key.
    #[must_use]
    pub fn participant_stream(&self, participant: ParticipantId, key: &StreamKey) -> Option<&Arc<Stream>> {
        self.streams.get(self.participants.get(&participant)?.streams.get(key)?)
    }

    /// Returns the streams of a participant by key; empty for an unknown participant.
    #[must_use]
    pub fn participant_streams(&self, participant: ParticipantId) -> BTreeMap<StreamKey, Arc<Stream>> {
        let Some(participant) = self.participants.get(&participant) else { return BTreeMap::new() };
        let streams = participant.streams.iter();
        streams.filter_map(|(key, id)| Some((key.clone(), self.streams.get(id)?.clone()))).collect()
    }

    /// Returns the subscription to a participant's stream.
    #[must_use]
    pub fn subscription(&self, participant: ParticipantId, key: &StreamKey) -> Option<&Arc<Subscription>> {
        self.subscriptions.get(&(participant, key.clone()))
    }

    /// Walks over all subscriptions, in the order of participant and key.
    pub fn subscriptions(&self) -> impl ExactSizeIterator<Item = &Arc<Subscription>> {
        self.subscriptions.values()
    }

    /// Checks what must be true of every state.
    ///
    /// # Panics
    /// When the reducer is at fault.
    pub fn check_invariants(&self) {
        for (id, participant) in &self.participants {
            assert_eq!(*id, participant.id, "a participant stands under its own id");
            let is_local = self.local_participant_id == Some(*id);
            assert_eq!(
                participant.origin == Origin::Local,
                is_local,
                "exactly the local participant is local"
            );
            for (key, stream) in participant.streams.iter() {
                let stream = self.streams.get(stream).expect("a participant's streams exist");
                assert_eq!(
                    (stream.participant_id, &stream.key),
                    (*id, key),
                    "a stream stands under its own key"
                );
            }
        }
        for (id, stream) in &self.streams {
            let publisher =
                self.participants.get(&stream.participant_id).expect("every stream has its publisher");
            assert_eq!(
                publisher.streams.get(&stream.key),
                Some(id),
                "the publisher lists every stream of its own"
            );
            assert_eq!(publisher.origin, stream.origin, "a stream comes from where its publisher is");
        }
        for ((participant, key), subscription) in &self.subscriptions {
            assert_eq!((&subscription.participant_id, &subscription.key), (participant, key));
            let stream =
                self.participant_stream(*participant, key).expect("every subscription has its stream");
            assert_ne!(stream.origin, Origin::Local, "nobody subscribes to oneself");
        }
        for (participant, stream) in &self.speakers {
            assert!(self.participants.contains_key(participant), "speakers are in the room");
            let stream = stream.map(|stream| self.streams.get(&stream).expect("speakers' streams exist"));
            assert!(
                stream.is_none_or(|stream| stream.participant_id == *participant),
                "in streams of their own"
            );
        }
        let dominant = self.dominant_speaker;
        assert!(dominant.is_none_or(|id| self.participants.contains_key(&id)), "the loudest is in the room");
        let is_stable = self.connection == Connection::Stable;
        assert!(is_stable || self.status == Status::Connected, "only a stay can be interrupted");
        if matches!(self.status, Status::Initialized | Status::Connecting) {
            assert!(self.participants.is_empty(), "nobody is known before the join");
        }
    }
}

/// How far a room is connected. Each is entered in this order; from the last, connecting may begin again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Status {
    /// Never connected.
    #[default]
    Initialized,
    /// Asked to connect.
    Connecting,
    /// In the room.
    Connected,
    /// Asked to disconnect.
    Disconnecting,
    /// No longer in the room.
    Disconnected,
}

/// Whether the connection to the server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Connection {
    /// It stands, or nobody asked for one.
    #[default]
    Stable,
    /// It is lost, and being made again; the room is as it was when it was last heard of.
    Reconnecting,
}

/// Where a participant or stream comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// This client.
    Local,
    /// Another client.
    Remote,
    /// The telephone network.
    TelephonyEngine,
}

/// One participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    /// Made by the server, new for every stay.
    pub id: ParticipantId,
    /// The application's own name for who joined, from the token.
    pub identity: Option<Arc<str>>,
    /// What the application wants others to know; opaque, byte for byte as given.
    pub context: Option<Arc<str>>,
    /// Ids of its streams by key.
    pub streams: StreamIds,
    /// Whether messages are delivered to it.
    pub can_receive_messages: bool,
    /// Whether it is this client.
    pub origin: Origin,
}

/// One published stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// New for every publication.
    pub id: StreamId,
    /// Its name among the publisher's streams.
    pub key: StreamKey,
    /// Its publisher.
    pub participant_id: ParticipantId,
    /// Whether this client publishes it.
    pub origin: Origin,
    /// Whether it has audio that its publisher means to be heard.
    pub is_audio_enabled: bool,
    /// Whether it has video that its publisher means to be seen.
    pub is_video_enabled: bool,
    /// Whether a moderator withholds its audio.
    pub is_audio_censored: bool,
    /// Whether a moderator withholds its video.
    pub is_video_censored: bool,
    /// The audio track: one's own, or that of the subscription.
    pub audio_track: Option<TrackId>,
    /// The video track: one's own, or that of the subscription.
    pub video_track: Option<TrackId>,
    /// Whether media is set up: always for one's own stream, while subscribed for another's.
    pub is_configured: bool,
}

impl Stream {
    /// Returns whether it has a track of this kind that its publisher means to be seen or heard.
    #[must_use]
    pub const fn is_enabled(&self, kind: MediaKind) -> bool {
        match kind {
            MediaKind::Audio => self.is_audio_enabled,
            MediaKind::Video => self.is_video_enabled,
        }
    }

    /// Returns whether a moderator withholds its track of this kind.
    #[must_use]
    pub const fn is_censored(&self, kind: MediaKind) -> bool {
        match kind {
            MediaKind::Audio => self.is_audio_censored,
            MediaKind::Video => self.is_video_censored,
        }
    }

    pub(crate) const fn set_censored(&mut self, kind: MediaKind, censored: bool) {
        match kind {
            MediaKind::Audio => self.is_audio_censored = censored,
            MediaKind::Video => self.is_video_censored = censored,
        }
    }

    pub(crate) const fn set_enabled(&mut self, kind: MediaKind, enabled: bool) {
        match kind {
            MediaKind::Audio => self.is_audio_enabled = enabled,
            MediaKind::Video => self.is_video_enabled = enabled,
        }
    }
}

/// What this client takes of another's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The publisher.
    pub participant_id: ParticipantId,
    /// The stream's name.
    pub key: StreamKey,
    /// Whether audio is wanted.
    pub audio: bool,
    /// Whether video is wanted.
    pub video: bool,
    /// Whether it brings nothing for now: by request, or because not everything gets through.
    pub is_paused: bool,
    /// The best encoding of the video that is of use; the best there is when none.
    pub preferred_layer: Option<Rid>,
    /// Who gets less first when not everything gets through: the lower one.
    pub priority: u8,
    /// The encoding in which the video comes, once it does.
    pub layer: Option<Rid>,
}

/// A track within one client: one's own, or one that a subscription brings. Never used twice by one room object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId(pub u64);
