//! The shard: commands, datagrams and time in; datagrams and notices out.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use roomful_media::{Datagram, Transmit};
use roomful_sfu::{Egress, Forwarder, MediaCommand, MediaNotice, OfferError, OutgoingPacket};
use roomful_types::{Mid, ParticipantId, Rid};

use crate::peers::{Peers, Turn};

/// The peers of one shard and the routes between them.
#[derive(Debug)]
pub struct Shard {
    peers: Peers,
    forwarder: Forwarder,
    outgoing: VecDeque<Transmit>,
    notices: VecDeque<MediaNotice>,
    stats: ShardStats,
    now: Instant,
}

/// What a shard does.
#[derive(Debug)]
#[must_use]
pub enum Output {
    /// Send this datagram.
    Transmit(Transmit),
    /// Tell the deciding engine.
    Notice(MediaNotice),
    /// Nothing more; call [`Shard::handle_timeout`] at this time at the latest.
    Wait(Instant),
}

/// What a shard has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardStats {
    /// RTP packets handed to subscribers, retransmissions excluded.
    pub packets_forwarded: u64,
    /// RTP packets taken in from publishers.
    pub packets_received: u64,
    /// Datagrams that belonged to nobody.
    pub datagrams_ignored: u64,
}

/// How long a shard without anything to do may sleep.
const IDLE: Duration = Duration::from_secs(60);

impl Shard {
    /// Makes a shard without peers, which clients are told to send to at the `advertised` addresses. The seed decides where
    /// sequence numbers and timestamps begin; the keys of peers come from the operating system.
    ///
    /// * `wall`: what the wall clock says now, for the times in reports.
    #[must_use]
    pub fn new(advertised: Vec<SocketAddr>, seed: u64, now: Instant, wall: SystemTime) -> Self {
        Self {
            peers: Peers::new(advertised, now, wall),
            forwarder: Forwarder::new(seed),
            outgoing: VecDeque::new(),
            notices: VecDeque::new(),
            stats: ShardStats::default(),
            now,
        }
    }

    /// Carries out a command of the deciding engine.
    pub fn handle_command(&mut self, command: &MediaCommand, now: Instant) {
        self.now = self.now.max(now);
        match command {
            MediaCommand::AcceptOffer { peer, offer, sdp, slots } => {
                let pairs: Vec<(Mid, Mid)> = slots.iter().map(|slot| (slot.audio, slot.video)).collect();
                let (peers, mut turn) = self.turn();
                let answer = peers.accept_offer(*peer, sdp, &pairs, &mut turn).ok_or(OfferError);
                let is_accepted = answer.is_ok();
                self.notices.push_back(MediaNotice::Answered { peer: *peer, offer: *offer, answer });
                if !is_accepted {
                    // Slots that nobody can receive on are none.
                    return;
                }
            }
            MediaCommand::RemovePeer { peer } => self.peers.remove(*peer),
            MediaCommand::PutSource { .. }
            | MediaCommand::EnableSource { .. }
            | MediaCommand::RemoveSource { .. }
            | MediaCommand::Bind { .. }
            | MediaCommand::SetLayer { .. }
            | MediaCommand::Unbind { .. } => {}
        }
        self.forwarder.handle_command(command, self.now);
    }

    /// Takes a datagram in. What came with it is forwarded by the next [`handle_timeout`](Self::handle_timeout).
    pub fn handle_datagram(&mut self, datagram: Datagram<'_>, now: Instant) {
        self.now = self.now.max(now);
        let (peers, mut turn) = self.turn();
        peers.receive(datagram, &mut turn);
    }

    /// Forwards what has arrived, subscriber by subscriber, and lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.forward();
        let (peers, mut turn) = self.turn();
        peers.run_timers(&mut turn);
        // What repairs gave is forwarded in this turn too.
        self.forward();
        self.stats.packets_forwarded = self.forwarder.packets_forwarded();
    }

    /// Returns the next thing to do.
    pub fn poll_output(&mut self) -> Output {
        if let Some(transmit) = self.outgoing.pop_front() {
            return Output::Transmit(transmit);
        }
        if let Some(notice) = self.notices.pop_front() {
            return Output::Notice(notice);
        }
        let deadline = self.peers.deadline().into_iter().chain(self.forwarder.deadline()).min();
        Output::Wait(deadline.unwrap_or(self.now + IDLE))
    }

    /// Returns what the shard has done so far.
    #[must_use]
    pub const fn stats(&self) -> ShardStats {
        self.stats
    }

    fn forward(&mut self) {
        let mut egress =
            PeerEgress { peers: &mut self.peers, now: self.now, sent: Vec::new(), asked: Vec::new() };
        self.forwarder.forward(&mut egress, self.now);
        let PeerEgress { sent, asked, .. } = egress;
        let (peers, mut turn) = self.turn();
        for peer in sent {
            peers.drain(peer, &mut turn);
        }
        for peer in asked {
            peers.step(peer, &mut turn);
        }
        while let Some(notice) = self.forwarder.poll_notice() {
            self.notices.push_back(notice);
        }
    }

    const fn turn(&mut self) -> (&mut Peers, Turn<'_>) {
        let Self { peers, forwarder, outgoing, notices, stats, now } = self;
        (peers, Turn { now: *now, forwarder, outgoing, notices, stats })
    }
}

/// Hands packets to the peers that they are for. Those have them ready then; who is asked for something takes a step.
struct PeerEgress<'a> {
    peers: &'a mut Peers,
    now: Instant,
    sent: Vec<ParticipantId>,
    asked: Vec<ParticipantId>,
}

impl Egress for PeerEgress<'_> {
    fn send(&mut self, peer: ParticipantId, packets: &[OutgoingPacket]) {
        self.peers.send(peer, packets, self.now);
        self.sent.push(peer);
    }

    fn request_keyframe(&mut self, peer: ParticipantId, mid: Mid, rid: Rid) {
        self.peers.request_keyframe(peer, mid, rid);
        self.asked.push(peer);
    }

    fn forget(&mut self, peer: ParticipantId, mid: Mid) {
        self.peers.forget_history(peer, mid);
    }
}
