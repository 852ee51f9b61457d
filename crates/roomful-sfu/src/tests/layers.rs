//! Simulcast: which encoding goes where, and what the publisher hears of it.

use std::collections::BTreeSet;

use roomful_types::Bitrate;

use super::*;
use crate::{Egress, Forwarder, OutgoingPacket, SourcePacket};

fn simulcast(name: &str) -> PublishedTrack {
    PublishedTrack { simulcast: true, ..video(name) }
}

fn prefer(publisher: u64, name: &str, preferred_layer: Rid, priority: u8) -> impl Ask {
    let key = key(name);
    move |request, world: &World| {
        UpdateSubscriptionRequest {
            request,
            participant_id: world.id(publisher),
            key,
            audio: false,
            video: true,
            paused: false,
            preferred_layer: Some(preferred_layer),
            priority,
        }
        .into()
    }
}

impl World {
    fn switched(&mut self, session: u64, stream: &str, section: &str, layer: Rid) -> Input {
        let (peer, source) = (self.participants[&session], self.source(stream, MediaKind::Video));
        Input::Media(MediaNotice::Switched { peer, mid: mid(section), source, layer })
    }

    fn began(&mut self, session: u64, stream: &str, section: &str, layer: Rid) {
        let (peer, source) = (self.participants[&session], self.source(stream, MediaKind::Video));
        let (codec, first_sequence, first_timestamp) = (Codec::Vp8, 0, 0);
        let mid = mid(section);
        let bound = MediaNotice::Bound { peer, mid, source, codec, first_sequence, first_timestamp, layer };
        self.input(Input::Media(bound));
    }

    /// * `kbps`: none when everything gets through.
    fn estimate(&mut self, session: u64, kbps: impl Into<Option<u64>>) -> Vec<Output> {
        let (peer, available) = (self.participants[&session], kbps.into().map(Bitrate::from_kbps));
        self.input(Input::Media(MediaNotice::Estimated { peer, available }))
    }

    /// The media shard tells what came of a track, by encoding, the smallest first, in kbit/s.
    fn rates(&mut self, stream: &str, kind: MediaKind, kbps: [Option<u64>; 3]) -> Vec<Output> {
        let (peer, source) = (self.participants[&1], self.source(stream, kind));
        let rates = kbps.map(|kbps| kbps.map(Bitrate::from_kbps));
        self.input(Input::Media(MediaNotice::Rates { peer, source, rates }))
    }
}

#[test]
fn a_preference_is_followed_and_what_nobody_takes_is_paused() {
    let mut world = World::with(&[1, 2]);
    let outputs = world.ask(1, publish("cam", None, Some(simulcast("y"))));
    let told: Vec<String> = outputs.iter().map(|output| world.text(output)).collect();
    let pauses = ["to 1: pause cam video", "to 1: pause cam video m", "to 1: pause cam video l"];
    assert!(pauses.iter().all(|pause| told.iter().any(|line| line == pause)), "{told:?}");
    world.check(
        2,
        subscribe(1, "cam", 0, false, true),
        "media: bind cam video to p2 on v0
         to 1: resume cam video
         to 2: done",
    );
    world.began(2, "cam", "v0", Rid::High);
    // The old encoding goes on until the new one has a key frame.
    world.check(
        2,
        prefer(1, "cam", Rid::Low, 0),
        "media: l to p2 on v0
         to 1: resume cam video l
         to 2: done",
    );
    let switched = world.switched(2, "cam", "v0", Rid::Low);
    world.check_input(
        switched,
        "to 2: cam comes at l
         to 1: pause cam video",
    );
}

#[test]
fn a_small_link_gets_a_small_encoding_and_then_none() {
    let mut world = World::with(&[1, 2]);
    world.ask(1, publish("cam", None, Some(simulcast("y"))));
    world.ask(1, publish("screen", None, Some(simulcast("z"))));
    world.ask(2, subscribe(1, "cam", 0, false, true));
    world.ask(2, subscribe(1, "screen", 1, false, true));
    world.ask(2, prefer(1, "screen", Rid::High, 5));
    world.began(2, "cam", "v0", Rid::High);
    world.began(2, "screen", "v1", Rid::High);
    let outputs = world.estimate(2, 1700);
    world.expect(&outputs, "media: m to p2 on v0\nto 1: resume cam video m");
    let outputs = world.estimate(2, 150);
    world.expect(
        &outputs,
        "to 2: no room for cam
         media: l to p2 on v1
         to 1: resume screen video l
         media: unbind p2 on v0
         to 1: pause cam video
         to 1: pause cam video m",
    );
    let outputs = world.estimate(2, 9000);
    world.expect(
        &outputs,
        "media: h to p2 on v1
         to 1: pause screen video l
         media: bind cam video to p2 on v0
         to 1: resume cam video",
    );
}

