//! The command `roomful`, as a process.

use std::{
    io::ErrorKind as IoErrorKind,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use roomful::{
    Codec, EventKind, Events,
    file::{Clip, MediaFrame},
};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::harness::{API_KEY, World, eventually, fixture, key, names_until, subscribe_to, wait_for, within};

/// Returns the command, built by whoever runs the tests.
pub(crate) fn program() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debug/roomful");
    let path = std::env::var_os("ROOMFUL_BIN").map_or(built, PathBuf::from);
    assert!(path.exists(), "there is no {}; run `cargo xtask test-e2e`, which builds it", path.display());
    path
}

fn roomful(world: &World, arguments: &[&str]) -> Child {
    Command::new(program())
        .args(arguments)
        .args(["--room", &world.room.to_string(), "--server", &world.url()])
        .env("ROOMFUL_API_KEY", API_KEY)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the command starts")
}

fn fixture_path(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../roomful-cli/fixtures");
    folder.join(name).to_str().expect("a path of text").to_owned()
}

/// Returns the one file of a folder with this ending.
fn file_with(folder: &Path, ending: &str) -> Option<PathBuf> {
    let mut files = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    files.find(|path| path.extension().is_some_and(|one| one == ending))
}

/// Checks that a recording has, byte for byte and without a gap, frames of what was published. Returns how many. When the recorder comes
/// just as playing begins, the player may go on at its next key frame once.
#[track_caller]
fn assert_recorded(recording: &Path, fixture: &Clip) -> usize {
    let recorded = Clip::open(recording).expect("can be read back");
    assert_eq!(recorded.codec(), fixture.codec());
    assert_eq!(recorded.resolution(), fixture.resolution());
    let (frames, published, codec) = (recorded.frames(), fixture.frames(), fixture.codec());
    let place = |frame: &MediaFrame| {
        (0..published.len()).find(|at| frame.data == published[*at].data).expect("was published")
    };
    // Where the recording is in what was published, and how much later its times are.
    let (mut first, mut zero, mut jumps) = (place(&frames[0]), published[place(&frames[0])].media_time, 0);
    for (index, frame) in frames.iter().enumerate() {
        if frame.data != published[(first + index) % published.len()].data && index < BEGINNING {
            let at = place(frame);
            (first, zero) =
                (published.len() + at - index, published[at].media_time.saturating_sub(frame.media_time));
            jumps += 1;
        }
        let original = &published[(first + index) % published.len()];
        assert_eq!(frame.data, original.data, "frame {index}");
        let passed = original.media_time.saturating_sub(zero);
        // Files of H.264 have no times of their own, and over the end of the loop another one begins.
        let has_time = codec != Codec::H264 && (first % published.len()) + index < published.len();
        assert!(!has_time || codec.ticks(frame.media_time) == codec.ticks(passed), "time of frame {index}");
    }
    assert!(jumps <= 1, "{jumps} jumps");
    frames.len()
}

/// Frames in which a player may still be asked for a key frame by somebody who has just come.
const BEGINNING: usize = 30;

/// Lets ffprobe decode a file, where there is one.
async fn assert_decodes(path: &Path) {
    let probe = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"])
        .arg(path)
        .output();
    // Another's program, whose many libraries may come from a cold disk.
    let probed = timeout(Duration::from_secs(60), probe).await.expect("ffprobe ends");
    match probed {
        Err(error) if error.kind() == IoErrorKind::NotFound => {
            println!("ffprobe is not on the PATH: {} is not decoded", path.display());
        }
        Err(error) => panic!("ffprobe: {error}"),
        Ok(output) => {
            let (told, errors) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
            assert!(output.status.success() && errors.is_empty(), "{}: {errors}", path.display());
            let frames = String::from_utf8_lossy(&told).trim().trim_end_matches(',').parse::<usize>();
            assert!(frames.is_ok_and(|frames| frames > 0), "{}: nothing decoded", path.display());
        }
    }
}

async fn wait_for_stream(events: &mut Events) {
    wait_for(events, |event| matches!(event.kind, EventKind::StreamPublished { .. }).then_some(())).await;
}

async fn send(signal: &str, child: &Child) {
    let id = child.id().expect("still runs").to_string();
    let status = within(Command::new("kill").args([signal, &id]).status()).await.expect("kill is everywhere");
    assert!(status.success());
}

