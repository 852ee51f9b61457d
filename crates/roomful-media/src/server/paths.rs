//! Which pair of addresses a client's media goes over, of those that it nominated (RFC 8445 §8.1.1).

use std::time::{Duration, Instant};

use super::outgoing::Path;

/// The pairs that a client nominated, and the one in use.
#[derive(Debug, Default)]
pub(super) struct Paths {
    current: Option<Path>,
    /// The latest ones, in the order in which each was first nominated.
    nominated: Vec<Path>,
    /// When the client was last heard on the current one.
    heard_at: Option<Instant>,
}

/// Pairs that are remembered: four addresses of a client's with four of ours.
const NOMINATED_MAX: usize = 16;

/// A client that was not heard on a pair for so long may have left it: those who get nothing still report every second.
const SILENCE: Duration = Duration::from_secs(3);

impl Paths {
    pub(super) const fn current(&self) -> Option<Path> {
        self.current
    }

    /// The client nominated a pair, and was answered. Returns whether its media goes another way from now on.
    pub(super) fn nominate(&mut self, path: Path, now: Instant) -> bool {
        if !self.nominated.contains(&path) {
            if self.nominated.len() == NOMINATED_MAX {
                let oldest = self.nominated.iter().position(|one| self.current != Some(*one));
                oldest.map(|oldest| self.nominated.remove(oldest));
            }
            self.nominated.push(path);
        }
        // Some clients nominate every pair that works, again and again. Where they are heard is where they are.
        let is_silent = self.heard_at.is_none_or(|at| now.saturating_duration_since(at) > SILENCE);
        is_silent && self.go_over(path, now)
    }

    /// Something authentic came from the client. Returns whether its media goes another way from now on.
    pub(super) fn hear(&mut self, path: Path, now: Instant) -> bool {
        (self.current == Some(path) || self.nominated.contains(&path)) && self.go_over(path, now)
    }

    fn go_over(&mut self, path: Path, now: Instant) -> bool {
        self.heard_at = Some(now);
        self.current.replace(path) != Some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        (([127, 0, 0, 1], 7071).into(), ([192, 0, 2, 1], port).into())
    }

    #[test]
    fn whoever_nominates_all_its_pairs_gets_media_where_it_is_heard() {
        let (mut paths, start) = (Paths::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert!(!paths.hear(path(1), at(0)), "nobody nominated it");
        assert!(paths.nominate(path(1), at(0)) && !paths.nominate(path(2), at(100)));
        for round in 1..20 {
            assert!(!paths.hear(path(1), at(900 * round)));
            assert!((1..5).all(|pair| !paths.nominate(path(pair), at(900 * round))));
        }
        assert_eq!(paths.current(), Some(path(1)));
        // It moves: by what it sends, or, if it sends nothing, when it is quiet where it was.
        assert!(paths.hear(path(2), at(20_000)));
        assert!(!paths.nominate(path(1), at(22_900)) && paths.nominate(path(1), at(23_100)));
    }

    #[test]
    fn pairs_are_bounded_and_the_one_in_use_is_kept() {
        let (mut paths, now) = (Paths::default(), Instant::now());
        let moves = (0..1000).filter(|port| paths.nominate(path(*port), now)).count();
        assert_eq!(moves, 1);
        assert_eq!((paths.nominated.len(), paths.current()), (NOMINATED_MAX, Some(path(0))));
        assert!(!paths.hear(path(1), now) && paths.hear(path(999), now) && paths.hear(path(0), now));
    }
}
