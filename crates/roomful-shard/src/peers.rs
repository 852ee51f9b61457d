//! The peers of a shard, and how to find the one that a datagram is for.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant, SystemTime},
};

use roomful_media::{
    Datagram, Measure, Outgoing, ReceivedPacket, SentPacket, ServerCertificate, ServerOutput, ServerPeer,
    Traffic, local_ufrag,
};
use roomful_sfu::{Forwarder, MediaNotice, OutgoingPacket, SectionMeasure, SourcePacket};
use roomful_types::{Codec, Mid, ParticipantId, Rid};
use rustc_hash::FxHashMap;

use crate::shard::{MISSING_MAX, ShardStats};

/// All peers of one shard.
#[derive(Debug)]
pub(crate) struct Peers {
    certificate: ServerCertificate,
    /// Where clients are told to send to.
    advertised: Vec<SocketAddr>,
    /// What the wall clock said at the beginning.
    wall: SystemTime,
    start: Instant,
    /// By ids that the server drew, so nobody can choose which fall together.
    entries: FxHashMap<ParticipantId, Box<Entry>>,
    by_ufrag: HashMap<String, ParticipantId>,
    by_address: HashMap<SocketAddr, ParticipantId>,
    deadlines: BTreeSet<(Instant, ParticipantId)>,
    /// Used again by every turn.
    due: Vec<ParticipantId>,
    /// Peers that panicked and are gone, which nobody was told yet.
    failed: Vec<ParticipantId>,
}

/// Where the outputs of peers go in one turn.
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    pub(crate) forwarder: &'a mut Forwarder,
    pub(crate) outgoing: &'a mut Outgoing,
    pub(crate) notices: &'a mut VecDeque<MediaNotice>,
    /// Packets that subscribers miss.
    pub(crate) missing: &'a mut VecDeque<Missing>,
    pub(crate) stats: &'a mut ShardStats,
}

/// A packet that a subscriber misses on a section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Missing {
    pub(crate) peer: ParticipantId,
    pub(crate) mid: Mid,
    pub(crate) number: u16,
    pub(crate) round_trip: Duration,
}

#[derive(Debug)]
struct Entry {
    peer: ServerPeer,
    ufrag: String,
    addresses: Vec<SocketAddr>,
    deadline: Instant,
}

/// Addresses remembered per peer; more than that are probes that never became a path.
const ADDRESSES_PER_PEER: usize = 8;

