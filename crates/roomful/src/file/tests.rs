//! The readers and writers on the fixtures that the demo plays.

use std::{collections::HashSet, io::Cursor, num::NonZeroU32, path::PathBuf, time::Duration};

use roomful_types::{Codec, MediaKind};

use super::{Clip, Playhead, annexb, ivf, ogg, resolution};

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../roomful-cli/fixtures")).join(name)
}

#[track_caller]
fn check(name: &str, codec: Codec, size: Option<(u16, u16)>, count: usize, keyframe_every: usize) -> Clip {
    let clip = Clip::open(path(name)).expect("a fixture");
    assert_eq!((clip.codec(), clip.resolution(), clip.frames().len()), (codec, size, count));
    assert_eq!(clip.duration(), Duration::from_secs(10));
    let distinct: HashSet<_> = clip.frames().iter().map(|frame| &frame.data).collect();
    assert_eq!(distinct.len(), count, "no two frames are alike");
    for (index, frame) in clip.frames().iter().enumerate() {
        assert_eq!(frame.is_keyframe, index % keyframe_every == 0, "frame {index}");
        let expected = Duration::from_secs(10) * index as u32 / count as u32;
        assert!(frame.media_time.abs_diff(expected) < Duration::from_micros(1), "frame {index}");
        assert_eq!(codec.ticks(frame.media_time), codec.ticks(expected));
    }
    clip
}

#[test]
fn fixtures_are_ten_seconds_of_distinct_frames() {
    for (name, size) in
        [("camera-360.ivf", (640, 360)), ("camera-180.ivf", (320, 180)), ("camera-90.ivf", (160, 90))]
    {
        let clip = check(name, Codec::Vp8, Some(size), 300, 60);
        assert_eq!(resolution(Codec::Vp8, &clip.frames()[0].data), Some(size));
        assert_eq!(resolution(Codec::Vp8, &clip.frames()[1].data), None);
    }
    check("camera-360.h264", Codec::H264, Some((640, 360)), 300, 60);
    let first = check("voice-a.ogg", Codec::Opus, None, 500, 1);
    let second = check("voice-b.ogg", Codec::Opus, None, 500, 1);
    assert!(first.frames().iter().all(|frame| second.frames().iter().all(|other| frame.data != other.data)));
}

#[test]
fn the_h264_fixture_is_in_canonical_form() {
    let file = std::fs::read(path("camera-360.h264")).unwrap();
    let mut writer = annexb::Writer::new(Vec::new());
    for frame in annexb::Reader::new(&file[..], NonZeroU32::new(30).unwrap()) {
        let frame = frame.unwrap();
        let kinds: Vec<_> = super::h264::units(&frame.data).map(|unit| unit[0] & 0x1f).collect();
        assert_eq!(kinds, if frame.is_keyframe { &[7, 8, 5][..] } else { &[1] });
        writer.write(&frame).unwrap();
    }
    assert!(writer.finish().unwrap() == file);
}

#[test]
fn a_fixture_survives_being_recorded() {
    let picture = Clip::open(path("camera-90.ivf")).unwrap();
    let mut writer = ivf::Writer::new(Cursor::new(Vec::new()), ivf::FourCc::Vp8, (160, 90)).unwrap();
    picture.frames().iter().for_each(|frame| writer.write(frame).unwrap());
    let recorded = Clip::parse("recorded", writer.finish().unwrap().get_ref()).unwrap();
    let data = |clip: &Clip| clip.frames().iter().map(|frame| frame.data.clone()).collect::<Vec<_>>();
    assert_eq!(data(&recorded), data(&picture));
    assert_eq!(recorded.duration(), picture.duration());
    let sound = Clip::open(path("voice-a.ogg")).unwrap();
    let mut writer = ogg::Writer::new(Vec::new(), 1, 1).unwrap();
    sound.frames().iter().for_each(|frame| writer.write(frame).unwrap());
    let recorded = Clip::parse("recorded", &writer.finish().unwrap()).unwrap();
    let levels = std::fs::read_to_string(path("voice-a.ogg.levels")).unwrap();
    assert_eq!(recorded.with_audio_levels(&levels).unwrap(), sound);
}

#[test]
fn an_hour_of_looped_fixtures_drifts_by_nothing() {
    let (picture, sound) = (Clip::open(path("camera-90.ivf")), Clip::open(path("voice-a.ogg")));
    let playhead = Playhead::new(Some(picture.unwrap()), Some(sound.unwrap()), true);
    let (mut pictures, mut packets) = (0_u64, 0_u64);
    for (kind, frame) in playhead.take_while(|(_, frame)| frame.media_time < Duration::from_secs(3_600)) {
        match kind {
            MediaKind::Video => {
                assert!(Codec::Vp8.ticks(frame.media_time).abs_diff(pictures * 3_000) <= 1);
                pictures += 1;
            }
            MediaKind::Audio => {
                assert!(Codec::Opus.ticks(frame.media_time).abs_diff(packets * 960) <= 1);
                packets += 1;
            }
        }
    }
    assert_eq!((pictures, packets), (108_000, 180_000));
}
