//! Statistics of a stream by the names of webrtc-stats (W3C). `docs/statistics.md` says which field is known when.

use std::{collections::BTreeMap, time::Duration};

use roomful_media::{ReceiverStats, SenderStats};
use roomful_types::{AudioLevel, Codec, Rid};

/// What one stream has sent or received. Of one's own stream `senders` are filled, of a subscribed one `receivers`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WebRtcStats {
    /// What was sent.
    pub senders: Senders,
    /// What was received.
    pub receivers: Receivers,
}

/// What was sent of one's own stream.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Senders {
    /// Its audio, if it has any.
    pub audio: Option<OutboundAudioStats>,
    /// Its video by encoding; without simulcast there is one, the highest.
    pub video: BTreeMap<Rid, OutboundVideoStats>,
}

/// What was received of another's stream.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Receivers {
    /// Its audio, if it is taken.
    pub audio: Option<InboundAudioStats>,
    /// Its video, if it is taken.
    pub video: Option<InboundVideoStats>,
}

/// Audio that is sent (`RTCOutboundRtpStreamStats`). Requests for repair and the round trip are those of
/// a second ago at most.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct OutboundAudioStats {
    /// RTP packets sent, repairs included.
    pub packets_sent: u64,
    /// Bytes of payload sent, repairs included.
    pub bytes_sent: u64,
    /// RTP packets sent again.
    pub retransmitted_packets_sent: u64,
    /// Bytes of payload sent again.
    pub retransmitted_bytes_sent: u64,
    /// Bytes of RTP headers sent, repairs included.
    pub header_bytes_sent: u64,
    /// Requests for lost packets received.
    pub nack_count: u64,
    /// Round trip to the server, when known (`RTCRemoteInboundRtpStreamStats`).
    pub round_trip_time: Option<Duration>,
}

/// One encoding of video that is sent (`RTCOutboundRtpStreamStats`). Requests for repair and the round trip are those of
/// a second ago at most.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboundVideoStats {
    /// How it is encoded, in place of webrtc-stats' reference to a codec report.
    pub codec_id: Codec,
    /// RTP packets sent, repairs included.
    pub packets_sent: u64,
    /// Bytes of payload sent, repairs included.
    pub bytes_sent: u64,
    /// RTP packets sent again.
    pub retransmitted_packets_sent: u64,
    /// Bytes of payload sent again.
    pub retransmitted_bytes_sent: u64,
    /// Bytes of RTP headers sent, repairs included.
    pub header_bytes_sent: u64,
    /// Requests for lost packets received.
    pub nack_count: u64,
    /// Requests for a key frame received, by PLI.
    pub pli_count: u64,
    /// Requests for a key frame received, by FIR.
    pub fir_count: u64,
    /// Frames sent.
    pub frames_sent: u64,
    /// Frames sent in the last second.
    pub frames_per_second: u32,
    /// Frames encoded; only an encoder knows.
    pub frames_encoded: Option<u64>,
    /// Time spent encoding; only an encoder knows.
    pub total_encode_time: Option<Duration>,
    /// Width in pixels; only an encoder knows.
    pub frame_width: Option<u32>,
    /// Height in pixels; only an encoder knows.
    pub frame_height: Option<u32>,
    /// Time that all packets waited before they left, repairs excluded.
    pub total_packet_send_delay: Duration,
    /// Name of the encoder; only it knows.
    pub encoder_implementation: Option<String>,
    /// Round trip to the server, when known (`RTCRemoteInboundRtpStreamStats`).
    pub round_trip_time: Option<Duration>,
}

