//! Reordering, loss and hostile input, one rule each.

use proptest::prelude::*;

use super::*;

/// Timestamp units from frame to frame.
const STEP: u64 = 3000;

#[derive(Clone, Copy)]
enum Kind {
    Key,
    Delta,
}

/// A VP8 packet: S is set in the first of a frame; the frame's tag follows the one-byte descriptor.
fn vp8(sequence: u64, frame: u64, kind: Kind, is_first: bool, marker: bool) -> Packet {
    let tag = match kind {
        Kind::Key => 0x10,
        Kind::Delta => 0x11,
    };
    let descriptor = if is_first { 0x10 } else { 0 };
    let payload = Arc::from([descriptor, tag, sequence as u8]);
    Packet { sequence, timestamp: frame.wrapping_mul(STEP), marker, payload, audio_level: None }
}

/// A VP8 frame of one packet, whose frame number is its sequence number.
fn key(sequence: u64) -> Packet {
    vp8(sequence, sequence, Kind::Key, true, true)
}

fn delta(sequence: u64) -> Packet {
    vp8(sequence, sequence, Kind::Delta, true, true)
}

fn opus(sequence: u64) -> Packet {
    let payload = Arc::from([sequence as u8]);
    let audio_level = Some(AudioLevel::from_negative_dbov(30));
    Packet { sequence, timestamp: sequence * 960, marker: false, payload, audio_level }
}

fn padding(sequence: u64, timestamp: u64) -> Packet {
    Packet { sequence, timestamp, marker: false, payload: Arc::from([]), audio_level: None }
}

/// An assembler, and what it said as text.
struct Bench {
    assembler: FrameAssembler,
    start: Instant,
    now: Instant,
    said: Vec<String>,
}

impl Bench {
    fn new(codec: Codec, first: u64) -> Self {
        Self::with(codec, AssemblerConfig::for_codec(codec), Some(first))
    }

    fn with(codec: Codec, config: AssemblerConfig, first: Option<u64>) -> Self {
        let mut assembler = FrameAssembler::new(codec, config);
        first.into_iter().for_each(|sequence| assembler.start_at(sequence));
        let start = Instant::now();
        Self { assembler, start, now: start, said: Vec::new() }
    }

    fn push(&mut self, packets: impl IntoIterator<Item = Packet>) -> &mut Self {
        for packet in packets {
            self.assembler.push(packet, self.now);
            self.drain();
        }
        self
    }

    /// Lets time pass until the deadline and no further than `limit_ms` after the start.
    fn wait_until_ms(&mut self, limit_ms: u64) -> &mut Self {
        let limit = self.start + Duration::from_millis(limit_ms);
        while let Some(deadline) = self.assembler.deadline().filter(|deadline| *deadline <= limit) {
            assert!(deadline > self.now, "nothing is due after draining");
            self.now = deadline;
            self.drain();
        }
        self.now = limit;
        self
    }

    fn drain(&mut self) {
        while let Some(event) = self.assembler.poll(self.now) {
            let at = (self.now - self.start).as_millis();
            self.said.push(match event {
                AssemblerEvent::KeyframeNeeded => format!("{at} keyframe needed"),
                AssemblerEvent::Frame(frame) => {
                    let kind = if frame.is_keyframe { "key" } else { "delta" };
                    let (first, last) = (frame.first_sequence, frame.last_sequence);
                    format!("{at} {kind} {first}..={last} lost {}", frame.packets_lost)
                }
            });
        }
    }

    #[track_caller]
    fn check(&self, expected: &[&str]) {
        assert_eq!(self.said, expected);
    }
}

#[test]
fn frames_come_out_in_order_whatever_the_order_of_packets() {
    let mut bench = Bench::new(Codec::Vp8, 1);
    let mid_frame = |sequence, first, marker| vp8(sequence, 9, Kind::Delta, first, marker);
    let packets = [mid_frame(3, false, true), delta(4), key(1), delta(4), key(1), mid_frame(2, true, false)];
    bench.push(packets).check(&["0 key 1..=1 lost 0", "0 delta 2..=3 lost 0", "0 delta 4..=4 lost 0"]);
    assert_eq!(bench.assembler.deadline(), None);
}

#[test]
fn a_repaired_gap_costs_only_time() {
    let mut bench = Bench::new(Codec::Vp8, 1);
    bench.push([key(1), delta(3)]).wait_until_ms(999).push([delta(2)]);
    bench.check(&["0 key 1..=1 lost 0", "999 delta 2..=2 lost 0", "999 delta 3..=3 lost 0"]);
}

