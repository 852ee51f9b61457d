//! One direction of a reliable connection over a bad link: in order, without loss, late.

use std::time::{Duration, Instant};

use crate::{Link, LinkConfig};

/// What carries messages as TCP or QUIC would: what is lost is sent again, what is behind it waits, and what meets an outage comes
/// through when it is over.
#[derive(Debug)]
pub(crate) struct Ordered<T> {
    link: Link,
    /// When the latest message on the way arrives.
    newest: Option<Instant>,
    /// What waits for the end of an outage.
    stalled: Vec<T>,
}

/// How long a transport waits before it sends again what was lost: at first (RFC 6298 §2.4, as systems shorten it), and at most.
const RETRANSMISSION: Duration = Duration::from_millis(200);
const RETRANSMISSION_MAX: Duration = Duration::from_secs(3);

/// Attempts after which a message counts as through, whatever was drawn.
const ATTEMPTS: u32 = 20;

/// What a message is taken to weigh.
const MESSAGE_BYTES: usize = 500;

impl<T> Ordered<T> {
    pub(crate) fn new(config: LinkConfig, seed: u64) -> Self {
        Self { link: Link::new(for_messages(config), seed), newest: None, stalled: Vec::new() }
    }

    /// Takes a message. Returns when it arrives; none when it waits for the end of an outage.
    pub(crate) fn send(&mut self, message: T, now: Instant) -> Option<(Instant, T)> {
        if self.link.config().is_down {
            self.stalled.push(message);
            return None;
        }
        let (mut sent_at, mut timeout) = (now, RETRANSMISSION);
        for _ in 0..ATTEMPTS {
            if let Some(at) = self.link.send(MESSAGE_BYTES, sent_at)[0] {
                sent_at = at;
                break;
            }
            sent_at += timeout;
            timeout = (timeout * 2).min(RETRANSMISSION_MAX);
        }
        let at = self.newest.map_or(sent_at, |newest| newest.max(sent_at));
        self.newest = Some(at);
        Some((at, message))
    }

    /// Treats what passes otherwise from now on. Returns what an outage held back, and when each arrives.
    pub(crate) fn configure(&mut self, config: LinkConfig, now: Instant) -> Vec<(Instant, T)> {
        self.link.configure(for_messages(config));
        let stalled = std::mem::take(&mut self.stalled);
        stalled.into_iter().filter_map(|message| self.send(message, now)).collect()
    }
}

/// Returns the link as a transport of its own meets it: media does not starve it, and bursts, which are counted in packets, are over
/// before it sends again.
const fn for_messages(link: LinkConfig) -> LinkConfig {
    LinkConfig { rate: None, burst: 0.0, ..link }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn everything_arrives_once_and_in_order(loss in 0.0..0.9, outage in 0..40usize, length in 0..40usize) {
            let start = Instant::now();
            let config = LinkConfig { loss, ..LinkConfig::default() };
            let mut way = Ordered::new(config, 7);
            let mut arrived = Vec::new();
            for number in 0..60 {
                let now = start + Duration::from_millis(number as u64 * 10);
                if number == outage {
                    arrived.extend(way.configure(LinkConfig { is_down: true, ..config }, now));
                }
                if number == outage + length {
                    arrived.extend(way.configure(config, now));
                }
                arrived.extend(way.send(number, now));
            }
            arrived.extend(way.configure(config, start + Duration::from_secs(1)));
            let order: Vec<usize> = arrived.iter().map(|(_, number)| *number).collect();
            prop_assert_eq!(order, (0..60).collect::<Vec<_>>());
            prop_assert!(arrived.iter().map(|(at, _)| *at).is_sorted());
        }
    }
}
