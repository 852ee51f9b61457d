//! What one receiver may have sent again.

use std::time::{Duration, Instant};

/// How much is repaired on one slot, and which packets lately.
#[derive(Debug)]
pub(super) struct Repairs {
    /// Bytes that may be sent again; grows with what is sent.
    allowance: usize,
    /// By the lower bits of the number; empty until anything is asked for.
    recent: Vec<Repaired>,
}

#[derive(Debug, Clone, Copy)]
struct Repaired {
    sequence: u64,
    tries: u8,
    at: Instant,
}

/// How often one packet is sent again.
const TRIES: u8 = 5;

/// Repairs may be half of what is sent: that lets a link through which loses a third, and bounds what a flood of requests can cause.
/// So many bytes may be saved up, a key frame of 720p.
const ALLOWANCE_MAX: usize = 128 * 1024;

/// Packets that are remembered as repaired. Of more, one that is asked for again and again may be sent too often, within the allowance.
const RECENT: usize = 256;

impl Default for Repairs {
    fn default() -> Self {
        Self { allowance: ALLOWANCE_MAX / 2, recent: Vec::new() }
    }
}

impl Repairs {
    /// Notes that so many bytes were sent.
    pub(super) fn earn(&mut self, bytes: usize) {
        self.allowance = (self.allowance + bytes / 2).min(ALLOWANCE_MAX);
    }

    /// Returns whether a packet may be sent again now, and counts it.
    ///
    /// * `round_trip`: within it, the one before is still on its way.
    pub(super) fn spend(&mut self, sequence: u64, bytes: usize, round_trip: Duration, now: Instant) -> bool {
        if self.allowance < bytes {
            return false;
        }
        let fresh = Repaired { sequence, tries: 0, at: now };
        if self.recent.is_empty() {
            self.recent.resize(RECENT, Repaired { sequence: u64::MAX, ..fresh });
        }
        let entry = &mut self.recent[sequence as usize % RECENT];
        if entry.sequence != sequence {
            *entry = fresh;
        }
        let is_early = entry.tries > 0 && now.saturating_duration_since(entry.at) < round_trip;
        if is_early || entry.tries == TRIES {
            return false;
        }
        entry.tries += 1;
        entry.at = now;
        self.allowance -= bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_sent_again_a_few_times_and_not_twice_in_a_round_trip() {
        let (mut repairs, mut now) = (Repairs::default(), Instant::now());
        let round_trip = Duration::from_millis(50);
        let mut sent = 0;
        for _ in 0..40 {
            sent += usize::from(repairs.spend(7, 100, round_trip, now));
            assert!(!repairs.spend(7, 100, round_trip, now), "it is on its way");
            now += round_trip;
        }
        assert_eq!(sent, usize::from(TRIES));
    }

    #[test]
    fn a_flood_of_requests_costs_no_more_than_its_share() {
        let (mut repairs, mut now, mut sent) = (Repairs::default(), Instant::now(), 0);
        for _ in 0..100 {
            repairs.earn(1000);
            for sequence in 0..1000 {
                sent += 1000 * usize::from(repairs.spend(sequence, 1000, Duration::ZERO, now));
            }
            now += Duration::from_millis(10);
        }
        assert!(sent <= ALLOWANCE_MAX / 2 + 100 * 500, "{sent}");
    }
}
