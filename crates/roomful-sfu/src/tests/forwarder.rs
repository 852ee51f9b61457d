//! Forwarding: what each subscriber gets, as text, and the laws of it.

mod occupancy;

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{Egress, Forwarder, OutgoingPacket, SourcePacket};

const KEY: &[u8] = &[0x10, 0x00];
const DELTA: &[u8] = &[0x10, 0x01];
const REST: &[u8] = &[0x00, 0x01];
const OPUS: &[u8] = &[0xfc];
const SPS: &[u8] = &[0x67, 0x42];
const IDR: &[u8] = &[0x65, 0x88];

/// Peer 0 publishes, the others subscribe; each has two receive slots.
struct Scene {
    forwarder: Forwarder,
    now: Instant,
    start: Instant,
    record: Recorder,
    /// The first numbers of each slot; texts count from there.
    firsts: BTreeMap<(ParticipantId, Mid), (u64, u32)>,
    /// How long after their capture packets come.
    late: Duration,
    /// What each section of the publisher sends.
    codecs: BTreeMap<Mid, Codec>,
}

#[derive(Default)]
struct Recorder {
    is_full: bool,
    /// How many more subscribers are served before it is full.
    room: Option<usize>,
    unready: Option<ParticipantId>,
    /// What nobody takes.
    unknown: Option<Codec>,
    sent: Vec<(ParticipantId, Sent)>,
    repaired: Vec<(ParticipantId, Sent)>,
    asked: Vec<(ParticipantId, Mid)>,
    left: Vec<(ParticipantId, Mid)>,
}

impl Egress for Recorder {
    fn has_room(&self) -> bool {
        !self.is_full && self.room != Some(0)
    }

    fn is_ready(&self, peer: ParticipantId) -> bool {
        self.unready != Some(peer)
    }

    fn takes(&self, _: ParticipantId, _: Mid, codec: Codec) -> bool {
        self.unknown != Some(codec)
    }

    fn send<'a>(&mut self, peer: ParticipantId, packets: impl ExactSizeIterator<Item = OutgoingPacket<'a>>) {
        assert!(packets.len() > 0);
        self.room = self.room.map(|room| room.saturating_sub(1));
        self.sent.extend(packets.map(|packet| (peer, Sent::from(packet))));
    }

    fn repair(&mut self, peer: ParticipantId, packet: OutgoingPacket<'_>) {
        self.repaired.push((peer, Sent::from(packet)));
    }

    fn request_keyframe(&mut self, peer: ParticipantId, mid: Mid, _: Rid) {
        self.asked.push((peer, mid));
    }

    fn leave(&mut self, peer: ParticipantId, mid: Mid) {
        self.left.push((peer, mid));
    }
}

/// A packet as a subscriber got it.
struct Sent {
    mid: Mid,
    codec: Codec,
    packet: SourcePacket,
}

impl From<OutgoingPacket<'_>> for Sent {
    fn from(packet: OutgoingPacket<'_>) -> Self {
        Self { mid: packet.mid, codec: packet.codec, packet: packet.rewritten() }
    }
}

impl Scene {
    fn new() -> Self {
        let now = Instant::now();
        let mut scene = Self {
            forwarder: Forwarder::new(3),
            now,
            start: now,
            record: Recorder::default(),
            firsts: BTreeMap::new(),
            late: Duration::ZERO,
            codecs: BTreeMap::new(),
        };
        for number in 0..4 {
            let (offer, sdp) = (OfferId(1), String::new());
            scene.command(MediaCommand::AcceptOffer { peer: peer(number), offer, sdp, slots: slots(2) });
        }
        scene
    }

    /// A scene with a video source `cam` on `x`, which peer 1 takes on `v0`.
    fn with_taker() -> Self {
        let mut scene = Self::new();
        scene.put(1, Codec::Vp8, "x", 0);
        scene.bind(1, "v0", 1, Codec::Vp8);
        scene
    }

    fn command(&mut self, command: MediaCommand) {
        self.forwarder.handle_command(&command, self.now);
    }

    fn put(&mut self, stream: u8, codec: Codec, section: &str, first_timestamp: u32) {
        self.codecs.insert(mid(section), codec);
        let source = source(stream, codec);
        self.command(MediaCommand::PutSource {
            source,
            peer: peer(0),
            mid: mid(section),
            codec,
            first_timestamp,
            simulcast: false,
        });
    }

    fn bind(&mut self, taker: u8, section: &str, stream: u8, codec: Codec) {
        let source = source(stream, codec);
        self.command(MediaCommand::Bind { peer: peer(taker), mid: mid(section), source, layer: Rid::High });
    }