async fn publish_and_record(video: &str, audio: &str, ending: &str) {
    let world = World::start().await;
    let watcher = world.join("watcher").await;
    let mut events = watcher.events();
    let folder = TempDir::new().expect("there is room for it");
    let out = folder.path().to_str().expect("a path of text");
    let mut recording = roomful(&world, &["record", "--out", out]);
    names_until(&mut events, "participant_joined").await;
    let publishing = [fixture_path(video), fixture_path(audio)];
    let mut publishing = roomful(&world, &["publish", &publishing[0], &publishing[1], "--loop"]);
    wait_for_stream(&mut events).await;
    // The file beside the voice says how loud it is.
    names_until(&mut events, "audio_activity").await;
    let size = |ending: &str| {
        file_with(folder.path(), ending).map_or(0, |path| path.metadata().map_or(0, |file| file.len()))
    };
    eventually(|| size(ending) > 60_000 && size("ogg") > 12_000).await;
    send("-INT", &recording).await;
    assert!(within(recording.wait()).await.expect("is our child").success(), "recording ended badly");
    send("-INT", &publishing).await;
    assert!(within(publishing.wait()).await.expect("is our child").success(), "publishing ended badly");
    eventually(|| watcher.state().participants().len() == 1).await;

    for (ending, name, least) in [(ending, video, 20), ("ogg", audio, 100)] {
        let path = file_with(folder.path(), ending).expect("was written");
        let frames = assert_recorded(&path, &fixture(name));
        println!("{frames} frames of {name} recorded");
        assert!(frames >= least, "only {frames} frames of {name}");
        assert_decodes(&path).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_process_publishes_another_records_vp8() {
    publish_and_record("camera-360.ivf", "voice-a.ogg", "ivf").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_process_publishes_another_records_h264() {
    publish_and_record("camera-360.h264", "voice-b.ogg", "h264").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_killed_can_be_played_up_to_its_last_second() {
    let world = World::start().await;
    let watcher = world.join("watcher").await;
    let mut events = watcher.events();
    let folder = TempDir::new().expect("there is room for it");
    let out = folder.path().to_str().expect("a path of text");
    let mut recording = roomful(&world, &["record", "--out", out]);
    names_until(&mut events, "participant_joined").await;
    let publishing = [fixture_path("camera-360.ivf"), fixture_path("voice-a.ogg")];
    let _publishing = roomful(&world, &["publish", &publishing[0], &publishing[1], "--loop"]);
    wait_for_stream(&mut events).await;
    eventually(|| file_with(folder.path(), "ivf").is_some()).await;
    let begin = Instant::now();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let lasted = begin.elapsed();
    within(recording.kill()).await.expect("is our child");
    for (ending, name) in [("ivf", "camera-360.ivf"), ("ogg", "voice-a.ogg")] {
        let path = file_with(folder.path(), ending).expect("was written");
        let frames = assert_recorded(&path, &fixture(name));
        let clip = Clip::open(&path).expect("can be read back");
        println!("{frames} frames of {name}, {:?} of {lasted:?}", clip.duration());
        assert!(clip.duration() + Duration::from_secs(1) >= lasted, "{name} has only {:?}", clip.duration());
        assert_decodes(&path).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_is_killed_leaves_at_once_where_nobody_may_resume() {
    let world = World::start_with(|config| config.sfu.resume_window = Duration::ZERO).await;
    let watcher = world.join("watcher").await;
    let mut events = watcher.events();
    let publishing = [fixture_path("camera-90.ivf"), fixture_path("voice-a.ogg")];
    let mut publishing =
        roomful(&world, &["publish", &publishing[0], &publishing[1], "--loop", "--key", "screen"]);
    wait_for_stream(&mut events).await;
    let state = watcher.state();
    let publisher = state.remote_participants().next().expect("joined").id;
    let (_audio, mut video) = within(subscribe_to(&watcher, publisher, &key("screen"))).await;
    assert!(within(video.recv()).await.expect("is published").is_keyframe);
    let mut events = watcher.events();
    let begin = Instant::now();
    publishing.start_kill().expect("is our child");
    let left = timeout(Duration::from_secs(2), names_until(&mut events, "participant_left")).await;
    let told = left.expect("TCP tells at once");
    let expected = ["participant_leaving", "subscription_ended", "stream_unpublished", "participant_left"];
    assert_eq!(told, expected);
    println!("told after {:?}", begin.elapsed());
    while within(video.recv()).await.is_some() {}
}
