//! The room as a program holds it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::Mutex;
use roomful_client::{
    AddStream, Client, ClientConfig, Command, CommandError, CommandId, Connect, EnableMetrics, NewTrack,
    SendMessage, UpdateStream,
};
use roomful_media::PeerStats;
use roomful_state::{Event, Message, Participant, State, Status, Stream};
use roomful_types::{ParticipantId, RoomId, StreamKey};
use tokio::sync::{mpsc, oneshot};

use crate::{
    clock,
    driver::{Driver, Ordered, Outcome, Request, Seat},
    error::Error,
    events::{EventName, Events, Hub, Unsubscribe},
    network::{Network, SystemNetwork},
    options::{NetworkMetricsOptions, RoomOptions, SubscriptionConfig},
    stats::WebRtcStats,
    track::{LocalTrack, RemoteTracks, TrackUpdate, Tracks, TracksUpdate},
};

/// A room, before, while and after this program is in it.
///
/// Cheap to clone; every clone is the same room. Dropping the last one leaves the room.
///
/// Every call settles within its deadline with a value or a typed error, may be dropped at any time without leaving anything
/// half-made behind, and needs no other call to be polled.
#[derive(Clone)]
pub struct Room {
    options: Arc<RoomOptions>,
    network: Arc<dyn Network>,
    hub: Arc<Hub>,
    seat: Arc<Mutex<Seat>>,
    /// The newest one that the server accepted, or the first.
    token: Arc<Mutex<String>>,
}

impl Room {
    /// Makes a room that is not connected. Does no I/O.
    #[must_use]
    pub fn new(options: RoomOptions) -> Self {
        Self::with_network(options, Arc::new(SystemNetwork), rand::random())
    }

    /// Makes a room that reaches its server through a network of the caller's; for simulators. The seed decides the pauses between
    /// attempts to connect again. Time is tokio's: a paused clock pauses the room.
    #[must_use]
    pub fn with_network(options: RoomOptions, network: Arc<dyn Network>, seed: u64) -> Self {
        let mut config = ClientConfig::default();
        config.connect_timeout = options.connect_timeout;
        config.request_timeout = options.request_timeout;
        config.keepalive = options.keepalive;
        config.initial_slots = options.initial_slots;
        config.reconnect_timeout = options.reconnect_timeout;
        let client = Client::new(config, options.room_id, seed, clock::now());
        let seat =
            Seat { requests: None, resting: Some(client), last_command: 0, stats: PeerStats::default() };
        let token = Arc::new(Mutex::new(options.client_token.clone()));
        let (options, seat) = (Arc::new(options), Arc::new(Mutex::new(seat)));
        Self { options, network, hub: Hub::new(), seat, token }
    }

    /// Returns the room's id.
    #[must_use]
    pub fn id(&self) -> RoomId {
        self.options.room_id
    }

    /// Calls `handler` for every event of that name, on the room's task, in the order of subscription. It must not block.
    /// A panic in it is caught and harms nobody else.
    pub fn on(&self, name: EventName, handler: impl Fn(&Event) + Send + Sync + 'static) -> Unsubscribe {
        self.hub.listen(name, handler)
    }

    /// Returns all events from now on, as a stream.
    #[must_use]
    pub fn events(&self) -> Events {
        self.hub.events()
    }

