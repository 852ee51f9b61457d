//! Media: sections, streams and what is taken of them.

use minicbor::{Decode, Encode};
use roomful_types::{Codec, MediaKind, Mid, ParticipantId, Rid, StreamId, StreamKey};
use serde::{Deserialize, Serialize};

use super::{OfferId, RequestId};

/// Offers media sections (RFC 3264, JSEP of RFC 9429).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct OfferRequest {
    /// Number of this request.
    #[n(0)]
    pub request: RequestId,
    /// Number of the offer, increasing.
    #[n(1)]
    pub offer: OfferId,
    /// The session description.
    #[n(2)]
    pub sdp: String,
    /// All receive slots of the offer, in the order of their index.
    #[n(3)]
    pub slots: Vec<SlotMids>,
}

/// The two receiving media sections of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct SlotMids {
    /// The section that receives audio.
    #[n(0)]
    pub audio: Mid,
    /// The section that receives video.
    #[n(1)]
    pub video: Mid,
}

impl SlotMids {
    /// Returns the section for one kind.
    #[must_use]
    pub const fn of(&self, kind: MediaKind) -> Mid {
        match kind {
            MediaKind::Audio => self.audio,
            MediaKind::Video => self.video,
        }
    }
}

/// The answer to an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct OfferResponse {
    /// Number of the request.
    #[n(0)]
    pub request: RequestId,
    /// Number of the offer that is answered.
    #[n(1)]
    pub offer: OfferId,
    /// The session description.
    #[n(2)]
    pub sdp: String,
}

/// Asks to publish a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct PublishRequest {
    /// Number of this request.
    #[n(0)]
    pub request: RequestId,
    /// The stream's name, unique among the participant's streams.
    #[n(1)]
    pub key: StreamKey,
    /// What is sent as audio, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(2)]
    pub audio: Option<PublishedTrack>,
    /// What is sent as video, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(3)]
    pub video: Option<PublishedTrack>,
}

/// Where and how one track is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct PublishedTrack {
    /// The media section that carries it.
    #[n(0)]
    pub mid: Mid,
    /// How it is encoded.
    #[n(1)]
    pub codec: Codec,
    /// Its first RTP timestamp on that section; what is older belongs to an earlier occupant.
    #[n(2)]
    pub first_timestamp: u32,
    /// Whether it is sent in three encodings, `h`, `m` and `l` (RFC 8853), whose timestamps are on one line; only `h` is sent
    /// otherwise.
    #[serde(default, skip_serializing_if = "super::is_false")]
    #[cbor(n(3), skip_if = "super::is_false")]
    pub simulcast: bool,
}

/// The stream is published. The [`StreamPublishedNotice`](super::StreamPublishedNotice) came before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct PublishResponse {
    /// Number of the request.
    #[n(0)]
    pub request: RequestId,
    /// The id of the new stream.
    #[n(1)]
    pub stream_id: StreamId,
}

/// Mutes, unmutes or replaces tracks of a stream. What is absent stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct UpdateStreamRequest {
    /// Number of this request.
    #[n(0)]
    pub request: RequestId,
    /// The stream's name.
    #[n(1)]
    pub key: StreamKey,
    /// Whether audio is meant to be heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(2)]
    pub audio_enabled: Option<bool>,
    /// Whether video is meant to be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(3)]
    pub video_enabled: Option<bool>,
    /// What is sent as audio from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(4)]
    pub audio: Option<PublishedTrack>,
    /// What is sent as video from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(5)]
    pub video: Option<PublishedTrack>,
}

/// Takes a stream back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct UnpublishRequest {
    /// Number of this request.
    #[n(0)]
    pub request: RequestId,
    /// The stream's name.
    #[n(1)]
    pub key: StreamKey,
}

