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

    /// Returns whether so many are left.
    pub(crate) fn has(&mut self, count: u64, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        self.left >= count.saturating_mul(ONE)
    }

    /// Takes so many from it; false, and nothing taken, when there are not enough left.
    pub(crate) fn spend(&mut self, count: u64, rate: Rate, now: Instant) -> bool {
        let is_enough = self.has(count, rate, now);
        if is_enough {
            self.left -= count.saturating_mul(ONE);
        }
        is_enough
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let nanos = u64::try_from(now.saturating_duration_since(self.at).as_nanos()).unwrap_or(u64::MAX);
        let earned = nanos.saturating_mul(rate.per_second.into());
        self.left = self.left.saturating_add(earned).min(u64::from(rate.burst) * ONE);
        self.at = now;
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

    /// Takes the cost of a request; false, and nothing taken, when there is not enough left.
    pub(crate) fn spend(&mut self, message: &ClientMessage, config: &SfuConfig, now: Instant) -> bool {
        let messages = u64::from(matches!(message, ClientMessage::MessageRequest(_)));
        self.messages.has(messages, config.message_rate(), now)
            && self.requests.spend(cost(message), config.request_rate(), now)
            && self.messages.spend(messages, config.message_rate(), now)
    }
}

/// What a request takes from the allowance. Messages are charged by size, because everybody in the room gets a copy; offers are
/// read where packets wait. Leaving is always allowed: it is the end of all costs.
fn cost(message: &ClientMessage) -> u64 {
    const MESSAGE_BYTES: u64 = 4096;
    const OFFER: u64 = 10;
    match message {
        ClientMessage::MessageRequest(request) => {
            let meta = request.message.meta.as_ref().map_or(0, |meta| meta.len());
            1 + (request.message.payload.len() + meta) as u64 / MESSAGE_BYTES
        }
        ClientMessage::OfferRequest(_) => OFFER,
        ClientMessage::LeaveRequest(_) => 0,
        ClientMessage::JoinRequest(_)
        | ClientMessage::ResumeRequest(_)
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
    use roomful_protocol::{
        ChatMessage, LeaveRequest, MessageKind, MessageRequest, PingRequest, RequestId, limits,
    };

    use super::*;

    #[test]
    fn what_is_refused_takes_nothing_and_leaving_costs_nothing() {
        let config = SfuConfig { request_burst: 40, message_burst: 1, ..SfuConfig::default() };
        let now = Instant::now();
        let mut allowances = Allowances::full(&config, now);
        let request = RequestId(1);
        let message = ChatMessage { kind: MessageKind::Text, payload: "a".into(), meta: None };
        let message = ClientMessage::from(MessageRequest { request, message, recipients: None });
        assert!(allowances.spend(&message, &config, now));
        assert!((0..100).all(|_| !allowances.spend(&message, &config, now)));
        let ping = ClientMessage::from(PingRequest { request, received: 0 });
        assert_eq!((0..100).filter(|_| allowances.spend(&ping, &config, now)).count(), 39);
        assert!(allowances.spend(&LeaveRequest { request }.into(), &config, now));
    }

    #[test]
    fn the_longest_message_fits_into_the_least_burst() {
        let text = "a".repeat(limits::MESSAGE_TEXT_MAX);
        let message = ChatMessage {
            kind: MessageKind::Text,
            payload: text.as_str().into(),
            meta: Some(text.as_str().into()),
        };
        let request = MessageRequest { request: RequestId(1), message, recipients: None };
        assert_eq!(cost(&request.into()), u64::from(SfuConfig::REQUEST_BURST_MIN));
    }

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
