//! What a roomful client and a room server say to each other: messages, their limits and their encoding.
//!
//! It deliberately holds no state and knows no transport: a message is a value, and one encoded message is one
//! WebSocket message or one frame of a QUIC stream. `docs/protocol.md` is the whole of it in words. Which message may follow
//! which is the business of the engines, `roomful-client` and `roomful-sfu`.
//!
//! ```
//! use roomful_protocol::{ClientMessage, Encoding, LeaveRequest, RequestId};
//!
//! let message = ClientMessage::LeaveRequest(LeaveRequest { request: RequestId(7) });
//! let json = Encoding::Json.encode(&message);
//! assert_eq!(json, br#"{"type":"leave_request","request":7}"#);
//! assert_eq!(Encoding::Json.decode::<ClientMessage>(&json), Ok(message.clone()));
//! assert_eq!(Encoding::Binary.encode(&message), [0x82, 2, 0x81, 0xa1, 0, 7]);
//! ```

mod binary;
mod codec;
mod error;
pub mod limits;
mod message;

pub use codec::{Encoding, Signal, SignalDecodeError};
pub use error::ErrorCode;
pub use message::{
    ChatMessage, ClientMessage, DisableMetricsRequest, DisconnectNotice, DisconnectReason,
    DominantSpeakerNotice, DoneResponse, EnableMetricsRequest, ErrorResponse, JoinRequest, JoinResponse,
    LayerChangedNotice, LeaveReason, LeaveRequest, MessageKind, MessageNotice, MessageRequest,
    NetworkMetricsNotice, OfferId, OfferRequest, OfferResponse, ParticipantInfo, ParticipantJoinedNotice,
    ParticipantLeftNotice, ParticipantMetricsInfo, PingRequest, PublishRequest, PublishResponse,
    PublishedTrack, QualityNotice, RequestId, ResumeKey, ResumeRequest, ResumeResponse, RoomVersion,
    ServerMessage, SlotBoundNotice, SlotMids, SourcePausedNotice, SpeakingNotice, StreamInfo,
    StreamPublishedNotice, StreamUnpublishedNotice, StreamUpdatedNotice, SubscribeRequest, TokenResponse,
    TokenTerm, TrackInfo, TrackMetricsInfo, UnpublishRequest, UnsubscribeRequest, UpdateStreamRequest,
    UpdateSubscriptionRequest, UpdateTokenRequest, WIRE_VERSION,
};
