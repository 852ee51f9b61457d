//! The laws of playing: media time runs on, and sound stays with the picture.

use bytes::Bytes;
use proptest::prelude::*;
use roomful_types::Codec;

use super::*;

/// Frames with these durations in milliseconds; their bytes are their number.
fn clip(codec: Codec, durations: &[u64], keyframe_every: usize) -> Clip {
    let mut time = 0;
    let frames = durations
        .iter()
        .enumerate()
        .map(|(index, &duration)| {
            let frame = MediaFrame {
                data: Bytes::copy_from_slice(&(index as u32).to_be_bytes()),
                media_time: Duration::from_millis(time),
                duration: Duration::from_millis(duration),
                is_keyframe: index % keyframe_every == 0,
                audio_level: None,
            };
            time += duration;
            frame
        })
        .collect();
    Clip::new(codec, None, frames).expect("well-formed")
}

fn video(frames: usize, keyframe_every: usize) -> Clip {
    clip(Codec::Vp8, &vec![30; frames], keyframe_every)
}

fn audio(packets: usize) -> Clip {
    clip(Codec::Opus, &vec![20; packets], 1)
}

fn number(frame: &MediaFrame) -> usize {
    u32::from_be_bytes(frame.data[..].try_into().expect("four bytes")) as usize
}

