//! Times as RTCP writes them (RFC 3550 §4).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds from 1900 to 1970.
const UNIX: u64 = 2_208_988_800;

/// Returns a time in 32 bits of seconds and 32 of fractions.
pub(super) fn from_system_time(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs().wrapping_add(UNIX);
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    seconds << 32 | fraction
}

/// Returns how long after another time one is, in nanoseconds. Times wrap in 2036, and senders without a clock count from anywhere, so only
/// differences mean anything.
pub(super) const fn nanos_between(earlier: u64, later: u64) -> i64 {
    let units = later.wrapping_sub(earlier).cast_signed();
    // At most 2^31 s, which is 2^61 ns.
    ((units as i128 * 1_000_000_000) >> 32) as i64
}

/// Returns the time that is so many units of a clock later.
pub(super) fn moved(ntp: u64, ticks: i32, clock_rate: u32) -> u64 {
    let units = (i64::from(ticks) << 32) / i64::from(clock_rate);
    ntp.wrapping_add_signed(units)
}

/// Returns the middle 32 bits, by which reports are referred to.
pub(super) const fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// Returns a duration in units of 1/65536 s.
pub(super) fn short(duration: Duration) -> u32 {
    u32::try_from((duration.as_nanos() << 16) / 1_000_000_000).unwrap_or(u32::MAX)
}

/// Returns the duration that was written.
pub(super) fn from_short(units: u32) -> Duration {
    Duration::from_nanos((u64::from(units) * 1_000_000_000) >> 16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_clock_that_wraps_goes_on() {
        let before = 0xffff_ffff_8000_0000;
        assert_eq!(nanos_between(before, 0x8000_0000), 1_000_000_000);
        assert_eq!(moved(before, 90_000, 90_000), 0x8000_0000);
        assert_eq!(moved(0x8000_0000, -90_000, 90_000), before);
        assert_eq!(nanos_between(0, 1 << 63), i64::from(i32::MIN) * 1_000_000_000);
    }

    proptest! {
        #[test]
        fn times_come_back(seconds in 0..2_000_000_000_u64, nanos in 0..1_000_000_000_u32) {
            let (epoch, later) = (from_system_time(UNIX_EPOCH), Duration::new(seconds, nanos));
            let passed = nanos_between(epoch, from_system_time(UNIX_EPOCH + later));
            prop_assert!(later.as_nanos() as i64 - passed <= 2);
            let back = nanos_between(from_system_time(UNIX_EPOCH + later), epoch);
            prop_assert!((-2..=2).contains(&(passed + back)));
            let duration = Duration::new(seconds % 60_000, nanos);
            let back = from_short(short(duration));
            prop_assert!(duration - back < Duration::from_micros(16));
        }
    }
}