impl Peers {
    pub(crate) fn new(advertised: Vec<SocketAddr>, now: Instant, wall: SystemTime) -> Self {
        Self {
            start: now,
            wall,
            certificate: ServerCertificate::generate(),
            advertised,
            entries: FxHashMap::default(),
            by_ufrag: HashMap::new(),
            by_address: HashMap::new(),
            deadlines: BTreeSet::new(),
            due: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Answers an offer; the first one makes the peer.
    pub(crate) fn accept_offer(
        &mut self,
        id: ParticipantId,
        sdp: &str,
        pairs: &[(Mid, Mid)],
        turn: &mut Turn<'_>,
    ) -> Option<String> {
        if !self.entries.contains_key(&id) {
            let peer = ServerPeer::new(
                &self.certificate,
                &self.advertised,
                turn.now,
                self.wall + (turn.now - self.start),
            );
            let entry = Entry { peer, ufrag: String::new(), addresses: Vec::new(), deadline: turn.now };
            self.deadlines.insert((entry.deadline, id));
            self.entries.insert(id, Box::new(entry));
        }
        let answer = self.isolate(id, |entry| entry.peer.accept_offer(sdp, pairs))?.ok()?;
        let ufrag = self.isolate(id, |entry| entry.peer.local_ufrag())?;
        if let Some(entry) = self.entries.get_mut(&id) {
            self.by_ufrag.remove(&entry.ufrag);
            entry.ufrag.clone_from(&ufrag);
            self.by_ufrag.insert(ufrag, id);
        }
        self.step(id, turn);
        Some(answer)
    }

    pub(crate) fn remove(&mut self, id: ParticipantId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.by_ufrag.remove(&entry.ufrag);
        for address in entry.addresses {
            if self.by_address.get(&address) == Some(&id) {
                self.by_address.remove(&address);
            }
        }
        self.deadlines.remove(&(entry.deadline, id));
    }

    /// Takes in a datagram.
    pub(crate) fn receive(&mut self, datagram: Datagram<'_>, turn: &mut Turn<'_>) {
        let datagram = Datagram { destination: self.candidate(datagram.destination), ..datagram };
        // Nobody can be answered at port 0, and trying to makes sockets fail.
        let found = if datagram.source.port() == 0 { None } else { self.find(datagram) };
        let Some(id) = found else {
            turn.stats.datagrams_ignored += 1;
            return;
        };
        let (now, buffer) = (turn.now, turn.forwarder.take_buffer());
        match self.isolate(id, |entry| entry.peer.handle_datagram(datagram, buffer, now)) {
            Some(Ok(packet)) => {
                turn.stats.packets_received += 1;
                let (mid, rid, packet) = source(packet);
                turn.forwarder.ingest(id, mid, rid, packet, now);
                self.schedule(id);
            }
            Some(Err(buffer)) => {
                turn.forwarder.give_buffer(buffer);
                let traffic = self.entries.get_mut(&id).map(|entry| entry.peer.take_traffic());
                let Traffic { sent, acknowledged } = traffic.unwrap_or_default();
                turn.stats.bytes_sent += sent;
                turn.stats.bytes_acknowledged += acknowledged;
                self.drain(id, turn);
            }
            None => {}
        }
    }

    /// Seals packets for a subscriber.
    pub(crate) fn send<'a>(
        &mut self,
        id: ParticipantId,
        packets: impl Iterator<Item = OutgoingPacket<'a>>,
        outgoing: &mut Outgoing,
        now: Instant,
    ) {
        let is_due_otherwise = self.isolate(id, |entry| entry.peer.send(packets.map(sent), outgoing, now));
        if is_due_otherwise == Some(true) {
            self.schedule(id);
        }
    }

    /// Seals a packet for a subscriber again.
    pub(crate) fn repair(&mut self, id: ParticipantId, packet: OutgoingPacket<'_>, outgoing: &mut Outgoing) {
        self.isolate(id, |entry| entry.peer.repair(sent(packet), outgoing));
    }

    pub(crate) fn is_connected(&self, id: ParticipantId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.peer.is_connected())
    }

