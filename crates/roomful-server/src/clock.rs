//! The one place of this crate that reads clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Returns the time that engines count in.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Returns milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