/// Asks for a stream of another participant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct SubscribeRequest {
    /// Number of this request.
    #[n(0)]
    pub request: RequestId,
    /// Who publishes it.
    #[n(1)]
    pub participant_id: ParticipantId,
    /// Its name.
    #[n(2)]
    pub key: StreamKey,
    /// The index of the slot on which it shall arrive. The client chooses, because only the client knows which of
    /// its slots it takes for free.
    #[n(3)]
    pub slot: u16,
    /// Whether audio is wanted.
    #[n(4)]
    pub audio: bool,
    /// Whether video is wanted.
    #[n(5)]
    pub video: bool,
    /// Whether nothing shall come for now.
    #[serde(default, skip_serializing_if = "super::is_false")]
    #[cbor(n(6), skip_if = "super::is_false")]
    pub paused: bool,
    /// The best encoding of the video that is of use; the best there is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(7)]
    pub preferred_layer: Option<Rid>,
    /// Who gets less first when not everything gets through: the lower one.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    #[cbor(n(8), skip_if = "super::is_zero")]
    pub priority: u8,
}

/// Changes what is wanted of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct UpdateSubscriptionRequest {
    /// Number of this request.
    #[n(0)]
    pub request: RequestId,
    /// Who publishes it.
    #[n(1)]
    pub participant_id: ParticipantId,
    /// Its name.
    #[n(2)]
    pub key: StreamKey,
    /// Whether audio is wanted.
    #[n(3)]
    pub audio: bool,
    /// Whether video is wanted.
    #[n(4)]
    pub video: bool,
    /// Whether nothing shall come for now.
    #[serde(default, skip_serializing_if = "super::is_false")]
    #[cbor(n(5), skip_if = "super::is_false")]
    pub paused: bool,
    /// The best encoding of the video that is of use; the best there is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(6)]
    pub preferred_layer: Option<Rid>,
    /// Who gets less first when not everything gets through: the lower one.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    #[cbor(n(7), skip_if = "super::is_zero")]
    pub priority: u8,
}

/// Ends a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct UnsubscribeRequest {
    /// Number of this request.
    #[n(0)]
    pub request: RequestId,
    /// Who publishes the stream.
    #[n(1)]
    pub participant_id: ParticipantId,
    /// Its name.
    #[n(2)]
    pub key: StreamKey,
}

/// Media of a stream begins on a slot. Packets of the slot's section before this point belong to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct SlotBoundNotice {
    /// The slot's index.
    #[n(0)]
    pub slot: u16,
    /// Which of the slot's two sections.
    #[n(1)]
    pub kind: MediaKind,
    /// Whose media it is.
    #[n(2)]
    pub stream_id: StreamId,
    /// How it is encoded.
    #[n(3)]
    pub codec: Codec,
    /// The first sequence number of the occupant on this section.
    #[n(4)]
    pub first_sequence: u16,
    /// The first RTP timestamp of the occupant on this section.
    #[n(5)]
    pub first_timestamp: u32,
    /// Which encoding it begins with; `h` when absent.
    #[serde(default, skip_serializing_if = "super::is_high")]
    #[cbor(n(6), default, skip_if = "super::is_high")]
    pub rid: Rid,
}

/// The video of a subscription comes in another encoding from its latest key frame on, or is paused because not everything gets
/// through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct LayerChangedNotice {
    /// The stream.
    #[n(0)]
    pub stream_id: StreamId,
    /// Which encoding comes; none while there is no room for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(1)]
    pub rid: Option<Rid>,
}

/// Nobody takes this media of yours any more, or somebody takes it again. While paused it need not be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct SourcePausedNotice {
    /// The stream.
    #[n(0)]
    pub stream_id: StreamId,
    /// Which of its tracks.
    #[n(1)]
    pub kind: MediaKind,
    /// Whether it is paused.
    #[n(2)]
    pub paused: bool,
    /// Which encoding of it; `h` when absent.
    #[serde(default, skip_serializing_if = "super::is_high")]
    #[cbor(n(3), default, skip_if = "super::is_high")]
    pub rid: Rid,
}