#[test]
fn without_a_limit_everything_comes_again() {
    let mut world = World::with(&[1, 2]);
    for (name, section, slot) in [("cam", "y", 0), ("screen", "z", 1)] {
        world.ask(1, publish(name, None, Some(simulcast(section))));
        world.ask(2, subscribe(1, name, slot, false, true));
        world.began(2, name, if slot == 0 { "v0" } else { "v1" }, Rid::High);
    }
    world.estimate(2, 150);
    let outputs = world.estimate(2, None);
    let told: Vec<String> = outputs.iter().map(|output| world.text(output)).collect();
    for section in ["v0", "v1"] {
        assert!(told.iter().any(|line| line.ends_with(&format!("to p2 on {section}"))), "{told:?}");
    }
    // What comes of a track concerns nobody then.
    assert!(world.rates("cam", MediaKind::Video, [None, None, Some(90_000)]).is_empty());
}

#[test]
fn what_was_measured_counts_for_sound_and_better_is_never_cheaper() {
    let mut world = World::with(&[1, 2]);
    world.ask(1, publish("cam", Some(audio("x")), Some(simulcast("y"))));
    world.ask(2, subscribe(1, "cam", 0, true, true));
    world.began(2, "cam", "v0", Rid::High);
    // 64 kbit/s for the sound leave too little for the smallest picture.
    let outputs = world.estimate(2, 180);
    assert_eq!(world.text(&outputs[0]), "to 2: no room for cam");
    // Silence takes 4 and its headers 16: 160 are left, of which the smallest takes 120 and a tenth more.
    let outputs = world.rates("cam", MediaKind::Audio, [None, None, Some(4)]);
    assert_eq!(world.text(&outputs[0]), "media: bind cam video at l to p2 on v0");
    world.began(2, "cam", "v0", Rid::Low);
    // A static picture at the moment at which the medium one was measured: it counts as much as the smallest, not less.
    assert!(world.rates("cam", MediaKind::Video, [Some(150), Some(30), None]).is_empty());
    let outputs = world.estimate(2, 190);
    assert_eq!(world.text(&outputs[0]), "media: m to p2 on v0");
}

#[test]
fn whoever_comes_back_hears_whose_video_does_not_get_through() {
    let mut world = World::resumable(&[1, 2]);
    world.ask(1, publish("cam", None, Some(simulcast("y"))));
    world.ask(2, subscribe(1, "cam", 0, false, true));
    for (kbps, session, earlier, is_held_back) in [(50, 9, 2, true), (9000, 10, 9, false)] {
        world.input(Input::Closed(SessionId(earlier)));
        world.estimate(2, kbps);
        world.input(Input::Opened(SessionId(session)));
        let outputs = world.ask(session, super::resume::resume(2, 0));
        let told = outputs.iter().find_map(|output| match output {
            Output::Send(_, ServerMessage::ResumeResponse(response)) => Some(response.held_back.clone()),
            _ => None,
        });
        let expected = if is_held_back { vec![world.streams["cam"]] } else { Vec::new() };
        assert_eq!(told, Some(expected));
    }
}

const KEY: &[u8] = &[0x10, 0x00];
const DELTA: &[u8] = &[0x10, 0x01];
const REST: &[u8] = &[0x00, 0x01];

#[derive(Default)]
struct Recorder {
    is_full: bool,
    sent: Vec<SourcePacket>,
    asked: Vec<Rid>,
}

impl Egress for Recorder {
    fn has_room(&self) -> bool {
        !self.is_full
    }

    fn is_ready(&self, _: ParticipantId) -> bool {
        true
    }

    fn takes(&self, _: ParticipantId, _: Mid, _: Codec) -> bool {
        true
    }

