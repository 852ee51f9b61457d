//! Laws of packetizing and assembling: what goes in comes out, whatever the network does in between.

use std::time::{Duration, Instant};

use proptest::{collection::vec, prelude::*, sample::Index};
use roomful_rtp::{
    AssembledFrame, AssemblerConfig, AssemblerEvent, FrameAssembler, Packet, PacketizeError, Packetizer,
    Payloads, is_keyframe, starts_keyframe,
};
use roomful_types::Codec;

const CODECS: [Codec; 3] = [Codec::Opus, Codec::Vp8, Codec::H264];
/// Farther than any packet is moved, nearer than the default bound of audio.
const WINDOW: usize = 20;
const FIRST_SEQUENCE: u64 = 65_500;

/// A NAL unit of this type, as an encoder makes it: no start code inside, no zero at its end.
fn unit(unit_type: u8, longest: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![1 => Just(0), 1 => Just(1), 2 => any::<u8>()];
    vec(byte, 1..longest).prop_map(move |mut bytes| {
        for index in 2..bytes.len() {
            if bytes[index - 2..index] == [0, 0] {
                bytes[index] = bytes[index].max(3);
            }
        }
        let last = bytes.len() - 1;
        bytes[last] = bytes[last].max(1);
        bytes[0] = 0x60 | unit_type;
        [&[0, 0, 0, 1], &bytes[..]].concat()
    })
}

/// A canonical H.264 access unit: parameter sets in front of an IDR picture of one or two slices, or a delta picture.
fn access_unit() -> impl Strategy<Value = Vec<u8>> {
    let key = (unit(7, 80), unit(8, 20), vec(unit(6, 90), 0..2), vec(unit(5, 900), 1..3))
        .prop_map(|(sps, pps, sei, slices)| [sps, pps, sei.concat(), slices.concat()].concat());
    let delta = vec(unit(1, 500), 1..3).prop_map(|slices| slices.concat());
    prop_oneof![1 => key, 3 => delta]
}

fn frame(codec: Codec) -> BoxedStrategy<Vec<u8>> {
    match codec {
        Codec::Opus => vec(any::<u8>(), 1..64).boxed(),
        Codec::Vp8 => vec(any::<u8>(), 1..1500).boxed(),
        Codec::H264 => access_unit().boxed(),
    }
}

/// Frames of one track, the first a key frame.
fn track() -> impl Strategy<Value = (Codec, Vec<Vec<u8>>)> {
    prop::sample::select(&CODECS[..]).prop_flat_map(|codec| {
        let first =
            frame(codec).prop_filter("begins with a key frame", move |frame| is_keyframe(codec, frame));
        (first, vec(frame(codec), 0..20)).prop_map(move |(first, mut frames)| {
            frames.insert(0, first);
            (codec, frames)
        })
    })
}

/// Returns the packets of all frames; the timestamp is the index of the frame.
fn packets_of(codec: Codec, max_payload: usize, frames: &[Vec<u8>]) -> Vec<Packet> {
    let mut packetizer = Packetizer::new(codec, max_payload);
    let (mut payloads, mut packets) = (Payloads::new(), Vec::new());
    for (timestamp, frame) in frames.iter().enumerate() {
        packetizer.packetize(frame, &mut payloads).expect("the frame is canonical");
        let first = FIRST_SEQUENCE + packets.len() as u64;
        let last = payloads.len() - 1;
        packets.extend(payloads.iter().enumerate().map(|(index, payload)| Packet {
            sequence: first + index as u64,
            timestamp: timestamp as u64,
            marker: codec != Codec::Opus && index == last,
            payload: payload.into(),
            audio_level: None,
        }));
    }
    packets
}

/// Moves packets by less than a window and repeats some.
fn disturb(packets: &[Packet], moves: &[Index]) -> Vec<Packet> {
    let mut order: Vec<(usize, &Packet)> = packets.iter().enumerate().collect();
    for (position, (key, _)) in order.iter_mut().enumerate() {
        *key = position + moves[position % moves.len()].index(WINDOW);
    }
    order.extend(
        packets.iter().enumerate().filter(|(position, _)| moves[position % moves.len()].index(3) == 0),
    );
    order.sort_by_key(|(key, _)| *key);
    order.into_iter().map(|(_, packet)| packet.clone()).collect()
}

/// Runs packets through an assembler, all at once, then waits until no gap is open.
fn assemble(codec: Codec, packets: Vec<Packet>) -> (Vec<AssembledFrame>, usize) {
    let config = AssemblerConfig::for_codec(codec);
    let mut assembler = FrameAssembler::new(codec, config);
    assembler.start_at(FIRST_SEQUENCE);
    let mut now = Instant::now();
    let (mut frames, mut requests) = (Vec::new(), 0);
    let mut drain = |assembler: &mut FrameAssembler, now| {
        while let Some(event) = assembler.poll(now) {
            match event {
                AssemblerEvent::Frame(frame) => frames.push(frame),
                AssemblerEvent::KeyframeNeeded => requests += 1,
            }
        }
    };
    for packet in packets {
        assembler.push(packet, now);
        drain(&mut assembler, now);
    }
    for _ in 0..100 {
        now += Duration::from_secs(1);
        drain(&mut assembler, now);
    }
    (frames, requests)
}

