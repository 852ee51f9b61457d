//! Who a datagram is for, and where media goes: with real clients, on memory and virtual time.

mod numbers;

use std::{
    net::SocketAddr,
    time::{Duration, Instant, UNIX_EPOCH},
};

use bytes::Bytes;
use roomful_media::{ClientConfig, ClientOutput, ClientPeer, Offer, SentFrame, Transmit};
use roomful_protocol::{OfferId, SlotMids};
use roomful_sfu::{MediaCommand, MediaNotice, SourceId};
use roomful_types::{Codec, MediaKind, Mid, ParticipantId, Rid, StreamId, StreamKey};

use crate::{Datagram, Output, Shard};

/// Publishers and a subscriber, the last one, each behind a NAT that may change its mind.
struct Scene {
    shard: Shard,
    clients: Vec<Client>,
    now: Instant,
    frames: u64,
    /// Media and reports of the server's by the client that they are for, whether or not they arrive.
    sent: Vec<(usize, Vec<u8>)>,
    /// Whether every other one of those to the subscriber is lost.
    is_losing: bool,
    /// Where datagrams of the server went that no client has the address of.
    astray: Vec<SocketAddr>,
}

struct Client {
    peer: ClientPeer,
    offer: Offer,
    /// Where the server sees it.
    outside: SocketAddr,
    /// Media packets that reached it.
    received: usize,
    /// What it sent last, of ICE and of media.
    latest: [Vec<u8>; 2],
}

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), 7071);
const SOURCE: SourceId = SourceId { stream: StreamId::from_random([1; 16]), kind: MediaKind::Video };

fn inside(index: usize) -> SocketAddr {
    SocketAddr::from(([192, 168, 0, index as u8 + 1], 5000))
}

fn outside(port: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 7], port))
}

fn participant(index: usize) -> ParticipantId {
    ParticipantId::from_random([index as u8 + 1; 16])
}

const fn is_media(bytes: &[u8]) -> bool {
    matches!(bytes, [128..=191, 0..192 | 224.., ..])
}

impl Scene {
    /// A publisher whom a subscriber takes.
    fn new() -> Self {
        let mut scene = Self::connected(2, 1);
        scene.publish(0, SOURCE, false);
        let mid = scene.slot();
        scene.command(MediaCommand::Bind { peer: participant(1), mid, source: SOURCE, layer: Rid::High });
        assert!(scene.play(10) >= 10, "media flows");
        scene
    }

    /// So many people, with so many slots each, whom nothing is sent to yet.
    fn connected(people: usize, slots: usize) -> Self {
        let now = Instant::now();
        let mut scene = Self {
            shard: Shard::new(vec![SERVER], 1, now, UNIX_EPOCH),
            clients: Vec::new(),
            now,
            frames: 0,
            sent: Vec::new(),
            is_losing: false,
            astray: Vec::new(),
        };
        (0..people).for_each(|index| scene.join(index, slots));
        scene.pass(Duration::from_millis(500));
        scene
    }

    /// Begins a track of a client on its only section.
    fn publish(&mut self, index: usize, source: SourceId, simulcast: bool) {
        let (mid, codec) = (self.clients[index].offer.video_senders[0], Codec::Vp8);
        let (client, key) = (&mut self.clients[index].peer, StreamKey::new("camera").expect("short"));
        let first_timestamp = client.open_sender(mid, codec, &key, simulcast).expect("negotiated");
        client.set_active(mid, true);
        let peer = participant(index);
        self.command(MediaCommand::PutSource { source, peer, mid, codec, first_timestamp, simulcast });
    }

    /// The slot on which the subscriber takes the video.
    fn slot(&self) -> Mid {
        self.clients[1].offer.slots[0].1
    }

    fn command(&mut self, command: MediaCommand) {
        self.shard.handle_command(&command, self.now);
    }

    fn join(&mut self, index: usize, slots: usize) {
        let mut peer = ClientPeer::new(&ClientConfig::default(), &[inside(index)], self.now);
        let offer = peer.create_offer(0, 1, slots, false).expect("new sections");
        let answer = self.answer(index, &offer);
        peer.accept_answer(&answer).expect("a good answer");
        let latest = [Vec::new(), Vec::new()];
        self.clients.push(Client { peer, offer, outside: outside(4000 + index as u16), received: 0, latest });
    }

