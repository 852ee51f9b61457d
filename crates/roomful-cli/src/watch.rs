//! `roomful watch`: shows who is in a room and what flows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use roomful::{MediaKind, ParticipantId, RemoteTrack, Room, State, Stream, StreamId};
use tokio::time::Instant;

use crate::{
    cli::WatchArgs,
    counters::{Counters, Meter},
    failure::Failure,
    follow::{Followed, Follower, Taken},
    format,
    interrupt::Stop,
    join,
    output::Target,
    screen::{Screen, View},
    table::{Column, Table},
};

/// Watches until it is time to end.
pub(crate) async fn run(args: WatchArgs, stop: Stop) -> Result<(), Failure> {
    let Some(mut joined) = join::join(&args.room, None, &stop).await? else { return Ok(()) };
    let room = joined.room.clone();
    let mut follower = Follower::new(room.clone());
    let mut watched = Watched { name: format::printable(&args.room.room), ..Watched::default() };
    let mut screen = Screen::new(Target::Stdout);
    let mut ticks = screen.interval();
    let begin = Instant::now();
    let ending = stop.wait_or(args.seconds);
    tokio::pin!(ending);
    screen.show(&watched.view(&room, Duration::ZERO));
    let result = loop {
        tokio::select! {
            () = &mut ending => break Ok(()),
            event = joined.events.recv() => if let Err(failure) = follower.on_event(event) {
                break Err(failure);
            },
            followed = follower.next() => match followed {
                Followed::Taken(taken) => watched.take(taken),
                Followed::Refused(why) => screen.line(&why),
            },
            _ = ticks.tick() => screen.show(&watched.view(&room, begin.elapsed())),
        }
    };
    screen.end();
    result?;
    join::leave(&room).await;
    let Totals { frames, bytes, .. } = watched.totals;
    let (frames, bytes) = (format::count(frames as usize, "frame"), format::bytes(bytes));
    let time = format::clock(begin.elapsed());
    Target::Stdout.line(&format!("watched room {} for {time}: {frames}, {bytes}", watched.name));
    Ok(())
}

/// What is watched.
#[derive(Default)]
struct Watched {
    name: String,
    /// Who is there, in the order of coming: those who stay keep their place.
    people: Vec<ParticipantId>,
    streams: BTreeMap<StreamId, Vec<Line>>,
    totals: Totals,
}

/// One track of a stream.
struct Line {
    kind: MediaKind,
    counters: Arc<Mutex<Counters>>,
    meter: Meter,
}

#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    frames: u64,
    bytes: u64,
    packets: u64,
    packets_lost: u64,
    /// Of what is there now.
    bps: u64,
}

impl Watched {
    fn take(&mut self, taken: Taken) {
        let tracks = taken.tracks.video.into_iter().chain(taken.tracks.audio);
        let lines = tracks.map(|track| {
            let line =
                Line { kind: track.kind(), counters: Arc::default(), meter: Meter::begin(Instant::now()) };
            tokio::spawn(count(track, line.counters.clone()));
            line
        });
        self.streams.insert(taken.stream, lines.collect());
    }

    fn view(&mut self, room: &Room, time: Duration) -> View {
        let state = room.state();
        let mut table = Table { columns: COLUMNS.to_vec(), rows: Vec::new() };
        let now = Instant::now();
        self.totals.bps = 0;
        let mut seen = Totals::default();
        for lines in self.streams.values_mut() {
            for line in lines {
                let counters = *line.counters.lock();
                line.meter.sample(now, counters.frames, counters.bytes);
                seen.frames += counters.frames;
                seen.bytes += counters.bytes;
                seen.packets += counters.packets;
                seen.packets_lost += counters.packets_lost;
                seen.bps += line.meter.bitrate().as_bps();
            }
        }
        self.totals = seen;
        self.look_around(&state);
        for participant in self.people.iter().filter_map(|id| state.participant(*id)) {
            let from = format::name(participant);
            let mut rows: Vec<Vec<String>> = Vec::new();
            for stream in participant.streams.values().filter_map(|id| state.stream(*id)) {
                self.stream_rows(stream, &mut rows);
            }
            if rows.is_empty() {
                rows.push([String::new(), "nothing".to_owned()].to_vec());
            }
            for (index, row) in rows.iter_mut().enumerate() {
                row.insert(0, if index == 0 { from.clone() } else { String::new() });
            }
            table.rows.extend(rows);
        }
        self.frame(table, &state, room, time)
    }