proptest! {
    #[test]
    fn frames_survive_disorder((codec, frames) in track(), max_payload in 64..400_usize, moves: [Index; 61]) {
        let packets = disturb(&packets_of(codec, max_payload, &frames), &moves);
        let (assembled, requests) = assemble(codec, packets);
        prop_assert_eq!(requests, 0);
        prop_assert!(assembled.iter().map(|frame| frame.timestamp).eq(0..frames.len() as u64));
        for (assembled, frame) in assembled.iter().zip(&frames) {
            prop_assert_eq!(&assembled.data, frame);
            prop_assert_eq!(assembled.is_keyframe, is_keyframe(codec, frame));
            prop_assert_eq!(assembled.packets_lost, 0);
        }
    }

    #[test]
    fn loss_costs_frames_but_never_breaks_one(
        (codec, frames) in track(),
        moves: [Index; 61],
        lost: [bool; 13],
        is_rare: bool,
    ) {
        let all = packets_of(codec, 200, &frames);
        let is_lost = |packet: &Packet| {
            lost[packet.sequence as usize % 13] && (!is_rare || packet.sequence.is_multiple_of(5))
        };
        let kept: Vec<_> = all.iter().filter(|packet| !is_lost(packet)).cloned().collect();
        let (assembled, _) = assemble(codec, disturb(&kept, &moves));

        let mut previous: Option<u64> = None;
        for delivered in &assembled {
            let index = delivered.timestamp;
            prop_assert_eq!(&delivered.data, &frames[index as usize]);
            prop_assert!(previous.is_none_or(|previous| previous < index));
            let follows = previous.map_or(index == 0, |previous| previous + 1 == index);
            prop_assert!(follows || delivered.is_keyframe);
            previous = Some(index);
        }
        let last = assembled.last().map_or(0, |frame| frame.last_sequence);
        let missing = all.iter().filter(|packet| packet.sequence < last && is_lost(packet)).count() as u64;
        prop_assert_eq!(assembled.iter().map(|frame| frame.packets_lost).sum::<u64>(), missing);
        if codec == Codec::Opus {
            prop_assert_eq!(assembled.len(), kept.len());
        }
    }

    #[test]
    fn payloads_keep_to_the_limit((codec, frames) in track(), max_payload in 64..400_usize) {
        let mut packetizer = Packetizer::new(codec, max_payload);
        let mut payloads = Payloads::new();
        for frame in &frames {
            packetizer.packetize(frame, &mut payloads).unwrap();
            prop_assert!(payloads.iter().all(|payload| (1..=max_payload).contains(&payload.len())));
            let is_begun = payloads.iter().any(|payload| starts_keyframe(codec, payload));
            prop_assert_eq!(is_begun, is_keyframe(codec, frame));
        }
    }

    #[test]
    fn any_bytes_are_split_or_refused(bytes: Vec<u8>, max_payload in 64..400_usize) {
        let annex_b = [&[0, 0, 1], &bytes[..]].concat();
        for (codec, frame) in CODECS.into_iter().flat_map(|codec| [(codec, &bytes), (codec, &annex_b)]) {
            let mut payloads = Payloads::new();
            let result = Packetizer::new(codec, max_payload).packetize(frame, &mut payloads);
            prop_assert_eq!(result.is_err(), payloads.is_empty());
            prop_assert!(payloads.iter().all(|payload| (1..=max_payload).contains(&payload.len())));
        }
    }
}

#[test]
fn frames_outside_the_limits_are_refused() {
    let mut payloads = Payloads::new();
    let mut packetize = |codec, frame: &[u8]| Packetizer::new(codec, 1200).packetize(frame, &mut payloads);
    for codec in CODECS {
        assert_eq!(packetize(codec, &[]), Err(PacketizeError::Empty));
        let too_large = PacketizeError::TooLarge { length: (4 << 20) + 1, limit: 4 << 20 };
        assert_eq!(packetize(codec, &vec![1; (4 << 20) + 1]), Err(too_large));
    }
    assert_eq!(packetize(Codec::Opus, &[1; 1200]), Ok(()));
    let refused = packetize(Codec::Opus, &[1; 1201]);
    assert_eq!(refused, Err(PacketizeError::TooLarge { length: 1201, limit: 1200 }));
    assert_eq!(refused.unwrap_err().to_string(), "frame of 1201 bytes exceeds limit of 1200");
}

#[test]
fn payloads_can_be_read_from_both_ends_and_used_again() {
    let mut payloads = Payloads::new();
    assert!(payloads.is_empty());
    let mut packetizer = Packetizer::new(Codec::Vp8, 64);
    packetizer.packetize(&[1; 200], &mut payloads).unwrap();
    assert_eq!((payloads.len(), payloads.iter().len()), (4, 4));
    let mut backwards: Vec<_> = payloads.iter().rev().collect();
    backwards.reverse();
    assert!(payloads.iter().eq(backwards));
    assert_eq!(packetizer.packetize(&[], &mut payloads), Err(PacketizeError::Empty));
    assert!(payloads.is_empty());
}
