//! The one place of this crate that reads clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Returns the time that engines count in.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Returns what the wall clock says.
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Returns milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
