//! One sending section: the tracks that use it one after another share its sequence numbers and its timeline.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use roomful_rtp::{Packetizer, Payloads};
use roomful_types::{Codec, MediaKind, Rid, StreamKey};
use str0m::{
    media::Pt,
    rtp::{RtpWrite, StreamTx},
    stats::MediaEgressStats,
};

use super::{
    Delivery, SentFrame,
    stats::{Departures, FrameMeter, RtpHead, SenderStats},
};
use crate::rtc::{self, MediaError};

/// Bytes that wait in front of the pacer before the writer has to wait: two seconds at 2 Mbit/s.
pub(super) const QUEUE_MAX: usize = 512 << 10;

/// Payload bytes per packet: 1200 bytes of datagram less RTP header and extensions, the prefix of a retransmission (RFC 4588
/// §4) and the tag of AES-GCM (RFC 7714 §13).
const MAX_PAYLOAD: usize = 1200 - 12 - 40 - 2 - 16;

/// A request for a key frame that comes so soon after one crossed it: a new subscriber is announced by signalling and by the request, and
/// a track begins with a key frame. Whoever has lost it asks again.
const KEYFRAME_ON_ITS_WAY: Duration = Duration::from_millis(150);

#[derive(Debug, Default)]
pub(super) struct Sender {
    track: Option<Track>,
    payloads: Payloads,
    sent: BTreeMap<Rid, Sent>,
    /// The newest timestamp of the section, over all its tracks, and when it was sent.
    newest: Option<(u32, u32, Instant)>,
}

#[derive(Debug)]
struct Track {
    codec: Codec,
    payload_type: Pt,
    stream: StreamKey,
    packetizer: Packetizer,
    first_timestamp: u32,
    /// Media time of the first frame sent, of whichever encoding: all are on one line.
    zero: Option<Duration>,
    is_active: bool,
    encodings: BTreeMap<Rid, Encoding>,
}

/// One encoding of a track.
#[derive(Debug, Clone, Copy)]
struct Encoding {
    is_paused: bool,
    needs_keyframe: bool,
    /// When the latest key frame was sent.
    keyframe_at: Option<Instant>,
}

/// What was sent of one encoding, over all tracks of the section.
#[derive(Debug, Default)]
struct Sent {
    next_sequence: u64,
    frames: u64,
    meter: FrameMeter,
    departures: Departures,
    /// What str0m counted, once a second.
    egress: Option<MediaEgressStats>,
}

impl Sender {
    pub(super) fn open(
        &mut self,
        codec: Codec,
        payload_type: Pt,
        stream: StreamKey,
        simulcast: bool,
        now: Instant,
    ) -> u32 {
        let first_timestamp = self.newest.map_or(0, |(timestamp, clock_rate, sent_at)| {
            // Behind everything that was sent, as far as the time that passed, so that receivers see a pause.
            let passed = now.saturating_duration_since(sent_at).as_millis() * u128::from(clock_rate) / 1000;
            timestamp.wrapping_add(passed.clamp(1, u128::from(u32::MAX >> 1)) as u32)
        });
        let fresh = Encoding {
            is_paused: false,
            needs_keyframe: codec.kind() == MediaKind::Video,
            keyframe_at: None,
        };
        let rids: &[Rid] = if simulcast { &Rid::ALL } else { &[Rid::High] };
        self.track = Some(Track {
            codec,
            payload_type,
            stream,
            packetizer: Packetizer::new(codec, MAX_PAYLOAD),
            first_timestamp,
            zero: None,
            is_active: false,
            encodings: rids.iter().map(|rid| (*rid, fresh)).collect(),
        });
        first_timestamp
    }

    /// Ends the track; returns the stream that it was of.
    pub(super) fn close(&mut self) -> Option<StreamKey> {
        self.track.take().map(|track| track.stream)
    }

    pub(super) fn stream(&self) -> Option<&StreamKey> {
        self.track.as_ref().map(|track| &track.stream)
    }

    /// Returns whether a key frame of an encoding was sent so lately that whoever asks for one cannot have seen it.
    pub(super) fn is_keyframe_on_its_way(&self, rid: Rid, now: Instant) -> bool {
        let encoding = self.track.as_ref().and_then(|track| track.encodings.get(&rid));
        let sent_at = encoding.and_then(|encoding| encoding.keyframe_at);
        sent_at.is_some_and(|at| now < at + KEYFRAME_ON_ITS_WAY)
    }

