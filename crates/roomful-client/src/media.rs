//! The media transport as the engine sees it: commands go to it, notices come back. Frames pass the engine by.

use std::time::Instant;

use roomful_protocol::{OfferId, SlotMids};
use roomful_state::TrackId;
use roomful_types::{Codec, Mid, Rid, StreamKey};

/// One peer connection, whoever makes it. The SDK does so with str0m.
pub trait MediaTransport {
    /// Carries a command out.
    fn handle_command(&mut self, command: MediaCommand, now: Instant);

    /// Returns the next notice.
    #[must_use]
    fn poll_notice(&mut self) -> Option<MediaNotice>;
}

/// What the media transport shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaCommand {
    /// Offer at least this much, keeping all that was offered before. Answered by [`MediaNotice::Offered`].
    CreateOffer {
        /// Number of the offer.
        offer: OfferId,
        /// Sections that send audio.
        audio_senders: u16,
        /// Sections that send video.
        video_senders: u16,
        /// Pairs of sections that receive.
        slots: u16,
        /// Whether to look for a new path to the server (ICE restart, RFC 8445 §9).
        restart: bool,
    },
    /// Go by the server's answer to an offer. Answered by [`MediaNotice::Negotiated`] or [`MediaNotice::Failed`].
    AcceptAnswer {
        /// Number of the offer.
        offer: OfferId,
        /// The session description.
        sdp: String,
    },
    /// Get ready to send a track on a section, and stop what was sent there before. Answered by
    /// [`MediaNotice::SenderOpened`].
    OpenSender {
        /// The track.
        track: TrackId,
        /// The section.
        mid: Mid,
        /// How the track is encoded.
        codec: Codec,
        /// The stream; the media times of its tracks are on one clock.
        stream: StreamKey,
        /// Whether it is sent in three encodings.
        simulcast: bool,
    },
    /// Send what the track gives, from its next key frame on, or nothing. Tracks begin inactive.
    SetActive {
        /// The track.
        track: TrackId,
        /// Whether its publisher means it to be sent.
        active: bool,
    },
    /// Send nothing of an encoding of a track while nobody takes it.
    SetPaused {
        /// The track.
        track: TrackId,
        /// The encoding.
        rid: Rid,
        /// Whether nobody takes it.
        paused: bool,
    },
    /// Send nothing more of a track.
    CloseSender {
        /// The track.
        track: TrackId,
    },
    /// Keep what arrives on a section for a track, until it is known where the track begins.
    OpenReceiver {
        /// The track.
        track: TrackId,
        /// The section.
        mid: Mid,
    },
    /// The track begins here; what is older on its section is nobody's.
    BindReceiver {
        /// The track.
        track: TrackId,
        /// How it is encoded.
        codec: Codec,
        /// Its first sequence number.
        first_sequence: u16,
        /// Its first RTP timestamp.
        first_timestamp: u32,
    },
    /// Deliver nothing more to a track.
    CloseReceiver {
        /// The track.
        track: TrackId,
    },
    /// End the peer connection.
    Close,
}

/// What the media transport reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaNotice {
    /// An offer is ready.
    Offered {
        /// Number of the offer.
        offer: OfferId,
        /// The session description.
        sdp: String,
        /// Every section that sends audio, in order.
        audio_senders: Vec<Mid>,
        /// Every section that sends video, in order.
        video_senders: Vec<Mid>,
        /// Every pair that receives, in order.
        slots: Vec<SlotMids>,
    },
    /// The answer is in force.
    Negotiated {
        /// Number of the offer.
        offer: OfferId,
    },
    /// Media can flow.
    Connected,
    /// The path to the server is lost; another one may be found.
    Disconnected,
    /// Media cannot flow: an offer or an answer came to nothing.
    Failed,
    /// A track can be sent.
    SenderOpened {
        /// The track.
        track: TrackId,
        /// The RTP timestamp that it begins at, at the earliest.
        first_timestamp: u32,
    },
}