    fn send<'a>(&mut self, _: ParticipantId, packets: impl ExactSizeIterator<Item = OutgoingPacket<'a>>) {
        self.sent.extend(packets.map(|packet| packet.rewritten()));
    }

    fn repair(&mut self, _: ParticipantId, _: OutgoingPacket<'_>) {}

    fn request_keyframe(&mut self, _: ParticipantId, _: Mid, rid: Rid) {
        self.asked.push(rid);
    }

    fn leave(&mut self, _: ParticipantId, _: Mid) {}
}

/// A publisher of simulcast and a viewer.
struct Simulcast {
    forwarder: Forwarder,
    record: Recorder,
    now: Instant,
    /// Where the timestamps of the low encoding begin; those of the high one begin at 0.
    base: u32,
    /// How long after its capture everything comes, where that is known.
    late: Option<Duration>,
}

const PUBLISHER: ParticipantId = ParticipantId::from_random([1; 16]);
const VIEWER: ParticipantId = ParticipantId::from_random([2; 16]);

impl Simulcast {
    fn new(base: u32, late: Option<Duration>) -> Self {
        let (forwarder, record, now) = (Forwarder::new(3), Recorder::default(), Instant::now());
        let mut scene = Self { forwarder, record, now, base, late };
        let source = SourceId { stream: StreamId::from_random([3; 16]), kind: MediaKind::Video };
        for peer in [PUBLISHER, VIEWER] {
            let (offer, sdp) = (OfferId(1), String::new());
            scene.command(&MediaCommand::AcceptOffer { peer, offer, sdp, slots: slots(1) });
        }
        let (codec, first_timestamp, simulcast) = (Codec::Vp8, 0, true);
        let (peer, mid) = (PUBLISHER, mid("x"));
        scene.command(&MediaCommand::PutSource { source, peer, mid, codec, first_timestamp, simulcast });
        let (peer, mid) = (VIEWER, super::mid("v0"));
        scene.command(&MediaCommand::Bind { peer, mid, source, layer: Rid::High });
        scene
    }

    fn command(&mut self, command: &MediaCommand) {
        self.forwarder.handle_command(command, self.now);
    }

    fn set_layer(&mut self, layer: Rid) {
        self.command(&MediaCommand::SetLayer { peer: VIEWER, mid: mid("v0"), layer });
    }

    /// Plays frames of some encodings, each a packet.
    fn play(&mut self, frames: std::ops::Range<u32>, rids: &[Rid], keys: &[(Rid, u32)]) {
        for frame in frames {
            for rid in rids {
                let payload = if keys.contains(&(*rid, frame)) { KEY } else { DELTA };
                self.ingest(*rid, frame, frame, payload, true);
            }
            self.turn();
            self.now += Duration::from_millis(33);
        }
    }

    /// Takes in a packet of a frame, the last one of it or not.
    fn ingest(&mut self, rid: Rid, number: u32, frame: u32, payload: &[u8], is_last: bool) {
        let (sequence, base) = if rid == Rid::High { (1000, 0) } else { (70_000, self.base) };
        let packet = SourcePacket {
            codec: Codec::Vp8,
            sequence: sequence + u64::from(number),
            timestamp: base.wrapping_add(3000 * frame),
            marker: is_last,
            payload: payload.into(),
            captured: self.late.and_then(|late| self.now.checked_sub(late)),
            extensions: roomful_types::PassedExtensions::default(),
        };
        self.forwarder.ingest(PUBLISHER, mid("x"), rid, packet, self.now);
    }

    fn turn(&mut self) {
        self.forwarder.forward(&mut self.record, self.now);
    }

    /// Lets two seconds pass in which nothing comes. Returns for which encodings key frames were asked for.
    fn asked(&mut self) -> BTreeSet<Rid> {
        self.record.asked.clear();
        for _ in 0..20 {
            self.turn();
            self.now += Duration::from_millis(100);
        }
        self.record.asked.iter().copied().collect()
    }
}

const BOTH: &[Rid] = &[Rid::High, Rid::Low];

