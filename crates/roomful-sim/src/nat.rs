//! A NAT between one participant and everybody else: who is let in, for how long, and under which address the participant is seen.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// Which datagrams from outside are let in to somebody who has sent something out (RFC 4787 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatFilter {
    /// Anybody's: endpoint-independent filtering.
    Anybody,
    /// Those of an address that something was sent to, from any of its ports: address-dependent filtering.
    Address,
    /// Those of an address and port that something was sent to: address and port-dependent filtering.
    AddressAndPort,
}

impl NatFilter {
    /// All of them, the most open first.
    pub const ALL: [Self; 3] = [Self::Anybody, Self::Address, Self::AddressAndPort];
}

/// How a NAT treats datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatConfig {
    /// Whom it lets in. Default: who was sent something to, address and port.
    pub filter: NatFilter,
    /// How long it remembers somebody who sends nothing out. Default 120 s, the least that RFC 4787 §4.3 allows; many take 30 s.
    pub lifetime: Duration,
}

impl Default for NatConfig {
    fn default() -> Self {
        Self { filter: NatFilter::AddressAndPort, lifetime: Duration::from_secs(120) }
    }
}

/// The NAT itself. What is inside has one address outside for all that it sends (endpoint-independent mapping, RFC 4787 §4.1).
#[derive(Debug)]
pub struct Nat {
    config: NatConfig,
    outside: IpAddr,
    next_port: u16,
    /// By the address inside.
    mappings: BTreeMap<SocketAddr, Mapping>,
}

#[derive(Debug)]
struct Mapping {
    port: u16,
    used_at: Instant,
    /// Whom something was sent to.
    permitted: Vec<SocketAddr>,
}

/// Where a NAT begins to give out ports (RFC 6335 §6).
const FIRST_PORT: u16 = 49_152;

/// Destinations that one mapping remembers; a simulation has one server.
const PERMITTED_MAX: usize = 64;

impl Nat {
    /// Makes a NAT with this address outside.
    #[must_use]
    pub const fn new(config: NatConfig, outside: IpAddr) -> Self {
        Self { config, outside, next_port: FIRST_PORT, mappings: BTreeMap::new() }
    }

    /// Returns whether an address outside is one of its own.
    #[must_use]
    pub fn owns(&self, address: SocketAddr) -> bool {
        address.ip() == self.outside
    }

    /// Forgets everything, as after a restart: whatever is inside gets other ports from its next datagram on.
    pub fn rebind(&mut self) {
        self.mappings.clear();
    }

    /// Lets a datagram out. Returns the address that it seems to come from.
    pub fn outgoing(&mut self, source: SocketAddr, destination: SocketAddr, now: Instant) -> SocketAddr {
        let NatConfig { lifetime, .. } = self.config;
        self.mappings.retain(|_, mapping| now < mapping.used_at + lifetime);
        let next_port = &mut self.next_port;
        let mapping = self.mappings.entry(source).or_insert_with(|| {
            let port = *next_port;
            *next_port = next_port.checked_add(1).unwrap_or(FIRST_PORT);
            Mapping { port, used_at: now, permitted: Vec::new() }
        });
        mapping.used_at = now;
        if !mapping.permitted.contains(&destination) {
            mapping.permitted.truncate(PERMITTED_MAX - 1);
            mapping.permitted.insert(0, destination);
        }
        SocketAddr::new(self.outside, mapping.port)
    }

    /// Returns where a datagram from outside goes; none when it is not let in.
    pub fn incoming(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        now: Instant,
    ) -> Option<SocketAddr> {
        let NatConfig { filter, lifetime } = self.config;
        let is_meant =
            |mapping: &Mapping| mapping.port == destination.port() && now < mapping.used_at + lifetime;
        let (inside, mapping) = self.mappings.iter().find(|(_, mapping)| is_meant(mapping))?;
        let is_permitted = match filter {
            NatFilter::Anybody => true,
            NatFilter::Address => mapping.permitted.iter().any(|one| one.ip() == source.ip()),
            NatFilter::AddressAndPort => mapping.permitted.contains(&source),
        };
        is_permitted.then_some(*inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8, port: u16) -> SocketAddr {
        ([10, 0, 0, last], port).into()
    }

    const INSIDE: u8 = 1;
    const SERVER: u8 = 9;

    #[test]
    fn each_filter_lets_in_whom_it_should() {
        let senders = [address(SERVER, 7), address(SERVER, 8), address(SERVER + 1, 7)];
        for (filter, expected) in
            NatFilter::ALL.into_iter().zip([[true; 3], [true, true, false], [true, false, false]])
        {
            let config = NatConfig { filter, ..NatConfig::default() };
            let (mut nat, now) = (Nat::new(config, [203, 0, 113, 1].into()), Instant::now());
            let seen = nat.outgoing(address(INSIDE, 5000), senders[0], now);
            assert!(nat.owns(seen));
            let is_let_in = senders.map(|sender| nat.incoming(sender, seen, now).is_some());
            assert_eq!(is_let_in, expected, "{filter:?}");
            assert_eq!(nat.incoming(senders[0], seen, now), Some(address(INSIDE, 5000)));
        }
    }

    #[test]
    fn who_is_silent_is_forgotten_and_who_is_not_keeps_the_port() {
        let (mut nat, start) = (Nat::new(NatConfig::default(), [203, 0, 113, 1].into()), Instant::now());
        let (inside, server) = (address(INSIDE, 5000), address(SERVER, 7));
        let at = |secs| start + Duration::from_secs(secs);
        let seen = nat.outgoing(inside, server, at(0));
        assert_eq!(nat.outgoing(inside, server, at(119)), seen);
        assert_eq!(nat.incoming(server, seen, at(238)), Some(inside));
        // What comes in keeps nothing open (RFC 4787 §4.3).
        assert_eq!(nat.incoming(server, seen, at(239)), None);
        assert_ne!(nat.outgoing(inside, server, at(240)), seen);
        let before = nat.outgoing(inside, server, at(241));
        nat.rebind();
        assert_eq!(nat.incoming(server, before, at(241)), None);
        assert_ne!(nat.outgoing(inside, server, at(241)), before);
    }
}
