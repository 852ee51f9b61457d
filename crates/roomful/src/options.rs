//! How a room is joined and what is taken of a stream.

use std::{fmt, time::Duration};

use roomful_client::AddSubscription;
use roomful_types::{Bitrate, Fingerprint, ParticipantId, Rid, RoomId, StreamKey};

/// Everything that a [`Room`](crate::Room) needs to know.
#[derive(Clone)]
#[non_exhaustive]
pub struct RoomOptions {
    /// Where the server is: `http://host:port`, `https://…` where TLS is in front of it, or `quic://host:port`.
    pub server_url: String,
    /// The one certificate to accept from a QUIC server. By default what the system trusts is accepted; `roomful serve --dev`
    /// prints the fingerprint of the certificate that it made for itself.
    pub server_fingerprint: Option<Fingerprint>,
    /// The room to join.
    pub room_id: RoomId,
    /// A client token for it, from the application's server.
    pub client_token: String,
    /// What other participants shall know about this one; opaque, at most 8 KiB. None by default.
    pub context: Option<String>,
    /// Whether to receive messages. Off by default.
    pub enable_messages: bool,
    /// How long connecting may take. Default 30 s.
    pub connect_timeout: Duration,
    /// How long any other call may take, media set-up included. Default 10 s.
    pub request_timeout: Duration,
    /// How often the client shows that it lives. Default 5 s. A server silent for three times as long is lost.
    pub keepalive: Duration,
    /// How long a lost connection is tried to be made again before the room is disconnected. Default 30 s, which is also what
    /// servers wait by default; zero disconnects when the connection is lost.
    pub reconnect_timeout: Duration,
    /// Receive slots to negotiate at once. Default 4. More of them save a round trip when many streams are taken at once.
    pub initial_slots: u16,
    /// The bandwidth to assume before anything is measured. Default 3 Mbit/s.
    pub initial_bitrate: Bitrate,
    /// The most that is to be received, all tracks together. The server chooses encodings within it, sound first, and pauses video that
    /// does not fit. Default none: whatever is subscribed to.
    pub max_receive_bitrate: Option<Bitrate>,
}

impl RoomOptions {
    /// Makes options with the defaults documented at each field.
    #[must_use]
    pub fn new(server_url: impl Into<String>, room_id: RoomId, client_token: impl Into<String>) -> Self {
        Self {
            server_url: server_url.into(),
            server_fingerprint: None,
            room_id,
            client_token: client_token.into(),
            context: None,
            enable_messages: false,
            connect_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(10),
            keepalive: Duration::from_secs(5),
            reconnect_timeout: Duration::from_secs(30),
            initial_slots: 4,
            initial_bitrate: Bitrate::from_kbps(3000),
            max_receive_bitrate: None,
        }
    }
}

impl fmt::Debug for RoomOptions {
    /// Leaves the token out: whoever reads a log must not be able to join.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server_url, room_id, .. } = self;
        f.debug_struct("RoomOptions")
            .field("server_url", server_url)
            .field("room_id", room_id)
            .finish_non_exhaustive()
    }
}

/// What to take of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionConfig {
    /// Whether to take audio. Default yes.
    pub audio: bool,
    /// Whether to take video. Default yes.
    pub video: bool,
    /// Whether to take nothing for now: the subscription keeps its place and its tracks, and goes on without renegotiation.
    /// Default no.
    pub paused: bool,
    /// The best encoding of the video that is of use; none, the default, for the best that gets through. It matters for video
    /// that is published with simulcast.
    pub preferred_layer: Option<Rid>,
    /// Who gets less first when not everything gets through: the lower one. Default 0.
    pub priority: u8,
}

impl SubscriptionConfig {
    pub(crate) fn wish(self, participant: ParticipantId, key: &StreamKey) -> AddSubscription {
        let Self { audio, video, paused, preferred_layer, priority } = self;
        AddSubscription { participant, key: key.clone(), audio, video, paused, preferred_layer, priority }
    }
}

impl Default for SubscriptionConfig {
    fn default() -> Self {
        Self { audio: true, video: true, paused: false, preferred_layer: None, priority: 0 }
    }
}

/// How to be told how networks do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkMetricsOptions {
    /// Whether to tell of each stream. Default no.
    pub include_streams: bool,
    /// How often, 1 s ..= 60 s; what is outside counts as the nearer end. Default 5 s.
    pub interval: Duration,
}

impl Default for NetworkMetricsOptions {
    fn default() -> Self {
        Self { include_streams: false, interval: Duration::from_secs(5) }
    }
}