    /// Notes who came and who left. Those who were there before are in the order of their names.
    fn look_around(&mut self, state: &State) {
        self.people.retain(|id| state.participant(*id).is_some());
        let known: BTreeSet<ParticipantId> = self.people.iter().copied().collect();
        let mut new: Vec<_> = state.remote_participants().filter(|one| !known.contains(&one.id)).collect();
        new.sort_by_key(|participant| format::name(participant));
        self.people.extend(new.into_iter().map(|participant| participant.id));
    }

    /// Makes a row for each track: video first, as the eye does.
    fn stream_rows(&self, stream: &Stream, rows: &mut Vec<Vec<String>>) {
        let key = format::printable(stream.key.as_str());
        let mut is_first = true;
        let lines = self.streams.get(&stream.id).map(Vec::as_slice).unwrap_or_default();
        for kind in [MediaKind::Video, MediaKind::Audio] {
            let line = lines.iter().find(|line| line.kind == kind);
            let frames = line.map_or(0, |line| line.counters.lock().frames);
            if !stream.is_enabled(kind) && frames == 0 {
                continue;
            }
            let key = if std::mem::take(&mut is_first) { key.clone() } else { String::new() };
            let mut row = vec![key, kind.to_string()];
            match line {
                Some(line) if stream.is_enabled(kind) => row.extend(line.cells()),
                Some(_) => row.extend(["muted".to_owned()]),
                None => row.extend(["waiting".to_owned()]),
            }
            rows.push(row);
        }
        if is_first {
            rows.push(vec![key, "muted".to_owned()]);
        }
    }

    fn frame(&self, table: Table, state: &State, room: &Room, time: Duration) -> View {
        let totals = &self.totals;
        let people = format::count(state.participants().len(), "people");
        let streams = format::count(state.streams().len(), "stream");
        let time = format::clock(time);
        let loss = format!("loss {}", format::loss(totals.packets_lost, totals.packets));
        let rtt = room.peer_stats().round_trip_time;
        let rtt = rtt.map(|rtt| format!("rtt {}", format::millis(rtt))).unwrap_or_default();
        let rate = roomful::Bitrate::from_bps(totals.bps);
        let mut plain = format!("{time} · {people} · {streams} · {rate} · {} frames · {loss}", totals.frames);
        if !rtt.is_empty() {
            plain = format!("{plain} · {rtt}");
        }
        View {
            head: (
                format!("room {} · {people} · {streams} · {time}", self.name),
                format!("{loss}   {rtt}").trim_end().to_owned(),
            ),
            table,
            foot: (format!("{rate} in all"), "Ctrl-C ends".to_owned()),
            plain,
        }
    }
}

impl Line {
    fn cells(&self) -> [String; 7] {
        let counters = *self.counters.lock();
        [
            counters.codec_name(),
            counters.encoding(),
            self.meter.bitrate().to_string(),
            format!("{:.1}", self.meter.frame_rate()),
            counters.frames.to_string(),
            counters.packets_lost.to_string(),
            counters.delay(),
        ]
    }
}

/// Reads a track to its end.
async fn count(mut track: RemoteTrack, counters: Arc<Mutex<Counters>>) {
    while let Some(frame) = track.recv().await {
        let mut counters = counters.lock();
        counters.take(&frame);
        counters.take_capture_time(frame.captured_at, SystemTime::now());
    }
}

const COLUMNS: [Column; 10] = [
    Column::text("from"),
    Column::text("stream").optional(3),
    Column::text("kind"),
    Column::text("codec").optional(4),
    Column::text("encoding").optional(5),
    Column::number("rate"),
    Column::number("fps").optional(1),
    Column::number("frames").optional(6),
    Column::number("lost").optional(2),
    Column::number("delay").optional(7),
];
