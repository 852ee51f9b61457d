//! The demo's cast: four participants, what they publish, and what they take of one another.

use std::{path::Path, sync::Arc, time::Duration};

use roomful::{RoomId, Status, file::Clip};
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep},
};

use super::{
    bot::{Bot, Publication, SharedReception},
    report::{Percentiles, Report},
};
use crate::{
    api::Api,
    failure::Failure,
    interrupt::{Stop, Stopper},
    join,
    recording::Recording,
};

/// Everybody who takes part.
#[derive(Debug)]
pub(super) struct Stage {
    /// Three who publish, and one who records.
    pub(super) bots: [Bot; 4],
    /// The three streams.
    pub(super) publications: [Publication; 3],
    /// One for each subscription and kind.
    pub(super) receptions: Vec<SharedReception>,
    subscriptions: usize,
    readers: JoinSet<Result<Vec<Recording>, Failure>>,
    recordings: Vec<Recording>,
    playing: Stopper,
}

impl Stage {
    /// Lets everybody join, publish and subscribe.
    ///
    /// * `folder`: where the one who records writes to.
    pub(super) async fn set_up(api: &Api, room: RoomId, folder: Arc<Path>) -> Result<Self, Failure> {
        let [one, two, three] = clips()?;
        let join = |name| Bot::join(api, room, name);
        let bots = tokio::try_join!(join("bot-1"), join("bot-2"), join("bot-3"), join("recorder"))?;
        let bots: [Bot; 4] = bots.into();
        let (playing, stop) = Stopper::new();
        let publish = |bot: usize, clips: (Clip, Clip), stop: Stop| bots[bot].publish(clips.0, clips.1, stop);
        let publications = tokio::try_join!(
            publish(0, one, stop.clone()),
            publish(1, two, stop.clone()),
            publish(2, three, stop)
        )?;
        let publications: [Publication; 3] = publications.into();

        let mut asked = JoinSet::new();
        for bot in &bots {
            for publication in publications.iter().filter(|publication| publication.bot != bot.name) {
                asked.spawn(bot.clone().subscribe(publication.clone()));
            }
        }
        let mut stage = Self {
            bots,
            publications,
            receptions: Vec::new(),
            subscriptions: 0,
            readers: JoinSet::new(),
            recordings: Vec::new(),
            playing,
        };
        while let Some(readings) = asked.join_next().await {
            stage.subscriptions += 1;
            for reading in readings.map_err(broken)?? {
                stage.receptions.push(reading.reception.clone());
                let is_recorder = reading.reception.lock().to == stage.bots[3].name;
                stage.readers.spawn(reading.run(is_recorder.then(|| folder.clone())));
            }
        }
        // In the order of the bots, whoever was granted first.
        stage.receptions.sort_by_key(|one| {
            let reception = one.lock();
            (reception.from, reception.to)
        });
        Ok(stage)
    }

    /// Waits until something ends that should go on: with the reason, if there is one.
    pub(super) async fn watch(&mut self) -> Result<(), Failure> {
        match self.readers.join_next().await {
            Some(ended) => {
                self.recordings.extend(ended.map_err(broken)??);
                self.check_connections()
            }
            None => std::future::pending().await,
        }
    }

    /// Returns an error when somebody has lost the room.
    pub(super) fn check_connections(&self) -> Result<(), Failure> {
        for bot in &self.bots {
            let state = bot.room.state();
            if let (Status::Disconnected, Some(reason)) = (state.status(), state.disconnect_reason()) {
                return Err(Failure::work(format!(
                    "{} lost the room: {reason}; run it again with -v, and report what it tells",
                    bot.name
                )));
            }
        }
        Ok(())
    }

