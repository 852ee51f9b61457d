//! What a room tells its application.

use std::{sync::Arc, time::Duration};

use roomful_types::{DisconnectReason, MediaKind, ParticipantId, Rid, StreamKey};

use crate::{
    metrics::{NetworkMetrics, Quality},
    state::State,
};

/// One thing that happened, with the room as it is after it.
#[derive(Debug, Clone)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The room after it.
    pub state: State,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// V01: the state changed. Comes before the event that says how.
    StateChanged,
    /// V02: the room is joined. What was in it before is in the state.
    Connected,
    /// V03: the room is left or lost.
    Disconnected {
        /// Why.
        reason: DisconnectReason,
    },
    /// V04: somebody else joined.
    ParticipantJoined {
        /// Who.
        participant: ParticipantId,
    },
    /// V05: somebody is about to leave; its streams end next.
    ParticipantLeaving {
        /// Who.
        participant: ParticipantId,
        /// Why, when there is more to say than that it leaves.
        reason: Option<LeaveReason>,
    },
    /// V06: somebody left.
    ParticipantLeft {
        /// Who.
        participant: ParticipantId,
    },
    /// V07: a stream appeared, one's own included.
    StreamPublished {
        /// The publisher.
        participant: ParticipantId,
        /// The stream's name.
        key: StreamKey,
    },
    /// V08: a stream disappeared, one's own included.
    StreamUnpublished {
        /// The publisher.
        participant: ParticipantId,
        /// The stream's name.
        key: StreamKey,
    },
    /// V09: a publisher turned a track on.
    TrackEnabled {
        /// The publisher.
        participant: ParticipantId,
        /// The stream's name.
        key: StreamKey,
        /// Which track.
        kind: MediaKind,
    },
    /// V10: a publisher turned a track off.
    TrackDisabled {
        /// The publisher.
        participant: ParticipantId,
        /// The stream's name.
        key: StreamKey,
        /// Which track.
        kind: MediaKind,
    },
    /// V11: a moderator withholds a track.
    TrackCensored {
        /// The publisher.
        participant: ParticipantId,
        /// The stream's name.
        key: StreamKey,
        /// Which track.
        kind: MediaKind,
    },
    /// V12: a moderator no longer withholds a track.
    TrackUncensored {
        /// The publisher.
        participant: ParticipantId,
        /// The stream's name.
        key: StreamKey,
        /// Which track.
        kind: MediaKind,
    },
    /// V13: somebody began to speak.
    AudioActivity {
        /// Who.
        participant: ParticipantId,
        /// In which stream; none for a participant without streams.
        key: Option<StreamKey>,
    },
    /// Somebody no longer speaks.
    AudioActivityEnded {
        /// Who.
        participant: ParticipantId,
        /// In which stream; none for a participant without streams.
        key: Option<StreamKey>,
    },
    /// Another one speaks loudest, or nobody does.
    DominantSpeakerChanged {
        /// Who.
        participant: Option<ParticipantId>,
    },
    /// V14: a subscription began.
    SubscriptionStarted {
        /// The publisher.
        participant: ParticipantId,
        /// The stream's name.
        key: StreamKey,
    },
    /// V15: a subscription takes something else now.
    SubscriptionReconfigured {
        /// The publisher.
        participant: ParticipantId,
        /// The stream's name.
        key: StreamKey,
    },
    /// V16: a subscription ended, by request or with its stream.
    SubscriptionEnded {
        /// The publisher.
        participant: ParticipantId,
        /// The stream's name.
        key: StreamKey,
    },
    /// A subscription brings nothing until it is resumed; it holds its place.
    SubscriptionPaused {
        /// The publisher.
        participant: ParticipantId,
        /// The stream's name.
        key: StreamKey,
    },
    /// A subscription brings media again.
    SubscriptionResumed {
        /// The publisher.
        participant: ParticipantId,
        /// The stream's name.
        key: StreamKey,
    },
    /// The video of a subscription comes in another encoding.
    LayerChanged {
        /// The publisher.
        participant: ParticipantId,
        /// The stream's name.
        key: StreamKey,
        /// Which encoding.
        layer: Rid,
    },
    /// A stream that this client sends or takes does otherwise than before.
    StreamQualityChanged {
        /// The publisher.
        participant: ParticipantId,
        /// The stream's name.
        key: StreamKey,
        /// How it does; the worse of its tracks.
        quality: Quality,
    },
    /// Something went wrong that no call waits for.
    Error {
        /// What.
        fault: Fault,
    },
    /// V17: a message arrived. One's own broadcast comes back once.
    MessageReceived {
        /// From whom.
        sender: ParticipantId,
        /// What.
        message: Message,
        /// To whom; everybody when none.
        recipients: Option<Arc<[ParticipantId]>>,
    },
    /// V18: the server measured how networks do.
    NetworkMetricsReport {
        /// What it found.
        metrics: Arc<NetworkMetrics>,
    },
    /// The connection is lost, and being made again.
    Reconnecting,
    /// The connection is back. What changed meanwhile came just before, as events of its own.
    Reconnected,
    /// The client token ends soon; update it, or the room disconnects.
    TokenExpiring {
        /// How long it is still valid.
        remaining: Duration,
    },
    /// A reader of events was too slow and missed some. Never made by the reducer.
    Lagged {
        /// How many it missed.
        missed: u64,
    },
}

