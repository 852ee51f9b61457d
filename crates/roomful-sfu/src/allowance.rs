//! How much one client may do: so much at once, and so much per second.

use std::time::Instant;

/// What is left to be spent; it fills up again with time.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: u64,
    at: Instant,
}

/// How fast an allowance fills up, and how much it holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) per_second: u32,
    pub(crate) burst: u32,
}

/// One thing, in units of which one per nanosecond makes one thing per second: no fraction is lost.
const ONE: u64 = 1_000_000_000;

impl Allowance {
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        Self { left: u64::from(rate.burst) * ONE, at: now }
    }

    /// Takes so many from it; false, and nothing taken, when there are not enough left.
    pub(crate) fn spend(&mut self, count: u64, rate: Rate, now: Instant) -> bool {
        let nanos = u64::try_from(now.saturating_duration_since(self.at).as_nanos()).unwrap_or(u64::MAX);
        let earned = nanos.saturating_mul(rate.per_second.into());
        self.left = self.left.saturating_add(earned).min(u64::from(rate.burst) * ONE);
        self.at = now;
        let rest = self.left.checked_sub(count.saturating_mul(ONE));
        self.left = rest.unwrap_or(self.left);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nobody_gets_more_than_the_burst_and_the_rate(
            per_second in 1..1000_u32,
            burst in 1..1000_u32,
            attempts in prop::collection::vec((0..50_u64, 1..20_u64), 1..300),
        ) {
            let (rate, start) = (Rate { per_second, burst }, Instant::now());
            let mut allowance = Allowance::full(rate, start);
            let (mut now, mut got) = (start, 0);
            for (millis, count) in attempts {
                now += Duration::from_millis(millis);
                let may = f64::from(burst) + f64::from(per_second) * (now - start).as_secs_f64();
                if allowance.spend(count, rate, now) {
                    got += count;
                }
                prop_assert!(got as f64 <= may + 1e-6, "{} of {}", got, may);
            }
            now += Duration::from_secs(u64::from(burst));
            prop_assert!(allowance.spend(burst.into(), rate, now), "whoever waits gets the whole burst");
            prop_assert!(!allowance.spend(1, rate, now));
        }
    }
}