    fn ingest(&mut self, section: &str, sequence: u64, timestamp: u32, payload: &[u8]) {
        let packet = SourcePacket {
            codec: self.codecs.get(&mid(section)).copied().unwrap_or(Codec::Vp8),
            sequence,
            timestamp,
            marker: false,
            payload: payload.into(),
            captured: self.now.checked_sub(self.late),
            extensions: roomful_types::PassedExtensions::default(),
        };
        self.forwarder.ingest(peer(0), mid(section), Rid::High, packet, self.now);
    }

    /// One turn of the shard: what was sent, as peer, section, sequence number and timestamp from the slot's first.
    fn turn(&mut self) -> Vec<String> {
        self.forwarder.forward(&mut self.record, self.now);
        let sent = std::mem::take(&mut self.record.sent);
        let mut lines = Vec::new();
        while let Some(notice) = self.forwarder.poll_notice() {
            if matches!(notice, MediaNotice::Rates { .. }) {
                continue;
            }
            let MediaNotice::Bound { peer, mid, first_sequence, first_timestamp, codec, .. } = notice else {
                panic!("{notice:?}")
            };
            let first = sent.iter().find(|(to, packet)| (*to, packet.mid) == (peer, mid));
            let (_, Sent { packet, codec: sent_codec, .. }) = first.expect("it begins now");
            let seen = (packet.sequence as u16, packet.timestamp, *sent_codec);
            assert_eq!(seen, (first_sequence, first_timestamp, codec), "the notice names the first packet");
            lines.push(format!("{} {mid} begins", number_of(peer)));
        }
        for (peer, Sent { mid, packet, .. }) in sent {
            let first = self.firsts.entry((peer, mid)).or_insert((packet.sequence, packet.timestamp));
            let sequence = packet.sequence - first.0;
            let timestamp = packet.timestamp.wrapping_sub(first.1);
            lines.push(format!("{} {mid} +{sequence} @{timestamp}", number_of(peer)));
        }
        lines
    }

