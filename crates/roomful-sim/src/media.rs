//! The media half of a fake server: a real shard with real peers, or a forwarder whose packets are handed over as they are.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant, UNIX_EPOCH},
};

use roomful_media::Transmit;
use roomful_sfu::{Egress, Forwarder, MediaCommand, MediaNotice, OutgoingPacket, SourcePacket};
use roomful_shard::{Datagram, Datagrams, Output as ShardOutput, Shard};
use roomful_types::{Codec, Mid, ParticipantId, Rid};

/// Where and how media is forwarded.
#[derive(Debug)]
pub enum Media {
    /// ICE, DTLS and RTP as on the wire, over datagrams.
    Real(Box<RealMedia>),
    /// The routes alone: packets come and go as values.
    Faked(Box<FakedMedia>),
}

/// A real shard.
#[derive(Debug)]
pub struct RealMedia {
    shard: Shard,
    address: SocketAddr,
    outputs: VecDeque<MediaOutput>,
    deadline: Option<Instant>,
}

/// Routes without a wire.
#[derive(Debug)]
pub struct FakedMedia {
    forwarder: Forwarder,
    outputs: Outputs,
}

/// Faked media that comes in.
#[derive(Debug, Clone)]
pub enum MediaInput {
    /// A packet of an encoding of a publisher, on one of its sections.
    Packet(ParticipantId, Mid, Rid, SourcePacket),
    /// A subscriber lost its picture on a section.
    KeyframeRequest(ParticipantId, Mid),
}

/// What comes out.
#[derive(Debug)]
pub enum MediaOutput {
    /// Tell the deciding engine.
    Notice(MediaNotice),
    /// Send this datagram.
    Transmit(Transmit),
    /// Faked media for a subscriber, on a section.
    Packet(ParticipantId, Mid, SourcePacket),
    /// A publisher is asked for a key frame on a section.
    KeyframeRequest(ParticipantId, Mid, Rid),
}

/// What the wall clock of a fake server says at the beginning, since 1970: some time in 2026.
const WALL: Duration = Duration::from_secs(1_780_000_000);

/// The address at which a fake server takes media.
pub(crate) const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 7071);

impl Media {
    /// Makes real media. The seed decides where sequence numbers begin.
    #[must_use]
    pub fn real(seed: u64, now: Instant) -> Self {
        Self::Real(Box::new(RealMedia {
            shard: Shard::new(vec![SERVER], seed, now, UNIX_EPOCH + WALL),
            address: SERVER,
            outputs: VecDeque::new(),
            deadline: None,
        }))
    }

    /// Makes faked media. The seed decides where sequence numbers begin.
    #[must_use]
    pub fn faked(seed: u64) -> Self {
        Self::Faked(Box::new(FakedMedia { forwarder: Forwarder::new(seed), outputs: Outputs::default() }))
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        match self {
            Self::Real(real) => real.address,
            Self::Faked(_) => SERVER,
        }
    }

    pub(crate) fn handle_command(&mut self, command: &MediaCommand, now: Instant) {
        match self {
            Self::Real(real) => {
                real.shard.handle_command(command, now);
                real.drain();
            }
            Self::Faked(faked) => {
                faked.forwarder.handle_command(command, now);
                if let MediaCommand::AcceptOffer { peer, offer, sdp, .. } = command {
                    let notice =
                        MediaNotice::Answered { peer: *peer, offer: *offer, answer: Ok(sdp.clone()) };
                    faked.outputs.0.push_back(MediaOutput::Notice(notice));
                }
            }
        }
    }

    pub(crate) fn handle_datagram(&mut self, datagram: Datagram<'_>, now: Instant) {
        if let Self::Real(real) = self {
            real.shard.handle_datagram(datagram, now);
            // Forwarded at the end of this instant, with all that arrives in it.
            real.deadline = Some(now);
        }
    }

    pub(crate) fn handle_input(&mut self, input: MediaInput, now: Instant) {
        let Self::Faked(faked) = self else { return };
        match input {
            MediaInput::Packet(peer, mid, rid, packet) => faked.forwarder.ingest(peer, mid, rid, packet, now),
            MediaInput::KeyframeRequest(peer, mid) => faked.forwarder.keyframe_requested(peer, mid, now),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Real(real) => {
                real.shard.handle_timeout(now);
                real.drain();
            }
            Self::Faked(faked) => {
                faked.forwarder.forward(&mut faked.outputs, now);
                while let Some(notice) = faked.forwarder.poll_notice() {
                    faked.outputs.0.push_back(MediaOutput::Notice(notice));
                }
            }
        }
    }

    pub(crate) fn poll_output(&mut self) -> Option<MediaOutput> {
        match self {
            Self::Real(real) => real.outputs.pop_front(),
            Self::Faked(faked) => faked.outputs.0.pop_front(),
        }
    }

    pub(crate) fn check_invariants(&self) {
        match self {
            Self::Real(real) => real.shard.check_invariants(),
            Self::Faked(faked) => faked.forwarder.check_invariants(),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Real(real) => real.deadline,
            Self::Faked(faked) => faked.forwarder.deadline(),
        }
    }
}

impl RealMedia {
    fn drain(&mut self) {
        loop {
            match self.shard.poll_output() {
                ShardOutput::Transmit(run) => {
                    let Datagrams { source, destination, .. } = run;
                    self.outputs.extend(run.iter().map(|bytes| {
                        MediaOutput::Transmit(Transmit { source, destination, bytes: bytes.to_vec() })
                    }));
                }
                ShardOutput::Notice(notice) => self.outputs.push_back(MediaOutput::Notice(notice)),
                ShardOutput::Wait(until) => {
                    self.deadline = Some(until);
                    return;
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Outputs(VecDeque<MediaOutput>);

impl Egress for Outputs {
    fn has_room(&self) -> bool {
        true
    }

    fn is_ready(&self, _: ParticipantId) -> bool {
        true
    }

    fn takes(&self, _: ParticipantId, _: Mid, _: Codec) -> bool {
        true
    }

    fn send<'a>(&mut self, peer: ParticipantId, packets: impl ExactSizeIterator<Item = OutgoingPacket<'a>>) {
        self.0.extend(packets.map(|packet| MediaOutput::Packet(peer, packet.mid, packet.rewritten())));
    }

    fn repair(&mut self, peer: ParticipantId, packet: OutgoingPacket<'_>) {
        self.0.push_back(MediaOutput::Packet(peer, packet.mid, packet.rewritten()));
    }

    fn request_keyframe(&mut self, peer: ParticipantId, mid: Mid, rid: Rid) {
        self.0.push_back(MediaOutput::KeyframeRequest(peer, mid, rid));
    }

    fn leave(&mut self, _: ParticipantId, _: Mid) {}
}
