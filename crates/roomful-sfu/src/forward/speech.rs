//! Whether somebody is heard on an audio source, by the levels that its packets tell (RFC 6464).

use std::time::{Duration, Instant};

use roomful_types::AudioLevel;

/// The hearing of one source. Levels that are not told are unknown, and unknown is not speech.
#[derive(Debug, Default)]
pub(super) struct Speech {
    /// Since when it is loud, with pauses shorter than [`PAUSE`].
    loud_since: Option<Instant>,
    loud_at: Option<Instant>,
    is_active: bool,
    loudest: Option<AudioLevel>,
    next_report: Option<Instant>,
}

/// What counts as loud. Speech is at −20 to −40 dBov, a quiet room below −60.
const LOUD: u8 = 50;
/// How long it must be loud: longer than a click or a key stroke.
const ONSET: Duration = Duration::from_millis(80);
/// Pauses between syllables.
const PAUSE: Duration = Duration::from_millis(200);
/// How long it must be quiet until it ended: pauses between sentences are shorter.
const HANGOVER: Duration = Duration::from_millis(800);
/// How often the level is told while it goes on; who speaks loudest follows within that time.
const REPORT: Duration = Duration::from_millis(300);

impl Speech {
    /// Returns whether it was told that somebody is heard.
    pub(super) const fn is_active(&self) -> bool {
        self.is_active
    }

    pub(super) fn hear(&mut self, level: AudioLevel, now: Instant) {
        if level.as_negative_dbov() > LOUD {
            return;
        }
        let is_new = self.loud_at.is_none_or(|at| now.saturating_duration_since(at) > PAUSE);
        if is_new && !self.is_active {
            self.loud_since = Some(now);
        }
        self.loud_at = Some(now);
        let louder = |loudest: AudioLevel| level.as_negative_dbov() < loudest.as_negative_dbov();
        if self.loudest.is_none_or(louder) {
            self.loudest = Some(level);
        }
        let is_onset = self.loud_since.is_some_and(|since| now.saturating_duration_since(since) >= ONSET);
        if !self.is_active && is_onset {
            self.is_active = true;
            self.next_report = Some(now);
        }
    }

    /// Returns what there is to tell by now: how loud it is, or that it ended.
    pub(super) fn report(&mut self, now: Instant) -> Option<Option<AudioLevel>> {
        if !self.is_active || self.deadline().is_none_or(|at| at > now) {
            return None;
        }
        if self.ends_at().is_some_and(|at| at <= now) {
            *self = Self::default();
            return Some(None);
        }
        self.next_report = Some(now + REPORT);
        self.loudest.take().map(Some)
    }

    /// Returns when there is something to tell.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let ends_at = self.ends_at()?;
        Some(self.next_report.map_or(ends_at, |at| at.min(ends_at)))
    }

    fn ends_at(&self) -> Option<Instant> {
        Some(self.loud_at.filter(|_| self.is_active)? + HANGOVER)
    }
}
