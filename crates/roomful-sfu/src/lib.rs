//! The room server as two pure machines.
//!
//! * [`Sfu`] decides: rooms, participants, permissions, publications, subscriptions. Signalling goes in, signalling and
//!   [`MediaCommand`]s come out.
//! * [`Forwarder`] forwards: it carries out those commands for the peers of one media shard, takes packets in and hands
//!   each subscriber's share to an [`Egress`], rewritten so that the subscriber sees one seamless stream per slot.
//!
//! Both deliberately own no socket, clock, thread or random source, and no cryptography: time, seeds and packets come in
//! as arguments. After each input to [`Sfu`], call [`Sfu::poll_output`] until it answers [`Output::Wait`].

mod admission;
mod allowance;
mod config;
mod farewell;
mod forward;
mod layers;
mod line;
mod media;
mod moderation;
mod quality;
mod report;
mod room;
mod sfu;
mod snapshot;
mod speakers;

pub use admission::{Admission, AdmissionError, Grant, GrantId};
pub use config::{DuplicateIdentity, SfuConfig};
pub use forward::{Egress, Forwarder, OutgoingPacket, SourcePacket};
pub use media::{MediaCommand, MediaNotice, OfferError, SectionMeasure, SourceId};
pub use moderation::{ModerationError, ModerationRequest, Selection};
pub use sfu::{Input, Output, RoomSessionId, SessionId, Sfu, WaitReason};

#[cfg(test)]
mod tests;
