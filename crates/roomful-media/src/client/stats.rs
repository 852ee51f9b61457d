//! What a client's peer counts, by the names of webrtc-stats.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// What was sent of one encoding (webrtc-stats `RTCOutboundRtpStreamStats`). Packets and bytes are counted once a second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SenderStats {
    /// RTP packets that have left, repairs included.
    pub packets_sent: u64,
    /// Their payloads, in bytes.
    pub bytes_sent: u64,
    /// Of these, packets sent again to repair a loss.
    pub retransmitted_packets_sent: u64,
    /// Their payloads, in bytes.
    pub retransmitted_bytes_sent: u64,
    /// Requests for packets that were lost.
    pub nack_count: u64,
    /// Requests for a key frame, by PLI.
    pub pli_count: u64,
    /// Requests for a key frame, by FIR.
    pub fir_count: u64,
    /// Frames handed over for sending.
    pub frames_sent: u64,
    /// Of these, how many in the last second.
    pub frames_per_second: u32,
    /// Round trip to the server, when known.
    pub round_trip_time: Option<Duration>,
}

/// What was received on one section (webrtc-stats `RTCInboundRtpStreamStats`), since its track began.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ReceiverStats {
    /// RTP packets that came.
    pub packets_received: u64,
    /// Their payloads, in bytes.
    pub bytes_received: u64,
    /// Their headers, in bytes.
    pub header_bytes_received: u64,
    /// Packets that are missing for good. Negative when more came than were expected.
    pub packets_lost: i64,
    /// Interarrival jitter (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// Whole frames that came.
    pub frames_received: u64,
    /// Of these, how many in the last second.
    pub frames_per_second: u32,
}

/// Counts the frames of the last second.
#[derive(Debug, Default)]
pub(super) struct FrameMeter(VecDeque<Instant>);

/// Frames of one second that are counted; more are taken for a writer that runs away.
const MOST: usize = 1000;

impl FrameMeter {
    pub(super) fn add(&mut self, now: Instant) {
        let is_old = |at: &mut Instant| now.saturating_duration_since(*at) >= Duration::from_secs(1);
        while self.0.pop_front_if(is_old).is_some() {}
        if self.0.len() < MOST {
            self.0.push_back(now);
        }
    }

    pub(super) fn rate(&self, now: Instant) -> u32 {
        let is_recent = |at: &&Instant| now.saturating_duration_since(**at) < Duration::from_secs(1);
        self.0.iter().rev().take_while(is_recent).count() as u32
    }
}

/// Interarrival jitter as RFC 3550 appendix A.8 measures it.
#[derive(Debug, Default)]
pub(super) struct Jitter {
    transit: Option<f64>,
    seconds: f64,
}

impl Jitter {
    /// Takes one packet in: when it came, and its timestamp in seconds.
    pub(super) fn add(&mut self, arrived: Duration, sent: f64) {
        let transit = arrived.as_secs_f64() - sent;
        if let Some(before) = self.transit.replace(transit) {
            self.seconds += ((transit - before).abs() - self.seconds) / 16.0;
        }
    }

    pub(super) fn get(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.clamp(0.0, 3600.0))
    }
}
