//! When to ask a publisher for a key frame, however many subscribers want one.

use std::time::{Duration, Instant};

/// Least time between two requests to one source: a key frame is ten times the size of another frame, and a new one is
/// on its way within a round trip and a frame. It is also how soon a lost request is repeated.
const MIN_INTERVAL: Duration = Duration::from_millis(500);

/// Least time for the sake of somebody who has no picture yet. New subscribers come rarely beside lost packets, and wait for
/// nothing else.
const MIN_INTERVAL_FOR_NEW: Duration = Duration::from_millis(150);

/// Keeps the requests for key frames of one source apart.
#[derive(Debug, Default)]
pub(super) struct KeyframeRequests {
    wanted: bool,
    asked_at: Option<Instant>,
    due: Option<Instant>,
}

impl KeyframeRequests {
    /// Somebody lost the picture.
    pub(super) fn want(&mut self, now: Instant) {
        self.want_after(MIN_INTERVAL, now);
    }

    /// Somebody has no picture yet.
    pub(super) fn want_first(&mut self, now: Instant) {
        self.want_after(MIN_INTERVAL_FOR_NEW, now);
    }

    /// One that is on its way serves everybody.
    fn want_after(&mut self, interval: Duration, now: Instant) {
        let due = self.asked_at.map_or(now, |asked| (asked + interval).max(now));
        if !self.wanted || self.due.is_some_and(|at| due < at) {
            self.wanted = true;
            self.due = Some(due);
        }
    }

    /// A key frame began.
    pub(super) const fn satisfy(&mut self) {
        self.wanted = false;
        self.due = None;
    }

    /// Returns when to ask, if at all.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Returns whether to ask now, and schedules the repetition.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.asked_at = Some(now);
            self.due = Some(now + MIN_INTERVAL);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_wishes_make_one_request_repeated_until_a_key_frame_comes() {
        let start = Instant::now();
        let mut requests = KeyframeRequests::default();
        let mut asked = Vec::new();
        for millis in (0..2000).step_by(100) {
            let now = start + Duration::from_millis(millis);
            match millis {
                0..1200 => requests.want(now),
                1200 => requests.satisfy(),
                _ => {}
            }
            if requests.take_due(now) {
                asked.push(millis);
            }
        }
        assert_eq!(asked, [0, 500, 1000]);
        requests.want(start + Duration::from_millis(1300));
        assert_eq!(requests.due(), Some(start + Duration::from_millis(1500)));
        // Whoever has no picture yet waits no longer because somebody else lost it.
        requests.want_first(start + Duration::from_millis(1300));
        assert_eq!(requests.due(), Some(start + Duration::from_millis(1300)));
        requests.satisfy();
        requests.want_first(start + Duration::from_millis(1300));
        assert_eq!(requests.due(), Some(start + Duration::from_millis(1300)));
        requests.satisfy();
        requests.want_first(start + Duration::from_millis(1100));
        assert_eq!(requests.due(), Some(start + Duration::from_millis(1150)));
    }
}
