//! How well the media of a participant gets through, as one of six levels. `docs/network-metrics.md` explains the formulas.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use roomful_types::{MediaKind, Mid, StreamId};

use crate::media::SectionMeasure;

/// A level, 0 broken to 5 excellent.
pub(crate) type Level = u8;

/// The level of what is not impaired.
pub(crate) const EXCELLENT: Level = 5;

/// What was measured of one participant's sections of late.
#[derive(Debug, Default)]
pub(crate) struct Quality {
    sections: BTreeMap<Mid, Section>,
    /// The level of each stream that was last told.
    told: BTreeMap<StreamId, Level>,
}

#[derive(Debug, Default)]
struct Section {
    latest: Option<SectionMeasure>,
    /// Whether its client should have been sending at the latest measurement.
    was_expected: bool,
    /// One per second, newest last.
    window: VecDeque<Second>,
}

/// One second of a section.
#[derive(Debug, Clone, Copy)]
struct Second {
    lost: f64,
    jitter: Duration,
    round_trip_time: Duration,
    /// Whether anything was sent, and whether any of it got through.
    was_sent: bool,
    got_through: bool,
}

/// How many seconds count.
const WINDOW: usize = 5;

/// Seconds after which a section that nothing is heard of counts as measured.
const ENOUGH: usize = 2;

impl Quality {
    pub(crate) const fn new() -> Self {
        Self { sections: BTreeMap::new(), told: BTreeMap::new() }
    }

    /// Takes a measurement in.
    ///
    /// * `is_expected`: whether the client should be sending on the section. Nothing that comes is a loss then.
    pub(crate) fn add(&mut self, measure: SectionMeasure, is_expected: bool) {
        let section = self.sections.entry(measure.mid).or_default();
        let was_expected = std::mem::replace(&mut section.was_expected, is_expected);
        if let Some(before) = section.latest.replace(measure) {
            let second = Second {
                lost: f64::from(measure.fraction_lost) / 256.0,
                jitter: measure.jitter,
                round_trip_time: measure.round_trip_time.unwrap_or_default(),
                was_sent: measure.packets > before.packets || (is_expected && was_expected),
                got_through: measure.progress > before.progress,
            };
            section.window.push_back(second);
            if section.window.len() > WINDOW {
                section.window.pop_front();
            }
        }
    }

    /// Another source is on the section from now on.
    pub(crate) fn begin_anew(&mut self, mid: Mid) {
        self.sections.remove(&mid);
    }

    /// Returns how a section does; none while too little is known, or while nothing is sent on it.
    ///
    /// * `share`: how much of what is wanted was asked for at all, 0 ..= 1.
    pub(crate) fn level(&self, mid: Mid, kind: MediaKind, share: f64) -> Option<Level> {
        let window = &self.sections.get(&mid)?.window;
        let sent: Vec<&Second> = window.iter().filter(|second| second.was_sent).collect();
        if sent.len() < ENOUGH {
            return None;
        }
        let recent = &sent[sent.len() - ENOUGH..];
        if recent.iter().all(|second| !second.got_through) {
            return Some(0);
        }
        let count = sent.len() as f64;
        let mean = |value: fn(&Second) -> f64| sent.iter().map(|second| value(second)).sum::<f64>() / count;
        let lost = mean(|second| if second.got_through { second.lost } else { 1.0 });
        let frozen = mean(|second| if second.got_through { 0.0 } else { 1.0 });
        let delay = mean(|second| second.round_trip_time.as_secs_f64()) * 500.0;
        let jitter = mean(|second| second.jitter.as_secs_f64()) * 1000.0;
        Some(match kind {
            MediaKind::Audio => audio(lost, delay + 2.0 * jitter),
            MediaKind::Video => video(lost, frozen, share, delay),
        })
    }

    /// Notes the level of a stream; returns whether it is another one than was told before.
    pub(crate) fn tell(&mut self, stream: StreamId, level: Level) -> bool {
        self.told.insert(stream, level) != Some(level)
    }

    /// A stream is over, or no longer this participant's concern.
    pub(crate) fn forget(&mut self, stream: StreamId) {
        self.told.remove(&stream);
    }

    /// Whoever hears the levels has forgotten them.
    pub(crate) fn forget_told(&mut self) {
        self.told.clear();
    }
}

