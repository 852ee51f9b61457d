//! What a client's peer counts, by the names of webrtc-stats.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use roomful_types::AudioLevel;

/// What was sent of one encoding (webrtc-stats `RTCOutboundRtpStreamStats`). Requests and the round trip are those of a second ago
/// at most.
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
    /// Their headers, in bytes; counted as they leave.
    pub header_bytes_sent: u64,
    /// How long all packets waited before they left, repairs excluded.
    pub total_packet_send_delay: Duration,
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
    /// How loud the latest packet says that it is, when it says so.
    pub audio_level: Option<AudioLevel>,
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

/// Counts packets where they leave: only there it shows what repairs are sent, how long headers are, and how long packets waited.
#[derive(Debug, Default)]
pub(super) struct Departures {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) repairs: u64,
    pub(super) repair_bytes: u64,
    pub(super) header_bytes: u64,
    pub(super) waited: Duration,
    /// What sealing adds, known from the first packet on.
    tag: usize,
    waiting: VecDeque<Written>,
}

/// A packet that was written and has not left.
#[derive(Debug)]
struct Written {
    sequence: u16,
    payload: usize,
    at: Instant,
}

/// Packets that are followed until they leave; what the queue in front of the pacer holds at most.
const WAITING_MAX: usize = 1024;

impl Departures {
    /// Notes a packet that waits from now on.
    pub(super) fn on_written(&mut self, sequence: u16, payload: usize, at: Instant) {
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Written { sequence, payload, at });
    }

    /// Counts a packet that leaves.
    pub(super) fn on_sent(&mut self, head: &RtpHead, is_repair: bool, now: Instant) {
        let place = self.waiting.iter().position(|one| !is_repair && one.sequence == head.sequence);
        if let Some(place) = place {
            let Written { payload, at, .. } = self.waiting[place];
            self.waited += now.saturating_duration_since(at);
            self.tag = head.rest.saturating_sub(payload);
            // What was before it has been dropped.
            self.waiting.drain(..=place);
        }
        let payload = head.rest.saturating_sub(self.tag) as u64;
        self.packets += 1;
        self.bytes += payload;
        self.header_bytes += head.length as u64;
        if is_repair {
            self.repairs += 1;
            self.repair_bytes += payload;
        }
    }
}

/// What stands in clear at the head of a sealed packet (RFC 3550 §5.1, RFC 3711 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RtpHead {
    pub(super) ssrc: u32,
    sequence: u16,
    /// With contributing sources and extensions, in bytes.
    length: usize,
    /// What is behind it: payload and tag, in bytes.
    rest: usize,
}

impl RtpHead {
    /// Reads it from a datagram; none when it is no RTP packet (RFC 7983 §7, RFC 5761 §4).
    pub(super) fn read(datagram: &[u8]) -> Option<Self> {
        let [flags @ 128..=191, kind, s0, s1, _, _, _, _, c0, c1, c2, c3] = *datagram.first_chunk()? else {
            return None;
        };
        if matches!(kind, 192..=223) {
            return None;
        }
        let mut length = 12 + 4 * usize::from(flags & 0x0f);
        if flags & 0x10 != 0 {
            let [_, _, high, low] = *datagram.get(length..)?.first_chunk()?;
            length += 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
        }
        let (ssrc, sequence) = (u32::from_be_bytes([c0, c1, c2, c3]), u16::from_be_bytes([s0, s1]));
        Some(Self { ssrc, sequence, length, rest: datagram.len().checked_sub(length)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_waits_are_counted_as_packets_leave() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let plain = [0x80, 96, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 1, 1];
        let extended = [0x91, 96, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0xbe, 0xde, 0, 1, 0, 0, 0, 0, 1];
        let [plain, extended] = [&plain[..], &extended[..]].map(|bytes| RtpHead::read(bytes).expect("RTP"));
        assert_eq!((plain.ssrc, plain.length, extended.length), (9, 12, 24));
        let mut departures = Departures::default();
        (6..9).for_each(|sequence| departures.on_written(sequence, 1, start));
        departures.on_sent(&plain, false, after(10));
        departures.on_sent(&plain, true, after(400));
        departures.on_sent(&extended, false, after(20));
        let Departures { packets, bytes, repairs, repair_bytes, header_bytes, waited, waiting, .. } =
            departures;
        assert_eq!((packets, bytes, repairs, repair_bytes), (3, 3, 1, 1));
        assert_eq!((header_bytes, waited), (48, Duration::from_millis(30)));
        assert!(waiting.is_empty());
        for other in [&[0x80, 200, 0, 1][..], &[0x80, 200, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9], &[0x16; 20]] {
            assert_eq!(RtpHead::read(other), None);
        }
    }
}