/// Audio that is received (`RTCInboundRtpStreamStats`).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct InboundAudioStats {
    /// Interarrival jitter.
    pub jitter: Duration,
    /// RTP packets missing for good.
    pub packets_lost: i64,
    /// RTP packets received.
    pub packets_received: u64,
    /// Bytes of payload received.
    pub bytes_received: u64,
    /// Bytes of RTP headers received.
    pub header_bytes_received: u64,
    /// Loudness that the latest packet gives for itself (RFC 6464), linear, 0 ..= 1; none when it gives none.
    pub audio_level: Option<f64>,
    /// Energy of what was decoded; only a decoder knows.
    pub total_audio_energy: Option<f64>,
    /// Length of what was decoded; only a decoder knows.
    pub total_samples_duration: Option<Duration>,
    /// Samples that were decoded; only a decoder knows.
    pub total_samples_received: Option<u64>,
}

/// Video that is received (`RTCInboundRtpStreamStats`).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct InboundVideoStats {
    /// Interarrival jitter.
    pub jitter: Duration,
    /// RTP packets missing for good.
    pub packets_lost: i64,
    /// RTP packets received.
    pub packets_received: u64,
    /// Bytes of payload received.
    pub bytes_received: u64,
    /// Bytes of RTP headers received.
    pub header_bytes_received: u64,
    /// Whole frames received.
    pub frames_received: u64,
    /// Frames dropped because the program read too slowly.
    pub frames_dropped: u64,
    /// Whole frames received in the last second.
    pub frames_per_second: u32,
    /// Frames decoded; only a decoder knows.
    pub frames_decoded: Option<u64>,
    /// Time spent decoding; only a decoder knows.
    pub total_decode_time: Option<Duration>,
    /// Time between frames that were decoded; only a decoder knows.
    pub total_inter_frame_delay: Option<Duration>,
    /// Width in pixels; only a decoder knows.
    pub frame_width: Option<u32>,
    /// Height in pixels; only a decoder knows.
    pub frame_height: Option<u32>,
}

impl From<&SenderStats> for OutboundAudioStats {
    fn from(stats: &SenderStats) -> Self {
        Self {
            packets_sent: stats.packets_sent,
            bytes_sent: stats.bytes_sent,
            retransmitted_packets_sent: stats.retransmitted_packets_sent,
            retransmitted_bytes_sent: stats.retransmitted_bytes_sent,
            header_bytes_sent: stats.header_bytes_sent,
            nack_count: stats.nack_count,
            round_trip_time: stats.round_trip_time,
        }
    }
}

impl OutboundVideoStats {
    pub(crate) const fn new(codec: Codec, stats: &SenderStats) -> Self {
        Self {
            codec_id: codec,
            packets_sent: stats.packets_sent,
            bytes_sent: stats.bytes_sent,
            retransmitted_packets_sent: stats.retransmitted_packets_sent,
            retransmitted_bytes_sent: stats.retransmitted_bytes_sent,
            header_bytes_sent: stats.header_bytes_sent,
            nack_count: stats.nack_count,
            pli_count: stats.pli_count,
            fir_count: stats.fir_count,
            frames_sent: stats.frames_sent,
            frames_per_second: stats.frames_per_second,
            frames_encoded: None,
            total_encode_time: None,
            frame_width: None,
            frame_height: None,
            total_packet_send_delay: stats.total_packet_send_delay,
            encoder_implementation: None,
            round_trip_time: stats.round_trip_time,
        }
    }
}

impl From<&ReceiverStats> for InboundAudioStats {
    fn from(stats: &ReceiverStats) -> Self {
        Self {
            jitter: stats.jitter,
            packets_lost: stats.packets_lost,
            packets_received: stats.packets_received,
            bytes_received: stats.bytes_received,
            header_bytes_received: stats.header_bytes_received,
            audio_level: stats.audio_level.map(AudioLevel::as_linear),
            ..Self::default()
        }
    }
}

impl InboundVideoStats {
    pub(crate) fn new(stats: &ReceiverStats, frames_dropped: u64) -> Self {
        Self {
            jitter: stats.jitter,
            packets_lost: stats.packets_lost,
            packets_received: stats.packets_received,
            bytes_received: stats.bytes_received,
            header_bytes_received: stats.header_bytes_received,
            frames_received: stats.frames_received,
            frames_dropped,
            frames_per_second: stats.frames_per_second,
            ..Self::default()
        }
    }
}
