//! One packet through the whole server: opened once, sealed for every subscriber; beside what sealing alone takes.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::{
    hint::black_box,
    net::SocketAddr,
    time::{Duration, Instant, UNIX_EPOCH},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use roomful_media::{ClientConfig, ClientOutput, ClientPeer, SentFrame};
use roomful_protocol::{OfferId, SlotMids};
use roomful_sfu::{MediaCommand, MediaNotice, SourceId};
use roomful_shard::{Datagram, Output, Shard, Transmit};
use roomful_types::{Codec, MediaKind, Mid, ParticipantId, Rid, StreamId, StreamKey};

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7071);
const PAYLOAD: usize = 1100;
const SOURCE: SourceId = SourceId { stream: StreamId::from_random([1; 16]), kind: MediaKind::Video };

/// A publisher and its subscribers on memory sockets.
struct Scene {
    shard: Shard,
    clients: Vec<ClientPeer>,
    now: Instant,
    sender: Mid,
    frames: u64,
}

fn participant(index: usize) -> ParticipantId {
    ParticipantId::from_random([index as u8 + 1; 16])
}

fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 1, index as u8], 5000))
}

impl Scene {
    /// Connects one publisher and so many subscribers, each of which takes its video.
    fn with(subscribers: usize) -> Self {
        let now = Instant::now();
        let mut shard = Shard::new(vec![SERVER], 1, now, UNIX_EPOCH);
        let mut slots = Vec::new();
        let mut clients = Vec::new();
        let mut sender = None;
        for index in 0..=subscribers {
            let mut client = ClientPeer::new(&ClientConfig::default(), &[address(index)], now);
            let offer = client.create_offer(0, 1, 1, false).expect("new sections");
            let (audio, video) = offer.slots[0];
            let command = MediaCommand::AcceptOffer {
                peer: participant(index),
                offer: OfferId(1),
                sdp: offer.sdp,
                slots: vec![SlotMids { audio, video }],
            };
            shard.handle_command(&command, now);
            while let output = shard.poll_output()
                && !matches!(output, Output::Wait(_))
            {
                if let Output::Notice(MediaNotice::Answered { answer: Ok(answer), .. }) = output {
                    client.accept_answer(&answer).expect("a good answer");
                }
            }
            sender.get_or_insert(offer.video_senders[0]);
            slots.push(video);
            clients.push(client);
        }
        let sender = sender.expect("there is a publisher");
        let mut scene = Self { shard, clients, now, sender, frames: 0 };
        (0..100).for_each(|_| scene.pass());
        let key = StreamKey::new("camera").expect("short");
        scene.clients[0].open_sender(sender, Codec::Vp8, &key, false).expect("negotiated");
        scene.clients[0].set_active(sender, true);
        let put = MediaCommand::PutSource {
            source: SOURCE,
            peer: participant(0),
            mid: sender,
            codec: Codec::Vp8,
            first_timestamp: 0,
            simulcast: false,
        };
        scene.shard.handle_command(&put, scene.now);
        for (index, mid) in slots.into_iter().enumerate().skip(1) {
            let bind = MediaCommand::Bind { peer: participant(index), mid, source: SOURCE, layer: Rid::High };
            scene.shard.handle_command(&bind, scene.now);
        }
        for _ in 0..20 {
            let packets = scene.publish();
            scene.forward(&packets);
            scene.pass();
        }
        scene
    }

    /// Lets 5 ms pass, and moves everything between the shard and its clients.
    fn pass(&mut self) {
        self.now += Duration::from_millis(5);
        for client in &mut self.clients {
            client.handle_timeout(self.now);
        }
        for _ in 0..4 {
            for client in &mut self.clients {
                while let output = client.poll_output()
                    && !matches!(output, ClientOutput::Wait(_))
                {
                    if let ClientOutput::Transmit(Transmit { source, destination, bytes }) = output {
                        self.shard.handle_datagram(Datagram { source, destination, bytes: &bytes }, self.now);
                    }
                }
            }
            self.shard.handle_timeout(self.now);
            while let output = self.shard.poll_output()
                && !matches!(output, Output::Wait(_))
            {
                if let Output::Transmit(Transmit { source, destination, bytes }) = output {
                    let to = usize::from(match destination.ip() {
                        std::net::IpAddr::V4(ip) => ip.octets()[3],
                        std::net::IpAddr::V6(_) => unreachable!("clients have addresses of IPv4"),
                    });
                    let datagram = Datagram { source, destination, bytes: &bytes };
                    self.clients[to].handle_datagram(datagram, self.now);
                }
            }
        }
    }

    /// Makes the packets of the publisher's next frame.
    fn publish(&mut self) -> Vec<Transmit> {
        self.now += Duration::from_millis(33);
        let is_keyframe = self.frames == 0;
        let mut data = vec![u8::from(!is_keyframe), 0, 0, 0x9d, 1, 0x2a, 64, 0, 64, 0];
        data.resize(PAYLOAD, 1);
        let media_time = Duration::from_millis(33 * self.frames);
        self.frames += 1;
        let frame = SentFrame { data: Bytes::from(data), media_time, is_keyframe, audio_level: None };
        self.clients[0].send(self.sender, Rid::High, &frame, self.now).expect("an open section");
        let mut packets = Vec::new();
        while let output = self.clients[0].poll_output()
            && !matches!(output, ClientOutput::Wait(_))
        {
            if let ClientOutput::Transmit(transmit) = output {
                packets.push(transmit);
            }
        }
        packets
    }

    /// Forwards what was published. Returns how many datagrams left.
    fn forward(&mut self, packets: &[Transmit]) -> usize {
        for Transmit { source, destination, bytes } in packets {
            let datagram = Datagram { source: *source, destination: *destination, bytes };
            self.shard.handle_datagram(datagram, self.now);
        }
        self.shard.handle_timeout(self.now);
        let mut sent = 0;
        while let output = self.shard.poll_output()
            && !matches!(output, Output::Wait(_))
        {
            sent += usize::from(matches!(black_box(output), Output::Transmit(_)));
        }
        sent
    }
}

fn forward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward");
    group.throughput(Throughput::Elements(1));
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("of its length"));
    let (packet, mut arena) = ([1; PAYLOAD + 30], vec![0; PAYLOAD + 46]);
    group.bench_function("floor", |bencher| {
        bencher.iter(|| {
            arena[..packet.len()].copy_from_slice(black_box(&packet));
            let (header, rest) = arena.split_at_mut(30);
            let nonce = Nonce::assume_unique_for_key([3; 12]);
            key.seal_in_place_separate_tag(nonce, Aad::from(header), &mut rest[..PAYLOAD])
        });
    });
    for subscribers in [10, 100] {
        let mut scene = Scene::with(subscribers);
        let packets = scene.publish();
        assert!(scene.forward(&packets) >= subscribers, "everybody gets the packet");
        // Per packet that leaves.
        group.bench_function(BenchmarkId::new("1-to", subscribers), |bencher| {
            bencher.iter_custom(|iterations| {
                let (mut took, mut sent) = (Duration::ZERO, 0);
                while sent < iterations {
                    let packets = scene.publish();
                    let start = Instant::now();
                    scene.forward(&packets);
                    took += start.elapsed();
                    sent += subscribers as u64;
                    // Nobody goes away meanwhile: a second of media passes in a few milliseconds.
                    if scene.frames.is_multiple_of(30) {
                        scene.pass();
                    }
                }
                took.mul_f64(iterations as f64 / sent as f64)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, forward);
criterion_main!(benches);
