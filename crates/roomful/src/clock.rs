//! The one place of this crate that reads a clock.

use std::time::Instant;

/// Returns the time that engines count in.
pub(crate) fn now() -> Instant {
    // The runtime's clock, so that a test can pause it.
    tokio::time::Instant::now().into_std()
}