impl Event {
    /// Returns the event's name as the Room contract spells it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match &self.kind {
            EventKind::StateChanged => "state_changed",
            EventKind::Connected => "connected",
            EventKind::Disconnected { .. } => "disconnected",
            EventKind::ParticipantJoined { .. } => "participant_joined",
            EventKind::ParticipantLeaving { .. } => "participant_leaving",
            EventKind::ParticipantLeft { .. } => "participant_left",
            EventKind::StreamPublished { .. } => "stream_published",
            EventKind::StreamUnpublished { .. } => "stream_unpublished",
            EventKind::TrackEnabled { .. } => "track_enabled",
            EventKind::TrackDisabled { .. } => "track_disabled",
            EventKind::TrackCensored { .. } => "track_censored",
            EventKind::TrackUncensored { .. } => "track_uncensored",
            EventKind::AudioActivity { .. } => "audio_activity",
            EventKind::AudioActivityEnded { .. } => "audio_activity_ended",
            EventKind::DominantSpeakerChanged { .. } => "dominant_speaker_changed",
            EventKind::SubscriptionPaused { .. } => "subscription_paused",
            EventKind::SubscriptionResumed { .. } => "subscription_resumed",
            EventKind::NetworkMetricsReport { .. } => "network_metrics_report",
            EventKind::LayerChanged { .. } => "layer_changed",
            EventKind::StreamQualityChanged { .. } => "stream_quality_changed",
            EventKind::Error { .. } => "error",
            EventKind::Reconnecting => "reconnecting",
            EventKind::Reconnected => "reconnected",
            EventKind::TokenExpiring { .. } => "token_expiring",
            EventKind::SubscriptionStarted { .. } => "subscription_started",
            EventKind::SubscriptionReconfigured { .. } => "subscription_reconfigured",
            EventKind::SubscriptionEnded { .. } => "subscription_ended",
            EventKind::MessageReceived { .. } => "message_received",
            EventKind::Lagged { .. } => "lagged",
        }
    }
}

/// What went wrong that no call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The media path to the server is lost. Another one is looked for; if UDP is blocked by now, none will be found.
    MediaLost,
    /// The server did not accept this client's session description. What needs more media sections fails; the rest goes on.
    NegotiationRefused,
}

/// Why a participant leaves, when there is more to say than that it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaveReason {
    /// A moderator removed it.
    Kicked,
}

/// A message between applications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What the payload is.
    pub kind: MessageKind,
    /// The payload, at most 64 KiB.
    pub payload: Arc<str>,
    /// Anything beside the payload, at most 64 KiB.
    pub meta: Option<Arc<str>>,
}

impl Message {
    /// Makes a text message without meta.
    #[must_use]
    pub fn text(payload: impl Into<Arc<str>>) -> Self {
        Self { kind: MessageKind::Text, payload: payload.into(), meta: None }
    }
}

/// What the payload of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageKind {
    /// Text.
    Text,
}
