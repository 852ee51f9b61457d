//! What the demo found, as an object for programs and in words for people.

use std::time::Duration;

use serde::Serialize;

use crate::{format, recording::Recording};

/// What the demo found. The names are those of `--json`.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Report {
    /// Participants that joined.
    pub(super) participants: usize,
    /// Streams that were published.
    pub(super) streams: usize,
    /// Subscriptions that were granted.
    pub(super) subscriptions: usize,
    /// Frames written while somebody took the track.
    pub(super) frames_sent: u64,
    /// Frames received, over all subscriptions.
    pub(super) frames_received: u64,
    /// Of these, those whose bytes are those published.
    pub(super) frames_identical: u64,
    /// Frames published between the first and the last that a subscription received, which did not arrive.
    pub(super) frames_missing: u64,
    /// Packets lost on the way to subscribers.
    pub(super) packets_lost: u64,
    /// From asking to join to having joined.
    #[serde(flatten, serialize_with = "as_connect")]
    pub(super) connect: Percentiles,
    /// From asking for a stream to its first frame, for audio and video each.
    #[serde(flatten, serialize_with = "as_first_frame")]
    pub(super) first_frame: Percentiles,
    /// The files of the participant that records.
    pub(super) recording: Vec<Recording>,
}

/// Two percentiles of times, in milliseconds; none without times.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Percentiles {
    p50: Option<f64>,
    p95: Option<f64>,
}

impl Percentiles {
    /// Computes them.
    pub(super) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let millis = |share| percentile(&times, share).map(|time| (time.as_secs_f64() * 1e4).round() / 10.0);
        Self { p50: millis(50), p95: millis(95) }
    }
}

impl std::fmt::Display for Percentiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.p50, self.p95) {
            (Some(p50), Some(p95)) => write!(f, "{p50:.1} ms (p50), {p95:.1} ms (p95)"),
            _ => f.write_str("never"),
        }
    }
}

/// Returns the smallest time that `share` percent of the times do not exceed (nearest rank).
///
/// * `sorted`: the times in order.
fn percentile(sorted: &[Duration], share: usize) -> Option<Duration> {
    let rank = (sorted.len() * share).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

impl Report {
    /// Writes it for people, without the last line, which says how it ended.
    pub(super) fn lines(&self) -> Vec<String> {
        let lost = format::count(self.packets_lost as usize, "packet");
        let mut lines = vec![
            format!(
                "{}, {}, {}",
                format::count(self.participants, "participant"),
                format::count(self.streams, "stream"),
                format::count(self.subscriptions, "subscription")
            ),
            format!(
                "frames: {} sent, {} received, {} identical to those sent, {} missing; {lost} lost",
                self.frames_sent, self.frames_received, self.frames_identical, self.frames_missing
            ),
            format!("joined after {}; first frame after {}", self.connect, self.first_frame),
        ];
        lines.extend(self.recording.iter().map(|file| {
            format!("recorded {}: {}", file.path.display(), format::count(file.frames as usize, "frame"))
        }));
        lines
    }
}

fn as_connect<S: serde::Serializer>(percentiles: &Percentiles, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Named {
        connect_ms_p50: Option<f64>,
        connect_ms_p95: Option<f64>,
    }
    Named { connect_ms_p50: percentiles.p50, connect_ms_p95: percentiles.p95 }.serialize(serializer)
}

fn as_first_frame<S: serde::Serializer>(percentiles: &Percentiles, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Named {
        first_frame_ms_p50: Option<f64>,
        first_frame_ms_p95: Option<f64>,
    }
    Named { first_frame_ms_p50: percentiles.p50, first_frame_ms_p95: percentiles.p95 }.serialize(serializer)
}

#[cfg(test)]
mod tests {
    use roomful::{Codec, MediaKind};

    use super::*;

    #[test]
    fn percentiles_are_times_that_occurred() {
        let times: Vec<_> = (1..=20).rev().map(Duration::from_millis).collect();
        assert_eq!(Percentiles::of(times), Percentiles { p50: Some(10.0), p95: Some(19.0) });
        let one = Percentiles::of(vec![Duration::from_micros(1234)]);
        assert_eq!(one, Percentiles { p50: Some(1.2), p95: Some(1.2) });
        assert_eq!(Percentiles::of(Vec::new()), Percentiles::default());
    }

    #[test]
    fn the_object_has_exactly_the_agreed_keys() {
        let recording = Recording {
            path: "a/bot-1-camera-video.ivf".into(),
            kind: MediaKind::Video,
            frames: 300,
            codec: Codec::Vp8,
            resolution: Some((640, 360)),
            duration: Duration::from_secs(10),
            bytes: 756_376,
        };
        let report = Report { recording: vec![recording], ..Report::default() };
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            "{\"participants\":0,\"streams\":0,\"subscriptions\":0,\"frames_sent\":0,\"frames_received\":0,\
             \"frames_identical\":0,\"frames_missing\":0,\"packets_lost\":0,\"connect_ms_p50\":null,\
             \"connect_ms_p95\":null,\"first_frame_ms_p50\":null,\"first_frame_ms_p95\":null,\
             \"recording\":[{\"path\":\"a/bot-1-camera-video.ivf\",\"kind\":\"video\",\"frames\":300}]}"
        );
    }
}
