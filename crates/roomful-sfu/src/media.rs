//! What the deciding half tells the forwarding half, and what it hears back.

use roomful_protocol::{OfferId, SlotMids};
use roomful_types::{AudioLevel, Codec, MediaKind, Mid, ParticipantId, StreamId};

/// One track of one stream, as something that packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId {
    /// The stream.
    pub stream: StreamId,
    /// Its audio or its video.
    pub kind: MediaKind,
}

/// What a media shard shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaCommand {
    /// Answer an offer; the first one of a peer makes the peer. Answered by [`MediaNotice::Answered`].
    AcceptOffer {
        /// Who offers.
        peer: ParticipantId,
        /// Number of the offer.
        offer: OfferId,
        /// The session description.
        sdp: String,
        /// All receive slots of the peer.
        slots: Vec<SlotMids>,
    },
    /// Forget a peer, what it sends and what it receives.
    RemovePeer {
        /// Who.
        peer: ParticipantId,
    },
    /// Packets on this section are this source. Replaces the source's earlier place.
    PutSource {
        /// The source.
        source: SourceId,
        /// Its publisher.
        peer: ParticipantId,
        /// The section that carries it.
        mid: Mid,
        /// How it is encoded.
        codec: Codec,
        /// Its first RTP timestamp; what is older on this section belongs to an earlier occupant.
        first_timestamp: u32,
    },
    /// Forward a source, or drop what it sends.
    EnableSource {
        /// The source.
        source: SourceId,
        /// Whether to forward it.
        enabled: bool,
    },
    /// Forget a source; its slots are free.
    RemoveSource {
        /// The source.
        source: SourceId,
    },
    /// Forward a source to a section of a peer, from its next key frame on. Tells [`MediaNotice::Bound`] then.
    Bind {
        /// Who receives.
        peer: ParticipantId,
        /// On which section.
        mid: Mid,
        /// What.
        source: SourceId,
    },
    /// Send nothing more on a section of a peer.
    Unbind {
        /// Who receives.
        peer: ParticipantId,
        /// On which section.
        mid: Mid,
    },
}

/// What a media shard reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaNotice {
    /// The answer to an offer.
    Answered {
        /// Who offered.
        peer: ParticipantId,
        /// Number of the offer.
        offer: OfferId,
        /// The session description.
        answer: Result<String, OfferError>,
    },
    /// Somebody is heard on a source, this loud, or nobody any more. Repeated while it goes on.
    Speaking {
        /// The source.
        source: SourceId,
        /// The loudest of late; none when it ended.
        level: Option<AudioLevel>,
    },
    /// A source begins on a section of a peer.
    Bound {
        /// Who receives.
        peer: ParticipantId,
        /// On which section.
        mid: Mid,
        /// What.
        source: SourceId,
        /// How it is encoded.
        codec: Codec,
        /// Its first sequence number there.
        first_sequence: u16,
        /// Its first RTP timestamp there.
        first_timestamp: u32,
    },
}

/// The offer cannot be accepted: it is not a session description, or not one that this peer can follow with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session description was not accepted")]
pub struct OfferError;
