//! `cargo xtask soak`: people who come, publish, subscribe and leave, over and over, and what that leaves behind in the
//! server's process and in theirs.
//!
//! Progress goes to stderr; the last line, on stdout, is one JSON object. Ctrl-C ends it early, with the figures so far.

use std::{
    fs, io,
    io::IsTerminal,
    process::{ExitCode, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use roomful::{
    Codec, Frame, LocalTrack, MediaKind, RemoteTracks, Room, RoomId, RoomOptions, StreamKey,
    SubscriptionConfig, TrackRequest, TrackWriter, Tracks,
    file::{Clip, Playhead},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::{sleep, sleep_until, timeout},
};

const API_KEY: &str = "soak-only-0123456789abcdef0123456789abcdef";

/// Caches fill and pools grow before memory is first looked at.
const WARM_UP: u64 = 500;

/// So many at once.
const LANES: u64 = 8;

/// Shorter runs say more of the allocator than of leaks.
const JUDGED_FROM: u64 = 10_000;
const GROWTH_MAX: f64 = 1024.0;

const PATIENCE: Duration = Duration::from_secs(20);

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> ExitCode {
    let cycles = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let Some(cycles) = cycles else {
        eprintln!("error: how many cycles? Run it with: cargo xtask soak --cycles 10000");
        return ExitCode::from(2);
    };
    match soak(cycles).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs it all and prints the figures. Returns whether they are good.
async fn soak(cycles: u64) -> Outcome<bool> {
    let place = Place::open().await?;
    let host = place.join("host").await?;
    let player = Player::start()?;
    host.add_stream(&camera()?, player.tracks.clone()).await?;

    let begin = Instant::now();
    let mut ended = std::pin::pin!(tokio::signal::ctrl_c());
    let mut stopped = false;
    let done = AtomicU64::new(0);
    let mut run = async |name: &str, count: u64| -> Outcome<()> {
        done.store(0, Ordering::Relaxed);
        let first = AtomicU64::new(0);
        let lanes = (0..LANES).map(|_| lane(&place, &host, (&first, &done), count));
        tokio::select! {
            result = futures_util::future::try_join_all(lanes) => { result?; }
            () = report(name, &done, count) => {}
            _ = &mut ended, if !stopped => {
                stopped = true;
                // Whoever was half-way in is let go.
                sleep(Duration::from_secs(1)).await;
            }
        }
        eprintln!(
            "{name}: {} of {count} after {:.0} s",
            done.load(Ordering::Relaxed),
            begin.elapsed().as_secs_f64()
        );
        Ok(())
    };
    run("warm-up", WARM_UP).await?;
    let before = place.rest().await?;
    run("soak", cycles).await?;
    let after = place.rest().await?;

    let count = done.load(Ordering::Relaxed);
    let judged = count >= JUDGED_FROM;
    let (mut sides, mut good) = (serde_json::Map::new(), true);
    for (name, before, after) in
        [("server", before.server, after.server), ("client", before.client, after.client)]
    {
        let growth = (after.resident as f64 - before.resident as f64) / count.max(1) as f64;
        good &= before.descriptors == after.descriptors && !(judged && growth >= GROWTH_MAX);
        sides.insert(
            name.to_owned(),
            json!({
                "descriptors": [before.descriptors, after.descriptors],
                "resident_bytes": [before.resident, after.resident],
                "growth_bytes_per_cycle": growth.round(),
            }),
        );
    }
    host.disconnect().await?;
    println!(
        "{}",
        json!({
            "cycles": count, "warm_up": WARM_UP, "seconds": begin.elapsed().as_secs(), "memory_judged": judged,
            "good": good, "server": sides["server"], "client": sides["client"],
        })
    );
    Ok(good)
}

/// One visitor after another, until `count` have begun.
async fn lane(
    place: &Place,
    host: &Room,
    (first, done): (&AtomicU64, &AtomicU64),
    count: u64,
) -> Outcome<()> {
    let player = Player::start()?;
    loop {
        let number = first.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return Ok(());
        }
        timeout(PATIENCE, visit(place, host, &player, number))
            .await
            .map_err(|_| format!("a visit took longer than {PATIENCE:?}"))??;
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Joins, publishes, takes the host's stream as the host takes this one, and leaves when frames have come both ways.
async fn visit(place: &Place, host: &Room, player: &Player, number: u64) -> Outcome<()> {
    let camera = camera()?;
    let room = place.join(&format!("visitor {number}")).await?;
    room.add_stream(&camera, player.tracks.clone()).await?;
    let (me, other) = (own_id(&room)?, own_id(host)?);
    while host.participant_stream(me, &camera).is_none() {
        sleep(Duration::from_millis(2)).await;
    }
    let config = SubscriptionConfig::default();
    let (mine, theirs) = tokio::try_join!(
        room.add_subscription(other, &camera, config),
        host.add_subscription(me, &camera, config)
    )?;
    tokio::try_join!(first_frames(mine), first_frames(theirs))?;
    room.disconnect().await?;
    Ok(())
}

async fn first_frames(tracks: RemoteTracks) -> Outcome<()> {
    for track in [tracks.audio, tracks.video] {
        track.ok_or("a track is missing")?.recv().await.ok_or("the subscription ended")?;
    }
    Ok(())
}

fn own_id(room: &Room) -> Outcome<roomful::ParticipantId> {
    Ok(room.state().local_participant_id().ok_or("not in the room any more")?)
}

fn camera() -> Outcome<StreamKey> {
    Ok(StreamKey::new("camera")?)
}

/// Says how far it is, where somebody looks on.
async fn report(name: &str, done: &AtomicU64, count: u64) {
    loop {
        let terminal = io::stderr().is_terminal();
        sleep(Duration::from_secs(if terminal { 1 } else { 30 })).await;
        eprintln!("{name}: {} of {count}", done.load(Ordering::Relaxed));
    }
}

/// A server's process with a room.
struct Place {
    server: Child,
    url: String,
    room: RoomId,
    http: reqwest::Client,
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    descriptors: usize,
    resident: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sides {
    server: Held,
    client: Held,
}

impl Place {
    async fn open() -> Outcome<Self> {
        let program =
            std::env::var_os("ROOMFUL_BIN").ok_or("ROOMFUL_BIN does not name the roomful command")?;
        let mut server = Command::new(program)
            .args([
                "serve",
                "--dev",
                "--http",
                "127.0.0.1:0",
                "--media",
                "127.0.0.1:0",
                "--quic",
                "127.0.0.1:0",
                // Whoever stays in the room does in seconds what takes others minutes.
                "--requests-per-second",
                "100000",
            ])
            .env("ROOMFUL_API_KEY", API_KEY)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(server.stdout.take().ok_or("the server says nothing")?).lines();
        let url = loop {
            let line = lines.next_line().await?.ok_or("the server did not start")?;
            if let Some((_, url)) = line.split_once("signalling on ") {
                break url.to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        // Connections kept for later would look like leaks.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build()?;
        let mut place = Self { server, url, room: RoomId::from_random([0; 16]), http };
        let room = place.post("/v2/rooms", &json!({ "unique_name": "soak" })).await?;
        place.room = text(&room, "id")?.parse().map_err(|_| "a room without an id")?;
        Ok(place)
    }

    async fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(API_KEY).json(body);
        let mut answer: Value = request.send().await?.error_for_status()?.json().await?;
        Ok(answer["data"].take())
    }

    async fn join(&self, identity: &str) -> Outcome<Room> {
        let path = format!("/v2/rooms/{}/actions/generate_join_client_token", self.room);
        let token = self.post(&path, &json!({ "identity": identity })).await?;
        let room = Room::new(RoomOptions::new(self.url.clone(), self.room, text(&token, "token")?));
        room.connect().await?;
        Ok(room)
    }

    /// Waits until both processes have come to rest, and says what they hold.
    async fn rest(&self) -> Outcome<Sides> {
        let server = self.server.id().ok_or("the server ended")?;
        let look = || -> io::Result<Sides> {
            Ok(Sides { server: held(server)?, client: held(std::process::id())? })
        };
        let descriptors = |sides: &Sides| (sides.server.descriptors, sides.client.descriptors);
        let (mut last, mut still) = (look()?, 0);
        while still < 20 {
            sleep(Duration::from_millis(100)).await;
            let now = look()?;
            still = if descriptors(&now) == descriptors(&last) { still + 1 } else { 0 };
            last = now;
        }
        Ok(last)
    }
}

fn text<'a>(value: &'a Value, field: &str) -> Outcome<&'a str> {
    value[field].as_str().ok_or_else(|| format!("no {field} in {value}").into())
}

/// Asks Linux what a process holds.
fn held(process: u32) -> io::Result<Held> {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd"))?.count();
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or_default();
    Ok(Held { descriptors, resident: kilobytes * 1024 })
}

/// Plays the smallest fixtures, for ever.
struct Player {
    tracks: Tracks,
    task: JoinHandle<()>,
}

impl Drop for Player {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Player {
    fn start() -> Outcome<Self> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../roomful-cli/fixtures");
        let video = Clip::open(folder.join("camera-90.ivf"))?;
        let audio = Clip::open(folder.join("voice-a.ogg"))?;
        let (video_track, video_writer) = LocalTrack::new(video.codec());
        let (audio_track, audio_writer) = LocalTrack::new(Codec::Opus);
        let playhead = Playhead::new(Some(video), Some(audio), true);
        let task = tokio::spawn(play(playhead, audio_writer, video_writer));
        Ok(Self { tracks: Tracks { audio: Some(audio_track), video: Some(video_track) }, task })
    }
}

async fn play(mut playhead: Playhead, audio: TrackWriter, mut video: TrackWriter) {
    let start = tokio::time::Instant::now();
    while let Some(time) = playhead.next_time() {
        tokio::select! {
            () = sleep_until(start + time) => {
                let Some((kind, frame)) = playhead.next() else { return };
                let writer = if kind == MediaKind::Audio { &audio } else { &video };
                writer.write(Frame {
                    data: frame.data,
                    media_time: frame.media_time,
                    duration: frame.duration,
                    is_keyframe: frame.is_keyframe,
                    audio_level: frame.audio_level,
                }).await;
            }
            request = video.request() => {
                if matches!(request, TrackRequest::Keyframe) {
                    playhead.jump_to_keyframe();
                }
            }
        }
    }
}
