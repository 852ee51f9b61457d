//! The participants of the demo: each an ordinary user of the SDK.

use std::{path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use roomful::{
    MediaKind, ParticipantId, RemoteFrame, RemoteTrack, Room, RoomId, Status, StreamKey, SubscriptionConfig,
    file::Clip,
};
use tokio::time::{Instant, timeout};

use super::ledger::{Check, Ledger};
use crate::{
    api::Api,
    counters::Counters,
    failure::Failure,
    interrupt::Stop,
    join::{self, Joined},
    player::Player,
    recording::{Recorder, Recording},
};

/// A participant.
#[derive(Debug, Clone)]
pub(super) struct Bot {
    /// Its identity.
    pub(super) name: &'static str,
    /// Its room.
    pub(super) room: Room,
    /// Its id in the room.
    pub(super) id: ParticipantId,
    /// How long joining took.
    pub(super) connect_time: Duration,
}

/// A stream that a bot publishes.
#[derive(Debug, Clone)]
pub(super) struct Publication {
    /// Whose it is.
    pub(super) bot: &'static str,
    participant: ParticipantId,
    /// What was written to its tracks, video first.
    pub(super) tracks: [(MediaKind, SharedLedger); 2],
}

/// A ledger that its publisher and its subscribers share.
pub(super) type SharedLedger = Arc<Mutex<Ledger>>;

/// What one subscription receives of one kind.
#[derive(Debug)]
pub(super) struct Reception {
    /// Who publishes it.
    pub(super) from: &'static str,
    /// Who receives it.
    pub(super) to: &'static str,
    /// Audio or video.
    pub(super) kind: MediaKind,
    /// What was written.
    pub(super) ledger: SharedLedger,
    /// The comparison with it.
    pub(super) check: Check,
    /// What came in.
    pub(super) counters: Counters,
    /// From asking for the stream to its first frame.
    pub(super) first_frame: Option<Duration>,
    /// Packets lost, by the SDK's own report.
    pub(super) packets_lost: u64,
}

/// What a subscription is, to who shows it.
pub(super) type SharedReception = Arc<Mutex<Reception>>;

/// One track to be read, and where to note what comes.
#[derive(Debug)]
pub(super) struct Reading {
    track: RemoteTrack,
    /// What was received.
    pub(super) reception: SharedReception,
    asked_at: Instant,
}

impl Bot {
    /// Joins the room.
    pub(super) async fn join(api: &Api, room: RoomId, name: &'static str) -> Result<Self, Failure> {
        let Joined { room, connect_time, .. } = join::enter(api, room, Some(name), |_| {}).await?;
        let id = room.state().local_participant_id().expect("who has joined has an id");
        Ok(Self { name, room, id, connect_time })
    }

    /// Publishes two clips in a loop; plays them in a task of their own until told to stop.
    pub(super) async fn publish(&self, video: Clip, audio: Clip, stop: Stop) -> Result<Publication, Failure> {
        let ledger = |clip: &Clip| Arc::new(Mutex::new(Ledger::new(clip.codec())));
        let (video_ledger, audio_ledger) = (ledger(&video), ledger(&audio));
        let tracks = [(MediaKind::Video, video_ledger.clone()), (MediaKind::Audio, audio_ledger.clone())];
        let (player, local_tracks) = Player::new(Some(video), Some(audio), true);
        let added = self.room.add_stream(&key(), local_tracks).await;
        added.map_err(|error| Failure::of_call(&format!("{} cannot publish", self.name), error))?;
        tokio::spawn(async move {
            let note = |played: crate::player::Played<'_>| {
                let ledger = if played.kind == MediaKind::Video { &video_ledger } else { &audio_ledger };
                ledger.lock().append(played.frame, played.is_paused, Instant::now());
            };
            player.play(&stop, note).await
        });
        Ok(Publication { bot: self.name, participant: self.id, tracks })
    }

    /// Subscribes to a stream, as soon as it is known here.
    pub(super) async fn subscribe(self, publication: Publication) -> Result<Vec<Reading>, Failure> {
        let attempt = format!("{} cannot subscribe to {}", self.name, publication.bot);
        let known = timeout(KNOWN_WITHIN, self.wait_for(publication.participant)).await;
        if known != Ok(true) {
            return Err(Failure::work(format!(
                "{attempt}: the stream did not show up; run it again with -v"
            )));
        }
        let asked_at = Instant::now();
        let config = SubscriptionConfig::default();
        let tracks = self.room.add_subscription(publication.participant, &key(), config).await;
        let tracks = tracks.map_err(|error| Failure::of_call(&attempt, error))?;
        let readings = tracks.video.into_iter().chain(tracks.audio).filter_map(|track| {
            let (kind, ledger) = publication.tracks.iter().find(|(kind, _)| *kind == track.kind())?;
            let reception = Reception {
                from: publication.bot,
                to: self.name,
                kind: *kind,
                ledger: ledger.clone(),
                check: Check::default(),
                counters: Counters::default(),
                first_frame: None,
                packets_lost: 0,
            };
            Some(Reading { track, reception: Arc::new(Mutex::new(reception)), asked_at })
        });
        Ok(readings.collect())
    }

    /// Waits until somebody's stream is in the room; `false` when the room is lost.
    async fn wait_for(&self, publisher: ParticipantId) -> bool {
        let mut events = self.room.events();
        while self.room.participant_stream(publisher, &key()).is_none() {
            if events.recv().await.is_none() || self.room.state().status() != Status::Connected {
                return false;
            }
        }
        true
    }
}

impl Reading {
    /// Reads the track to its end, and records it if there is a folder.
    pub(super) async fn run(self, folder: Option<Arc<Path>>) -> Result<Vec<Recording>, Failure> {
        let Self { mut track, reception, asked_at } = self;
        let mut recorder = folder.map(|folder| {
            let reception = reception.lock();
            Recorder::new(&folder, reception.from, KEY, reception.kind)
        });
        while let Some(frame) = track.recv().await {
            let lost = track.report().packets_lost;
            reception.lock().take(&frame, asked_at, lost);
            if let Some(recorder) = &mut recorder {
                recorder.write(&frame)?;
            }
        }
        recorder.map_or(Ok(Vec::new()), Recorder::finish)
    }
}

impl Reception {
    fn take(&mut self, frame: &RemoteFrame, asked_at: Instant, packets_lost: u64) {
        let now = Instant::now();
        self.first_frame.get_or_insert_with(|| now.saturating_duration_since(asked_at));
        self.counters.take(frame);
        self.packets_lost = packets_lost;
        let written_at = self.check.take(&self.ledger.lock(), frame.media_time, &frame.data);
        if let Some(written_at) = written_at {
            self.counters.take_delay(now.saturating_duration_since(written_at));
        }
    }

    /// Returns whether everything that was written has arrived.
    pub(super) fn is_complete(&self) -> bool {
        self.check.is_complete(&self.ledger.lock())
    }
}

/// The name of every stream of the demo.
fn key() -> StreamKey {
    StreamKey::new(KEY).expect("short, without control characters")
}

/// The name of every stream of the demo, as text.
pub(super) const KEY: &str = "camera";

/// News of a stream is one message away.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);