    /// Hands an offer in and returns the answer, which the client does not know yet.
    fn answer(&mut self, index: usize, offer: &Offer) -> String {
        let slots = offer.slots.iter().map(|(audio, video)| SlotMids { audio: *audio, video: *video });
        self.command(MediaCommand::AcceptOffer {
            peer: participant(index),
            offer: OfferId(1),
            sdp: offer.sdp.clone(),
            slots: slots.collect(),
        });
        loop {
            match self.shard.poll_output() {
                Output::Notice(MediaNotice::Answered { answer: Ok(answer), .. }) => return answer,
                Output::Notice(_) | Output::Transmit(_) => {}
                Output::Wait(_) => panic!("offers are answered at once"),
            }
        }
    }

    /// Lets time pass and moves everything.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(5);
            for index in 0..self.clients.len() {
                self.clients[index].peer.handle_timeout(self.now);
                self.drain_client(index);
            }
            self.turn();
        }
    }

    /// One turn of the shard, as after something arrived.
    fn turn(&mut self) {
        self.shard.handle_timeout(self.now);
        let mut sent = Vec::new();
        loop {
            match self.shard.poll_output() {
                Output::Wait(_) => break,
                Output::Notice(_) => {}
                Output::Transmit(run) => {
                    sent.extend(run.iter().map(|bytes| (run.destination, bytes.to_vec())));
                }
            }
        }
        for (destination, bytes) in sent {
            let owner = self.clients.iter().position(|client| client.outside == destination);
            let subscriber = self.clients.len() - 1;
            if matches!(bytes.first(), Some(128..=191)) {
                // Where nobody is, the subscriber was.
                self.sent.push((owner.unwrap_or(subscriber), bytes.clone()));
                if self.is_losing && owner == Some(subscriber) && self.sent.len().is_multiple_of(2) {
                    continue;
                }
            }
            let Some(index) = owner else {
                self.astray.push(destination);
                continue;
            };
            let client = &mut self.clients[index];
            client.received += usize::from(is_media(&bytes));
            let datagram = Datagram { source: SERVER, destination: inside(index), bytes: &bytes };
            client.peer.handle_datagram(datagram, self.now);
            self.drain_client(index);
        }
    }

    fn drain_client(&mut self, index: usize) {
        loop {
            match self.clients[index].peer.poll_output() {
                ClientOutput::Wait(_) => return,
                ClientOutput::Transmit(Transmit { bytes, .. }) => {
                    let client = &mut self.clients[index];
                    match bytes.first() {
                        Some(0..=3) => client.latest[0].clone_from(&bytes),
                        _ if is_media(&bytes) => client.latest[1].clone_from(&bytes),
                        _ => {}
                    }
                    let source = client.outside;
                    self.arrive(source, &bytes);
                }
                ClientOutput::Connected
                | ClientOutput::Disconnected
                | ClientOutput::Frame(..)
                | ClientOutput::KeyframeRequest(..)
                | ClientOutput::TargetBitrate(..)
                | ClientOutput::Stats(_) => {}
            }
        }
    }

    /// A datagram reaches the server.
    fn arrive(&mut self, source: SocketAddr, bytes: &[u8]) {
        self.shard.handle_datagram(Datagram { source, destination: SERVER, bytes }, self.now);
    }

    /// Publishes so many frames of one packet, in every encoding that there is. Returns how many media packets reach the subscriber meanwhile.
    fn play(&mut self, count: usize) -> usize {
        let subscriber = self.clients.len() - 1;
        let before = self.clients[subscriber].received;
        for _ in 0..count {
            let is_keyframe = self.frames.is_multiple_of(5);
            let mut data = vec![u8::from(!is_keyframe), 0, 0, 0x9d, 1, 0x2a, 64, 0, 64, 0];
            data.resize(500, 1);
            let media_time = Duration::from_millis(30 * self.frames);
            self.frames += 1;
            let frame = SentFrame { data: Bytes::from(data), media_time, is_keyframe, audio_level: None };
            for Client { peer, offer, .. } in &mut self.clients[..subscriber] {
                for rid in Rid::ALL {
                    // Those that are not there refuse it.
                    let _ = peer.send(offer.video_senders[0], rid, &frame, self.now);
                }
            }
            self.pass(Duration::from_millis(30));
        }
        self.shard.check_invariants();
        self.clients[subscriber].received - before
    }
}

#[test]
fn a_check_that_is_not_authentic_moves_nothing() {
    let mut scene = Scene::new();
    let mut forged = scene.clients[1].latest[0].clone();
    assert_eq!(forged[..2], [0, 1], "clients check their path all the time");
    // The address of whoever forges is not among the clients': nothing may go there.
    // One bit of the integrity, and one of the transaction: behind the integrity there are 8 bytes that prove nothing.
    for place in [forged.len() - 12, 9] {
        forged[place] ^= 1;
        scene.arrive(outside(6666), &forged);
        scene.turn();
    }
    assert_eq!(scene.play(20), 20, "media goes on");
    assert_eq!(scene.astray, []);
}

