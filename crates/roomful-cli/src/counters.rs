//! What came in on one track, and how fast.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use roomful::{Bitrate, Codec, RemoteFrame, file};
use tokio::time::Instant;

/// What came in on one track so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    /// Frames.
    pub(crate) frames: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Packets that they came in, by estimate: the SDK counts frames.
    pub(crate) packets: u64,
    /// Packets that the network lost.
    pub(crate) packets_lost: u64,
    /// How they are encoded; none before the first.
    pub(crate) codec: Option<Codec>,
    /// Width and height of the newest key frame, if it is video and tells.
    pub(crate) resolution: Option<(u16, u16)>,
    /// From the publisher to here, smoothed.
    pub(crate) delay: Option<Duration>,
}

impl Counters {
    /// Counts a frame.
    pub(crate) fn take(&mut self, frame: &RemoteFrame) {
        self.frames += 1;
        self.bytes += frame.data.len() as u64;
        self.packets += (frame.data.len() as u64).div_ceil(PAYLOAD_BYTES).max(1);
        self.packets_lost += frame.packets_lost;
        self.codec = Some(frame.codec);
        if frame.is_keyframe {
            self.resolution = file::resolution(frame.codec, &frame.data).or(self.resolution);
        }
    }

    /// Counts how long a frame was on its way.
    pub(crate) fn take_delay(&mut self, delay: Duration) {
        self.delay = Some(self.delay.map_or(delay, |smoothed| (smoothed * 15 + delay) / 16));
    }

    /// Counts how long a frame was on its way by the clocks of both ends, if they agree well enough to tell.
    pub(crate) fn take_capture_time(&mut self, captured_at: Option<SystemTime>, now: SystemTime) {
        let delay = captured_at.and_then(|captured_at| now.duration_since(captured_at).ok());
        if let Some(delay) = delay.filter(|delay| *delay < CLOCKS_DISAGREE) {
            self.take_delay(delay);
        }
    }

    /// Writes the size of the picture.
    pub(crate) fn encoding(&self) -> String {
        self.resolution.map(|(width, height)| format!("{width}×{height}")).unwrap_or_default()
    }

    /// Writes the codec.
    pub(crate) fn codec_name(&self) -> String {
        self.codec.map(|codec| codec.to_string()).unwrap_or_default()
    }

    /// Writes the delay.
    pub(crate) fn delay(&self) -> String {
        self.delay.map(crate::format::millis).unwrap_or_default()
    }
}

/// What a packet carries of a large frame: what the SDK's sender puts in, about.
const PAYLOAD_BYTES: u64 = 1130;

/// A longer way is no delay but another time of day.
const CLOCKS_DISAGREE: Duration = Duration::from_secs(10);

/// Rates over the last two seconds.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    samples: VecDeque<(Instant, u64, u64)>,
}

impl Meter {
    /// Begins with nothing, at this time.
    pub(crate) fn begin(now: Instant) -> Self {
        Self { samples: VecDeque::from([(now, 0, 0)]) }
    }

    /// Takes what there was in all, at this time.
    pub(crate) fn sample(&mut self, now: Instant, frames: u64, bytes: u64) {
        self.samples.push_back((now, frames, bytes));
        // The oldest that stays is the first at least a window old.
        while self.samples.len() > 2 && now.saturating_duration_since(self.samples[1].0) >= WINDOW {
            self.samples.pop_front();
        }
    }

    /// Returns frames per second.
    pub(crate) fn frame_rate(&self) -> f64 {
        let (time, frames, _) = self.change();
        if time < TOO_SHORT { 0.0 } else { frames as f64 / time.as_secs_f64() }
    }

    /// Returns the bit rate.
    pub(crate) fn bitrate(&self) -> Bitrate {
        let (time, _, bytes) = self.change();
        if time < TOO_SHORT { Bitrate::default() } else { Bitrate::of(bytes, time) }
    }

    fn change(&self) -> (Duration, u64, u64) {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else {
            return (Duration::ZERO, 0, 0);
        };
        (
            last.0.saturating_duration_since(first.0),
            last.1.saturating_sub(first.1),
            last.2.saturating_sub(first.2),
        )
    }
}

const WINDOW: Duration = Duration::from_secs(2);

/// A rate over less says nothing: one frame more or less decides.
const TOO_SHORT: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_window() {
        let start = Instant::now();
        let mut meter = Meter::begin(start);
        assert_eq!((meter.frame_rate(), meter.bitrate()), (0.0, Bitrate::from_bps(0)));
        for tick in 0..=40_u64 {
            let rate = if tick <= 20 { 100 } else { 1000 };
            let bytes = if tick <= 20 { tick * rate } else { 2000 + (tick - 20) * rate };
            meter.sample(start + Duration::from_millis(tick * 250), tick, bytes);
        }
        assert!((meter.frame_rate() - 4.0).abs() < 1e-9);
        assert_eq!(meter.bitrate(), Bitrate::from_bps(32_000));
        assert!(meter.samples.len() <= 10);
    }

    #[test]
    fn clocks_that_disagree_tell_nothing() {
        let now = SystemTime::now();
        let mut counters = Counters::default();
        counters.take_capture_time(None, now);
        counters.take_capture_time(Some(now + Duration::from_secs(1)), now);
        counters.take_capture_time(Some(now - Duration::from_secs(3600)), now);
        assert_eq!(counters.delay, None);
        counters.take_capture_time(Some(now - Duration::from_millis(5)), now);
        assert_eq!(counters.delay(), "5.0 ms");
    }
}