/// Rates audio by the E-model (ITU-T G.107, with the impairments of G.113 for a codec that conceals loss).
///
/// * `lost`: share of packets, 0 ..= 1.
/// * `delay_ms`: one way, network and jitter buffer.
fn audio(lost: f64, delay_ms: f64) -> Level {
    // One packet is 20 ms.
    let delay = delay_ms + 20.0;
    let delay_impairment = 0.024 * delay + 0.11 * (delay - 177.3).max(0.0);
    let percent = lost * 100.0;
    let loss_impairment = 95.0 * percent / (percent + LOSS_ROBUSTNESS);
    match 93.2 - delay_impairment - loss_impairment {
        rating if rating >= 80.0 => 5,
        rating if rating >= 70.0 => 4,
        rating if rating >= 60.0 => 3,
        rating if rating >= 50.0 => 2,
        _ => 1,
    }
}

/// How well Opus conceals loss: the Bpl of G.113 for a codec with concealment and without redundancy is 10 to 25.
const LOSS_ROBUSTNESS: f64 = 20.0;

/// Rates video.
///
/// * `lost`: share of packets before repair, 0 ..= 1.
/// * `frozen`: share of the time in which nothing came, 0 ..= 1.
/// * `share`: the rate that comes against the rate that is wanted, 0 ..= 1.
/// * `delay_ms`: one way.
fn video(lost: f64, frozen: f64, share: f64, delay_ms: f64) -> Level {
    let late = (delay_ms - 150.0).max(0.0) / 10.0;
    match 100.0 * (1.0 - lost).powi(3) * (1.0 - frozen) * (0.5 + 0.5 * share) - late {
        rating if rating >= 90.0 => 5,
        rating if rating >= 75.0 => 4,
        rating if rating >= 55.0 => 3,
        rating if rating >= 35.0 => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Five seconds in which this share is lost; what nothing of gets through is all lost.
    fn level(kind: MediaKind, fraction_lost: u8, rtt_ms: u64) -> Option<Level> {
        let mid = Mid::new("a").expect("short");
        let mut quality = Quality::default();
        for second in 0..6 {
            quality.add(
                SectionMeasure {
                    mid,
                    is_inbound: false,
                    packets: second * 50,
                    progress: if fraction_lost == 255 { 0 } else { second * 50 },
                    fraction_lost,
                    jitter: Duration::from_millis(2),
                    round_trip_time: Some(Duration::from_millis(rtt_ms)),
                },
                false,
            );
        }
        quality.level(mid, kind, 1.0)
    }

    #[test]
    fn all_six_levels_are_reached_by_loss_alone() {
        let levels = |kind, lost: [u8; 6]| lost.map(|lost| level(kind, lost, 20).expect("enough"));
        assert_eq!(levels(MediaKind::Audio, [0, 8, 20, 38, 110, 255]), [5, 4, 3, 2, 1, 0]);
        assert_eq!(levels(MediaKind::Video, [0, 13, 38, 64, 110, 255]), [5, 4, 3, 2, 1, 0]);
    }

    #[test]
    fn a_client_of_which_nothing_comes_is_broken_if_it_should_send() {
        let mid = Mid::new("a").expect("short");
        let mut quality = Quality::default();
        let mut level = |packets, is_expected| {
            let (jitter, round_trip_time) = (Duration::ZERO, None);
            let progress = packets;
            let measure = SectionMeasure {
                mid,
                is_inbound: true,
                packets,
                progress,
                fraction_lost: 0,
                jitter,
                round_trip_time,
            };
            quality.add(measure, is_expected);
            quality.level(mid, MediaKind::Audio, 1.0)
        };
        assert_eq!([0, 50, 100].map(|packets| level(packets, true)), [None, None, Some(5)]);
        // Muted: nothing is expected, and nothing is missing. The second in which it is unmuted does not count.
        assert_eq!([false, false, true].map(|expected| level(100, expected)), [Some(5); 3]);
        assert_eq!([true, true].map(|expected| level(100, expected)).last(), Some(&Some(0)));
    }

    #[test]
    fn a_long_way_alone_makes_a_call_worse() {
        assert_eq!(level(MediaKind::Audio, 0, 800), Some(2));
        assert_eq!(level(MediaKind::Video, 0, 800), Some(4));
    }

    proptest! {
        #[test]
        fn more_loss_or_a_longer_way_is_never_better(lost in 0..254u8, more in 0..254u8, rtt in 0..3000u64, longer in 0..3000u64) {
            for kind in MediaKind::ALL {
                let before = level(kind, lost, rtt);
                prop_assert!(level(kind, lost.saturating_add(more).min(254), rtt) <= before);
                prop_assert!(level(kind, lost, rtt + longer) <= before);
            }
        }
    }
}