    pub(crate) fn takes(&self, id: ParticipantId, mid: Mid, codec: Codec) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.peer.takes(mid, codec))
    }

    pub(crate) fn request_keyframe(&mut self, id: ParticipantId, mid: Mid, rid: Rid) {
        self.isolate(id, |entry| entry.peer.request_keyframe(mid, rid));
    }

    pub(crate) fn leave_section(&mut self, id: ParticipantId, mid: Mid) {
        self.isolate(id, |entry| entry.peer.leave_section(mid));
    }

    /// Lets a peer's time pass and takes its outputs.
    pub(crate) fn step(&mut self, id: ParticipantId, turn: &mut Turn<'_>) {
        let Turn { now, outgoing, .. } = turn;
        self.isolate(id, |entry| entry.peer.handle_timeout(*now, outgoing));
        self.drain(id, turn);
    }

    /// Steps every peer whose time has come.
    pub(crate) fn run_timers(&mut self, turn: &mut Turn<'_>) {
        let is_due = |(at, id): &(Instant, ParticipantId)| (*at <= turn.now).then_some(*id);
        let mut due = std::mem::take(&mut self.due);
        due.extend(self.deadlines.iter().map_while(is_due));
        for id in due.drain(..) {
            self.step(id, turn);
        }
        self.due = due;
    }

    /// Returns when the next peer's time comes.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Takes a peer's outputs.
    fn drain(&mut self, id: ParticipantId, turn: &mut Turn<'_>) {
        loop {
            let outgoing = &mut *turn.outgoing;
            let output = self.isolate(id, |entry| entry.peer.poll_output(outgoing)).flatten();
            let Some(output) = output else { return self.schedule(id) };
            match output {
                ServerOutput::Missing(..) if turn.missing.len() >= MISSING_MAX => {}
                ServerOutput::Missing(mid, number) => {
                    let round_trip =
                        self.entries.get(&id).map_or(Duration::ZERO, |entry| entry.peer.round_trip());
                    turn.missing.push_back(Missing { peer: id, mid, number, round_trip });
                }
                ServerOutput::Estimated(available) => {
                    turn.notices.push_back(MediaNotice::Estimated { peer: id, available });
                }
                ServerOutput::KeyframeRequest(mid) => turn.forwarder.keyframe_requested(id, mid, turn.now),
                ServerOutput::Measured(measure) => {
                    let measure = section_measure(measure);
                    turn.notices.push_back(MediaNotice::Measured { peer: id, measure });
                }
            }
        }
    }

    /// Notes when a peer wants to be called again.
    fn schedule(&mut self, id: ParticipantId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let until = entry.peer.deadline();
        if until != entry.deadline {
            self.deadlines.remove(&(entry.deadline, id));
            self.deadlines.insert((until, id));
            entry.deadline = until;
        }
    }

    /// Returns one of those that failed, once.
    pub(crate) fn take_failed(&mut self) -> Option<ParticipantId> {
        self.failed.pop()
    }

    /// Makes a peer fail.
    #[cfg(test)]
    pub(crate) fn fail(&mut self, id: ParticipantId) {
        self.isolate(id, |_| panic!("as told"));
    }

    /// Runs one step of one peer. A panic inside costs this peer and nobody else.
    fn isolate<T>(&mut self, id: ParticipantId, step: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let entry = self.entries.get_mut(&id)?;
        let result = catch_unwind(AssertUnwindSafe(|| step(entry)));
        if result.is_err() {
            tracing::error!(participant = %id, "a peer failed and was dropped; this is a bug");
            self.remove(id);
            self.failed.push(id);
        }
        result.ok()
    }

    /// Returns the peer that a datagram is for. A first packet from an address is believed only when it carries the
    /// credentials of the peer (RFC 8445 §7.3).
    fn find(&mut self, datagram: Datagram<'_>) -> Option<ParticipantId> {
        let named = local_ufrag(datagram.bytes).and_then(|ufrag| self.by_ufrag.get(ufrag)).copied();
        let known = self.by_address.get(&datagram.source).copied();
        let Some(named) = named.filter(|named| known != Some(*named)) else { return known };
        if !self.isolate(named, |entry| entry.peer.accepts(datagram))? {
            return known;
        }
        let owner = known.and_then(|owner| self.entries.get(&owner));
        if owner.is_some_and(|owner| owner.peer.is_connected() && owner.peer.path() == Some(datagram.source))
        {
            // Somebody with credentials of their own claims an address that another's media goes to. The check is theirs to make,
            // the address is not theirs to take.
            return Some(named);
        }
        let entry = self.entries.get_mut(&named)?;
        entry.addresses.retain(|address| *address != datagram.source);
        if entry.addresses.len() >= ADDRESSES_PER_PEER
            && let Some(index) =
                entry.addresses.iter().position(|address| entry.peer.path() != Some(*address))
        {
            let oldest = entry.addresses.remove(index);
            if self.by_address.get(&oldest) == Some(&named) {
                self.by_address.remove(&oldest);
            }
        }
        entry.addresses.push(datagram.source);
        self.by_address.insert(datagram.source, named);
        Some(named)
    }

    /// Returns the address that clients know the receiving one by: behind a NAT, they sent to another.
    fn candidate(&self, destination: SocketAddr) -> SocketAddr {
        let is_same = |address: &&SocketAddr| address.ip() == destination.ip();
        let is_alike = |address: &&SocketAddr| address.is_ipv4() == destination.is_ipv4();
        let mut all = self.advertised.iter();
        let candidate = all.clone().find(is_same).or_else(|| all.find(is_alike));
        candidate.copied().unwrap_or(destination)
    }
}

fn section_measure(measure: Measure) -> SectionMeasure {
    let Measure { mid, is_inbound, packets, progress, fraction_lost, jitter, round_trip_time } = measure;
    let fraction_lost = (fraction_lost.clamp(0.0, 1.0) * 255.0) as u8;
    SectionMeasure { mid, is_inbound, packets, progress, fraction_lost, jitter, round_trip_time }
}

fn source(packet: ReceivedPacket) -> (Mid, Rid, SourcePacket) {
    let ReceivedPacket { mid, rid, codec, sequence, timestamp, marker, payload, captured, extensions } =
        packet;
    (mid, rid, SourcePacket { codec, sequence, timestamp, marker, payload, captured, extensions })
}

fn sent(packet: OutgoingPacket<'_>) -> SentPacket<'_> {
    let OutgoingPacket { mid, codec, sequence, timestamp, padding, source } = packet;
    let SourcePacket { marker, ref payload, captured, ref extensions, .. } = *source;
    SentPacket { mid, codec, sequence, timestamp, marker, payload, padding, captured, extensions }
}
