//! Who speaks, and how networks do.

use minicbor::{Decode, Encode};
use roomful_types::{MediaKind, ParticipantId, StreamId};
use serde::{Deserialize, Serialize};

use super::RequestId;

/// Asks for reports of how networks do: one at once, then one per interval. Adds to what was asked for before; the options
/// of the last request hold for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct EnableMetricsRequest {
    /// Number of this request.
    #[n(0)]
    pub request: RequestId,
    /// About whom.
    #[n(1)]
    pub participants: Vec<ParticipantId>,
    /// Whether to tell of each stream.
    #[serde(default, skip_serializing_if = "super::is_false")]
    #[cbor(n(2), skip_if = "super::is_false")]
    pub include_streams: bool,
    /// Milliseconds between reports, 1000 ..= 60,000.
    #[n(3)]
    pub interval_ms: u32,
}

/// Asks for no more reports about some participants, or about all when absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct DisableMetricsRequest {
    /// Number of this request.
    #[n(0)]
    pub request: RequestId,
    /// About whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(1)]
    pub participants: Option<Vec<ParticipantId>>,
}

/// Somebody began to speak, or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct SpeakingNotice {
    /// Who.
    #[n(0)]
    pub participant_id: ParticipantId,
    /// In which stream; absent for a participant without streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(1)]
    pub stream_id: Option<StreamId>,
    /// Whether it speaks.
    #[n(2)]
    pub speaking: bool,
}

/// Another one speaks loudest, or nobody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct DominantSpeakerNotice {
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(0)]
    pub participant_id: Option<ParticipantId>,
}

/// How a stream that the client sends or takes does, whenever that changes; the worse of its tracks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct QualityNotice {
    /// The stream.
    #[n(0)]
    pub stream_id: StreamId,
    /// How it does: 0 broken, 1 bad, 2 poor, 3 fair, 4 good, 5 excellent.
    #[n(1)]
    pub quality: u8,
}

/// How the networks of some participants do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct NetworkMetricsNotice {
    /// Whose.
    #[n(0)]
    pub participants: Vec<ParticipantMetricsInfo>,
}

/// How the network of one participant does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct ParticipantMetricsInfo {
    /// Whose.
    #[n(0)]
    pub participant_id: ParticipantId,
    /// How it does: 0 broken, 1 bad, 2 poor, 3 fair, 4 good, 5 excellent.
    #[n(1)]
    pub quality: u8,
    /// The tracks that it sends and takes, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(2)]
    pub tracks: Option<Vec<TrackMetricsInfo>>,
}

/// How one track does between a participant and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct TrackMetricsInfo {
    /// The stream.
    #[n(0)]
    pub stream_id: StreamId,
    /// Which of its tracks.
    #[n(1)]
    pub kind: MediaKind,
    /// Whether the participant sends it; it takes it otherwise.
    #[n(2)]
    pub outbound: bool,
    /// How it does, 0 ..= 5.
    #[n(3)]
    pub quality: u8,
}
