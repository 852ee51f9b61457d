//! A client and a server on virtual time, over a wire without delay.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, UNIX_EPOCH},
};

use bytes::Bytes;
use proptest::prelude::*;
use roomful_srtp::Profile;
use roomful_types::{Codec, Mid, Rid, StreamKey};
use str0m::crypto::dtls::SrtpProfile;

use crate::{
    ClientConfig, ClientOutput, ClientPeer, Datagram, Datagrams, Delivery, MediaError, Offer, Outgoing,
    ReceivedFrame, ReceivedPacket, SentFrame, SentPacket, ServerCertificate, ServerOutput, ServerPeer,
    dtls::FORCED, local_ufrag,
};

/// One client whose first video section the server sends back on its first slot.
struct Echo {
    client: ClientPeer,
    server: ServerPeer,
    outgoing: Outgoing,
    offer: Offer,
    now: Instant,
    frames: Vec<(Mid, ReceivedFrame)>,
    packets: Vec<ReceivedPacket>,
    keyframe_requests: usize,
    is_connected: bool,
}

const CLIENT: &str = "127.0.0.1:1000";
const SERVER: &str = "127.0.0.1:2000";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

impl Echo {
    fn connected() -> Self {
        let now = Instant::now();
        let mut client = ClientPeer::new(&ClientConfig::default(), &[address(CLIENT)], now);
        let mut server = ServerPeer::new(&ServerCertificate::generate(), &[address(SERVER)], now, UNIX_EPOCH);
        let offer = client.create_offer(1, 1, 1, false).expect("new sections");
        let answer = server.accept_offer(&offer.sdp, &offer.slots).expect("a good offer");
        client.accept_answer(&answer).expect("a good answer");
        let mut echo = Self {
            client,
            server,
            outgoing: Outgoing::new(),
            offer,
            now,
            frames: vec![],
            packets: vec![],
            keyframe_requests: 0,
            is_connected: false,
        };
        echo.run(Duration::from_millis(500));
        assert!(echo.is_connected, "half a second is enough on a perfect wire");
        echo
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(5);
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now, &mut self.outgoing);
            while self.exchange() {}
        }
    }

    /// Moves everything that waits; false when nothing did.
    fn exchange(&mut self) -> bool {
        let mut moved = false;
        loop {
            match self.client.poll_output() {
                ClientOutput::Wait(_) => break,
                ClientOutput::Transmit(transmit) => {
                    let (source, destination) = (transmit.source, transmit.destination);
                    let datagram = Datagram { source, destination, bytes: &transmit.bytes };
                    self.packets.extend(self.server.handle_datagram(datagram, Vec::new(), self.now));
                    self.drain_server();
                    moved = true;
                }
                ClientOutput::Frame(mid, frame) => self.frames.push((mid, frame)),
                ClientOutput::Connected => self.is_connected = true,
                ClientOutput::KeyframeRequest(..) => self.keyframe_requests += 1,
                ClientOutput::Disconnected | ClientOutput::TargetBitrate(..) | ClientOutput::Stats(_) => {}
            }
        }
        let mid = self.offer.slots[0].1;
        let echoed = self.packets.iter().map(|packet| {
            let ReceivedPacket { sequence, timestamp, marker, captured, ref extensions, .. } = *packet;
            let (codec, payload) = (Codec::Vp8, &packet.payload[..]);
            SentPacket { mid, codec, sequence, timestamp, marker, payload, padding: 0, captured, extensions }
        });
        self.server.send(echoed, &mut self.outgoing, self.now);
        self.packets.clear();
        self.server.handle_timeout(self.now, &mut self.outgoing);
        moved | self.drain_server()
    }

    fn drain_server(&mut self) -> bool {
        let mut moved = false;
        while let Some(output) = self.server.poll_output(&mut self.outgoing) {
            self.keyframe_requests += usize::from(matches!(output, ServerOutput::KeyframeRequest(_)));
        }
        while let Some(run) = self.outgoing.next_run() {
            let Datagrams { source, destination, .. } = run;
            for bytes in run.iter() {
                self.client.handle_datagram(Datagram { source, destination, bytes }, self.now);
            }
            moved = true;
        }
        moved
    }

    fn publish(&mut self) -> (Mid, u32) {
        let mid = self.offer.video_senders[0];
        let key = StreamKey::new("camera").expect("short");
        let first_timestamp = self.client.open_sender(mid, Codec::Vp8, &key, false).expect("negotiated");
        self.client.set_active(mid, true);
        (mid, first_timestamp)
    }

    fn send(&mut self, number: u64) -> Delivery {
        let mid = self.offer.video_senders[0];
        let delivery = self.client.send(mid, Rid::High, &frame(number), self.now).expect("an open section");
        self.run(Duration::from_millis(30));
        delivery
    }
}

