//! Real clients around a shard, on memory instead of sockets and on virtual time.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant, UNIX_EPOCH},
};

use bytes::Bytes;
use roomful_media::{ClientConfig, ClientOutput, ClientPeer, Offer, SentFrame, Transmit};
use roomful_protocol::{OfferId, SlotMids};
use roomful_sfu::{MediaCommand, MediaNotice, SourceId};
use roomful_shard::{Datagram, Output, Shard};
use roomful_types::{Bitrate, Codec, MediaKind, Mid, ParticipantId, Rid, StreamId, StreamKey};

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7071);

/// Packets of one frame, and bytes of each: 2.4 Mbit/s at 30 frames per second, a picture of 720p, with which
/// others measured what theirs take. A smaller picture costs more per packet: whoever takes it is visited for fewer.
pub(crate) const PACKETS: usize = 9;
pub(crate) const PAYLOAD: usize = 1100;

/// Clients send one packet each time that they are called, reports and repairs among them.
const STEPS: u32 = 2 * PACKETS as u32;

/// Who sends to whom.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// One to so many.
    Livestream(usize),
    /// So many, each to all others.
    Meeting(usize),
}

impl Shape {
    /// Returns how many clients there are.
    pub(crate) const fn people(self) -> usize {
        match self {
            Self::Livestream(takers) => takers + 1,
            Self::Meeting(people) => people,
        }
    }
}

/// A shard and its clients.
pub(crate) struct Scene {
    shard: Shard,
    clients: Vec<ClientPeer>,
    /// What each client offered.
    offers: Vec<Offer>,
    places: HashMap<SocketAddr, usize>,
    now: Instant,
    publishers: usize,
    takers: usize,
    frames: u64,
    /// What waits to be taken in.
    arrived: Vec<Transmit>,
    /// What left and is on its way to clients.
    departed: Vec<Transmit>,
    /// Every so many datagrams to clients are lost; none at 0.
    lost_of: u64,
    sent: u64,
    left: u64,
}

fn participant(index: usize) -> ParticipantId {
    ParticipantId::from_random(
        (index as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes(),
    )
}

fn source(index: usize) -> SourceId {
    SourceId { stream: StreamId::from_random((index as u128 + 1).to_be_bytes()), kind: MediaKind::Video }
}

fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([127, 1, (index >> 8) as u8, index as u8], 5000))
}

impl Scene {
    /// Connects everybody and lets media flow.
    pub(crate) fn new(shape: Shape, lost_of: u64) -> Self {
        let clients = shape.people();
        let (publishers, slots) = match shape {
            Shape::Livestream(_) => (1, 1),
            Shape::Meeting(people) => (people, people - 1),
        };
        let now = Instant::now();
        let mut scene = Self {
            shard: Shard::new(vec![SERVER], 1, now, UNIX_EPOCH),
            clients: Vec::new(),
            offers: Vec::new(),
            places: (0..clients).map(|index| (address(index), index)).collect(),
            now,
            publishers,
            takers: clients - 1,
            frames: 0,
            arrived: Vec::new(),
            departed: Vec::new(),
            lost_of: 0,
            sent: 0,
            left: 0,
        };
        (0..clients).for_each(|index| scene.join(index, slots));
        (0..60).for_each(|_| scene.pass(Duration::from_millis(10)));
        (0..publishers).for_each(|index| scene.publish(index, slots));
        // Until every slot was told by a report whom it serves, packets are longer.
        for _ in 0..90 * publishers {
            let (now, arrived) = scene.frame();
            scene.forward(now, &arrived);
            while scene.collect(now) {
                scene.forward(now, &[]);
            }
            scene.deliver();
        }
        scene.lost_of = lost_of;
        scene
    }

    fn join(&mut self, index: usize, slots: usize) {
        // Room enough for the picture and a reserve: what is measured is the server.
        let rate = Bitrate::from_kbps(10_000);
        let mut config = ClientConfig::default();
        (config.initial_bitrate, config.max_video_bitrate) = (rate, rate);
        let mut client = ClientPeer::new(&config, &[address(index)], self.now);
        let offer = client.create_offer(0, 1, slots, false).expect("new sections");
        let slots = offer.slots.iter().map(|(audio, video)| SlotMids { audio: *audio, video: *video });
        let command = MediaCommand::AcceptOffer {
            peer: participant(index),
            offer: OfferId(1),
            sdp: offer.sdp.clone(),
            slots: slots.collect(),
        };
        self.shard.handle_command(&command, self.now);
        loop {
            match self.shard.poll_output() {
                Output::Notice(MediaNotice::Answered { answer: Ok(answer), .. }) => {
                    client.accept_answer(&answer).expect("a good answer");
                }
                Output::Notice(_) | Output::Transmit(_) => {}
                Output::Wait(_) => break,
            }
        }
        self.clients.push(client);
        self.offers.push(offer);
    }

    fn sender(&self, index: usize) -> Mid {
        self.offers[index].video_senders[0]
    }

