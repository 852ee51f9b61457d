//! One sending section: the tracks that use it one after another share its sequence numbers and its timeline.

use std::time::{Duration, Instant};

use roomful_rtp::{Packetizer, Payloads};
use roomful_types::{Codec, MediaKind, StreamKey};
use str0m::{
    media::Pt,
    rtp::{ExtensionValues, RtpWrite, StreamTx},
};

use super::{Delivery, SentFrame};
use crate::rtc::MediaError;

/// Bytes that wait in front of the pacer before the writer has to wait: two seconds at 2 Mbit/s.
pub(super) const QUEUE_MAX: usize = 512 << 10;

/// Payload bytes per packet: 1200 bytes of datagram less RTP header and extensions, the prefix of a retransmission (RFC 4588
/// §4) and the tag of AES-GCM (RFC 7714 §13).
const MAX_PAYLOAD: usize = 1200 - 12 - 40 - 2 - 16;

#[derive(Debug, Default)]
pub(super) struct Sender {
    track: Option<Track>,
    payloads: Payloads,
    next_sequence: u64,
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
    /// Media time of the first frame sent.
    zero: Option<Duration>,
    is_active: bool,
    is_paused: bool,
    needs_keyframe: bool,
}

impl Sender {
    pub(super) fn open(&mut self, codec: Codec, payload_type: Pt, stream: StreamKey, now: Instant) -> u32 {
        let first_timestamp = self.newest.map_or(0, |(timestamp, clock_rate, sent_at)| {
            // Behind everything that was sent, as far as the time that passed, so that receivers see a pause.
            let passed = now.saturating_duration_since(sent_at).as_millis() * u128::from(clock_rate) / 1000;
            timestamp.wrapping_add(passed.clamp(1, u128::from(u32::MAX >> 1)) as u32)
        });
        self.track = Some(Track {
            codec,
            payload_type,
            stream,
            packetizer: Packetizer::new(codec, MAX_PAYLOAD),
            first_timestamp,
            zero: None,
            is_active: false,
            is_paused: false,
            needs_keyframe: codec.kind() == MediaKind::Video,
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

    pub(super) fn set_active(&mut self, active: bool) {
        if let Some(track) = &mut self.track {
            track.is_active = active;
            track.needs_keyframe |= !active && track.codec.kind() == MediaKind::Video;
        }
    }

    pub(super) fn set_paused(&mut self, paused: bool) {
        if let Some(track) = &mut self.track {
            track.is_paused = paused;
            track.needs_keyframe |= paused && track.codec.kind() == MediaKind::Video;
        }
    }

    /// Returns whether a track of this kind is sent.
    pub(super) fn flows(&self, kind: MediaKind) -> bool {
        let track = self.track.as_ref();
        track.is_some_and(|track| track.codec.kind() == kind && track.is_active && !track.is_paused)
    }

    pub(super) fn send(
        &mut self,
        frame: &SentFrame,
        captured: Instant,
        now: Instant,
        stream: &mut StreamTx,
    ) -> Result<Delivery, MediaError> {
        let track = self.track.as_mut().ok_or(MediaError::UnknownMid)?;
        if !track.is_active || track.is_paused || (track.needs_keyframe && !frame.is_keyframe) {
            return Ok(Delivery::Skipped);
        }
        track.packetizer.packetize(&frame.data, &mut self.payloads)?;
        track.needs_keyframe = false;
        let passed = frame.media_time.saturating_sub(*track.zero.get_or_insert(frame.media_time));
        let timestamp = track.first_timestamp.wrapping_add(track.codec.ticks(passed) as u32);
        self.newest = Some((timestamp, track.codec.clock_rate(), now));
        let is_video = track.codec.kind() == MediaKind::Video;
        let last = self.payloads.len().saturating_sub(1);
        for (index, payload) in self.payloads.iter().enumerate() {
            let audio_level = frame.audio_level.map(|level| -(level.as_negative_dbov() as i8));
            let packet =
                RtpWrite::new(track.payload_type, self.next_sequence.into(), timestamp, captured, payload)
                    .marker(is_video && index == last)
                    .ext_vals(ExtensionValues { audio_level, ..ExtensionValues::default() })
                    .nackable(is_video);
            stream.write_rtp(packet);
            self.next_sequence += 1;
        }
        Ok(Delivery::Sent)
    }
}
