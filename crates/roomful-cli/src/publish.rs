//! `roomful publish`: plays files into a room.

use std::{path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use roomful::{EventKind, MediaKind, file::Clip};
use tokio::time::Instant;

use crate::{
    cli::PublishArgs,
    counters::Meter,
    failure::Failure,
    format,
    interrupt::Stop,
    join,
    output::Target,
    player::{PlayEnd, Played, Player},
    screen::{Screen, View},
};

/// Publishes the files until their end, or until it is time to end.
pub(crate) async fn run(args: PublishArgs, stop: Stop) -> Result<(), Failure> {
    let clips = Clips::open(&args)?;
    let length = (!args.looped).then(|| clips.duration());
    let Some(mut joined) = join::join(&args.room, args.identity.as_deref(), &stop).await? else {
        return Ok(());
    };
    let room = joined.room.clone();
    let (player, tracks) = Player::new(clips.video, clips.audio, args.looped);
    tokio::select! {
        added = room.add_stream(&args.key, tracks) => {
            added.map_err(|error| Failure::of_call("cannot publish the stream", error))?;
        }
        () = stop.wait() => {
            join::leave(&room).await;
            Target::Stdout.line("ended before anything was published");
            return Ok(());
        }
    }

    let progress = Arc::new(Mutex::new(Progress::default()));
    let observer = progress.clone();
    let title = format!("{} as {} in room {}", clips.names, args.key, args.room.room);
    let mut screen = Screen::new(Target::Stdout);
    let mut ticks = screen.interval();
    let begin = Instant::now();
    let mut meter = Meter::begin(begin);
    let end = {
        let play = player.play(&stop, move |played| observer.lock().take(played));
        tokio::pin!(play);
        loop {
            tokio::select! {
                end = &mut play => break Ok(end),
                event = joined.events.recv() => match event.map(|event| event.kind) {
                    Some(EventKind::Disconnected { reason }) => break Err(Failure::disconnected(reason)),
                    Some(_) => {}
                    None => break Err(Failure::work("the room is gone; run the command again")),
                },
                _ = ticks.tick() => {
                    let progress = *progress.lock();
                    meter.sample(Instant::now(), progress.video + progress.audio, progress.bytes);
                    screen.show(&progress.view(&title, length, &meter));
                }
            }
        }
    };
    screen.end();
    let end = end?;
    join::leave(&room).await;
    let Progress { video, audio, .. } = *progress.lock();
    let how = match end {
        PlayEnd::Finished => "published all",
        PlayEnd::Stopped => "ended as asked; published",
    };
    Target::Stdout.line(&format!(
        "{how}: {} and {} in {} as {} in room {}",
        format::count(video as usize, "video frame"),
        format::count(audio as usize, "audio frame"),
        format::clock(begin.elapsed()),
        args.key,
        args.room.room
    ));
    Ok(())
}

/// What is published.
struct Clips {
    video: Option<Clip>,
    audio: Option<Clip>,
    names: String,
}

impl Clips {
    fn open(args: &PublishArgs) -> Result<Self, Failure> {
        let mut clips = Self { video: None, audio: None, names: String::new() };
        let mut names: Vec<String> = Vec::new();
        for path in &args.files {
            let clip = Clip::open_with_frame_rate(path, args.frame_rate)
                .map_err(|error| Failure::work(error.to_string()))?;
            let kind = clip.codec().kind();
            let place = if kind == MediaKind::Video { &mut clips.video } else { &mut clips.audio };
            if place.replace(clip).is_some() {
                return Err(Failure::usage(format!(
                    "both files are {kind}; give at most one with video and one with audio, and publish the other with \
                     another --key"
                )));
            }
            names.push(format::printable(&base_name(path)));
        }
        clips.names = names.join(" + ");
        Ok(clips)
    }

    fn duration(&self) -> Duration {
        [&self.video, &self.audio].into_iter().flatten().map(Clip::duration).max().unwrap_or_default()
    }
}

/// What was played so far.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    video: u64,
    audio: u64,
    bytes: u64,
    position: Duration,
    /// Whether nobody takes audio, video.
    paused: [bool; 2],
}

impl Progress {
    fn take(&mut self, played: Played<'_>) {
        let (count, paused) = match played.kind {
            MediaKind::Audio => (&mut self.audio, &mut self.paused[0]),
            MediaKind::Video => (&mut self.video, &mut self.paused[1]),
        };
        *count += 1;
        *paused = played.is_paused;
        self.bytes += played.frame.data.len() as u64;
        self.position = self.position.max(played.frame.media_time);
    }

    fn view(&self, title: &str, length: Option<Duration>, meter: &Meter) -> View {
        // Audio is wanted whoever takes it.
        let is_taken = !self.paused[usize::from(self.video > 0)];
        let taken = if is_taken { "" } else { " · nobody takes it" };
        let rate = format!("{} · {:.0} frames/s{taken}", meter.bitrate(), meter.frame_rate());
        let position = format::clock(self.position);
        let (bar, left) = match length {
            Some(length) => {
                let left = format!("{} left", format::clock(length.saturating_sub(self.position)));
                (format!("{} {position} of {}", bar(self.position, length), format::clock(length)), left)
            }
            None => (format!("{position}, over and over"), "Ctrl-C ends".to_owned()),
        };
        View {
            head: (title.to_owned(), left),
            foot: (format!("{bar} · {rate}"), String::new()),
            plain: match length {
                Some(length) => format!("{position} of {} · {rate}", format::clock(length)),
                None => format!("{position} · {rate}"),
            },
            ..View::default()
        }
    }
}

/// Draws how far it is.
fn bar(position: Duration, length: Duration) -> String {
    let share = if length.is_zero() { 1.0 } else { position.as_secs_f64() / length.as_secs_f64() };
    let done = (share.clamp(0.0, 1.0) * BAR_COLUMNS as f64).round() as usize;
    format!("{}{}", "█".repeat(done), "░".repeat(BAR_COLUMNS - done))
}

fn base_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

const BAR_COLUMNS: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills() {
        let second = Duration::from_secs(1);
        assert_eq!(bar(Duration::ZERO, second), "░".repeat(24));
        assert_eq!(bar(second / 2, second), "█".repeat(12) + &"░".repeat(12));
        assert_eq!(bar(second * 2, second), "█".repeat(24));
        assert_eq!(bar(second, Duration::ZERO), "█".repeat(24));
    }

    #[test]
    fn progress_tells_position_rest_and_that_nobody_takes_it() {
        let progress = Progress {
            video: 30,
            position: Duration::from_secs(4),
            paused: [false, true],
            ..Progress::default()
        };
        let view = progress.view("a.ivf", Some(Duration::from_secs(10)), &Meter::begin(Instant::now()));
        assert_eq!(view.plain, "0:04 of 0:10 · 0 bit/s · 0 frames/s · nobody takes it");
        assert_eq!(view.head, ("a.ivf".to_owned(), "0:06 left".to_owned()));
    }
}