#[test]
fn a_video_gap_is_given_up_and_a_key_frame_asked_for_until_it_comes() {
    let mut bench = Bench::new(Codec::Vp8, 1);
    bench.push([key(1), delta(4)]).wait_until_ms(2500).push([delta(2), delta(5), key(6), delta(7)]);
    bench.check(&[
        "0 key 1..=1 lost 0",
        "1000 keyframe needed",
        "2000 keyframe needed",
        "2500 key 6..=6 lost 2",
        "2500 delta 7..=7 lost 0",
    ]);
    assert_eq!(bench.assembler.deadline(), None);
}

#[test]
fn an_assembler_that_may_not_wait_still_comes_to_rest() {
    let config = AssemblerConfig { max_wait: Duration::ZERO, ..AssemblerConfig::for_codec(Codec::Vp8) };
    let mut bench = Bench::with(Codec::Vp8, config, Some(1));
    bench.push([key(1), delta(3)]).wait_until_ms(2);
    bench.check(&["0 key 1..=1 lost 0", "1 keyframe needed", "2 keyframe needed"]);
}

#[test]
fn a_key_frame_already_there_is_not_asked_for() {
    let mut bench = Bench::new(Codec::Vp8, 1);
    bench.push([key(1), delta(3), key(4), delta(5)]).wait_until_ms(3000);
    bench.check(&["0 key 1..=1 lost 0", "1000 key 4..=4 lost 1", "1000 delta 5..=5 lost 0"]);
}

#[test]
fn a_broken_stream_does_not_wait_for_gaps_before_a_key_frame() {
    let mut bench = Bench::new(Codec::Vp8, 1);
    bench.push([key(1), delta(3)]).wait_until_ms(900).push([delta(5)]).wait_until_ms(1100).push([key(7)]);
    bench.check(&["0 key 1..=1 lost 0", "1000 keyframe needed", "1100 key 7..=7 lost 3"]);
}

#[test]
fn a_gap_inside_a_key_frame_is_waited_for_also_by_a_broken_stream() {
    let mut bench = Bench::new(Codec::Vp8, 1);
    let part = |sequence, first, marker| vp8(sequence, 4, Kind::Key, first, marker);
    bench.push([key(1), delta(3)]).wait_until_ms(1500);
    bench.push([part(4, true, false), part(6, false, true), key(7), part(5, false, false)]);
    bench.check(&[
        "0 key 1..=1 lost 0",
        "1000 keyframe needed",
        "1500 key 4..=6 lost 1",
        "1500 key 7..=7 lost 0",
    ]);
}

#[test]
fn video_begins_with_a_key_frame() {
    let mut bench = Bench::new(Codec::Vp8, 1);
    bench.push([delta(1), delta(2)]).wait_until_ms(10).push([key(3), delta(4)]);
    bench.check(&["0 keyframe needed", "10 key 3..=3 lost 0", "10 delta 4..=4 lost 0"]);
}

#[test]
fn the_first_packet_is_waited_for_and_earlier_ones_are_dropped() {
    let mut bench = Bench::new(Codec::Vp8, 5);
    bench.push([key(4), key(6)]);
    bench.check(&[]);
    bench.push([key(5)]).check(&["0 key 5..=5 lost 0", "0 key 6..=6 lost 0"]);
    bench.assembler.start_at(3);
    bench.push([delta(7), key(3)]).check(&["0 key 5..=5 lost 0", "0 key 6..=6 lost 0", "0 key 3..=3 lost 0"]);
}

#[test]
fn the_first_packet_is_not_waited_for_as_long_as_later_ones() {
    let mut bench = Bench::new(Codec::Vp8, 1);
    bench.push([delta(2)]).wait_until_ms(2000);
    bench.check(&["300 keyframe needed", "1300 keyframe needed"]);
    let mut bench = Bench::new(Codec::Vp8, 1);
    bench.push([vp8(1, 1, Kind::Key, true, false), vp8(3, 1, Kind::Key, false, true)]).wait_until_ms(1999);
    bench.check(&["1000 keyframe needed"]);
}

#[test]
fn without_a_known_start_the_stream_begins_with_the_first_key_frame_from_its_beginning() {
    let config = AssemblerConfig::for_codec(Codec::Vp8);
    let mut bench = Bench::with(Codec::Vp8, config, None);
    bench.push([vp8(8, 8, Kind::Key, false, true), key(9)]);
    bench.check(&["0 keyframe needed", "0 key 9..=9 lost 0"]);
}

