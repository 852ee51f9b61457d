//! Simulcast: which encoding goes where, and what the publisher hears of it.

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

    fn estimate(&mut self, session: u64, kbps: u64) -> Vec<Output> {
        let (peer, available) = (self.participants[&session], roomful_types::Bitrate::from_kbps(kbps));
        self.input(Input::Media(MediaNotice::Estimated { peer, available }))
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

#[derive(Default)]
struct Recorder {
    sent: Vec<SourcePacket>,
    asked: Vec<Rid>,
}

impl Egress for Recorder {
    fn has_room(&self) -> bool {
        true
    }

    fn is_ready(&self, _: ParticipantId) -> bool {
        true
    }

    fn takes(&self, _: ParticipantId, _: Mid, _: Codec) -> bool {
        true
    }

    fn send<'a>(
        &mut self,
        _: ParticipantId,
        packets: impl ExactSizeIterator<Item = OutgoingPacket<'a>> + Clone,
    ) {
        self.sent.extend(packets.map(|packet| packet.rewritten()));
    }

    fn repair(&mut self, _: ParticipantId, _: OutgoingPacket<'_>) {}

    fn request_keyframe(&mut self, _: ParticipantId, _: Mid, rid: Rid) {
        self.asked.push(rid);
    }

    fn leave(&mut self, _: ParticipantId, _: Mid) {}
}

#[test]
fn a_switch_waits_for_a_key_frame_and_leaves_neither_a_gap_nor_a_step_back() {
    let (mut forwarder, mut now) = (Forwarder::new(3), Instant::now());
    let mut record = Recorder::default();
    let (publisher, viewer) = (ParticipantId::from_random([1; 16]), ParticipantId::from_random([2; 16]));
    let source = SourceId { stream: StreamId::from_random([3; 16]), kind: MediaKind::Video };
    for peer in [publisher, viewer] {
        let (offer, sdp) = (OfferId(1), String::new());
        forwarder.handle_command(&MediaCommand::AcceptOffer { peer, offer, sdp, slots: slots(1) }, now);
    }
    let (codec, first_timestamp, simulcast) = (Codec::Vp8, 0, true);
    let put =
        MediaCommand::PutSource { source, peer: publisher, mid: mid("x"), codec, first_timestamp, simulcast };
    forwarder.handle_command(&put, now);
    forwarder
        .handle_command(&MediaCommand::Bind { peer: viewer, mid: mid("v0"), source, layer: Rid::High }, now);

    let play = |frames: std::ops::Range<u32>,
                keys: &[(Rid, u32)],
                record: &mut Recorder,
                now: &mut Instant,
                forwarder: &mut Forwarder| {
        for frame in frames {
            for (rid, base) in [(Rid::High, 1000), (Rid::Low, 70_000)] {
                let payload = if keys.contains(&(rid, frame)) { KEY } else { DELTA };
                let packet = SourcePacket {
                    codec: Codec::Vp8,
                    sequence: base + u64::from(frame),
                    timestamp: 3000 * frame,
                    marker: true,
                    payload: payload.into(),
                    captured: None,
                    extensions: roomful_types::PassedExtensions::default(),
                };
                forwarder.ingest(publisher, mid("x"), rid, packet, *now);
            }
            forwarder.forward(record, *now);
            *now += Duration::from_millis(33);
        }
    };
    play(0..5, &[(Rid::High, 0), (Rid::Low, 0)], &mut record, &mut now, &mut forwarder);
    forwarder.handle_command(&MediaCommand::SetLayer { peer: viewer, mid: mid("v0"), layer: Rid::Low }, now);
    play(5..12, &[(Rid::Low, 8)], &mut record, &mut now, &mut forwarder);
    let sequences: Vec<u64> = record.sent.iter().map(|sent| sent.sequence).collect();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sequences:?}");
    let timestamps: Vec<u32> = record.sent.iter().map(|sent| sent.timestamp).collect();
    // At the moment of the switch both encodings come: the picture of that moment is there twice, one tick apart.
    let steps: Vec<u32> = timestamps.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert_eq!(steps, [3000, 3000, 3000, 3000, 3000, 3000, 3000, 3000, 1, 3000, 3000, 3000]);
    assert_eq!(record.sent[9].payload[..], *KEY);
    assert!(record.asked.contains(&Rid::Low), "somebody must be asked for that key frame");
    let notices = std::iter::from_fn(|| forwarder.poll_notice());
    let switched = notices.filter(|one| matches!(one, MediaNotice::Switched { layer: Rid::Low, .. }));
    assert_eq!(switched.count(), 1);
}