    pub(super) fn set_active(&mut self, active: bool) {
        let Some(track) = &mut self.track else { return };
        track.is_active = active;
        let is_video = track.codec.kind() == MediaKind::Video;
        for encoding in track.encodings.values_mut() {
            encoding.needs_keyframe |= !active && is_video;
        }
    }

    pub(super) fn set_paused(&mut self, rid: Rid, paused: bool) {
        let Some(track) = &mut self.track else { return };
        let is_video = track.codec.kind() == MediaKind::Video;
        if let Some(encoding) = track.encodings.get_mut(&rid) {
            encoding.is_paused = paused;
            encoding.needs_keyframe |= paused && is_video;
        }
    }

    /// Returns the encodings of a track of this kind that are sent.
    pub(super) fn flowing(&self, kind: MediaKind) -> impl Iterator<Item = Rid> {
        let track = self.track.as_ref().filter(|track| track.codec.kind() == kind && track.is_active);
        let encodings = track.into_iter().flat_map(|track| &track.encodings);
        encodings.filter(|(_, encoding)| !encoding.is_paused).map(|(rid, _)| *rid)
    }

    pub(super) fn send(
        &mut self,
        rid: Rid,
        frame: &SentFrame,
        captured: Instant,
        now: Instant,
        stream: &mut StreamTx,
    ) -> Result<Delivery, MediaError> {
        let track = self.track.as_mut().ok_or(MediaError::UnknownMid)?;
        let encoding = track.encodings.get_mut(&rid).ok_or(MediaError::UnknownMid)?;
        let waits = encoding.needs_keyframe && !frame.is_keyframe;
        if !track.is_active || encoding.is_paused || waits {
            return Ok(Delivery::Skipped);
        }
        track.packetizer.packetize(&frame.data, &mut self.payloads)?;
        encoding.needs_keyframe = false;
        if frame.is_keyframe {
            encoding.keyframe_at = Some(now);
        }
        let passed = frame.media_time.saturating_sub(*track.zero.get_or_insert(frame.media_time));
        let timestamp = track.first_timestamp.wrapping_add(track.codec.ticks(passed) as u32);
        self.newest = Some((timestamp, track.codec.clock_rate(), now));
        let is_video = track.codec.kind() == MediaKind::Video;
        let last = self.payloads.len().saturating_sub(1);
        let sent = self.sent.entry(rid).or_default();
        sent.frames += 1;
        sent.meter.add(now);
        for (index, payload) in self.payloads.iter().enumerate() {
            let packet =
                RtpWrite::new(track.payload_type, sent.next_sequence.into(), timestamp, captured, payload)
                    .marker(is_video && index == last)
                    .ext_vals(rtc::extensions(frame.audio_level))
                    .nackable(is_video);
            stream.write_rtp(packet);
            sent.departures.on_written(sent.next_sequence as u16, payload.len(), now);
            sent.next_sequence += 1;
        }
        Ok(Delivery::Sent)
    }

    pub(super) fn on_egress_stats(&mut self, rid: Rid, stats: MediaEgressStats) {
        self.sent.entry(rid).or_default().egress = Some(stats);
    }

    /// Counts a packet that leaves.
    pub(super) fn on_departure(&mut self, rid: Rid, head: &RtpHead, is_repair: bool, now: Instant) {
        self.sent.entry(rid).or_default().departures.on_sent(head, is_repair, now);
    }

    /// Returns what was sent of each encoding.
    pub(super) fn stats(&self, now: Instant) -> BTreeMap<Rid, SenderStats> {
        self.sent.iter().map(|(rid, sent)| (*rid, sent.stats(now))).collect()
    }
}

impl Sent {
    fn stats(&self, now: Instant) -> SenderStats {
        let (egress, departures) = (self.egress.as_ref(), &self.departures);
        SenderStats {
            packets_sent: departures.packets,
            bytes_sent: departures.bytes,
            retransmitted_packets_sent: departures.repairs,
            retransmitted_bytes_sent: departures.repair_bytes,
            header_bytes_sent: departures.header_bytes,
            total_packet_send_delay: departures.waited,
            nack_count: egress.map_or(0, |stats| stats.nacks),
            pli_count: egress.map_or(0, |stats| stats.plis),
            fir_count: egress.map_or(0, |stats| stats.firs),
            frames_sent: self.frames,
            frames_per_second: self.meter.rate(now),
            round_trip_time: egress.and_then(|stats| stats.rtt),
        }
    }
}
