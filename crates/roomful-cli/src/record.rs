//! `roomful record`: writes everything in a room into files.

use std::{path::Path, sync::Arc};

use parking_lot::Mutex;
use roomful::RemoteTrack;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    cli::RecordArgs,
    counters::{Counters, Meter},
    failure::Failure,
    follow::{Followed, Follower, Taken},
    format,
    interrupt::Stop,
    join,
    output::{self, Target},
    recording::{Recorder, Recording, make_folder},
    screen::{Screen, View},
};

/// Records until it is time to end.
pub(crate) async fn run(args: RecordArgs, stop: Stop) -> Result<(), Failure> {
    make_folder(&args.out)?;
    let Some(mut joined) = join::join(&args.room, args.identity.as_deref(), &stop).await? else {
        return Ok(());
    };
    let room = joined.room.clone();
    let mut follower = Follower::new(room.clone());
    let begin = Instant::now();
    let mut session = Session::begin(begin);
    let mut screen = Screen::new(Target::Stdout);
    let mut ticks = screen.interval();
    let ending = stop.wait_or(args.seconds);
    tokio::pin!(ending);
    let mut result = loop {
        tokio::select! {
            () = &mut ending => break Ok(()),
            event = joined.events.recv() => if let Err(failure) = follower.on_event(event) {
                break Err(failure);
            },
            followed = follower.next() => match followed {
                Followed::Taken(taken) => session.record(taken, &args.out),
                Followed::Refused(why) => screen.line(&why),
            },
            Some(ended) = session.tasks.join_next() => {
                if let Err(failure) = session.on_end(ended) {
                    break Err(failure);
                }
            }
            _ = ticks.tick() => screen.show(&session.view(&args.room.room, &room, begin)),
        }
    };
    screen.end();
    join::leave(&room).await;
    // The room is left: every track ends, and with it its files.
    while let Some(ended) = session.tasks.join_next().await {
        result = result.and(session.on_end(ended));
    }
    session.summarize(begin);
    result
}

/// What is being recorded.
struct Session {
    tasks: JoinSet<Result<Vec<Recording>, Failure>>,
    tracks: Vec<Arc<Mutex<Counters>>>,
    files: Vec<Recording>,
    meter: Meter,
}

impl Session {
    fn begin(now: Instant) -> Self {
        Self { tasks: JoinSet::new(), tracks: Vec::new(), files: Vec::new(), meter: Meter::begin(now) }
    }

    fn record(&mut self, taken: Taken, folder: &Path) {
        let Taken { from, key, tracks, .. } = taken;
        for track in tracks.audio.into_iter().chain(tracks.video) {
            let counters = Arc::new(Mutex::new(Counters::default()));
            self.tracks.push(counters.clone());
            let recorder = Recorder::new(folder, &from, key.as_str(), track.kind());
            self.tasks.spawn(record_track(track, recorder, counters));
        }
    }

    fn on_end(
        &mut self,
        ended: Result<Result<Vec<Recording>, Failure>, tokio::task::JoinError>,
    ) -> Result<(), Failure> {
        let files = ended.map_err(|error| {
            Failure::work(format!("a recording ended before its time: {error}; please report this"))
        })??;
        for file in &files {
            tracing::info!(path = %file.path.display(), frames = file.frames, "file is complete");
        }
        self.files.extend(files);
        Ok(())
    }

    fn view(&mut self, name: &str, room: &roomful::Room, begin: Instant) -> View {
        let mut total = Counters::default();
        let mut tracks = 0;
        for one in self.tracks.iter().map(|one| *one.lock()).filter(|one| one.frames > 0) {
            tracks += 1;
            total.frames += one.frames;
            total.bytes += one.bytes;
            total.packets += one.packets;
            total.packets_lost += one.packets_lost;
        }
        self.meter.sample(Instant::now(), total.frames, total.bytes);
        let state = room.state();
        let people = format::count(state.participants().len(), "people");
        let flow = format!(
            "{} · {} · {} · {}",
            format::count(tracks, "track"),
            format::count(total.frames as usize, "frame"),
            format::bytes(total.bytes),
            self.meter.bitrate(),
        );
        let time = format::clock(begin.elapsed());
        let loss = format!("loss {}", format::loss(total.packets_lost, total.packets));
        View {
            head: (format!("recording room {} · {people} · {time}", format::printable(name)), loss.clone()),
            foot: (flow.clone(), "Ctrl-C ends".to_owned()),
            plain: format!("{time} · {people} · {flow} · {loss}"),
            ..View::default()
        }
    }

    fn summarize(&mut self, begin: Instant) {
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        for file in &self.files {
            let size =
                file.resolution.map(|(width, height)| format!(" {width}×{height}")).unwrap_or_default();
            Target::Stdout.line(&format!(
                "{}: {}{size}, {}, {}, {}",
                file.path.display(),
                file.codec,
                format::clock(file.duration),
                format::count(file.frames as usize, "frame"),
                format::bytes(file.bytes)
            ));
        }
        let time = format::clock(begin.elapsed());
        match self.files.len() {
            0 => Target::Stdout.line(&format!("recorded nothing in {time}: nobody published anything")),
            files => Target::Stdout.line(&format!("recorded {} in {time}", format::count(files, "file"))),
        }
    }
}

/// Writes a track to its end.
///
/// Writing to a file may block; a track has its own task, and others go on on the runtime's other threads.
async fn record_track(
    mut track: RemoteTrack,
    mut recorder: Recorder,
    counters: Arc<Mutex<Counters>>,
) -> Result<Vec<Recording>, Failure> {
    let mut dropped = 0;
    while let Some(frame) = track.recv().await {
        counters.lock().take(&frame);
        dropped += frame.frames_dropped;
        recorder.write(&frame)?;
    }
    if dropped > 0 {
        output::note(&format!("{dropped} {} frames were dropped: the disk was too slow", track.kind()));
    }
    recorder.finish()
}