    /// Publishes a video, which everybody else takes.
    fn publish(&mut self, index: usize, slots: usize) {
        let (mid, key) = (self.sender(index), StreamKey::new("camera").expect("short"));
        self.clients[index].open_sender(mid, Codec::Vp8, &key, false).expect("negotiated");
        self.clients[index].set_active(mid, true);
        let (source, peer, codec) = (source(index), participant(index), Codec::Vp8);
        let put = MediaCommand::PutSource { source, peer, mid, codec, first_timestamp: 0, simulcast: false };
        self.shard.handle_command(&put, self.now);
        for taker in (0..self.clients.len()).filter(|taker| *taker != index) {
            // Each takes the others in their order, one on each slot.
            let slot = if taker > index { index } else { index - 1 } % slots;
            let (peer, mid) = (participant(taker), self.offers[taker].slots[slot].1);
            self.shard.handle_command(&MediaCommand::Bind { peer, mid, source, layer: Rid::High }, self.now);
        }
    }

    /// Lets time pass and moves everything between the shard and its clients.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        for client in &mut self.clients {
            client.handle_timeout(self.now);
        }
        for _ in 0..4 {
            self.gather();
            let arrived = std::mem::take(&mut self.arrived);
            self.forward(self.now, &arrived);
            while self.collect(self.now) {
                self.forward(self.now, &[]);
            }
            self.deliver();
        }
    }

    /// Makes the next frame of the next publisher. Returns when it reaches the shard, and all datagrams that do by then.
    pub(crate) fn frame(&mut self) -> (Instant, Vec<Transmit>) {
        let publisher = (self.frames % self.publishers as u64) as usize;
        let number = self.frames / self.publishers as u64;
        self.frames += 1;
        let is_keyframe = number == 0;
        let mut data = vec![u8::from(!is_keyframe), 0, 0, 0x9d, 1, 0x2a, 64, 0, 64, 0];
        data.resize(PACKETS * PAYLOAD, 1);
        let media_time = Duration::from_millis(33 * number);
        let frame = SentFrame { data: Bytes::from(data), media_time, is_keyframe, audio_level: None };
        let mid = self.sender(publisher);
        self.clients[publisher].send(mid, Rid::High, &frame, self.now).expect("an open section");
        // Publishers send a frame's packets over some milliseconds; the shard finds them together, as on a busy machine.
        for _ in 0..STEPS {
            self.now += Duration::from_millis(33) / (STEPS * self.publishers as u32);
            for client in &mut self.clients {
                client.handle_timeout(self.now);
            }
            self.gather();
        }
        (self.now, std::mem::take(&mut self.arrived))
    }

    /// Takes in what arrived and forwards it: what is measured.
    pub(crate) fn forward(&mut self, now: Instant, arrived: &[Transmit]) {
        for Transmit { source, destination, bytes } in arrived {
            self.shard.handle_datagram(Datagram { source: *source, destination: *destination, bytes }, now);
        }
        self.shard.handle_timeout(now);
    }

    /// Takes over what the shard sent. Returns whether it has more, which did not fit into one turn.
    pub(crate) fn collect(&mut self, now: Instant) -> bool {
        loop {
            match self.shard.poll_output() {
                Output::Transmit(run) => {
                    let (source, destination) = (run.source, run.destination);
                    for bytes in run.iter() {
                        self.sent += u64::from(matches!(bytes, [128..=191, 0..192 | 224.., ..]));
                        self.departed.push(Transmit { source, destination, bytes: bytes.to_vec() });
                    }
                }
                Output::Notice(_) => {}
                Output::Wait(until) => return until <= now,
            }
        }
    }

    /// Hands what the shard sent to its clients.
    pub(crate) fn deliver(&mut self) {
        for Transmit { source, destination, bytes } in self.departed.drain(..) {
            let client = &mut self.clients[self.places[&destination]];
            self.left += 1;
            if self.lost_of == 0 || !self.left.is_multiple_of(self.lost_of) {
                client.handle_datagram(Datagram { source, destination, bytes: &bytes }, self.now);
                drain(client, &mut self.arrived);
            }
        }
    }

    /// Returns how many media packets were sent so far of those that should have been.
    pub(crate) fn share_sent(&self) -> f64 {
        self.sent as f64 / (self.frames as usize * PACKETS * self.takers) as f64
    }

    /// Returns how many media packets were sent so far, repairs included.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    fn gather(&mut self) {
        for client in &mut self.clients {
            drain(client, &mut self.arrived);
        }
    }
}

/// Takes out what a client sends.
fn drain(client: &mut ClientPeer, sent: &mut Vec<Transmit>) {
    loop {
        match client.poll_output() {
            ClientOutput::Wait(_) => return,
            ClientOutput::Transmit(transmit) => sent.push(transmit),
            ClientOutput::Connected
            | ClientOutput::Disconnected
            | ClientOutput::Frame(..)
            | ClientOutput::KeyframeRequest(..)
            | ClientOutput::TargetBitrate(..)
            | ClientOutput::Stats(_) => {}
        }
    }
}
