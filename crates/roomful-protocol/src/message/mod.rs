//! The messages. A request carries a number that its response repeats; a notice about the room carries the version
//! of the room that it leads to.

mod media;
mod report;
mod room;
mod stay;
mod stream;

use minicbor::{Decode, Encode};
use roomful_types::Rid;
use serde::{Deserialize, Serialize};

pub use media::{
    LayerChangedNotice, OfferRequest, OfferResponse, PublishRequest, PublishResponse, PublishedTrack,
    SlotBoundNotice, SlotMids, SourcePausedNotice, SubscribeRequest, UnpublishRequest, UnsubscribeRequest,
    UpdateStreamRequest, UpdateSubscriptionRequest,
};
pub use report::{
    DisableMetricsRequest, DominantSpeakerNotice, EnableMetricsRequest, NetworkMetricsNotice,
    ParticipantMetricsInfo, QualityNotice, SpeakingNotice, TrackMetricsInfo,
};
pub use room::{
    ChatMessage, LeaveReason, MessageKind, MessageNotice, MessageRequest, ParticipantInfo,
    ParticipantJoinedNotice, ParticipantLeftNotice, StreamInfo, StreamPublishedNotice,
    StreamUnpublishedNotice, StreamUpdatedNotice, TrackInfo,
};
pub use stay::{
    DisconnectNotice, DisconnectReason, DoneResponse, ErrorResponse, JoinRequest, JoinResponse, LeaveRequest,
    PingRequest, ResumeKey, ResumeRequest, ResumeResponse, TokenResponse, TokenTerm, UpdateTokenRequest,
};

/// The version of the protocol that this crate speaks.
pub const WIRE_VERSION: u16 = 1;

/// Declares a direction: an enum over message structs, tagged by `type` in JSON and by number in the binary encoding, and the
/// list of its kinds. A number is never used again.
macro_rules! direction {
    ($(#[$doc:meta])* $name:ident { $($number:literal $kind:literal $variant:ident: $what:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
        #[serde(tag = "type")]
        pub enum $name {
            $(#[doc = $what] #[serde(rename = $kind)] #[n($number)] $variant(#[n(0)] $variant),)*
        }

        impl crate::codec::Signal for $name {
            const KINDS: &'static [&'static str] = &[$($kind),*];
        }

        $(impl From<$variant> for $name {
            fn from(message: $variant) -> Self {
                Self::$variant(message)
            }
        })*
    };
}

direction! {
    /// What a client says. The first message is a [`JoinRequest`] or a [`ResumeRequest`].
    ClientMessage {
        0 "join_request" JoinRequest: "Asks to enter a room.",
        1 "resume_request" ResumeRequest: "Asks to go on with a stay whose connection was lost.",
        2 "leave_request" LeaveRequest: "Asks to leave.",
        3 "ping_request" PingRequest: "Shows that the client lives.",
        4 "offer_request" OfferRequest: "Offers media sections.",
        5 "publish_request" PublishRequest: "Asks to publish a stream.",
        6 "update_stream_request" UpdateStreamRequest: "Mutes, unmutes or replaces tracks.",
        7 "unpublish_request" UnpublishRequest: "Takes a stream back.",
        8 "subscribe_request" SubscribeRequest: "Asks for a stream of another participant.",
        9 "update_subscription_request" UpdateSubscriptionRequest: "Changes what is wanted of a stream.",
        10 "unsubscribe_request" UnsubscribeRequest: "Ends a subscription.",
        11 "message_request" MessageRequest: "Sends a message to others.",
        12 "update_token_request" UpdateTokenRequest: "Presents a newer token.",
        13 "enable_metrics_request" EnableMetricsRequest: "Asks for reports of how networks do.",
        14 "disable_metrics_request" DisableMetricsRequest: "Asks for no more of them.",
    }
}

direction! {
    /// What a server says.
    ServerMessage {
        0 "join_response" JoinResponse: "The client is in the room.",
        1 "resume_response" ResumeResponse: "The stay goes on.",
        2 "token_response" TokenResponse: "The newer token is in force.",
        3 "offer_response" OfferResponse: "The answer to an offer.",
        4 "publish_response" PublishResponse: "The stream is published.",
        5 "done_response" DoneResponse: "The request is fulfilled.",
        6 "error_response" ErrorResponse: "The request is refused.",
        7 "participant_joined_notice" ParticipantJoinedNotice: "Somebody came.",
        8 "participant_left_notice" ParticipantLeftNotice: "Somebody went.",
        9 "stream_published_notice" StreamPublishedNotice: "A stream appeared.",
        10 "stream_updated_notice" StreamUpdatedNotice: "A track was muted, unmuted or replaced.",
        11 "stream_unpublished_notice" StreamUnpublishedNotice: "A stream disappeared.",
        12 "slot_bound_notice" SlotBoundNotice: "Media of a stream begins on a slot.",
        13 "source_paused_notice" SourcePausedNotice: "Nobody, or somebody again, takes the publisher's media.",
        14 "message_notice" MessageNotice: "A message arrived.",
        15 "speaking_notice" SpeakingNotice: "Somebody began to speak, or ended.",
        16 "dominant_speaker_notice" DominantSpeakerNotice: "Another one speaks loudest, or nobody does.",
        17 "network_metrics_notice" NetworkMetricsNotice: "How networks do.",
        18 "disconnect_notice" DisconnectNotice: "The server ends this stay.",
        19 "layer_changed_notice" LayerChangedNotice: "Video of a subscription comes in another encoding.",
        20 "quality_notice" QualityNotice: "How a stream of the client does has changed.",
    }
}

/// Numbers a request of one stay, over all of its connections; its response repeats the number.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct RequestId(#[n(0)] pub u32);

/// Numbers the changes of a room, without gaps; the next change has the next number.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, Encode, Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct RoomVersion(#[n(0)] pub u64);

/// Numbers the offers of one stay. The same number again gets the same answer.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct OfferId(#[n(0)] pub u32);

impl ClientMessage {
    /// Returns the number of the request.
    #[must_use]
    pub const fn request(&self) -> RequestId {
        match self {
            Self::JoinRequest(message) => message.request,
            Self::ResumeRequest(message) => message.request,
            Self::UpdateTokenRequest(message) => message.request,
            Self::EnableMetricsRequest(message) => message.request,
            Self::DisableMetricsRequest(message) => message.request,
            Self::LeaveRequest(message) => message.request,
            Self::PingRequest(message) => message.request,
            Self::OfferRequest(message) => message.request,
            Self::PublishRequest(message) => message.request,
            Self::UpdateStreamRequest(message) => message.request,
            Self::UnpublishRequest(message) => message.request,
            Self::SubscribeRequest(message) => message.request,
            Self::UpdateSubscriptionRequest(message) => message.request,
            Self::UnsubscribeRequest(message) => message.request,
            Self::MessageRequest(message) => message.request,
        }
    }
}

/// Most video has one encoding, and most subscriptions no priority: what is usually so is not written.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
pub(crate) const fn is_high(rid: &Rid) -> bool {
    matches!(rid, Rid::High)
}

/// The same for numbers.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
pub(crate) const fn is_zero(value: &u8) -> bool {
    *value == 0
}

/// The same for what is seldom so.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
pub(crate) const fn is_false(value: &bool) -> bool {
    !*value
}
