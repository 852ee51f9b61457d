//! Media kinds, codecs, loudness and bit rates.

use std::{fmt, str::FromStr, time::Duration};

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Audio or video.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[cbor(index_only)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    /// Sound.
    #[n(0)]
    Audio,
    /// Moving pictures.
    #[n(1)]
    Video,
}

impl MediaKind {
    /// Both kinds, audio first: the order of every event that comes once per kind.
    pub const ALL: [Self; 2] = [Self::Audio, Self::Video];
}

impl fmt::Display for MediaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Audio => "audio",
            Self::Video => "video",
        })
    }
}

/// How media is encoded.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[cbor(index_only)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Opus (RFC 6716, RTP by RFC 7587).
    #[n(0)]
    Opus,
    /// VP8 (RFC 6386, RTP by RFC 7741).
    #[n(1)]
    Vp8,
    /// H.264 constrained baseline (RTP by RFC 6184, packetization mode 1).
    #[n(2)]
    H264,
}

impl Codec {
    /// Returns whether it encodes audio or video.
    #[must_use]
    pub const fn kind(self) -> MediaKind {
        match self {
            Self::Opus => MediaKind::Audio,
            Self::Vp8 | Self::H264 => MediaKind::Video,
        }
    }

    /// Returns RTP timestamp units per second: 48,000 for Opus (RFC 7587 §4.1), 90,000 for video.
    #[must_use]
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Vp8 | Self::H264 => 90_000,
        }
    }

    /// Converts a media time to RTP timestamp units, rounded to the nearest.
    #[must_use]
    pub const fn ticks(self, time: Duration) -> u64 {
        let scaled = time.as_nanos() * self.clock_rate() as u128;
        ((scaled + 500_000_000) / 1_000_000_000) as u64
    }

    /// Converts RTP timestamp units to a media time, rounded to the nearest nanosecond.
    #[must_use]
    pub const fn time(self, ticks: u64) -> Duration {
        let rate = self.clock_rate() as u64;
        let nanos = ((ticks % rate) * 1_000_000_000 + rate / 2) / rate;
        Duration::new(ticks / rate, 0).saturating_add(Duration::from_nanos(nanos))
    }

    /// Returns the encoding name of the SDP `a=rtpmap` line (RFC 8866 §6.6).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opus => "Opus",
            Self::Vp8 => "VP8",
            Self::H264 => "H264",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(name: &str) -> Result<Self, UnknownCodec> {
        [Self::Opus, Self::Vp8, Self::H264]
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(name))
            .ok_or(UnknownCodec)
    }
}

/// The name is not that of a codec that roomful forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown codec; known are Opus, VP8 and H264")]
pub struct UnknownCodec;

/// One encoding of a video track, by its restriction id (RFC 8851). A track without simulcast has one, the highest.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, Encode, Decode,
)]
#[cbor(index_only)]
pub enum Rid {
    /// A quarter of the width and height.
    #[serde(rename = "l")]
    #[n(0)]
    Low,
    /// Half of the width and height.
    #[serde(rename = "m")]
    #[n(1)]
    Medium,
    /// Full size.
    #[default]
    #[serde(rename = "h")]
    #[n(2)]
    High,
}

impl Rid {
    /// All three, the best first.
    pub const ALL: [Self; 3] = [Self::High, Self::Medium, Self::Low];

    /// Returns the id as it stands in session descriptions and RTP.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "h",
            Self::Medium => "m",
            Self::Low => "l",
        }
    }

    /// Returns by what width and height are divided.
    #[must_use]
    pub const fn scale_down_by(self) -> u32 {
        match self {
            Self::High => 1,
            Self::Medium => 2,
            Self::Low => 4,
        }
    }
}

impl fmt::Display for Rid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Rid {
    type Err = UnknownRid;

    fn from_str(text: &str) -> Result<Self, UnknownRid> {
        Self::ALL.into_iter().find(|rid| rid.as_str() == text).ok_or(UnknownRid)
    }
}

/// The text is not the id of an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown encoding; known are h, m and l")]
pub struct UnknownRid;

/// Loudness of one packet in −dBov: 0 is the loudest, 127 silence (RFC 6464 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AudioLevel(u8);

impl AudioLevel {
    /// Digital silence.
    pub const SILENCE: Self = Self(127);