#[test]
fn media_from_an_address_that_was_never_checked_is_ignored() {
    let mut scene = Scene::new();
    let (packet, before) = (scene.clients[0].latest[1].clone(), scene.shard.stats());
    scene.arrive(outside(6666), &packet);
    // Another client's address is no better: its keys are others.
    scene.arrive(scene.clients[1].outside, &packet);
    let after = scene.shard.stats();
    assert_eq!(after.packets_received, before.packets_received);
    assert_eq!(after.datagrams_ignored, before.datagrams_ignored + 1);
}

#[test]
fn whoever_gets_another_address_is_found_there_and_nowhere_else() {
    let mut scene = Scene::new();
    for index in [1, 0] {
        scene.clients[index].outside = outside(7000 + index as u16);
        scene.play(200);
        scene.astray.clear();
        assert!(scene.play(20) >= 20, "media comes to the new address");
        assert_eq!(scene.astray, [], "and goes to no other");
    }
}

#[test]
fn media_goes_on_while_another_path_is_looked_for() {
    let mut scene = Scene::new();
    let offer = scene.clients[1].peer.create_offer(0, 1, 1, true).expect("a restart");
    let answer = scene.answer(1, &offer);
    // The answer is still on its way: nothing can be checked.
    assert_eq!(scene.play(40), 40, "on the path that there is");
    scene.clients[1].peer.accept_answer(&answer).expect("a good answer");
    scene.clients[1].outside = outside(7777);
    scene.play(100);
    scene.astray.clear();
    assert!(scene.play(20) >= 20, "on the new one");
    assert_eq!(scene.astray, []);
}

#[test]
fn what_cannot_leave_waits_and_loses_no_number() {
    let mut scene = Scene::new();
    scene.shard.set_blocked(true);
    assert_eq!(scene.play(10), 0);
    scene.shard.set_blocked(false);
    assert_eq!(scene.play(10), 20, "and nothing of it was asked for again");
}

#[test]
fn what_subscribers_got_is_known_and_what_was_lost_is_not_in_it() {
    let mut scene = Scene::new();
    let before = scene.shard.stats();
    scene.play(50);
    let all = scene.shard.stats();
    let acknowledged = all.bytes_acknowledged - before.bytes_acknowledged;
    assert!(acknowledged > 30 * 500 && all.bytes_acknowledged <= all.bytes_sent, "{all:?}");
    // Nothing reaches the subscriber any more, so nothing more is acknowledged but what was on its way.
    scene.clients[1].outside = outside(9999);
    scene.clients[1].peer = ClientPeer::new(&ClientConfig::default(), &[inside(1)], scene.now);
    scene.play(10);
    let before = scene.shard.stats().bytes_acknowledged;
    scene.play(20);
    assert_eq!(scene.shard.stats().bytes_acknowledged, before);
}

#[test]
fn two_behind_one_address_are_kept_apart_and_none_takes_the_others_port() {
    let mut scene = Scene::new();
    assert_eq!(scene.clients[0].outside.ip(), scene.clients[1].outside.ip());
    // The subscriber claims the publisher's port, with a check that is authentic: it may send its own media there, and no more.
    let check = scene.clients[1].latest[0].clone();
    let publisher = scene.clients[0].outside;
    scene.arrive(publisher, &check);
    scene.turn();
    let before = scene.shard.stats().packets_received;
    scene.play(20);
    assert_eq!(
        scene.shard.stats().packets_received - before,
        20,
        "what comes from there is still the publisher's"
    );
}

#[test]
fn whose_media_fails_is_told_of_and_costs_nobody_else_anything() {
    let mut scene = Scene::connected(3, 1);
    scene.publish(0, SOURCE, false);
    for index in [1, 2] {
        let (peer, mid) = (participant(index), scene.clients[index].offer.slots[0].1);
        scene.command(MediaCommand::Bind { peer, mid, source: SOURCE, layer: Rid::High });
    }
    assert!(scene.play(10) >= 10, "media flows");
    scene.shard.fail(participant(1));
    let Output::Notice(failed) = scene.shard.poll_output() else { panic!("it is told at once") };
    assert_eq!(failed, MediaNotice::Failed { peer: participant(1) });
    let before = scene.clients[1].received;
    assert_eq!(scene.play(10), 10, "the other one's goes on");
    scene.command(MediaCommand::RemovePeer { peer: participant(1) });
    assert_eq!(scene.play(10), 10);
    assert_eq!(scene.clients[1].received, before, "nothing goes to who is gone");
}
