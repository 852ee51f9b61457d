//! The shard: commands, datagrams and time in; datagrams and notices out.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use roomful_media::{Datagram, Datagrams, Outgoing};
use roomful_sfu::{Egress, Forwarder, MediaCommand, MediaNotice, OfferError, OutgoingPacket};
use roomful_types::{Codec, Mid, ParticipantId, Rid};

use crate::peers::{Missing, Peers, Turn};

/// The peers of one shard and the routes between them.
#[derive(Debug)]
pub struct Shard {
    peers: Peers,
    forwarder: Forwarder,
    outgoing: Outgoing,
    /// Whether what is outgoing cannot leave.
    is_blocked: bool,
    notices: VecDeque<MediaNotice>,
    /// Packets that subscribers miss, and that are to be sent again.
    missing: VecDeque<Missing>,
    /// Peers that owe something, and so take a step at the end of the turn.
    owing: Vec<ParticipantId>,
    stats: ShardStats,
    now: Instant,
}

/// What a shard does.
#[derive(Debug)]
#[must_use]
pub enum Output<'a> {
    /// Send these datagrams.
    Transmit(Datagrams<'a>),
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
    /// Bytes of media that left, headers and repairs included, as far as their receivers report about them.
    pub bytes_sent: u64,
    /// What of them receivers said that they got.
    pub bytes_acknowledged: u64,
    /// Datagrams that belonged to nobody, or were longer than [`DATAGRAM_MAX`].
    pub datagrams_ignored: u64,
}

/// Bytes that are sealed before they are sent. Fewer stay in the cache of a core until the system has copied them; whoever is not served by
/// then is next.
const OUTGOING_MAX: usize = 256 << 10;

/// Longest datagram that is taken in, in bytes: none of a client's is longer on an Ethernet, and a longer one could not be passed on.
pub const DATAGRAM_MAX: usize = 1500;

/// Packets that are sent again in one turn, to everybody together; each peer is bounded by itself. Who misses more has to ask again.
pub(crate) const MISSING_MAX: usize = 1 << 16;

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
            outgoing: Outgoing::new(),
            is_blocked: false,
            notices: VecDeque::new(),
            missing: VecDeque::new(),
            owing: Vec::new(),
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
        if datagram.bytes.len() > DATAGRAM_MAX {
            self.stats.datagrams_ignored += 1;
            return;
        }
        let (peers, mut turn) = self.turn();
        peers.receive(datagram, &mut turn);
    }

    /// Says whether what is outgoing cannot leave for now. Media waits without numbers then, and what waits too long is given up.
    pub const fn set_blocked(&mut self, is_blocked: bool) {
        self.is_blocked = is_blocked;
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
    pub fn poll_output(&mut self) -> Output<'_> {
        let failed = self.peers.take_failed().map(|peer| MediaNotice::Failed { peer });
        if let Some(notice) = failed.or_else(|| self.notices.pop_front()) {
            return Output::Notice(notice);
        }
        if self.outgoing.is_empty() {
            let is_behind = self.forwarder.is_behind() || !self.missing.is_empty();
            let rest = (is_behind && !self.is_blocked).then_some(self.now);
            let deadline =
                [self.peers.deadline(), self.forwarder.deadline(), rest].into_iter().flatten().min();
            return Output::Wait(deadline.unwrap_or(self.now + IDLE));
        }
        self.outgoing.next_run().map_or(Output::Wait(self.now), Output::Transmit)
    }

    /// Returns what the shard has done so far.
    #[must_use]
    pub const fn stats(&self) -> ShardStats {
        self.stats
    }

    /// Checks what must be true of every shard. For tests and simulators: costs a walk over everything.
    ///
    /// # Panics
    /// When the shard is at fault.
    pub fn check_invariants(&self) {
        self.forwarder.check_invariants();
        assert!(self.owing.is_empty(), "nothing is left of a turn");
    }

    /// Makes a peer fail.
    #[cfg(test)]
    pub(crate) fn fail(&mut self, peer: roomful_types::ParticipantId) {
        self.peers.fail(peer);
    }

    fn forward(&mut self) {
        let Self { peers, forwarder, outgoing, is_blocked, missing, owing, now, .. } = self;
        let mut egress = PeerEgress { peers, outgoing, owing, is_blocked: *is_blocked, now: *now };
        if *is_blocked {
            // Whoever misses them asks again.
            missing.clear();
        }
        while egress.has_room()
            && let Some(Missing { peer, mid, number, round_trip }) = missing.pop_front()
        {
            forwarder.repair((peer, mid), number, round_trip, &mut egress, *now);
        }
        forwarder.forward(&mut egress, *now);
        let mut owing = std::mem::take(&mut self.owing);
        let (peers, mut turn) = self.turn();
        for peer in owing.drain(..) {
            peers.step(peer, &mut turn);
        }
        self.owing = owing;
        while let Some(notice) = self.forwarder.poll_notice() {
            self.notices.push_back(notice);
        }
    }

    const fn turn(&mut self) -> (&mut Peers, Turn<'_>) {
        let Self { peers, forwarder, outgoing, notices, missing, stats, now, .. } = self;
        (peers, Turn { now: *now, forwarder, outgoing, notices, missing, stats })
    }
}

/// Hands packets to the peers that they are for, which seal them behind what leaves before them.
struct PeerEgress<'a> {
    peers: &'a mut Peers,
    outgoing: &'a mut Outgoing,
    owing: &'a mut Vec<ParticipantId>,
    is_blocked: bool,
    now: Instant,
}

impl Egress for PeerEgress<'_> {
    fn has_room(&self) -> bool {
        !self.is_blocked && self.outgoing.len() < OUTGOING_MAX
    }

    fn is_ready(&self, peer: ParticipantId) -> bool {
        self.peers.is_connected(peer)
    }

    fn takes(&self, peer: ParticipantId, mid: Mid, codec: Codec) -> bool {
        self.peers.takes(peer, mid, codec)
    }

    fn send<'a>(&mut self, peer: ParticipantId, packets: impl ExactSizeIterator<Item = OutgoingPacket<'a>>) {
        self.peers.send(peer, packets, self.outgoing, self.now);
    }

    fn repair(&mut self, peer: ParticipantId, packet: OutgoingPacket<'_>) {
        self.peers.repair(peer, packet, self.outgoing);
    }

    fn request_keyframe(&mut self, peer: ParticipantId, mid: Mid, rid: Rid) {
        self.peers.request_keyframe(peer, mid, rid);
        self.owing.push(peer);
    }

    fn leave(&mut self, peer: ParticipantId, mid: Mid) {
        self.peers.leave_section(peer, mid);
    }
}