    /// Takes −dBov; anything above 127 counts as silence.
    #[must_use]
    pub const fn from_negative_dbov(level: u8) -> Self {
        Self(if level > 127 { 127 } else { level })
    }

    /// Returns −dBov, 0 ..= 127.
    #[must_use]
    pub const fn as_negative_dbov(self) -> u8 {
        self.0
    }

    /// Returns the loudness on a linear scale: 1 at 0 dBov, a tenth of it every 20 dB below; silence is 0.
    #[must_use]
    pub fn as_linear(self) -> f64 {
        if self == Self::SILENCE { 0.0 } else { 10_f64.powf(f64::from(self.0) / -20.0) }
    }
}

/// RTP header extensions that pass a server as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PassedExtensions {
    /// How loud it is (RFC 6464).
    pub audio_level: Option<AudioLevel>,
    /// Whether whoever says how loud it is takes it for speech (the V bit there).
    pub is_speech: bool,
    /// How the picture is to be turned: the byte of 3GPP TS 26.114 §7.4.5 (`urn:3gpp:video-orientation`).
    pub orientation: Option<u8>,
    /// Bounds of the delay until it is played: twice 12 bits in units of 10 ms
    /// (`http://www.webrtc.org/experiments/rtp-hdrext/playout-delay`).
    pub playout_delay: Option<[u8; 3]>,
    /// When it was captured, in 32 bits of seconds since 1900 and 32 of fractions, and how far the clock of its capture is ahead of
    /// its sender's, if that is said (`http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time`).
    pub capture_time: Option<(u64, Option<i64>)>,
}

impl PassedExtensions {
    /// Returns which there are, and how long: packets of one shape have headers of one length.
    #[must_use]
    pub const fn shape(&self) -> u8 {
        let capture_time = match self.capture_time {
            None => 0,
            Some((_, None)) => 1,
            Some((_, Some(_))) => 2,
        };
        self.audio_level.is_some() as u8
            | (self.orientation.is_some() as u8) << 1
            | (self.playout_delay.is_some() as u8) << 2
            | capture_time << 3
    }
}

/// A bit rate, in bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bitrate(u64);

impl Bitrate {
    /// Takes bits per second.
    #[must_use]
    pub const fn from_bps(bps: u64) -> Self {
        Self(bps)
    }

    /// Takes kilobits (1000 bits) per second.
    #[must_use]
    pub const fn from_kbps(kbps: u64) -> Self {
        Self(kbps.saturating_mul(1000))
    }

    /// Returns the mean rate of `bytes` in `time`; zero for no time.
    #[must_use]
    pub fn of(bytes: u64, time: Duration) -> Self {
        let nanos = time.as_nanos();
        let bits = u128::from(bytes) * 8 * 1_000_000_000;
        Self(bits.checked_div(nanos).map_or(0, |bps| u64::try_from(bps).unwrap_or(u64::MAX)))
    }

    /// Returns bits per second.
    #[must_use]
    pub const fn as_bps(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self.0 {
            0..10_000 => format!("{} bit/s", self.0),
            10_000..10_000_000 => format!("{} kbit/s", self.0 / 1000),
            _ => format!("{:.1} Mbit/s", self.0 as f64 / 1e6),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thirty_frames_per_second_fall_on_whole_ticks() {
        for frame in 0..3000_u64 {
            let time = Duration::from_nanos(frame * 1_000_000_000 / 30);
            assert_eq!(Codec::Vp8.ticks(time), frame * 3000);
        }
    }

    #[test]
    fn a_rate_is_printed_in_the_unit_that_reads_best() {
        assert_eq!(Bitrate::from_bps(9_999).to_string(), "9999 bit/s");
        assert_eq!(Bitrate::from_kbps(604).to_string(), "604 kbit/s");
        assert_eq!(Bitrate::of(1_500_000, Duration::from_secs(1)).to_string(), "12.0 Mbit/s");
        assert_eq!(Bitrate::of(1, Duration::ZERO), Bitrate::default());
    }

    proptest! {
        #[test]
        fn ticks_survive_the_way_through_time(ticks in 0..u64::from(u32::MAX) * 1000) {
            for codec in [Codec::Opus, Codec::Vp8] {
                prop_assert_eq!(codec.ticks(codec.time(ticks)), ticks);
            }
        }
    }
}