#[test]
fn a_missing_marker_ends_the_frame_at_the_next_timestamp() {
    let mut bench = Bench::new(Codec::Vp8, 1);
    let (first, second) = (vp8(1, 1, Kind::Key, true, false), vp8(2, 1, Kind::Key, false, false));
    bench.push([first, second, padding(3, 77), delta(4)]);
    bench.check(&["0 key 1..=2 lost 0", "0 delta 4..=4 lost 0"]);
}

#[test]
fn a_key_frame_cuts_off_the_frame_before_it_and_breaks_nothing() {
    let mut bench = Bench::new(Codec::Vp8, 1);
    bench.push([key(1), vp8(2, 2, Kind::Delta, true, false), vp8(3, 3, Kind::Key, true, false)]);
    bench.push([vp8(4, 3, Kind::Key, false, true), delta(5)]);
    bench.check(&["0 key 1..=1 lost 0", "0 key 3..=4 lost 0", "0 delta 5..=5 lost 0"]);
}

#[test]
fn key_frames_without_markers_end_each_other() {
    let mut bench = Bench::new(Codec::Vp8, 1);
    bench.push((1..5).map(|number| vp8(number, number, Kind::Key, true, false)));
    bench.check(&["0 key 1..=1 lost 0", "0 key 2..=2 lost 0", "0 key 3..=3 lost 0"]);
}

#[test]
fn padding_makes_no_frame_and_no_gap() {
    let mut bench = Bench::new(Codec::Vp8, 1);
    bench.push([padding(1, 0), key(2), padding(4, 2 * STEP), padding(3, 2 * STEP), delta(5)]);
    bench.check(&["0 key 2..=2 lost 0", "0 delta 5..=5 lost 0"]);
    let mut bench = Bench::new(Codec::Opus, 1);
    bench.push([padding(1, 0), opus(2)]).check(&["0 key 2..=2 lost 0"]);
}

#[test]
fn a_malformed_payload_loses_its_frame() {
    let mut bench = Bench::new(Codec::Vp8, 1);
    let broken = vp8(2, 2, Kind::Delta, false, true); // begins a frame without S
    bench.push([key(1), broken, delta(3), key(4)]);
    bench.check(&["0 key 1..=1 lost 0", "0 keyframe needed", "0 key 4..=4 lost 0"]);
}

#[test]
fn an_idr_picture_behind_a_gap_needs_its_sps() {
    let mut bench = Bench::new(Codec::H264, 1);
    let packet = |sequence, payload: &[u8]| Packet { payload: payload.into(), ..key(sequence) };
    bench.push([packet(1, &[0x65, 0x88]), packet(3, &[0x65, 0x88])]).wait_until_ms(1000);
    bench.push([packet(4, &[24, 0, 2, 0x67, 1, 0, 2, 0x65, 0x88])]);
    bench.check(&["0 key 1..=1 lost 0", "1000 keyframe needed", "1000 key 4..=4 lost 1"]);
}

#[test]
fn an_audio_gap_is_skipped_after_its_time() {
    let mut bench = Bench::new(Codec::Opus, 1);
    bench.push([opus(1), opus(3)]).wait_until_ms(60).push([opus(5)]).wait_until_ms(500).push([opus(2)]);
    bench.check(&["0 key 1..=1 lost 0", "100 key 3..=3 lost 1", "160 key 5..=5 lost 1"]);
}

#[test]
fn an_overflow_gives_up_the_oldest_gap_at_once() {
    let config = AssemblerConfig { max_packets: 4, ..AssemblerConfig::for_codec(Codec::Opus) };
    let mut bench = Bench::with(Codec::Opus, config, Some(1));
    bench.push([opus(2), opus(3), opus(6)]);
    bench.check(&["0 key 2..=2 lost 1", "0 key 3..=3 lost 0"]);
    bench.push([opus(4), opus(5)]);
    bench.check(&[
        "0 key 2..=2 lost 1",
        "0 key 3..=3 lost 0",
        "0 key 4..=4 lost 0",
        "0 key 5..=5 lost 0",
        "0 key 6..=6 lost 0",
    ]);
}

