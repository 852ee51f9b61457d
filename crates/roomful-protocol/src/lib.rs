//! What a roomful client and a room server say to each other: messages, their limits and their encoding.
//!
//! It deliberately holds no state and knows no transport: a message is a value, and one encoded message is one
//! WebSocket text message. Which message may follow which is the business of the engines, `roomful-client` and
//! `roomful-sfu`.
//!
//! ```
//! use roomful_protocol::{ClientMessage, LeaveRequest, RequestId, decode, encode};
//!
//! let message = ClientMessage::LeaveRequest(LeaveRequest { request: RequestId(7) });
//! let text = encode(&message);
//! assert_eq!(text, r#"{"type":"leave_request","request":7}"#);
//! assert_eq!(decode::<ClientMessage>(&text), Ok(message));
//! ```

mod codec;
mod error;
pub mod limits;
mod message;

pub use codec::{Signal, SignalDecodeError, decode, encode};
pub use error::ErrorCode;
pub use message::{
    ChatMessage, ClientMessage, DisconnectNotice, DisconnectReason, DoneResponse, ErrorResponse, JoinRequest,
    JoinResponse, LeaveReason, LeaveRequest, MessageKind, MessageNotice, MessageRequest, OfferId,
    OfferRequest, OfferResponse, ParticipantInfo, ParticipantJoinedNotice, ParticipantLeftNotice,
    PingRequest, PublishRequest, PublishResponse, PublishedTrack, RequestId, RoomVersion, ServerMessage,
    SlotBoundNotice, SlotMids, SourcePausedNotice, StreamInfo, StreamPublishedNotice,
    StreamUnpublishedNotice, StreamUpdatedNotice, SubscribeRequest, TrackInfo, UnpublishRequest,
    UnsubscribeRequest, UpdateStreamRequest, UpdateSubscriptionRequest, WIRE_VERSION,
};
