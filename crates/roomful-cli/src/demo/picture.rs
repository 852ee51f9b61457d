//! What the demo shows while it runs.

use std::time::Duration;

use roomful::{Bitrate, MediaKind};
use roomful_server::ShardStats;
use tokio::time::Instant;

use super::{bot::KEY, stage::Stage};
use crate::{
    counters::{Counters, Meter},
    format,
    screen::View,
    table::{Column, Table},
};

/// Makes pictures of the stage, with rates.
#[derive(Debug)]
pub(super) struct Picture {
    /// One for each published track.
    meters: Vec<Meter>,
}

/// One published track as its subscribers have it.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    subscribers: u32,
    /// Of one subscriber, for what is alike for all.
    sample: Counters,
    frames: u64,
    bytes: u64,
    missing: u64,
    delay: Duration,
}

impl Picture {
    /// Begins to measure.
    pub(super) fn begin(stage: &Stage, now: Instant) -> Self {
        let tracks = stage.publications.iter().map(|publication| publication.tracks.len()).sum();
        Self { meters: vec![Meter::begin(now); tracks] }
    }

    /// Makes a picture of how it is now.
    ///
    /// * `invitation`: the command with which others join.
    pub(super) fn take(
        &mut self,
        stage: &Stage,
        stats: ShardStats,
        time: Duration,
        invitation: &str,
    ) -> View {
        let now = Instant::now();
        let mut table = Table { columns: COLUMNS.to_vec(), rows: Vec::new() };
        let (mut bps, mut frames, mut missing) = (0, 0, 0);
        let mut index = 0;
        for publication in &stage.publications {
            for (at, (kind, _)) in publication.tracks.iter().enumerate() {
                let line = Line::of(stage, publication.bot, *kind);
                let meter = &mut self.meters[index];
                index += 1;
                meter.sample(now, line.frames, line.bytes);
                bps += meter.bitrate().as_bps();
                frames += line.frames;
                missing += line.missing;
                let (from, key) = if at == 0 { (publication.bot, KEY) } else { ("", "") };
                table.rows.push(line.row(from, key, *kind, meter));
            }
        }
        let lost = stage.receptions.iter().map(|one| one.lock().packets_lost).sum::<u64>();
        let state = stage.bots[3].room.state();
        let room = format!(
            "{} · {}",
            format::count(state.participants().len(), "people"),
            format::count(state.streams().len(), "stream")
        );
        let link = format!("loss {}   {}", format::loss(lost, stats.packets_forwarded), round_trip(stage));
        let time = format::clock(time);
        let flow = Bitrate::from_bps(bps);
        View {
            head: (format!("room demo · {room} · {time}"), link.trim_end().to_owned()),
            table,
            foot: (format!("join it:  {invitation}"), "Ctrl-C ends".to_owned()),
            plain: format!("{time} · {room} · {flow} · {frames} frames · {missing} missing · {link}")
                .trim_end()
                .to_owned(),
        }
    }
}

impl Line {
    fn of(stage: &Stage, from: &str, kind: MediaKind) -> Self {
        let mut line = Self::default();
        for reception in stage.receptions.iter().map(|one| one.lock()) {
            if (reception.from, reception.kind) != (from, kind) {
                continue;
            }
            let counters = reception.counters;
            line.subscribers += 1;
            line.frames += counters.frames;
            line.bytes += counters.bytes;
            line.missing += reception.check.missing;
            line.delay += counters.delay.unwrap_or_default();
            if line.sample.frames <= counters.frames {
                line.sample = counters;
            }
        }
        line
    }

    /// Rates and delay are those of one subscriber, on average; frames are of all.
    fn row(&self, from: &str, key: &str, kind: MediaKind, meter: &Meter) -> Vec<String> {
        let subscribers = self.subscribers.max(1);
        let rate = Bitrate::from_bps(meter.bitrate().as_bps() / u64::from(subscribers));
        vec![
            from.to_owned(),
            key.to_owned(),
            kind.to_string(),
            self.sample.codec_name(),
            self.sample.encoding(),
            rate.to_string(),
            format!("{:.1}", meter.frame_rate() / f64::from(subscribers)),
            self.frames.to_string(),
            self.missing.to_string(),
            self.sample.delay.map(|_| format::millis(self.delay / subscribers)).unwrap_or_default(),
        ]
    }
}

/// Writes the mean of everybody's round trip to the server, once known.
fn round_trip(stage: &Stage) -> String {
    let times: Vec<Duration> =
        stage.bots.iter().filter_map(|bot| bot.room.peer_stats().round_trip_time).collect();
    let mean = times.iter().sum::<Duration>().checked_div(times.len() as u32);
    mean.map(|mean| format!("rtt {}", format::millis(mean))).unwrap_or_default()
}

const COLUMNS: [Column; 10] = [
    Column::text("from"),
    Column::text("stream").optional(6),
    Column::text("kind"),
    Column::text("codec").optional(4),
    Column::text("encoding").optional(5),
    Column::number("rate"),
    Column::number("fps").optional(2),
    Column::number("frames").optional(1),
    Column::number("missing"),
    Column::number("delay").optional(3),
];
