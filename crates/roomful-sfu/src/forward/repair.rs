//! What one receiver may have sent again.

use std::time::{Duration, Instant};

use super::encoding::HISTORY_PACKETS;

/// How much is repaired on one slot, and which packets lately.
#[derive(Debug)]
pub(super) struct Repairs {
    /// Bytes that may be sent again; grows with what is sent.
    allowance: usize,
    /// By the lower bits of the number; empty until anything is asked for.
    recent: Vec<Repaired>,
    /// When the first one was repaired.
    start: Option<Instant>,
}

/// Small, because there are as many as packets in the history.
#[derive(Debug, Clone, Copy)]
struct Repaired {
    /// The lower bits of the number.
    sequence: u32,
    /// Since the first repair, in microseconds; wraps after an hour.
    at: u32,
    tries: u8,
}

/// Round trips are taken to be so long at least: a shorter one is somebody's claim, or a network on which requests for one packet come together.
const ROUND_TRIP_MIN: Duration = Duration::from_millis(2);

/// How often one packet is sent again.
const TRIES: u8 = 5;

/// Repairs may be half of what is sent: that lets a link through which loses a third, and bounds what a flood of requests can cause.
/// So many bytes may be saved up, a key frame of 720p.
const ALLOWANCE_MAX: usize = 128 * 1024;

/// Packets that are remembered as repaired: all that may be kept to be sent again.
const RECENT: usize = HISTORY_PACKETS;

impl Default for Repairs {
    fn default() -> Self {
        Self { allowance: ALLOWANCE_MAX / 2, recent: Vec::new(), start: None }
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
        let passed = now.saturating_duration_since(*self.start.get_or_insert(now)).as_micros() as u32;
        if self.recent.is_empty() {
            self.recent.resize(RECENT, Repaired { sequence: u32::MAX, at: 0, tries: 0 });
        }
        let entry = &mut self.recent[sequence as usize % RECENT];
        if entry.sequence != sequence as u32 {
            *entry = Repaired { sequence: sequence as u32, at: passed, tries: 0 };
        }
        let apart = u128::from(passed.wrapping_sub(entry.at));
        let is_early = entry.tries > 0 && apart < round_trip.max(ROUND_TRIP_MIN).as_micros();
        if is_early || entry.tries == TRIES {
            return false;
        }
        entry.tries += 1;
        entry.at = passed;
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
    fn whoever_claims_to_be_near_gets_no_more() {
        let (mut repairs, now) = (Repairs::default(), Instant::now());
        let sent = (0..5).filter(|_| repairs.spend(7, 100, Duration::ZERO, now)).count();
        assert_eq!(sent, 1);
    }

    #[test]
    fn asking_for_many_in_turns_gets_none_of_them_more_often() {
        let (mut repairs, now) = (Repairs::default(), Instant::now());
        let mut sent = 0;
        for _ in 0..20 {
            for sequence in [7, 7 + 256, 7 + 512] {
                sent += usize::from(repairs.spend(sequence, 100, Duration::from_millis(50), now));
            }
        }
        assert_eq!(sent, 3);
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