/// Frame 0 and every tenth are key frames; all differ.
fn frame(number: u64) -> SentFrame {
    let is_keyframe = number.is_multiple_of(10);
    let mut data = vec![u8::from(!is_keyframe), 0, 0, 0x9d, 1, 0x2a, 64, 0, 64, 0];
    data.extend((0..3000).map(|index| (index * 7 + number * 13) as u8));
    SentFrame {
        data: Bytes::from(data),
        media_time: Duration::from_nanos(number * 1_000_000_000 / 30),
        is_keyframe,
        audio_level: None,
    }
}

#[test]
fn frames_come_back_byte_for_byte_and_in_order() {
    let mut echo = Echo::connected();
    let (_, first_timestamp) = echo.publish();
    let slot = echo.offer.slots[0].1;
    echo.client.open_receiver(slot);
    echo.client.bind_receiver(slot, Codec::Vp8, 0, first_timestamp);
    for number in 0..60 {
        assert_eq!(echo.send(number), Delivery::Sent);
    }
    assert_eq!(echo.frames.len(), 60);
    for (number, (mid, received)) in echo.frames.iter().enumerate() {
        let sent = frame(number as u64);
        assert_eq!((*mid, &received.data, received.packets_lost), (slot, &sent.data, 0));
        assert_eq!(received.media_time, Codec::Vp8.time(number as u64 * 3000));
    }
    assert!(echo.frames[59].1.captured_at.is_some(), "a report came within a second");
}

#[test]
fn whatever_profile_is_agreed_on_str0m_and_we_open_what_the_other_sealed() {
    for profiles in [
        (SrtpProfile::AEAD_AES_256_GCM, Profile::AeadAes256Gcm),
        (SrtpProfile::AEAD_AES_128_GCM, Profile::AeadAes128Gcm),
        (SrtpProfile::AES128_CM_SHA1_80, Profile::Aes128CmSha1_80),
    ] {
        FORCED.set(Some(profiles));
        let mut echo = Echo::connected();
        let (_, first_timestamp) = echo.publish();
        let slot = echo.offer.slots[0].1;
        echo.client.open_receiver(slot);
        echo.client.bind_receiver(slot, Codec::Vp8, 0, first_timestamp);
        (0..40).for_each(|number| assert_eq!(echo.send(number), Delivery::Sent));
        let received: Vec<&Bytes> = echo.frames.iter().map(|(_, received)| &received.data).collect();
        let expected: Vec<Bytes> = (0..40).map(|number| frame(number).data).collect();
        assert_eq!(received, expected.iter().collect::<Vec<_>>(), "{profiles:?}");
        // Reports are opened too, both ways: only they know the time of capture.
        assert!(echo.frames[39].1.captured_at.is_some(), "{profiles:?}");
    }
    FORCED.set(None);
}

#[test]
fn media_that_overtakes_its_binding_is_kept_and_what_is_older_is_dropped() {
    let mut echo = Echo::connected();
    let (_, first_timestamp) = echo.publish();
    let slot = echo.offer.slots[0].1;
    echo.client.open_receiver(slot);
    for number in 0..20 {
        echo.send(number);
    }
    assert!(echo.frames.is_empty());
    // Three packets per frame: the second occupant begins with frame 10.
    echo.client.bind_receiver(slot, Codec::Vp8, 30, first_timestamp + 10 * 3000);
    echo.run(Duration::from_millis(10));
    let received: Vec<&Bytes> = echo.frames.iter().map(|(_, received)| &received.data).collect();
    let expected: Vec<Bytes> = (10..20).map(|number| frame(number).data).collect();
    assert_eq!(received, expected.iter().collect::<Vec<_>>());
}

#[test]
fn a_binding_renewed_after_its_media_came_repeats_and_loses_nothing() {
    let mut echo = Echo::connected();
    let (_, first_timestamp) = echo.publish();
    let slot = echo.offer.slots[0].1;
    echo.client.open_receiver(slot);
    echo.client.bind_receiver(slot, Codec::Vp8, 0, first_timestamp);
    for number in 0..15 {
        echo.send(number);
    }
    echo.client.bind_receiver(slot, Codec::Vp8, 30, first_timestamp + 10 * 3000);
    for number in 15..20 {
        echo.send(number);
    }
    let received: Vec<&Bytes> = echo.frames.iter().map(|(_, received)| &received.data).collect();
    let expected: Vec<Bytes> = (0..20).map(|number| frame(number).data).collect();
    assert_eq!(received, expected.iter().collect::<Vec<_>>());
}

