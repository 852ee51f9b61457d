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

/// Returns the time that was written; none before 1970.
pub(super) fn to_system_time(ntp: u64) -> Option<SystemTime> {
    let seconds = (ntp >> 32).checked_sub(UNIX)?;
    let nanos = ((ntp & 0xffff_ffff) * 1_000_000_000) >> 32;
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos as u32))
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

    proptest! {
        #[test]
        fn times_come_back(seconds in 0..2_000_000_000_u64, nanos in 0..1_000_000_000_u32) {
            let time = UNIX_EPOCH + Duration::new(seconds, nanos);
            let back = to_system_time(from_system_time(time)).expect("after 1970");
            prop_assert!(time.duration_since(back).expect("rounded down") < Duration::from_nanos(2));
            let duration = Duration::new(seconds % 60_000, nanos);
            let back = from_short(short(duration));
            prop_assert!(duration - back < Duration::from_micros(16));
        }
    }
}
