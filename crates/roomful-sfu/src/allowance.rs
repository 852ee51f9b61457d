//! How much one client may do: so much at once, and so much per second.

use std::time::Instant;

use roomful_protocol::ClientMessage;

use crate::config::SfuConfig;

/// What is left to be spent; it fills up again with time.
#[derive(Debug, Clone, Copy)]
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

/// What one client may ask of the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowances {
    requests: Allowance,
    messages: Allowance,
}

impl Allowances {
    pub(crate) fn full(config: &SfuConfig, now: Instant) -> Self {
        Self {
            requests: Allowance::full(config.request_rate(), now),
            messages: Allowance::full(config.message_rate(), now),
        }
    }

    /// Takes the cost of a request; false when there is not enough left.
    pub(crate) fn spend(&mut self, message: &ClientMessage, config: &SfuConfig, now: Instant) -> bool {
        let is_message = matches!(message, ClientMessage::MessageRequest(_));
        self.requests.spend(cost(message), config.request_rate(), now)
            && (!is_message || self.messages.spend(1, config.message_rate(), now))
    }
}

/// What a request takes from the allowance. Messages are charged by size, because everybody in the room gets a copy; offers are
/// read where packets wait.
fn cost(message: &ClientMessage) -> u64 {
    const MESSAGE_BYTES: u64 = 4096;
    const OFFER: u64 = 10;
    match message {
        ClientMessage::MessageRequest(request) => {
            let meta = request.message.meta.as_ref().map_or(0, |meta| meta.len());
            1 + (request.message.payload.len() + meta) as u64 / MESSAGE_BYTES
        }
        ClientMessage::OfferRequest(_) => OFFER,
        ClientMessage::JoinRequest(_)
        | ClientMessage::ResumeRequest(_)
        | ClientMessage::LeaveRequest(_)
        | ClientMessage::PingRequest(_)
        | ClientMessage::UpdateTokenRequest(_)
        | ClientMessage::EnableMetricsRequest(_)
        | ClientMessage::DisableMetricsRequest(_)
        | ClientMessage::PublishRequest(_)
        | ClientMessage::UpdateStreamRequest(_)
        | ClientMessage::UnpublishRequest(_)
        | ClientMessage::SubscribeRequest(_)
        | ClientMessage::UpdateSubscriptionRequest(_)
        | ClientMessage::UnsubscribeRequest(_) => 1,
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
