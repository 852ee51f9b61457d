//! What an application can ask of a room, and what it gets back.

use std::time::Duration;

use roomful_protocol::ErrorCode;
use roomful_state::{Message, TrackId};
use roomful_types::{Codec, DisconnectReason, MediaKind, ParticipantId, Rid, StreamId, StreamKey};

/// Numbers a command; its result repeats the number. Chosen by the shell, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// One wish of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Enter the room.
    Connect(Connect),
    /// Leave the room.
    Disconnect,
    /// Publish a stream.
    AddStream(AddStream),
    /// Mute, unmute or replace tracks of a stream of one's own.
    UpdateStream(UpdateStream),
    /// Take a stream of one's own back.
    RemoveStream(StreamKey),
    /// Take another's stream.
    AddSubscription(AddSubscription),
    /// Take something else of it.
    UpdateSubscription(AddSubscription),
    /// Take no more of it.
    RemoveSubscription(ParticipantId, StreamKey),
    /// Send a message.
    SendMessage(SendMessage),
    /// Go on with a newer token.
    UpdateToken(String),
    /// Be told how networks do.
    EnableMetrics(EnableMetrics),
    /// Be told no more of some participants, or of all.
    DisableMetrics(Option<Vec<ParticipantId>>),
}

/// How to be told how networks do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnableMetrics {
    /// About whom.
    pub participants: Vec<ParticipantId>,
    /// Whether to tell of each stream.
    pub include_streams: bool,
    /// How often, 1 s ..= 60 s; what is outside counts as the nearer end.
    pub interval: Duration,
}

/// How to enter the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The access token.
    pub token: String,
    /// What others shall know.
    pub context: Option<String>,
    /// Whether to receive messages.
    pub enable_messages: bool,
}

/// A stream to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddStream {
    /// Its name.
    pub key: StreamKey,
    /// Its audio, if any.
    pub audio: Option<NewTrack>,
    /// Its video, if any.
    pub video: Option<NewTrack>,
}

impl AddStream {
    pub(crate) fn tracks(&self) -> impl Iterator<Item = (MediaKind, NewTrack)> {
        let kinds = [(MediaKind::Audio, self.audio), (MediaKind::Video, self.video)];
        kinds.into_iter().filter_map(|(kind, track)| Some((kind, track?)))
    }
}

/// A track to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewTrack {
    /// Chosen by the shell, below [`NewTrack::IDS`], never used by two streams at once.
    pub track: TrackId,
    /// How its frames are encoded.
    pub codec: Codec,
    /// Whether there are three encodings of it. For video only.
    pub simulcast: bool,
}

impl NewTrack {
    /// Ids of tracks to send are below this, those of tracks received from it on.
    pub const IDS: u64 = 1 << 32;

    /// Returns its encodings.
    #[must_use]
    pub const fn encodings(&self) -> &'static [Rid] {
        if self.simulcast { &Rid::ALL } else { &[Rid::High] }
    }
}

/// Changes to a stream of one's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateStream {
    /// Its name.
    pub key: StreamKey,
    /// What becomes of its audio.
    pub audio: TrackUpdate,
    /// What becomes of its video.
    pub video: TrackUpdate,
}

/// What becomes of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackUpdate {
    /// It stays as it is.
    Keep,
    /// It is muted: nothing is sent, subscriptions stay.
    Mute,
    /// This one is sent from now on. The track that was there already is unmuted.
    Replace(NewTrack),
}

/// What to take of which stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddSubscription {
    /// The publisher.
    pub participant: ParticipantId,
    /// The stream's name.
    pub key: StreamKey,
    /// Whether to take audio.
    pub audio: bool,
    /// Whether to take video.
    pub video: bool,
    /// Whether to take nothing for now.
    pub paused: bool,
    /// The best encoding of the video that is of use; the best there is when none.
    pub preferred_layer: Option<Rid>,
    /// Who gets less first when not everything gets through: the lower one.
    pub priority: u8,
}

impl AddSubscription {
    pub(crate) const fn wants(&self, kind: MediaKind) -> bool {
        match kind {
            MediaKind::Audio => self.audio,
            MediaKind::Video => self.video,
        }
    }
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendMessage {
    /// What.
    pub message: Message,
    /// To whom; to everybody when none.
    pub recipients: Option<Vec<ParticipantId>>,
}

/// What a command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// The stream is published.
    Published(StreamId),
    /// The subscription holds; frames come on these tracks.
    Subscribed {
        /// Carries audio, if it was asked for.
        audio: Option<TrackId>,
        /// Carries video, if it was asked for.
        video: Option<TrackId>,
    },
}

/// Why a command failed. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The room is not connected.
    #[error("the room is not connected; connect first")]
    NotConnected,
    /// The room is connected, or about to be.
    #[error("the room is already connected or connecting")]
    AlreadyConnected,
    /// There is a stream with this key, or one is being published.
    #[error("a stream with this key is already published; choose another key or remove the stream first")]
    KeyInUse,
    /// The track is part of a stream.
    #[error("the track is already part of a stream; make another track")]
    TrackInUse,
    /// An audio codec for video or the other way round.
    #[error("the track's codec is not of the kind that it was given as")]
    WrongKind,
    /// The participant is not in the room.
    #[error("no such participant in the room")]
    UnknownParticipant,
    /// There is no stream with this key.
    #[error("no stream with this key is published")]
    UnknownStream,
    /// The participant is oneself.
    #[error("one's own stream cannot be subscribed to")]
    OwnStream,
    /// There is a subscription, or one is being made.
    #[error("already subscribed to this stream; update the subscription instead")]
    AlreadySubscribed,
    /// There is no subscription.
    #[error("not subscribed to this stream")]
    NotSubscribed,
    /// Every receive slot is taken.
    #[error("all {0} receive slots are taken; remove a subscription first")]
    NoSlotFree(usize),
    /// More wait for an answer than the server remembers answers for, should the connection be lost.
    #[error("{0} calls wait for an answer already; wait for some of them first")]
    TooManyCalls(usize),
    /// A message is too long.
    #[error("{seen} bytes are more than the {allowed} that a message may have")]
    MessageTooLarge {
        /// Bytes of the payload or of the meta.
        seen: usize,
        /// Bytes allowed.
        allowed: usize,
    },
    /// The server did not answer in time.
    #[error("the server did not answer in time")]
    TimedOut,
    /// Signalling works, but media does not get through.
    #[error("no media path to the server; check that UDP is allowed to its media port")]
    MediaUnreachable,
    /// The room got disconnected before it was done.
    #[error("disconnected: {0}")]
    Disconnected(DisconnectReason),
    /// The server could not be reached.
    #[error("the server cannot be reached; check the address and that it is running")]
    Unreachable,
    /// The server refused.
    #[error("{0}")]
    Refused(ErrorCode),
}