    /// Ends it: first nobody writes any more, then everything written is awaited, then everybody leaves.
    pub(super) async fn end(&mut self) -> Result<(), Failure> {
        self.playing.stop();
        let begin = Instant::now();
        while begin.elapsed() < DRAINED_WITHIN && !self.receptions.iter().all(|one| one.lock().is_complete())
        {
            sleep(DRAIN_STEP).await;
        }
        let [one, two, three, four] = &self.bots;
        tokio::join!(
            join::leave(&one.room),
            join::leave(&two.room),
            join::leave(&three.room),
            join::leave(&four.room)
        );
        let mut result = Ok(());
        while let Some(ended) = self.readers.join_next().await {
            match ended.map_err(broken).flatten() {
                Ok(files) => self.recordings.extend(files),
                Err(failure) => result = result.and(Err(failure)),
            }
        }
        result
    }

    /// Sums up what was found so far.
    pub(super) fn report(&self) -> Report {
        let mut report = Report {
            participants: self.bots.len(),
            streams: self.publications.len(),
            subscriptions: self.subscriptions,
            connect: Percentiles::of(self.bots.iter().map(|bot| bot.connect_time).collect()),
            recording: self.recordings.clone(),
            ..Report::default()
        };
        report.recording.sort_by(|a, b| a.path.cmp(&b.path));
        for (_, ledger) in self.publications.iter().flat_map(|publication| &publication.tracks) {
            report.frames_sent += ledger.lock().sent();
        }
        let mut first_frames = Vec::new();
        for reception in self.receptions.iter().map(|one| one.lock()) {
            report.frames_received += reception.check.received;
            report.frames_identical += reception.check.identical;
            report.frames_missing += reception.check.missing;
            report.packets_lost += reception.packets_lost;
            first_frames.extend(reception.first_frame);
        }
        report.first_frame = Percentiles::of(first_frames);
        report
    }

    /// Returns an error that names the subscriptions that got no frame.
    pub(super) fn check_frames(&self) -> Result<(), Failure> {
        let without: Vec<String> = self
            .receptions
            .iter()
            .map(|one| one.lock())
            .filter(|reception| reception.check.received == 0)
            .map(|reception| format!("{} got no {} of {}", reception.to, reception.kind, reception.from))
            .collect();
        match &without[..] {
            [] => Ok(()),
            list => Err(Failure::work(format!(
                "{}; run it again with -v, and report what it tells",
                list.join(", ")
            ))),
        }
    }
}

/// Reads what is published, from the program itself.
fn clips() -> Result<[(Clip, Clip); 3], Failure> {
    let clip = |name, bytes| Clip::parse(name, bytes).map_err(|error| Failure::work(error.to_string()));
    let voice = |name, bytes, levels| {
        clip(name, bytes)?.with_audio_levels(levels).map_err(|error| Failure::work(error.to_string()))
    };
    let voice_a = voice("voice-a.ogg", VOICE_A, LEVELS_A)?;
    let voice_b = voice("voice-b.ogg", VOICE_B, LEVELS_B)?;
    Ok([
        (clip("camera-360.ivf", CAMERA_360)?, voice_a.clone()),
        (clip("camera-180.ivf", CAMERA_180)?, voice_b),
        (clip("camera-90.ivf", CAMERA_90)?, voice_a),
    ])
}

fn broken(error: JoinError) -> Failure {
    Failure::work(format!("a part of the demo broke off: {error}; please report this"))
}

const CAMERA_360: &[u8] = include_bytes!("../../fixtures/camera-360.ivf");
const CAMERA_180: &[u8] = include_bytes!("../../fixtures/camera-180.ivf");
const CAMERA_90: &[u8] = include_bytes!("../../fixtures/camera-90.ivf");
const VOICE_A: &[u8] = include_bytes!("../../fixtures/voice-a.ogg");
const VOICE_B: &[u8] = include_bytes!("../../fixtures/voice-b.ogg");
const LEVELS_A: &str = include_str!("../../fixtures/voice-a.ogg.levels");
const LEVELS_B: &str = include_str!("../../fixtures/voice-b.ogg.levels");

/// As long as a lost packet may take to be repaired.
const DRAINED_WITHIN: Duration = Duration::from_secs(1);
const DRAIN_STEP: Duration = Duration::from_millis(10);
