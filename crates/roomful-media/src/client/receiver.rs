//! One receiving section: what arrives is kept until it is known whose it is, then put together to frames.

use std::{collections::VecDeque, time::Instant};

use roomful_rtp::{AssembledFrame, AssemblerConfig, AssemblerEvent, FrameAssembler, Packet};
use roomful_types::{AudioLevel, Codec};
use str0m::{
    media::Pt,
    rtp::{RtpPacket, rtcp::SenderInfo},
};

use super::{
    ReceivedFrame,
    stats::{FrameMeter, Jitter, ReceiverStats},
};
use crate::rtc;

/// Packets kept before the binding is known: a second of 720p. What overtakes its binding by more is lost.
const HELD_MAX: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Receiver {
    state: State,
    /// The newest sequence number seen, whoever it was of.
    newest: Option<u64>,
    report: Option<SenderInfo>,
    /// Time and clock of the first frame of the track, over all its bindings.
    zero: Option<u64>,
    counts: Counts,
}

/// What came of the track so far.
#[derive(Debug, Default)]
struct Counts {
    stats: ReceiverStats,
    jitter: Jitter,
    meter: FrameMeter,
    since: Option<Instant>,
}

#[derive(Debug, Default)]
enum State {
    /// What arrives is nobody's.
    #[default]
    Closed,
    /// What arrives may be the track's.
    Held(VecDeque<RtpPacket>),
    /// What arrives is the track's.
    Bound(Box<Bound>),
}

#[derive(Debug)]
struct Bound {
    codec: Codec,
    assembler: FrameAssembler,
    first_sequence: FirstSequence,
    /// The report known when the binding's first packet came. Idle sections are reported on too, so it is about an earlier
    /// occupant, however new it is.
    stale_report: Option<Option<SenderInfo>>,
    /// How the codec is called here; known from the first packet.
    payload_type: Option<Pt>,
    /// Packets of another codec: they overtook the binding that will say so.
    overtaking: VecDeque<RtpPacket>,
}

/// The first sequence number of a binding, in full once a packet shows how far the section has counted.
#[derive(Debug, Clone, Copy)]
enum FirstSequence {
    Low(u16),
    Full(u64),
}

pub(super) enum Event {
    Frame(ReceivedFrame),
    KeyframeNeeded,
}

impl Receiver {
    pub(super) fn open(&mut self) {
        self.state = State::Held(VecDeque::new());
        self.zero = None;
        self.counts = Counts::default();
    }

    pub(super) fn close(&mut self) {
        self.state = State::Closed;
    }

    pub(super) fn bind(&mut self, codec: Codec, first_sequence: u16, first_timestamp: u32, now: Instant) {
        let held = match std::mem::take(&mut self.state) {
            State::Closed => return,
            State::Held(packets) => packets,
            State::Bound(mut bound) if bound.codec == codec => {
                // The section counts on without a gap and begins anew at a key frame, which may have come already.
                bound.stale_report = Some(self.report);
                self.state = State::Bound(bound);
                return;
            }
            State::Bound(bound) => bound.overtaking,
        };
        let config = AssemblerConfig::for_codec(codec);
        self.state = State::Bound(Box::new(Bound {
            codec,
            assembler: FrameAssembler::new(codec, config),
            first_sequence: FirstSequence::Low(first_sequence),
            stale_report: None,
            payload_type: None,
            overtaking: VecDeque::new(),
        }));
        // Sequence numbers alone tell occupants apart within the binding; across a wrap of both, the timestamp does too.
        let is_older =
            |packet: &RtpPacket| (packet.header.timestamp.wrapping_sub(first_timestamp) as i32) < 0;
        for packet in held.into_iter().filter(|packet| !is_older(packet)) {
            self.push_bound(packet, now);
        }
    }

    pub(super) fn push(&mut self, packet: RtpPacket, now: Instant) {
        self.newest = self.newest.max(Some(*packet.seq_no));
        let says_something = |report: &SenderInfo| report.sender_packet_count > 0;
        if let Some(report) = packet.last_sender_info.filter(says_something) {
            self.report = Some(report);
        }
        match &mut self.state {
            State::Closed => {}
            State::Held(packets) => hold(packets, packet),
            State::Bound(bound) => match bound.payload_type {
                Some(payload_type) if payload_type != packet.header.payload_type => {
                    hold(&mut bound.overtaking, packet)
                }
                _ => self.push_bound(packet, now),
            },
        }
    }