#[test]
fn a_switch_waits_for_a_key_frame_and_leaves_neither_a_gap_nor_a_step_back() {
    // libwebrtc counts each encoding from a beginning of its own.
    let bases = [0, 1_500_000_000, 3_000_000_000];
    let times = [None, Some(Duration::ZERO), Some(Duration::from_millis(70))];
    for (base, late) in bases.into_iter().flat_map(|base| times.map(|late| (base, late))) {
        let mut scene = Simulcast::new(base, late);
        scene.play(0..5, BOTH, &[(Rid::High, 0), (Rid::Low, 0)]);
        scene.set_layer(Rid::Low);
        scene.play(5..12, BOTH, &[(Rid::Low, 8)]);
        let sent = &scene.record.sent;
        let sequences: Vec<u64> = sent.iter().map(|sent| sent.sequence).collect();
        assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sequences:?}");
        let timestamps: Vec<u32> = sent.iter().map(|sent| sent.timestamp).collect();
        // At the moment of the switch both encodings come: the picture of that moment is there twice, one tick apart.
        let steps: Vec<u32> = timestamps.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        assert_eq!(steps, [3000, 3000, 3000, 3000, 3000, 3000, 3000, 3000, 1, 3000, 3000, 3000], "{base}");
        assert_eq!(sent[9].payload[..], *KEY);
        assert!(scene.record.asked.contains(&Rid::Low), "somebody must be asked for that key frame");
        let notices = std::iter::from_fn(|| scene.forwarder.poll_notice());
        let switched = notices.filter(|one| matches!(one, MediaNotice::Switched { layer: Rid::Low, .. }));
        assert_eq!(switched.count(), 1);
    }
}

#[test]
fn a_switch_lets_the_picture_under_way_end_unless_the_rest_of_it_is_late() {
    for is_late in [false, true] {
        let mut scene = Simulcast::new(0, None);
        scene.play(0..2, BOTH, &[(Rid::High, 0), (Rid::Low, 0)]);
        scene.set_layer(Rid::Low);
        scene.record.sent.clear();
        let mut step = |rid, number, frame, payload, is_last| {
            scene.ingest(rid, number, frame, payload, is_last);
            scene.turn();
            let sent = scene.record.sent.drain(..).map(|packet| (packet.payload, packet.marker));
            sent.collect::<Vec<_>>()
        };
        let one = |payload: &[u8], is_last| vec![(payload.to_vec(), is_last)];
        assert_eq!(step(Rid::High, 2, 2, DELTA, false), one(DELTA, false));
        assert_eq!(step(Rid::Low, 2, 2, KEY, true), []);
        let (end, next) = ((REST.to_vec(), true), (DELTA.to_vec(), true));
        if is_late {
            assert_eq!(
                step(Rid::Low, 3, 3, DELTA, true),
                [(KEY.to_vec(), true), next],
                "no longer than that"
            );
            assert_eq!(step(Rid::High, 3, 2, REST, true), [], "and what is cut off stays so");
        } else {
            assert_eq!(step(Rid::High, 3, 2, REST, true), [end, (KEY.to_vec(), true)]);
            assert_eq!(step(Rid::Low, 3, 3, DELTA, true), [next]);
        }
    }
}

#[test]
fn a_key_frame_that_a_pending_switch_missed_is_asked_for_again() {
    let mut scene = Simulcast::new(0, None);
    scene.set_layer(Rid::Low);
    scene.play(0..2, &[Rid::Low], &[(Rid::Low, 0)]);
    scene.set_layer(Rid::High);
    // The socket is full around the key frame, and until it is forgotten.
    scene.record.is_full = true;
    scene.play(2..100, &[Rid::High], &[(Rid::High, 2)]);
    scene.record.is_full = false;
    scene.play(100..101, &[Rid::High], &[]);
    assert_eq!(scene.asked(), [Rid::High].into());
    // So does a subscriber that sees nothing.
    scene.play(101..102, &[Rid::High], &[(Rid::High, 101)]);
    scene.set_layer(Rid::Low);
    scene.forwarder.keyframe_requested(VIEWER, mid("v0"), scene.now);
    assert_eq!(scene.asked(), [Rid::High, Rid::Low].into());
}

#[test]
fn nobody_is_asked_for_an_encoding_that_is_wanted_no_more() {
    let mut scene = Simulcast::new(0, None);
    scene.set_layer(Rid::Low);
    scene.play(0..2, &[Rid::Low], &[(Rid::Low, 0)]);
    scene.set_layer(Rid::High);
    assert_eq!(scene.asked(), [Rid::High].into());
    scene.set_layer(Rid::Low);
    assert_eq!(scene.asked(), BTreeSet::new());
}