    #[track_caller]
    fn check(&mut self, packets: &[(&str, u64, u32, &[u8])], expected: &[&str]) {
        for (section, sequence, timestamp, payload) in packets {
            self.ingest(section, *sequence, *timestamp, payload);
        }
        assert_eq!(self.turn(), expected);
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    /// Runs for a while without packets and returns when, in milliseconds, key frames were asked for.
    fn asks(&mut self, millis: u64) -> Vec<u128> {
        let mut times = Vec::new();
        for _ in 0..millis / 50 {
            self.record.asked.clear();
            assert!(self.turn().is_empty());
            times.extend(self.record.asked.iter().map(|_| (self.now - self.start).as_millis()));
            self.pass(50);
        }
        times
    }
}

fn peer(number: u8) -> ParticipantId {
    ParticipantId::from_random([number; 16])
}

fn number_of(id: ParticipantId) -> u8 {
    id.as_bytes()[0]
}

fn source(stream: u8, codec: Codec) -> SourceId {
    SourceId { stream: StreamId::from_random([stream; 16]), kind: codec.kind() }
}

#[test]
fn a_subscriber_begins_at_a_key_frame() {
    let mut scene = Scene::with_taker();
    scene.check(&[("x", 10, 0, DELTA), ("x", 11, 0, REST)], &[]);
    scene.check(
        &[("x", 12, 3000, KEY), ("x", 13, 3000, REST), ("x", 14, 6000, DELTA)],
        &["1 v0 begins", "1 v0 +0 @0", "1 v0 +1 @0", "1 v0 +2 @3000"],
    );
}

#[test]
fn audio_begins_with_the_first_packet_that_has_any() {
    let mut scene = Scene::new();
    scene.put(1, Codec::Opus, "x", 0);
    scene.bind(1, "a0", 1, Codec::Opus);
    scene.check(
        &[("x", 10, 0, &[]), ("x", 11, 960, OPUS), ("x", 12, 1920, OPUS)],
        &["1 a0 begins", "1 a0 +0 @0", "1 a0 +1 @960"],
    );
    assert!(scene.record.asked.is_empty());
}

#[test]
fn gaps_of_the_publisher_stay_and_late_packets_fill_them() {
    let mut scene = Scene::with_taker();
    scene.check(
        &[("x", 10, 0, KEY), ("x", 13, 6000, DELTA), ("x", 9, 0, REST)],
        &["1 v0 begins", "1 v0 +0 @0", "1 v0 +3 @6000"],
    );
    scene.check(&[("x", 12, 3000, REST), ("x", 11, 3000, DELTA)], &["1 v0 +2 @3000", "1 v0 +1 @3000"]);
}

#[test]
fn nothing_goes_to_whom_it_is_not_bound() {
    let mut scene = Scene::new();
    scene.put(1, Codec::Vp8, "x", 0);
    scene.check(&[("x", 1, 0, KEY), ("unknown", 1, 0, KEY)], &[]);
    scene.bind(1, "unknown", 1, Codec::Vp8);
    scene.bind(9, "v0", 1, Codec::Vp8);
    scene.bind(2, "v0", 9, Codec::Vp8);
    scene.check(&[("x", 2, 0, KEY)], &[]);
    scene.bind(1, "v0", 1, Codec::Vp8);
    scene.bind(2, "v1", 1, Codec::Vp8);
    let lines = ["1 v0 begins", "2 v1 begins", "1 v0 +0 @0", "2 v1 +0 @0"];
    scene.check(&[("x", 3, 0, KEY)], &lines);
    scene.command(MediaCommand::Unbind { peer: peer(1), mid: mid("v0") });
    scene.check(&[("x", 4, 3000, DELTA)], &["2 v1 +1 @3000"]);
    scene.ingest("x", 5, 6000, DELTA);
    scene.command(MediaCommand::RemoveSource { source: source(1, Codec::Vp8) });
    scene.check(&[("x", 6, 9000, KEY)], &[]);
}

#[test]
fn what_is_turned_off_leaves_no_gap() {
    let mut scene = Scene::with_taker();
    let enable = |enabled| MediaCommand::EnableSource { source: source(1, Codec::Vp8), enabled };
    scene.check(&[("x", 1, 0, KEY)], &["1 v0 begins", "1 v0 +0 @0"]);
    scene.ingest("x", 2, 3000, KEY);
    scene.forwarder.keyframe_requested(peer(1), mid("v0"), scene.now);
    scene.command(enable(false));
    scene.check(&[("x", 3, 6000, KEY)], &[]);
    assert_eq!(scene.asks(1000), [0; 0], "the publisher is muted");
    scene.command(enable(true));
    assert_eq!(scene.asks(200), [1000]);
    scene.check(&[("x", 4, 9000, DELTA)], &[]);
    scene.check(&[("x", 5, 12000, KEY)], &["1 v0 begins", "1 v0 +1 @108000"]);
    scene.command(enable(true));
    scene.check(&[("x", 6, 15000, DELTA)], &["1 v0 +2 @111000"]);
}

#[test]
fn what_was_sent_of_a_source_is_left_with_the_right_to_it() {
    let enable = MediaCommand::EnableSource { source: source(1, Codec::Vp8), enabled: false };
    let ends = [
        enable,
        MediaCommand::RemoveSource { source: source(1, Codec::Vp8) },
        MediaCommand::Unbind { peer: peer(1), mid: mid("v0") },
    ];
    for end in ends {
        let mut scene = Scene::with_taker();
        scene.check(&[("x", 1, 0, KEY)], &["1 v0 begins", "1 v0 +0 @0"]);
        assert_eq!(scene.record.left, [], "a binding repairs what it sent");
        scene.command(end.clone());
        scene.check(&[], &[]);
        assert_eq!(scene.record.left, [(peer(1), mid("v0"))], "{end:?}");
    }
}

#[test]
fn what_came_before_it_was_turned_off_does_not_come_after() {
    let mut scene = Scene::with_taker();
    let enable = |enabled| MediaCommand::EnableSource { source: source(1, Codec::Vp8), enabled };
    scene.check(&[("x", 2, 0, KEY), ("x", 3, 0, REST)], &["1 v0 begins", "1 v0 +0 @0", "1 v0 +1 @0"]);
    scene.command(enable(false));
    scene.command(enable(true));
    scene.check(&[("x", 1, 0, KEY)], &["1 v0 begins", "1 v0 +2 @1"]);
}

#[test]
fn what_is_older_than_the_source_is_of_an_earlier_one() {
    let mut scene = Scene::new();
    scene.put(1, Codec::Vp8, "x", 5000);
    scene.bind(1, "v0", 1, Codec::Vp8);
    scene.check(&[("x", 10, 4999, KEY)], &[]);
    scene.check(&[("x", 12, 5000, KEY)], &["1 v0 begins", "1 v0 +0 @0"]);
    scene.check(&[("x", 11, 4999, KEY), ("x", 13, 4999, REST)], &["1 v0 +1 @4294967295"]);
}

#[test]
fn a_source_that_was_paused_for_long_is_not_taken_for_an_earlier_one() {
    let mut scene = Scene::with_taker();
    scene.pass(10 * 3_600_000);
    assert!(scene.turn().is_empty());
    scene.check(&[("x", 10, 10 * 3600 * 90_000, KEY)], &["1 v0 begins", "1 v0 +0 @0"]);
}

#[test]
fn a_key_frame_that_begins_late_arrives_complete() {
    let mut scene = Scene::with_taker();
    scene.check(&[("x", 12, 3000, REST), ("x", 14, 6000, DELTA)], &[]);
    scene.check(&[("x", 13, 3000, REST), ("x", 10, 0, REST)], &[]);
    scene.check(
        &[("x", 11, 3000, KEY), ("x", 15, 6000, REST)],
        &["1 v0 begins", "1 v0 +0 @0", "1 v0 +1 @0", "1 v0 +3 @3000", "1 v0 +2 @0", "1 v0 +4 @3000"],
    );
}

#[test]
fn a_repeated_first_packet_brings_what_followed_it() {
    let mut scene = Scene::new();
    scene.put(1, Codec::Vp8, "x", 0);
    scene.check(&[("x", 10, 0, KEY), ("x", 11, 0, REST)], &[]);
    scene.bind(1, "v0", 1, Codec::Vp8);
    scene.check(&[("x", 10, 0, KEY)], &["1 v0 begins", "1 v0 +0 @0", "1 v0 +1 @0"]);
}

#[test]
fn an_h264_key_frame_begins_with_its_parameter_sets() {
    let scene = || {
        let mut scene = Scene::new();
        scene.put(1, Codec::H264, "x", 0);
        scene.bind(1, "v0", 1, Codec::H264);
        scene
    };
    scene().check(&[("x", 10, 0, SPS), ("x", 11, 0, IDR)], &["1 v0 begins", "1 v0 +0 @0", "1 v0 +1 @0"]);
    // In the wrong order, in two turns.
    let mut reordered = scene();
    reordered.check(&[("x", 9, 0, REST), ("x", 11, 3000, IDR)], &[]);
    reordered.check(&[("x", 10, 3000, SPS)], &["1 v0 begins", "1 v0 +0 @0", "1 v0 +1 @0"]);
    // Bound in the middle of the key frame: that one is over, another one is asked for.
    let mut late = scene();
    late.check(&[("x", 9, 0, REST), ("x", 10, 3000, SPS)], &["1 v0 begins", "1 v0 +0 @0"]);
    late.pass(1000);
    late.bind(2, "v0", 1, Codec::H264);
    late.check(&[("x", 11, 3000, IDR)], &["1 v0 +1 @0"]);
    assert_eq!(late.record.asked, [(peer(0), mid("x"))]);
    // Parameter sets came before, once for all: the picture itself is the beginning.
    scene().check(&[("x", 9, 0, REST), ("x", 10, 3000, IDR)], &["1 v0 begins", "1 v0 +0 @0"]);
}

#[test]
fn wishes_for_key_frames_are_gathered_and_repeated() {
    let mut scene = Scene::with_taker();
    scene.bind(2, "v0", 1, Codec::Vp8);
    assert_eq!(scene.forwarder.deadline(), Some(scene.now));
    assert_eq!(scene.asks(600), [0, 500]);
    scene.forwarder.keyframe_requested(peer(1), mid("v0"), scene.now);
    assert_eq!(scene.asks(600), [1000]);
    scene.ingest("x", 1, 0, KEY);
    assert_eq!(scene.turn().len(), 4);
    assert_eq!(scene.asks(1000), [0; 0]);
    assert_eq!(scene.forwarder.deadline(), None);
    scene.forwarder.keyframe_requested(peer(1), mid("v0"), scene.now);
    assert_eq!(scene.record.asked, []);
    assert_eq!(scene.asks(100), [2200]);
    assert_eq!(scene.forwarder.deadline(), Some(scene.start + Duration::from_millis(2700)));
}

#[test]
fn nobody_is_asked_for_what_nobody_takes() {
    let mut scene = Scene::with_taker();
    assert_eq!(scene.asks(100), [0]);
    scene.command(MediaCommand::Unbind { peer: peer(1), mid: mid("v0") });
    assert_eq!(scene.asks(2000), [0; 0]);
    assert_eq!(scene.forwarder.deadline(), None);
    scene.forwarder.keyframe_requested(peer(1), mid("v0"), scene.now);
    scene.put(2, Codec::Opus, "y", 0);
    scene.bind(1, "a0", 2, Codec::Opus);
    scene.forwarder.keyframe_requested(peer(1), mid("a0"), scene.now);
    scene.forwarder.keyframe_requested(peer(9), mid("a0"), scene.now);
    assert_eq!(scene.forwarder.deadline(), None, "sound has no key frames");
}

#[test]
fn a_source_in_a_new_place_begins_anew_for_everybody() {
    let mut scene = Scene::with_taker();
    scene.bind(2, "v0", 1, Codec::Vp8);
    scene.check(&[("x", 1, 0, KEY)], &["1 v0 begins", "2 v0 begins", "1 v0 +0 @0", "2 v0 +0 @0"]);
    scene.pass(1000);
    scene.put(1, Codec::Vp8, "y", 70);
    scene.check(&[("x", 2, 3000, KEY), ("y", 50, 70, DELTA)], &[]);
    assert_eq!(scene.record.asked.last(), Some(&(peer(0), mid("y"))));
    let begins = ["1 v0 begins", "2 v0 begins", "1 v0 +1 @90000", "2 v0 +1 @90000"];
    scene.check(&[("y", 51, 70, KEY)], &begins);
    // The section that it left may carry another source, which keeps it when this one goes.
    scene.put(2, Codec::Vp8, "x", 0);
    scene.put(1, Codec::Vp8, "z", 0);
    scene.bind(3, "v0", 2, Codec::Vp8);
    scene.command(MediaCommand::RemoveSource { source: source(1, Codec::Vp8) });
    scene.check(&[("x", 9, 0, KEY)], &["3 v0 begins", "3 v0 +0 @0"]);
}

#[test]
fn a_muted_source_stays_muted_in_its_new_place() {
    let mut scene = Scene::with_taker();
    scene.command(MediaCommand::EnableSource { source: source(1, Codec::Vp8), enabled: false });
    scene.put(1, Codec::Vp8, "y", 0);
    scene.check(&[("y", 51, 0, KEY)], &[]);
}

#[test]
fn subscribers_take_turns_at_being_first() {
    let mut scene = Scene::with_taker();
    for taker in [2, 3] {
        scene.bind(taker, "v0", 1, Codec::Vp8);
    }
    scene.ingest("x", 1, 0, KEY);
    scene.turn();
    let mut firsts = Vec::new();
    for sequence in 2..6 {
        assert!(scene.turn().is_empty(), "a turn without packets is nobody's turn");
        scene.ingest("x", sequence, 0, REST);
        firsts.push(scene.turn()[0].chars().next());
    }
    assert_eq!(firsts, ['2', '3', '1', '2'].map(Some));
}

#[test]
fn whoever_was_left_out_of_a_turn_comes_first_in_the_next() {
    let mut scene = Scene::with_taker();
    for taker in [2, 3] {
        scene.bind(taker, "v0", 1, Codec::Vp8);
    }
    scene.ingest("x", 1, 0, KEY);
    scene.turn();
    // Room for one of three in each turn, which comes with new packets every time.
    let mut served = BTreeMap::new();
    for sequence in 2..32 {
        scene.ingest("x", sequence, 0, REST);
        scene.record.room = Some(1);
        for line in scene.turn() {
            *served.entry(line.chars().next()).or_insert(0) += 1;
        }
    }
    assert_eq!(served.len(), 3);
    assert!(served.values().all(|count| (28..=30).contains(count)), "{served:?}");
}

#[test]
fn who_goes_leaves_no_trace() {
    let mut scene = Scene::with_taker();
    scene.put(2, Codec::Opus, "y", 0);
    scene.bind(2, "a1", 2, Codec::Opus);
    scene.ingest("x", 1, 0, KEY);
    scene.ingest("y", 1, 0, OPUS);
    for number in 0..4 {
        scene.command(MediaCommand::RemovePeer { peer: peer(number) });
        scene.command(MediaCommand::RemovePeer { peer: peer(number) });
    }
    assert!(scene.forwarder.is_empty());
    assert!(scene.turn().is_empty());
    assert_eq!(scene.forwarder.packets_forwarded(), 0);
}

/// Asks for the packet that peer 1 got on `v0` as the first but so many; returns its payload when it comes again.
fn repaired(scene: &mut Scene, behind_first: u64) -> Option<Vec<u8>> {
    let to = (peer(1), mid("v0"));
    let number = (scene.firsts[&to].0 + behind_first) as u16;
    scene.forwarder.repair(to, number, Duration::from_millis(50), &mut scene.record, scene.now);
    let (_, Sent { packet, .. }) = scene.record.repaired.pop()?;
    assert_eq!(packet.sequence as u16, number, "under the number that it was sent under");
    Some(packet.payload)
}

#[test]
fn what_was_sent_is_sent_again_under_its_number_until_it_is_over() {
    let mut scene = Scene::with_taker();
    let sent = ["1 v0 begins", "1 v0 +0 @0", "1 v0 +2 @3000"];
    scene.check(&[("x", 10, 0, KEY), ("x", 12, 3000, DELTA)], &sent);
    assert_eq!(repaired(&mut scene, 2).as_deref(), Some(DELTA));
    assert_eq!(repaired(&mut scene, 2), None, "the other one is still on its way");
    assert_eq!(repaired(&mut scene, 1), None, "the publisher's own gap");
    assert_eq!(repaired(&mut scene, 3), None, "not sent yet");
    // Another occupant: nothing of the one before comes again, though its numbers are still asked for.
    scene.put(2, Codec::Vp8, "y", 0);
    scene.bind(1, "v0", 2, Codec::Vp8);
    scene.check(&[("y", 700, 0, KEY)], &["1 v0 begins", "1 v0 +3 @3001"]);
    scene.pass(60);
    assert_eq!(repaired(&mut scene, 0), None);
    assert_eq!(repaired(&mut scene, 3).as_deref(), Some(KEY));
    scene.pass(60);
    scene.command(MediaCommand::EnableSource { source: source(2, Codec::Vp8), enabled: false });
    assert_eq!(repaired(&mut scene, 3), None, "censored");
    scene.turn();
    assert_eq!(scene.record.left, [(peer(1), mid("v0")); 2]);
}

#[test]
fn while_nothing_can_be_sent_packets_wait_without_numbers_and_censoring_takes_them_away() {
    let mut scene = Scene::with_taker();
    scene.put(2, Codec::Vp8, "y", 0);
    scene.bind(2, "v0", 2, Codec::Vp8);
    scene.record.is_full = true;
    scene.check(&[("x", 10, 0, KEY), ("x", 11, 3000, DELTA), ("y", 10, 0, KEY)], &[]);
    scene.command(MediaCommand::EnableSource { source: source(2, Codec::Vp8), enabled: false });
    scene.record.is_full = false;
    assert_eq!(scene.turn(), ["1 v0 begins", "1 v0 +0 @0", "1 v0 +1 @3000"]);
}

#[test]
fn whoever_is_not_reached_gets_no_numbers_until_it_is() {
    let mut scene = Scene::with_taker();
    scene.check(&[("x", 10, 0, KEY)], &["1 v0 begins", "1 v0 +0 @0"]);
    scene.record.unready = Some(peer(1));
    scene.check(&[("x", 11, 3000, DELTA), ("x", 12, 6000, DELTA)], &[]);
    scene.record.unready = None;
    scene.check(&[("x", 13, 9000, DELTA)], &["1 v0 +1 @3000", "1 v0 +2 @6000", "1 v0 +3 @9000"]);
}

#[test]
fn whoever_was_not_reached_while_a_key_frame_came_gets_another_one() {
    let mut scene = Scene::with_taker();
    scene.record.unready = Some(peer(1));
    scene.check(&[("x", 10, 0, KEY)], &[]);
    for number in 0..400 {
        scene.pass(33);
        scene.check(&[("x", 11 + number, 3000 * (number as u32 + 1), DELTA)], &[]);
    }
    scene.record.asked.clear();
    scene.record.unready = None;
    scene.check(&[("x", 411, 3000 * 401, DELTA)], &[]);
    assert_eq!(scene.record.asked, [(peer(0), mid("x"))]);
    scene.check(&[("x", 412, 3000 * 402, KEY)], &["1 v0 begins", "1 v0 +0 @0"]);
}

#[test]
fn a_publishers_gap_that_confuses_receivers_is_closed_at_its_next_key_frame() {
    let mut scene = Scene::with_taker();
    scene.check(&[("x", 10, 0, KEY)], &["1 v0 begins", "1 v0 +0 @0"]);
    // A short one stays.
    scene.check(&[("x", 500, 3000, DELTA)], &["1 v0 +490 @3000"]);
    scene.check(&[("x", 33_000, 6000, DELTA), ("x", 33_001, 9000, DELTA)], &[]);
    assert_eq!(scene.record.asked.last(), Some(&(peer(0), mid("x"))), "a key frame is asked for");
    scene.pass(100);
    // Its timestamps may be others too, so the time that passed counts.
    let sent = ["1 v0 +491 @12000", "1 v0 +492 @15000"];
    scene.check(&[("x", 33_002, 77, KEY), ("x", 33_003, 3077, DELTA)], &sent);
    // Nor does it come back as what has overtaken the key frame.
    scene.check(&[("x", 60_000, 6077, DELTA)], &[]);
    scene.check(
        &[("x", 33_004, 6077, KEY), ("x", 33_005, 9077, DELTA)],
        &["1 v0 +493 @15001", "1 v0 +494 @18001"],
    );
    // Many short ones are one long one.
    scene.check(&[("x", 33_010, 12_077, DELTA)], &["1 v0 +499 @21001"]);
    scene.check(&[("x", 33_400, 15_077, DELTA)], &[]);
    scene.put(2, Codec::Opus, "y", 0);
    scene.bind(1, "a0", 2, Codec::Opus);
    scene.check(&[("y", 10, 0, OPUS)], &["1 a0 begins", "1 a0 +0 @0"]);
    scene.check(&[("y", 60_000, 960, OPUS)], &["1 a0 +1 @1"]);
}

#[test]
fn what_waits_too_long_is_cut_to_the_next_key_frame_without_a_gap() {
    let mut scene = Scene::with_taker();
    scene.check(&[("x", 10, 0, KEY)], &["1 v0 begins", "1 v0 +0 @0"]);
    scene.record.asked.clear();
    scene.record.is_full = true;
    for number in 0..400 {
        scene.check(&[("x", 11 + number, 300 * (number as u32 + 1), DELTA)], &[]);
    }
    scene.record.is_full = false;
    assert_eq!(scene.turn(), [""; 0], "all of it is given up");
    assert_eq!(scene.record.asked, [(peer(0), mid("x"))], "and a key frame asked for");
    scene.check(
        &[("x", 411, 300 * 401, DELTA), ("x", 412, 300 * 402, KEY), ("x", 413, 300 * 403, DELTA)],
        &["1 v0 +1 @120600", "1 v0 +2 @120900"],
    );
    // With a key frame among what waits, it goes on there.
    scene.record.is_full = true;
    for number in 0..400 {
        let payload = if number == 390 { KEY } else { DELTA };
        scene.check(&[("x", 414 + number, 300 * (404 + number as u32), payload)], &[]);
    }
    scene.record.is_full = false;
    let lines = scene.turn();
    assert_eq!((lines.len(), lines[0].as_str()), (10, "1 v0 +3 @238200"));
    scene.forwarder.check_invariants();
}

/// What may happen to a shard; numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Step {
    Put(u8, u32),
    Remove(u8),
    Enable(u8, bool),
    Bind(u8, u8, u8),
    Unbind(u8, u8),
    Leave(u8),
    Packets { stream: u8, skip: u64, is_key: bool },
    Turn(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (stream, taker, slot) = (|| 0..3_u8, || 1..4_u8, || 0..2_u8);
    prop_oneof![
        2 => (stream(), any::<u32>()).prop_map(|(stream, timestamp)| Step::Put(stream, timestamp)),
        1 => stream().prop_map(Step::Remove),
        2 => (stream(), any::<bool>()).prop_map(|(stream, enabled)| Step::Enable(stream, enabled)),
        6 => (taker(), slot(), stream()).prop_map(|(taker, slot, stream)| Step::Bind(taker, slot, stream)),
        2 => (taker(), slot()).prop_map(|(taker, slot)| Step::Unbind(taker, slot)),
        1 => taker().prop_map(Step::Leave),
        16 => (stream(), 0..2_u64, any::<bool>())
            .prop_map(|(stream, skip, is_key)| Step::Packets { stream, skip, is_key }),
        8 => (0..100_u64).prop_map(Step::Turn),
    ]
}

/// A simple model of one shard: who takes what, and what each section got last.
#[derive(Default)]
struct Model {
    /// The next sequence number and timestamp of each stream's section.
    next: BTreeMap<u8, (u64, u32)>,
    disabled: BTreeSet<u8>,
    routes: BTreeMap<(u8, u8), u8>,
    /// Of each section: the occupant, its latest source number, and the latest numbers sent.
    latest: BTreeMap<(u8, u8), Latest>,
}

type Latest = (Option<u8>, u64, u64, u32);

impl Model {
    /// The occupant of a section begins anew.
    fn restart(&mut self, section: (u8, u8)) {
        if let Some(latest) = self.latest.get_mut(&section) {
            latest.0 = None;
        }
    }