    pub(super) fn poll(&mut self, now: Instant) -> Option<Event> {
        let State::Bound(bound) = &mut self.state else { return None };
        match bound.assembler.poll(now)? {
            AssemblerEvent::KeyframeNeeded => Some(Event::KeyframeNeeded),
            AssemblerEvent::Frame(frame) => {
                let report = self.report.filter(|report| bound.stale_report != Some(Some(*report)));
                let zero = *self.zero.get_or_insert(frame.timestamp);
                let Counts { stats, meter, .. } = &mut self.counts;
                stats.frames_received += 1;
                stats.packets_lost += i64::try_from(frame.packets_lost).unwrap_or(i64::MAX);
                meter.add(now);
                Some(Event::Frame(finish(frame, bound.codec, zero, report)))
            }
        }
    }

    /// Returns what came of the track so far.
    pub(super) fn stats(&self, now: Instant) -> ReceiverStats {
        let Counts { stats, jitter, meter, .. } = &self.counts;
        ReceiverStats { jitter: jitter.get(), frames_per_second: meter.rate(now), ..*stats }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Bound(bound) => bound.assembler.deadline(),
            State::Closed | State::Held(_) => None,
        }
    }

    fn push_bound(&mut self, packet: RtpPacket, now: Instant) {
        let State::Bound(bound) = &mut self.state else { return };
        let sequence = *packet.seq_no;
        if let FirstSequence::Low(low) = bound.first_sequence {
            let newest = self.newest.unwrap_or(sequence);
            let first = nearest(newest, low);
            bound.assembler.start_at(first);
            bound.first_sequence = FirstSequence::Full(first);
        }
        if matches!(bound.first_sequence, FirstSequence::Full(first) if sequence >= first) {
            // Not before: a late packet of an earlier occupant may be of another codec.
            bound.payload_type.get_or_insert(packet.header.payload_type);
            bound.stale_report.get_or_insert(packet.last_sender_info);
            let level = packet.header.ext_vals.audio_level;
            let audio_level = level.map(|level| AudioLevel::from_negative_dbov(level.unsigned_abs()));
            self.counts.add(&packet, bound.codec, now);
            self.counts.stats.audio_level = audio_level.or(self.counts.stats.audio_level);
            bound.assembler.push(
                Packet {
                    sequence,
                    timestamp: packet.time.numer(),
                    marker: packet.header.marker,
                    payload: packet.payload,
                    audio_level,
                },
                now,
            );
        }
    }
}

impl Counts {
    fn add(&mut self, packet: &RtpPacket, codec: Codec, now: Instant) {
        self.stats.packets_received += 1;
        self.stats.bytes_received += packet.payload.len() as u64;
        self.stats.header_bytes_received += packet.header.header_len as u64;
        let since = *self.since.get_or_insert(now);
        let sent = packet.time.numer() as f64 / f64::from(codec.clock_rate());
        self.jitter.add(now.saturating_duration_since(since), sent);
    }
}

fn hold(packets: &mut VecDeque<RtpPacket>, packet: RtpPacket) {
    if packets.len() == HELD_MAX {
        packets.pop_front();
    }
    packets.push_back(packet);
}

fn finish(frame: AssembledFrame, codec: Codec, zero: u64, report: Option<SenderInfo>) -> ReceivedFrame {
    ReceivedFrame {
        data: frame.data.into(),
        codec,
        media_time: codec.time(frame.timestamp.saturating_sub(zero)),
        captured_at: report
            .and_then(|report| rtc::captured_at(&report, frame.timestamp as u32, codec.clock_rate())),
        is_keyframe: frame.is_keyframe,
        packets_lost: frame.packets_lost,
        audio_level: frame.audio_level,
    }
}

/// Returns the number that ends in `low` and is nearest to `full`.
fn nearest(full: u64, low: u16) -> u64 {
    let distance = low.wrapping_sub(full as u16) as i16;
    full.saturating_add_signed(i64::from(distance))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_nearest_number_ends_as_it_should(full in 40_000..u64::MAX / 2, low: u16) {
            let number = nearest(full, low);
            prop_assert_eq!(number as u16, low);
            prop_assert!(number.abs_diff(full) <= 1 << 15);
        }
    }
}
