//! What the deciding half tells the forwarding half, and what it hears back.

use std::time::Duration;

use roomful_protocol::{OfferId, SlotMids};
use roomful_types::{AudioLevel, Bitrate, Codec, MediaKind, Mid, ParticipantId, Rid, StreamId};

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
        /// Whether it comes in three encodings.
        simulcast: bool,
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
        /// Which encoding of it.
        layer: Rid,
    },
    /// Forward another encoding of what a section carries, from its next key frame on. Tells [`MediaNotice::Switched`] then.
    SetLayer {
        /// Who receives.
        peer: ParticipantId,
        /// On which section.
        mid: Mid,
        /// Which encoding.
        layer: Rid,
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
        /// Its publisher.
        peer: ParticipantId,
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
        /// Which encoding it begins with.
        layer: Rid,
    },
    /// Another encoding of a source goes on on a section of a peer.
    Switched {
        /// Who receives.
        peer: ParticipantId,
        /// On which section.
        mid: Mid,
        /// What.
        source: SourceId,
        /// Which encoding.
        layer: Rid,
    },
    /// How much came of each encoding of a source, since the last report; once a second.
    Rates {
        /// Its publisher.
        peer: ParticipantId,
        /// The source.
        source: SourceId,
        /// By encoding (`Rid as usize`); none where nothing came.
        rates: [Option<Bitrate>; Rid::ALL.len()],
    },
    /// How a section of a peer does; once a second.
    Measured {
        /// Who sends or receives.
        peer: ParticipantId,
        /// How.
        measure: SectionMeasure,
    },
    /// How much gets through to a peer.
    Estimated {
        /// Who receives.
        peer: ParticipantId,
        /// All of its sections together; none when everything may.
        available: Option<Bitrate>,
    },
    /// A peer's media has failed by a mistake of ours and is gone. Nobody else's is touched.
    Failed {
        /// Who.
        peer: ParticipantId,
    },
}

/// How one media section between a peer and this server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionMeasure {
    /// The section.
    pub mid: Mid,
    /// Whether the peer sends on it; it receives otherwise.
    pub is_inbound: bool,
    /// Packets that its sender has sent so far, as far as this server knows.
    pub packets: u64,
    /// How far its receiver has got: grows as long as anything gets through.
    pub progress: u64,
    /// Share of packets lost since the last report, before repair, in 256ths (RFC 3550 §6.4.1).
    pub fraction_lost: u8,
    /// Interarrival jitter (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// Round trip, when known.
    pub round_trip_time: Option<Duration>,
}

/// The offer cannot be accepted: it is not a session description, or not one that this peer can follow with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session description was not accepted")]
pub struct OfferError;

impl MediaNotice {
    /// Returns whose media it is about.
    #[must_use]
    pub const fn peer(&self) -> ParticipantId {
        match self {
            Self::Answered { peer, .. }
            | Self::Speaking { peer, .. }
            | Self::Bound { peer, .. }
            | Self::Switched { peer, .. }
            | Self::Rates { peer, .. }
            | Self::Measured { peer, .. }
            | Self::Estimated { peer, .. }
            | Self::Failed { peer } => *peer,
        }
    }
}