    fn restart_takers(&mut self, stream: u8) {
        let takers: Vec<(u8, u8)> =
            self.routes.iter().filter(|(_, taken)| **taken == stream).map(|(section, _)| *section).collect();
        takers.into_iter().for_each(|section| self.restart(section));
    }

    fn check(&mut self, to: ParticipantId, sent: &Sent) {
        let section = (number_of(to), sent.mid.as_str().as_bytes()[1] - b'0');
        let payload = &sent.packet.payload;
        let (stream, source_sequence) = (payload[2], u64::from_be_bytes(payload[3..].try_into().unwrap()));
        assert_eq!(self.routes.get(&section), Some(&stream), "nothing but what is bound");
        let (sequence, timestamp) = (sent.packet.sequence, sent.packet.timestamp);
        let is_later = |latest: u32| timestamp.wrapping_sub(latest).cast_signed() >= 0;
        match self.latest.get(&section) {
            Some((Some(occupant), last_source, last, latest)) => {
                assert_eq!(*occupant, stream);
                assert_eq!(sequence - last, source_sequence - last_source, "gaps are the publisher's");
                assert!(is_later(*latest), "time does not go back");
            }
            Some((None, _, last, latest)) => {
                assert_eq!(sequence, last + 1, "an occupant follows the one before");
                assert!(is_later(*latest), "time does not go back");
                assert_eq!(payload[1], 0, "a subscriber begins at a key frame");
            }
            None => assert_eq!(payload[1], 0, "a subscriber begins at a key frame"),
        }
        self.latest.insert(section, (Some(stream), source_sequence, sequence, timestamp));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_subscriber_sees_one_seamless_stream(steps in prop::collection::vec(step(), 1..200)) {
        let mut scene = Scene::new();
        let mut model = Model::default();
        let section_of = |slot: u8| format!("v{slot}");
        for step in steps {
            // What was taken in is forwarded before routes change, as in a shard.
            if !matches!(step, Step::Packets { .. }) {
                scene.forwarder.forward(&mut scene.record, scene.now);
                for (peer, packet) in std::mem::take(&mut scene.record.sent) {
                    model.check(peer, &packet);
                }
            }
            match step {
                Step::Put(stream, timestamp) => {
                    scene.put(stream, Codec::Vp8, &format!("x{stream}"), timestamp);
                    model.restart_takers(stream);
                    model.next.insert(stream, (u64::from(timestamp), timestamp));
                }
                Step::Remove(stream) => {
                    scene.command(MediaCommand::RemoveSource { source: source(stream, Codec::Vp8) });
                    model.restart_takers(stream);
                    model.routes.retain(|_, taken| *taken != stream);
                    model.next.remove(&stream);
                    model.disabled.remove(&stream);
                }
                Step::Enable(stream, enabled) if model.next.contains_key(&stream) => {
                    scene.command(MediaCommand::EnableSource { source: source(stream, Codec::Vp8), enabled });
                    let is_changed = match enabled {
                        true => model.disabled.remove(&stream),
                        false => model.disabled.insert(stream),
                    };
                    if is_changed {
                        model.restart_takers(stream);
                    }
                }
                Step::Enable(..) => {}
                Step::Bind(taker, slot, stream) => {
                    scene.bind(taker, &section_of(slot), stream, Codec::Vp8);
                    model.restart((taker, slot));
                    model.routes.remove(&(taker, slot));
                    if model.next.contains_key(&stream) {
                        model.routes.insert((taker, slot), stream);
                    }
                }
                Step::Unbind(taker, slot) => {
                    scene.command(MediaCommand::Unbind { peer: peer(taker), mid: mid(&section_of(slot)) });
                    model.restart((taker, slot));
                    model.routes.remove(&(taker, slot));
                }
                Step::Leave(taker) => {
                    let (peer, offer) = (peer(taker), OfferId(1));
                    scene.command(MediaCommand::RemovePeer { peer });
                    scene.command(MediaCommand::AcceptOffer { peer, offer, sdp: String::new(), slots: slots(2) });
                    model.routes.retain(|section, _| section.0 != taker);
                    model.latest.retain(|section, _| section.0 != taker);
                }
                Step::Packets { stream, skip, is_key } => {
                    let Some((sequence, timestamp)) = model.next.get_mut(&stream) else { continue };
                    *sequence += skip;
                    for (index, frame) in [[0x10, u8::from(!is_key)], [0, 1]].into_iter().enumerate() {
                        let sequence = *sequence + index as u64;
                        let payload = [&frame[..], &[stream], &sequence.to_be_bytes()].concat();
                        scene.ingest(&format!("x{stream}"), sequence, *timestamp, &payload);
                    }
                    *sequence += 2;
                    *timestamp = timestamp.wrapping_add(3000);
                }
                Step::Turn(millis) => scene.pass(millis),
            }
            while let Some(notice) = scene.forwarder.poll_notice() {
                let is_expected = matches!(notice, MediaNotice::Bound { .. } | MediaNotice::Rates { .. });
                prop_assert!(is_expected, "{:?}", notice);
            }
        }
        scene.forwarder.check_invariants();
        for number in 0..4 {
            scene.command(MediaCommand::RemovePeer { peer: peer(number) });
        }
        prop_assert!(scene.forwarder.is_empty());
    }
}