#[test]
fn a_hostile_jump_drops_the_buffer_and_goes_on_behind_it() {
    let mut bench = Bench::new(Codec::Vp8, 1);
    bench.push([key(1), delta(3), delta(1 << 40), key((1 << 40) + 1)]);
    let lost = (1_u64 << 40) - 3; // all between 1 and the jump but packet 3, which came
    bench.check(&[
        "0 key 1..=1 lost 0",
        "0 keyframe needed",
        &format!("0 key {0}..={0} lost {lost}", (1_u64 << 40) + 1),
    ]);
    bench.push([delta(u64::MAX), delta(u64::MAX), delta(0)]);
    assert_eq!(bench.said.last().map(String::as_str), Some("0 keyframe needed"));
}

#[test]
fn audio_keeps_its_level_and_ignores_the_marker() {
    let mut assembler = FrameAssembler::new(Codec::Opus, AssemblerConfig::for_codec(Codec::Opus));
    let now = Instant::now();
    for sequence in 1..=2 {
        assembler.push(Packet { timestamp: 7, ..opus(sequence) }, now);
        let Some(AssemblerEvent::Frame(frame)) = assembler.poll(now) else { panic!("one packet is a frame") };
        assert_eq!(frame.audio_level, Some(AudioLevel::from_negative_dbov(30)));
        assert_eq!(frame.data, [sequence as u8]);
    }
}

#[test]
fn a_caller_that_does_not_poll_costs_frames_not_memory() {
    let config = AssemblerConfig { max_packets: 8, ..AssemblerConfig::for_codec(Codec::Vp8) };
    let mut assembler = FrameAssembler::new(Codec::Vp8, config);
    let now = Instant::now();
    assembler.start_at(0);
    assembler.push(key(0), now);
    (1..20).for_each(|sequence| assembler.push(delta(sequence), now));
    let events: Vec<_> = std::iter::from_fn(|| assembler.poll(now)).collect();
    assert_eq!(events.len(), 9);
    assert_eq!(events[8], AssemblerEvent::KeyframeNeeded);
}

/// One thing that a hostile or broken peer can cause.
#[derive(Debug, Clone)]
enum Step {
    Push { sequence: u64, timestamp: u64, marker: bool, payload: Vec<u8> },
    Wait { ms: u64 },
    StartAt { sequence: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let sequence = || prop_oneof![20 => 0..64_u64, 3 => 0..70_000_u64, 1 => any::<u64>()];
    let payload = prop_oneof![
        2 => proptest::collection::vec(any::<u8>(), 0..12),
        1 => Just(vec![0x10, 0x10, 1]),
        1 => Just(vec![0x00, 0x10, 1]),
        1 => Just(vec![0x67, 1]),
    ];
    prop_oneof![
        20 => (sequence(), 0..8_u64, any::<bool>(), payload).prop_map(
            |(sequence, timestamp, marker, payload)| Step::Push { sequence, timestamp, marker, payload }
        ),
        3 => (0..1500_u64).prop_map(|ms| Step::Wait { ms }),
        1 => sequence().prop_map(|sequence| Step::StartAt { sequence }),
    ]
}

proptest! {
    #[test]
    fn no_packets_make_it_panic_or_grow(
        steps in proptest::collection::vec(step(), 0..200),
        max_packets in 0..40_usize,
    ) {
        for codec in [Codec::Opus, Codec::Vp8, Codec::H264] {
            let config = AssemblerConfig { max_packets, ..AssemblerConfig::for_codec(codec) };
            let mut assembler = FrameAssembler::new(codec, config);
            let (mut now, mut last) = (Instant::now(), None);
            for step in &steps {
                match step.clone() {
                    Step::Push { sequence, timestamp, marker, payload } => {
                        let payload = payload.into();
                        assembler.push(Packet { sequence, timestamp, marker, payload, audio_level: None }, now);
                    }
                    Step::Wait { ms } => now += Duration::from_millis(ms),
                    Step::StartAt { sequence } => {
                        assembler.start_at(sequence);
                        last = None;
                    }
                }
                prop_assert!(assembler.slots.len() <= max_packets.max(1));
                while let Some(event) = assembler.poll(now) {
                    if let AssemblerEvent::Frame(frame) = event {
                        prop_assert!(frame.first_sequence <= frame.last_sequence && !frame.data.is_empty());
                        prop_assert!(last.is_none_or(|last| last < frame.first_sequence || last == u64::MAX));
                        last = Some(frame.last_sequence);
                    }
                }
                let begins_with_packet = matches!(assembler.slots.front(), Some(Slot::Here(_)));
                prop_assert!(!begins_with_packet);
                prop_assert!(assembler.deadline().is_none_or(|deadline| deadline > now));
            }
        }
    }
}