    /// Enters the room. Starts one task on the current tokio runtime, which ends when the room is left or lost.
    ///
    /// Resolves once joined: the local participant, and everything that was in the room before, are in the state.
    ///
    /// # Errors
    /// By kind: `WrongState` when connected already; `Unauthorized`, `Forbidden`, `LimitReached` (room full) as the server
    /// refuses; `Network` and `TimedOut` when it cannot be reached.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn connect(&self) -> Result<(), Error> {
        let RoomOptions { context, enable_messages, .. } = &*self.options;
        let (token, context) = (self.token.lock().clone(), context.clone());
        let connect = Connect { token, context, enable_messages: *enable_messages };
        self.order(Command::Connect(connect), Vec::new(), Some(Command::Disconnect)).await.map(drop)
    }

    /// Leaves the room. Takes two seconds at most, also on a dead network. The room can connect again.
    ///
    /// # Errors
    /// None that a program could act on: a room that is not connected is left already.
    pub async fn disconnect(&self) -> Result<(), Error> {
        match self.order(Command::Disconnect, Vec::new(), None).await {
            Ok(_) => Ok(()),
            Err(error) if error == Error::from(CommandError::NotConnected) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns the room as it is now: an immutable snapshot, which costs nothing to take or to keep.
    #[must_use]
    pub fn state(&self) -> State {
        self.hub.state()
    }

    /// Returns oneself, while connected.
    #[must_use]
    pub fn local_participant(&self) -> Option<Arc<Participant>> {
        self.state().local_participant().cloned()
    }

    /// Returns one's own published streams by key.
    #[must_use]
    pub fn local_streams(&self) -> BTreeMap<StreamKey, Arc<Stream>> {
        let state = self.state();
        state.local_participant_id().map(|id| state.participant_streams(id)).unwrap_or_default()
    }

    /// Publishes a stream; resolves once it is published and media can flow.
    ///
    /// # Errors
    /// By kind: `InvalidArgument` when the key or a track is in use or a track is of the wrong kind, `Forbidden` when the token
    /// does not permit it, `LimitReached`, `MediaUnreachable` when no media path comes up, and those of every call.
    pub async fn add_stream(&self, key: &StreamKey, tracks: Tracks) -> Result<(), Error> {
        let Tracks { audio, video } = tracks;
        let add = AddStream {
            key: key.clone(),
            audio: audio.as_ref().map(new_track),
            video: video.as_ref().map(new_track),
        };
        let tracks = audio.into_iter().chain(video).collect();
        let undo = Command::RemoveStream(key.clone());
        self.order(Command::AddStream(add), tracks, Some(undo)).await.map(drop)
    }

    /// Mutes, unmutes or replaces tracks of a stream of one's own. Muting holds at once; subscriptions stay.
    ///
    /// # Errors
    /// As [`add_stream`](Self::add_stream), and `InvalidArgument` when there is no such stream.
    pub async fn update_stream(&self, key: &StreamKey, update: TracksUpdate) -> Result<(), Error> {
        let mut tracks = Vec::new();
        let mut wish = |update: TrackUpdate| match update {
            TrackUpdate::Keep => roomful_client::TrackUpdate::Keep,
            TrackUpdate::Mute => roomful_client::TrackUpdate::Mute,
            TrackUpdate::Replace(track) => {
                let new = new_track(&track);
                tracks.push(track);
                roomful_client::TrackUpdate::Replace(new)
            }
        };
        let update = UpdateStream { key: key.clone(), audio: wish(update.audio), video: wish(update.video) };
        self.order(Command::UpdateStream(update), tracks, None).await.map(drop)
    }

    /// Takes a stream of one's own back. Its media stops at once.
    ///
    /// # Errors
    /// `InvalidArgument` when there is no such stream, and those of every call.
    pub async fn remove_stream(&self, key: &StreamKey) -> Result<(), Error> {
        self.order(Command::RemoveStream(key.clone()), Vec::new(), None).await.map(drop)
    }

    /// Subscribes to another's stream; resolves once it is granted and media can flow.
    ///
    /// # Errors
    /// By kind: `InvalidArgument` for an unknown participant or key, one's own stream or a second subscription, `Forbidden`,
    /// `LimitReached`, `MediaUnreachable`, and those of every call.
    pub async fn add_subscription(
        &self,
        participant: ParticipantId,
        key: &StreamKey,
        config: SubscriptionConfig,
    ) -> Result<RemoteTracks, Error> {
        let wish = config.wish(participant, key);
        let undo = Command::RemoveSubscription(participant, key.clone());
        let outcome = self.order(Command::AddSubscription(wish), Vec::new(), Some(undo)).await?;
        Ok(outcome.tracks)
    }

    /// Takes something else of a stream from now on. Returns the tracks that are new; those that go on stay where they are,
    /// those no longer wanted end.
    ///
    /// # Errors
    /// `InvalidArgument` when not subscribed, and those of every call.
    pub async fn update_subscription(
        &self,
        participant: ParticipantId,
        key: &StreamKey,
        config: SubscriptionConfig,
    ) -> Result<RemoteTracks, Error> {
        let wish = config.wish(participant, key);
        Ok(self.order(Command::UpdateSubscription(wish), Vec::new(), None).await?.tracks)
    }

    /// Ends a subscription. Its tracks end at once.
    ///
    /// # Errors
    /// `InvalidArgument` when not subscribed, and those of every call.
    pub async fn remove_subscription(
        &self,
        participant: ParticipantId,
        key: &StreamKey,
    ) -> Result<(), Error> {
        self.order(Command::RemoveSubscription(participant, key.clone()), Vec::new(), None).await.map(drop)
    }

    /// Returns a participant's streams by key; empty for an unknown participant.
    #[must_use]
    pub fn participant_streams(&self, participant: ParticipantId) -> BTreeMap<StreamKey, Arc<Stream>> {
        self.state().participant_streams(participant)
    }

    /// Returns a participant's stream.
    #[must_use]
    pub fn participant_stream(&self, participant: ParticipantId, key: &StreamKey) -> Option<Arc<Stream>> {
        self.state().participant_stream(participant, key).cloned()
    }

    /// Returns what a stream has sent or received so far: one's own fills `senders`, a subscribed one `receivers`; one that is
    /// not subscribed to fills nothing.
    ///
    /// # Errors
    /// `InvalidArgument` when the participant or the stream is unknown, and `WrongState` when not connected.
    pub async fn webrtc_stats_for_stream(
        &self,
        participant: ParticipantId,
        key: &StreamKey,
    ) -> Result<WebRtcStats, Error> {
        let state = self.state();
        if state.status() != Status::Connected {
            return Err(CommandError::NotConnected.into());
        }
        state.participant(participant).ok_or(CommandError::UnknownParticipant)?;
        let stream = state.participant_stream(participant, key).ok_or(CommandError::UnknownStream)?;
        let (reply, stats) = oneshot::channel();
        let requests = self.seat.lock().requests.clone().ok_or(CommandError::NotConnected)?;
        let asked = requests.send(Request::Stats(stream.audio_track, stream.video_track, reply));
        asked.map_err(|_| CommandError::NotConnected)?;
        Ok(stats.await.map_err(|_| CommandError::NotConnected)?)
    }

    /// Sends a message to some participants, or to everybody, oneself included, when `recipients` is none. Resolves when the
    /// server has accepted it.
    ///
    /// # Errors
    /// `InvalidArgument` when payload or meta are longer than 64 KiB, or when one of the recipients is not in the room or does
    /// not receive messages: nobody gets the message then. `Forbidden`, and those of every call.
    pub async fn send_message(
        &self,
        message: Message,
        recipients: Option<Vec<ParticipantId>>,
    ) -> Result<(), Error> {
        self.order(Command::SendMessage(SendMessage { message, recipients }), Vec::new(), None)
            .await
            .map(drop)
    }

    /// Presents a newer client token, so that the stay outlives the first one. It is also the token of the next
    /// [`connect`](Self::connect).
    ///
    /// # Errors
    /// `Unauthorized` when the server does not accept it; the old one stays in force. And those of every call.
    pub async fn update_client_token(&self, client_token: impl Into<String>) -> Result<(), Error> {
        let token = client_token.into();
        self.order(Command::UpdateToken(token.clone()), Vec::new(), None).await?;
        *self.token.lock() = token;
        Ok(())
    }

    /// Asks for reports of how the networks of these participants do, oneself included if named: one at once, then one every
    /// interval, as events. Adds to what was asked for before; the options of the last call hold for all.
    ///
    /// # Errors
    /// `InvalidArgument` when one of them is not in the room, and those of every call.
    pub async fn enable_network_metrics_report(
        &self,
        participants: Vec<ParticipantId>,
        options: NetworkMetricsOptions,
    ) -> Result<(), Error> {
        let NetworkMetricsOptions { include_streams, interval } = options;
        let enable = EnableMetrics { participants, include_streams, interval };
        self.order(Command::EnableMetrics(enable), Vec::new(), None).await.map(drop)
    }

    /// Asks for no more reports about these participants, or about all when none are named.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn disable_network_metrics_report(
        &self,
        participants: Option<Vec<ParticipantId>>,
    ) -> Result<(), Error> {
        self.order(Command::DisableMetrics(participants), Vec::new(), None).await.map(drop)
    }

    /// Returns how the connection to the server does; updated once a second.
    #[must_use]
    pub fn peer_stats(&self) -> PeerStats {
        self.seat.lock().stats
    }

    /// Wakes the engine, if it rests. Under the lock of the seat: the driver cannot lay it to rest again before the command
    /// that it was woken for is there.
    fn start_driver(&self, seat: &mut Seat) {
        let runtime = tokio::runtime::Handle::current();
        let Some(client) = seat.resting.take() else { return };
        let (sender, requests) = mpsc::unbounded_channel();
        seat.requests = Some(sender);
        let (network, options, hub) = (self.network.clone(), self.options.clone(), self.hub.clone());
        let driver = Driver::new(client, network, options, hub, Arc::downgrade(&self.seat), requests);
        runtime.spawn(driver.run());
    }

    /// Gives the engine a command and waits for what it comes to.
    async fn order(
        &self,
        command: Command,
        tracks: Vec<LocalTrack>,
        undo: Option<Command>,
    ) -> Result<Outcome, Error> {
        let (reply, result) = oneshot::channel();
        let id = {
            let mut seat = self.seat.lock();
            let id = seat.next_command();
            if matches!(command, Command::Connect(_)) {
                self.start_driver(&mut seat);
            }
            let requests = seat.requests.as_ref().ok_or(CommandError::NotConnected)?;
            let ordered = Ordered { id, command, tracks, reply: Some(reply), undo: undo.clone() };
            let sent = requests.send(Request::Command(Box::new(ordered)));
            sent.map_err(|_| CommandError::NotConnected)?;
            id
        };
        let mut waiting = Waiting { room: self, id, undo, result: Some(result) };
        let result = waiting.result.as_mut().expect("set one line above").await;
        waiting.result = None;
        // A driver that ended without an answer was dropped with its runtime.
        Ok(result.unwrap_or(Err(CommandError::NotConnected))?)
    }
}

impl fmt::Debug for Room {
    /// Leaves the token out: whoever reads a log must not be able to join.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Takes a command back when its caller stops waiting.
struct Waiting<'a> {
    room: &'a Room,
    id: CommandId,
    undo: Option<Command>,
    result: Option<oneshot::Receiver<Result<Outcome, CommandError>>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(mut result) = self.result.take() else { return };
        result.close();
        let mut seat = self.room.seat.lock();
        let id = seat.next_command();
        let Some(requests) = &seat.requests else { return };
        // A driver that is gone has nothing to take back.
        let _ = match (result.try_recv(), self.undo.take()) {
            (Ok(Ok(_)), Some(command)) => {
                let ordered = Ordered { id, command, tracks: Vec::new(), reply: None, undo: None };
                requests.send(Request::Command(Box::new(ordered)))
            }
            (Ok(_), _) => Ok(()),
            (Err(_), _) => requests.send(Request::Withdraw(self.id)),
        };
    }
}

fn new_track(track: &LocalTrack) -> NewTrack {
    NewTrack { track: track.id(), codec: track.codec(), simulcast: track.is_simulcast() }
}