/// What comes next, as `v` or `a`, number, `@`, media time in ms.
fn text(playhead: &mut Playhead, count: usize) -> String {
    let one = |(kind, frame): (MediaKind, MediaFrame)| {
        let kind = if kind == MediaKind::Video { 'v' } else { 'a' };
        format!("{kind}{}@{}", number(&frame), frame.media_time.as_millis())
    };
    playhead.take(count).map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn both_kinds_come_in_the_order_of_media_time() {
    let mut playhead = Playhead::new(Some(video(2, 1)), Some(audio(3)), false);
    assert_eq!(playhead.next_time(), Some(Duration::ZERO));
    assert_eq!(text(&mut playhead, 9), "a0@0 v0@0 a1@20 v1@30 a2@40");
    assert_eq!(playhead.next_time(), None);
}

#[test]
fn loops_run_on_together() {
    let mut playhead = Playhead::new(Some(video(2, 1)), Some(audio(3)), true);
    assert_eq!(text(&mut playhead, 8), "a0@0 v0@0 a1@20 v1@30 a2@40 a0@60 v0@60 a1@80");
    // Audio that is longer than the video is cut, at a whole packet, and stays with the picture.
    let mut playhead = Playhead::new(Some(video(1, 1)), Some(audio(9)), true);
    assert_eq!(text(&mut playhead, 7), "a0@0 v0@0 a1@20 v0@30 a0@40 a1@60 v0@60");
    // Audio that is shorter is silent until the video starts over.
    let mut playhead = Playhead::new(Some(video(3, 1)), Some(audio(2)), true);
    assert_eq!(text(&mut playhead, 7), "a0@0 v0@0 a1@20 v1@30 v2@60 a0@90 v0@90");
    let mut playhead = Playhead::new(None, Some(audio(2)), true);
    assert_eq!(text(&mut playhead, 4), "a0@0 a1@20 a0@40 a1@60");
    assert!(!playhead.jump_to_keyframe());
}

#[test]
fn a_jump_moves_picture_and_sound_and_leaves_media_time() {
    let mut playhead = Playhead::new(Some(video(40, 20)), Some(audio(60)), true);
    assert_eq!(text(&mut playhead, 4), "a0@0 v0@0 a1@20 v1@30");
    assert!(playhead.jump_to_keyframe());
    // Video frame 20 is 600 ms into the clip, where audio packet 30 is.
    assert_eq!(text(&mut playhead, 4), "a29@40 a30@60 v20@60 a31@80");
    assert!(playhead.jump_to_keyframe()); // over the end of the loop
    assert_eq!(text(&mut playhead, 3), "v0@90 a0@100 a1@120");
    let again = playhead.clone();
    assert!(playhead.jump_to_keyframe() && playhead.jump_to_keyframe());
    assert_ne!(playhead.skipped, again.skipped, "the second of two jumps has nothing left to do");
    assert_eq!(playhead.video.as_ref().map(|track| track.index), Some(20));
}

#[test]
fn without_a_loop_there_may_be_no_key_frame_left() {
    let mut playhead = Playhead::new(Some(video(4, 2)), None, false);
    assert_eq!(text(&mut playhead, 1), "v0@0");
    assert!(playhead.jump_to_keyframe());
    assert_eq!(text(&mut playhead, 1), "v2@30");
    assert!(!playhead.jump_to_keyframe());
    assert_eq!(text(&mut playhead, 9), "v3@60");
    assert!(!playhead.jump_to_keyframe());
    assert!(!Playhead::new(None, None, true).jump_to_keyframe());
}

#[test]
fn a_picture_of_a_nanosecond_does_not_keep_the_sound_busy() {
    let mut frame = video(1, 1).frames()[0].clone();
    frame.duration = Duration::from_nanos(1);
    let picture = Clip::new(Codec::Vp8, None, vec![frame]).expect("well-formed");
    let mut playhead = Playhead::new(Some(picture), Some(audio(1)), true);
    playhead.video = None; // a million of them come before the next packet
    assert_eq!(playhead.by_ref().take(1_000).count(), 1_000);
    assert_eq!(playhead.next_time(), Some(Duration::from_secs(20)));
}

#[test]
fn a_clip_in_the_wrong_place_is_a_mistake_of_the_caller() {
    assert!(std::panic::catch_unwind(|| Playhead::new(Some(audio(1)), None, true)).is_err());
}

proptest! {
    #[test]
    fn media_time_runs_on_and_sound_stays_with_the_picture(
        durations in prop::collection::vec(1..200_u64, 1..40),
        keyframe_every in 1..15_usize,
        packets in 1..300_usize,
        packet in prop_oneof![Just(20_u64), Just(60), Just(5)],
        is_looped: bool,
        steps in prop::collection::vec((0..30_usize, any::<bool>()), 1..40),
    ) {
        let video = clip(Codec::Vp8, &durations, keyframe_every);
        let audio = clip(Codec::Opus, &vec![packet; packets], 1);
        let period = video.duration();
        let has_all_sound = audio.duration() >= period;
        let mut playhead = Playhead::new(Some(video.clone()), Some(audio.clone()), is_looped);
        let mut now = Duration::ZERO;
        let (mut video_end, mut audio_end) = (Duration::ZERO, Duration::ZERO);
        // Where in the repeated clips the media time 0 would be, by the video; and sound that waits to be compared.
        let mut offset = Some(Duration::ZERO);
        let mut waiting = Vec::new();
        for (count, jumps) in steps {
            for _ in 0..count {
                let expected = playhead.next_time();
                let Some((kind, frame)) = playhead.next() else { break };
                prop_assert_eq!(Some(frame.media_time), expected);
                prop_assert!(frame.media_time >= now);
                now = frame.media_time;
                if kind == MediaKind::Video {
                    prop_assert_eq!(frame.media_time, video_end);
                    video_end += frame.duration;
                    offset = Some(difference(video.frames()[number(&frame)].media_time, now, period));
                } else {
                    prop_assert!(frame.media_time >= audio_end);
                    prop_assert!(!has_all_sound || !is_looped || frame.media_time == audio_end, "gap in the sound");
                    audio_end = frame.media_time + frame.duration;
                    waiting.push((audio.frames()[number(&frame)].media_time, now));
                }
                if let Some(offset) = offset.filter(|_| is_looped) {
                    for (place, time) in waiting.drain(..) {
                        let skew = difference(difference(place, time, period), offset, period);
                        let skew = skew.min(period - skew);
                        prop_assert!(skew * 2 <= Duration::from_millis(packet), "skew of {skew:?}");
                    }
                }
            }
            let before = playhead.next_time();
            if jumps && playhead.jump_to_keyframe() {
                offset = None;
                waiting.clear();
                let video = playhead.video.as_ref().expect("has one");
                prop_assert!(video.frame().is_some_and(|frame| frame.is_keyframe));
                prop_assert_eq!(video.next_time, Some(video_end));
                prop_assert!(playhead.next_time() >= before.min(Some(now)));
            } else if jumps {
                prop_assert!(!is_looped);
                prop_assert_eq!(playhead.next_time(), before);
            }
        }
    }
}

/// `place` − `time` on a circle.
fn difference(place: Duration, time: Duration, period: Duration) -> Duration {
    let rest = Duration::from_nanos_u128(time.as_nanos() % period.as_nanos());
    let ahead = place + period - rest;
    Duration::from_nanos_u128(ahead.as_nanos() % period.as_nanos())
}