#[test]
fn a_muted_track_sends_nothing_and_goes_on_with_a_key_frame() {
    let mut echo = Echo::connected();
    let (mid, _) = echo.publish();
    assert_eq!((echo.send(0), echo.send(1)), (Delivery::Sent, Delivery::Sent));
    echo.client.set_active(mid, false);
    assert_eq!(echo.send(2), Delivery::Skipped);
    let requests = echo.keyframe_requests;
    echo.client.set_active(mid, true);
    assert_eq!((echo.send(3), echo.send(10)), (Delivery::Skipped, Delivery::Sent));
    assert!(echo.keyframe_requests > requests, "the writer is asked for a key frame");
}

#[test]
fn a_section_goes_on_behind_what_it_sent_before() {
    let mut echo = Echo::connected();
    let (mid, first) = echo.publish();
    echo.send(0);
    echo.send(30);
    let second = echo.client.open_sender(mid, Codec::Vp8, &StreamKey::new("other").expect("short"), false);
    assert!(second.expect("negotiated").wrapping_sub(first) > 30 * 3000);
    assert_eq!(
        echo.client.open_sender(mid, Codec::Opus, &StreamKey::new("x").expect("short"), false),
        Err(MediaError::UnknownMid)
    );
}

#[test]
fn more_sections_are_negotiated_without_losing_the_old_ones() {
    let mut echo = Echo::connected();
    let offer = echo.client.create_offer(2, 1, 8, false).expect("new sections");
    assert!(offer.slots.starts_with(&echo.offer.slots));
    let answer = echo.server.accept_offer(&offer.sdp, &offer.slots).expect("a good offer");
    assert_eq!(answer.matches("slot-7 ").count(), answer.matches("slot-0 ").count());
    echo.client.accept_answer(&answer).expect("a good answer");
    assert_eq!(echo.client.accept_answer(&answer), Err(MediaError::NoSuchOffer));
    echo.publish();
    assert_eq!(echo.send(0), Delivery::Sent);
    assert!(echo.client.create_offer(1, 1, 1, false).is_none(), "nothing new to offer");
}

#[test]
fn a_first_packet_names_the_peer_that_it_is_for() {
    let now = Instant::now();
    let mut client = ClientPeer::new(&ClientConfig::default(), &[address(CLIENT)], now);
    let mut server = ServerPeer::new(&ServerCertificate::generate(), &[address(SERVER)], now, UNIX_EPOCH);
    let offer = client.create_offer(1, 1, 1, false).expect("new sections");
    let answer = server.accept_offer(&offer.sdp, &[]).expect("a good offer");
    client.accept_answer(&answer).expect("a good answer");
    client.handle_timeout(now);
    let first = loop {
        match client.poll_output() {
            ClientOutput::Transmit(transmit) => break transmit,
            ClientOutput::Wait(until) => client.handle_timeout(until),
            ClientOutput::KeyframeRequest(..) | ClientOutput::TargetBitrate(..) | ClientOutput::Stats(_) => {}
            ClientOutput::Connected | ClientOutput::Disconnected | ClientOutput::Frame(..) => {
                panic!("nobody has answered yet")
            }
        }
    };
    assert_eq!(local_ufrag(&first.bytes), Some(server.local_ufrag().as_str()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_description_and_no_datagram_panics(
        text in "(v=0|o=- 1 2 IN IP4 0|s=-|t=0 0|m=audio 9 UDP/TLS/RTP/SAVPF 111|a=mid:0|a=[a-z:0-9 ]{0,20}|\r\n){0,12}",
        bytes in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut server = ServerPeer::new(&ServerCertificate::generate(), &[address(SERVER)], Instant::now(), UNIX_EPOCH);
        prop_assert!(server.accept_offer(&text, &[]).is_err());
        let datagram = Datagram { source: address(CLIENT), destination: address(SERVER), bytes: &bytes };
        let _ = server.accepts(datagram);
        prop_assert!(server.handle_datagram(datagram, Vec::new(), Instant::now()).is_err());
        while server.poll_output(&mut Outgoing::new()).is_some() {}
    }
}
