//! What may happen to a room.

use std::{sync::Arc, time::Duration};

use roomful_types::{DisconnectReason, MediaKind, ParticipantId, Rid, StreamId, StreamKey};

use crate::{
    event::{Fault, LeaveReason, Message},
    metrics::{NetworkMetrics, Quality},
    state::{Participant, Stream, Subscription, TrackId},
};

/// One change, as a plain value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The application asked to connect.
    Connecting,
    /// The server let this client in.
    Joined {
        /// Who this client is.
        local: ParticipantId,
        /// The version that the lists show.
        version: u64,
        /// Everybody in the room, the client included, without their streams.
        participants: Vec<Participant>,
        /// Every stream in the room.
        streams: Vec<Stream>,
    },
    /// The connection to the server is lost, and being made again.
    Reconnecting,
    /// The connection is back, and the room looks like this now. The events are exactly the differences.
    Resumed {
        /// The version that the lists show.
        version: u64,
        /// Everybody in the room, the client included, without their streams.
        participants: Vec<Participant>,
        /// Every stream in the room.
        streams: Vec<Stream>,
    },
    /// The application asked to disconnect.
    Disconnecting,
    /// The connection is over.
    Disconnected {
        /// Why.
        reason: DisconnectReason,
    },
    /// The room has a new version; says nothing by itself.
    VersionReached {
        /// The version that the next changes lead to.
        version: u64,
    },
    /// Somebody joined.
    ParticipantJoined {
        /// Who, without streams.
        participant: Participant,
    },
    /// Somebody left, and all its streams with it.
    ParticipantLeft {
        /// Who.
        participant: ParticipantId,
        /// Why, when known.
        reason: Option<LeaveReason>,
    },
    /// A stream appeared.
    StreamPublished {
        /// The stream.
        stream: Stream,
    },
    /// A stream disappeared.
    StreamUnpublished {
        /// Which.
        stream: StreamId,
    },
    /// A publisher turned a track on or off.
    TrackToggled {
        /// Of which stream.
        stream: StreamId,
        /// Which track.
        kind: MediaKind,
        /// Whether it is on now.
        enabled: bool,
    },
    /// A moderator withheld a track, or no longer does.
    TrackCensored {
        /// Of which stream.
        stream: StreamId,
        /// Which track.
        kind: MediaKind,
        /// Whether it is withheld now.
        censored: bool,
    },
    /// Somebody began to speak, or ended.
    SpeakingChanged {
        /// Who.
        participant: ParticipantId,
        /// In which stream; none for a participant without streams.
        stream: Option<StreamId>,
        /// Whether it speaks now.
        speaking: bool,
    },
    /// Another one speaks loudest, or nobody does.
    DominantSpeakerChanged {
        /// Who.
        participant: Option<ParticipantId>,
    },
    /// The client token ends soon.
    TokenExpiring {
        /// How long it is still valid.
        remaining: Duration,
    },
    /// The server measured how networks do.
    NetworkMetricsMeasured {
        /// What it found.
        metrics: Arc<NetworkMetrics>,
    },
    /// The video of a subscription comes in another encoding, or is held back because not everything gets through.
    LayerChanged {
        /// Of which stream.
        stream: StreamId,
        /// Which encoding comes, if any.
        layer: Option<Rid>,
    },
    /// A stream that this client sends or takes does otherwise than before.
    StreamQualityChanged {
        /// Which.
        stream: StreamId,
        /// How it does.
        quality: Quality,
    },
    /// Something went wrong that no call waits for.
    Faulted {
        /// What.
        fault: Fault,
    },
    /// One's own stream has another track now.
    TrackReplaced {
        /// Of which stream.
        stream: StreamId,
        /// Which track.
        kind: MediaKind,
        /// The new track.
        track: TrackId,
    },
    /// A subscription began.
    SubscriptionStarted {
        /// What is taken of which stream.
        subscription: Subscription,
        /// Its audio track.
        audio_track: Option<TrackId>,
        /// Its video track.
        video_track: Option<TrackId>,
    },
    /// A subscription takes something else now.
    SubscriptionReconfigured {
        /// What is taken of which stream.
        subscription: Subscription,
        /// Its audio track.
        audio_track: Option<TrackId>,
        /// Its video track.
        video_track: Option<TrackId>,
    },
    /// A subscription ended by request.
    SubscriptionEnded {
        /// The publisher.
        participant: ParticipantId,
        /// The stream's name.
        key: StreamKey,
    },
    /// A message arrived.
    MessageReceived {
        /// From whom.
        sender: ParticipantId,
        /// What.
        message: Message,
        /// To whom; everybody when none.
        recipients: Option<Arc<[ParticipantId]>>,
    },
}
