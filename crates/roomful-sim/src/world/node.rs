//! One participant: the real client engine, its media, and a program that does what comes to its mind.

#![expect(clippy::wildcard_enum_match_arm, reason = "an observer looks at a few of many events")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{RngExt, rngs::SmallRng};
use roomful_client::{
    AddStream, AddSubscription, Client, ClientConfig, Command, CommandError, CommandId, Connect,
    EnableMetrics, MediaTransport, NewTrack, Output, Reply, SendMessage, TrackUpdate, UpdateStream,
};
use roomful_protocol::{ClientMessage, RequestId};
use roomful_sfu::SessionId;
use roomful_state::{Event, EventKind, Message, Origin, Status, TrackId};
use roomful_types::{Codec, MediaKind, ParticipantId, Rid, RoomId, StreamKey};

use super::{check::Watch, frames::Tags, parameters::MediaMode, transport::Transport};
use crate::{TokenRequest, Tokens};

/// One participant.
#[derive(Debug)]
pub(super) struct Node {
    index: usize,
    pub(super) client: Client,
    pub(super) transport: Transport,
    /// Where its media comes from.
    pub(super) address: SocketAddr,
    pub(super) session: Option<SessionId>,
    /// Who it is, while it is in the room.
    pub(super) id: Option<ParticipantId>,
    pub(super) wake: Option<Instant>,
    pub(super) deadline: Option<Instant>,
    pub(super) last_command: u64,
    /// Every request that it made, by its number.
    pub(super) said: BTreeSet<RequestId>,
    pub(super) watch: Watch,
    /// Whether it publishes one stream and takes all others, instead of what comes to its mind.
    pub(super) takes_everything: bool,
    last_track: u64,
    last_message: u64,
    /// What its own streams are made of.
    own: BTreeMap<StreamKey, [Option<NewTrack>; 2]>,
    wishes: BTreeMap<CommandId, (ParticipantId, StreamKey)>,
}

/// What a participant wants of the world.
#[derive(Debug)]
pub(super) enum NodeOutput {
    OpenSignal,
    Send(ClientMessage),
    CloseSignal,
    Event(Box<Event>),
    Done(CommandId, Result<Reply, CommandError>),
    /// Frames of this kind are to be sent from now on.
    FramesDue(MediaKind),
}

const KEYS: [&str; 3] = ["camera", "screen", "extra"];

impl Node {
    pub(super) fn new(index: usize, room: RoomId, media: MediaMode, seed: u64, now: Instant) -> Self {
        let address = SocketAddr::from(([10, 0, 1, index as u8], 5000));
        Self {
            index,
            client: Client::new(ClientConfig::default(), room, seed, now),
            transport: Transport::new(media, address, now),
            address,
            session: None,
            id: None,
            wake: None,
            deadline: None,
            last_command: 0,
            said: BTreeSet::new(),
            watch: Watch::default(),
            takes_everything: false,
            last_track: 0,
            last_message: 0,
            own: BTreeMap::new(),
            wishes: BTreeMap::new(),
        }
    }

    /// Returns the next thing that it wants; media is its own business.
    pub(super) fn poll(&mut self, now: Instant) -> Option<NodeOutput> {
        loop {
            return Some(match self.client.poll_output() {
                Output::Wait { until, .. } => {
                    self.deadline = until;
                    NodeOutput::FramesDue(self.transport.take_starting()?)
                }
                Output::Media(command) => {
                    self.transport.handle_command(command, now);
                    continue;
                }
                Output::OpenSignal => NodeOutput::OpenSignal,
                Output::Send(message) => NodeOutput::Send(message),
                Output::CloseSignal => NodeOutput::CloseSignal,
                Output::Event(event) => {
                    match &event.kind {
                        EventKind::Connected => self.id = event.state.local_participant_id(),
                        EventKind::Disconnected { .. } => {
                            self.id = None;
                            self.own.clear();
                        }
                        _ => {}
                    }
                    NodeOutput::Event(Box::new(event))
                }
                Output::Done(id, result) => NodeOutput::Done(id, result),
            });
        }
    }

    /// Notes what a command is about.
    pub(super) fn begin(&mut self, id: CommandId, command: &Command) {
        if let Command::AddSubscription(wish) | Command::UpdateSubscription(wish) = command {
            self.wishes.insert(id, (wish.participant, wish.key.clone()));
        }
    }

    pub(super) fn on_done(&mut self, id: CommandId, result: Option<&Reply>) {
        let Some(name) = self.wishes.remove(&id) else { return };
        if let Some(Reply::Subscribed { audio, video }) = result {
            for (track, kind) in [(audio, MediaKind::Audio), (video, MediaKind::Video)] {
                if let Some(track) = track {
                    self.watch.on_subscribed(*track, &name, kind);
                }
            }
        }
    }

    /// Returns one of the keys under which it publishes, if it does.
    pub(super) fn any_key(&self, random: &mut SmallRng) -> Option<StreamKey> {
        let count = self.own.len();
        self.own.keys().nth(random.random_range(0..count.max(1))).cloned()
    }

    /// Returns what its program wants next, if anything.
    pub(super) fn next_command(
        &mut self,
        random: &mut SmallRng,
        tokens: &Tokens,
        room: RoomId,
        tags: &mut Tags,
    ) -> Option<Command> {
        let state = self.client.state().clone();
        match state.status() {
            Status::Initialized | Status::Disconnected => {
                let token = tokens.issue(room, TokenRequest::default());
                return Some(Command::Connect(Connect { token, context: None, enable_messages: true }));
            }
            Status::Connecting | Status::Disconnecting => return None,
            Status::Connected => {}
        }
        let me = self.id?;
        if self.takes_everything {
            return self.next_of_all(me, tags);
        }
        let key = StreamKey::new(KEYS[random.random_range(0..KEYS.len())]).expect("short");
        let others: Vec<_> = state.streams().filter(|one| one.origin != Origin::Local).cloned().collect();
        let other = (!others.is_empty()).then(|| others[random.random_range(0..others.len())].clone());
        let mut flag = |percent: u32| random.random_range(0..100) < percent;
        let (audio, video, paused) = (flag(80), flag(80), flag(10));
        match random.random_range(0..100) {
            0..15 => {
                let mut track = |kind, wanted: bool, simulcast| {
                    wanted.then(|| self.new_track(kind, simulcast, me, &key, tags))
                };
                let (audio, video) =
                    (track(MediaKind::Audio, audio, false), track(MediaKind::Video, video, paused));
                if !state.participant_streams(me).contains_key(&key) {
                    self.own.insert(key.clone(), [audio, video]);
                }
                Some(Command::AddStream(AddStream { key, audio, video }))
            }
            15..25 => {
                let tracks = *self.own.get(&key)?;
                let mut update = |index: usize| match (random.random_range(0..4), tracks[index]) {
                    (0, _) => TrackUpdate::Mute,
                    (1, Some(track)) => TrackUpdate::Replace(track),
                    _ => TrackUpdate::Keep,
                };
                let (audio, video) = (update(0), update(1));
                Some(Command::UpdateStream(UpdateStream { key, audio, video }))
            }
            25..30 => Some(Command::RemoveStream(key)),
            30..60 => {
                let stream = other?;
                let wish = wish(stream.participant_id, stream.key.clone(), audio, video, paused);
                Some(Command::AddSubscription(prefer(wish, random)))
            }
            60..70 => {
                let stream = other?;
                let wish = wish(stream.participant_id, stream.key.clone(), audio, video, paused);
                Some(Command::UpdateSubscription(prefer(wish, random)))
            }
            70..75 => {
                let stream = other?;
                Some(Command::RemoveSubscription(stream.participant_id, stream.key.clone()))
            }
            75..92 => {
                self.last_message += 1;
                let message = Message::text(format!("{}-{}", self.index, self.last_message));
                let everybody: Vec<ParticipantId> = state.participants().map(|one| one.id).collect();
                let one = everybody[random.random_range(0..everybody.len())];
                let recipients = (random.random_range(0..2) == 0).then(|| vec![one]);
                Some(Command::SendMessage(SendMessage { message, recipients }))
            }
            92..94 => Some(Command::EnableMetrics(EnableMetrics {
                participants: state.participants().map(|one| one.id).collect(),
                include_streams: audio,
                interval: Duration::from_secs(1),
            })),
            94..95 => Some(Command::DisableMetrics(None)),
            95..98 => {
                let token = tokens.issue(room, TokenRequest::default());
                Some(Command::UpdateToken(token))
            }
            _ => Some(Command::Disconnect),
        }
    }

    /// Publishes first, then takes one stream after the other.
    fn next_of_all(&mut self, me: ParticipantId, tags: &mut Tags) -> Option<Command> {
        let state = self.client.state().clone();
        let key = StreamKey::new(KEYS[0]).expect("short");
        if !self.own.contains_key(&key) {
            let [audio, video] = MediaKind::ALL.map(|kind| Some(self.new_track(kind, false, me, &key, tags)));
            self.own.insert(key.clone(), [audio, video]);
            return Some(Command::AddStream(AddStream { key, audio, video }));
        }
        let is_taken = |id: ParticipantId, key: &StreamKey| state.subscription(id, key).is_some();
        let mut others = state.streams().filter(|one| one.origin != Origin::Local);
        let next = others.find(|one| !is_taken(one.participant_id, &one.key))?;
        Some(Command::AddSubscription(wish(next.participant_id, next.key.clone(), true, true, false)))
    }

    fn new_track(
        &mut self,
        kind: MediaKind,
        simulcast: bool,
        me: ParticipantId,
        key: &StreamKey,
        tags: &mut Tags,
    ) -> NewTrack {
        self.last_track += 1;
        let track = TrackId(self.last_track);
        self.transport.tag(track, tags.add(me, key.clone(), kind));
        let codec = match kind {
            MediaKind::Audio => Codec::Opus,
            MediaKind::Video => Codec::Vp8,
        };
        NewTrack { track, codec, simulcast: simulcast && kind == MediaKind::Video }
    }
}

/// Draws which encoding a subscription prefers, and how much it counts.
fn prefer(wish: AddSubscription, random: &mut SmallRng) -> AddSubscription {
    let preferred_layer = Rid::ALL.get(random.random_range(0..4)).copied();
    AddSubscription { preferred_layer, priority: random.random_range(0..4), ..wish }
}

const fn wish(
    participant: ParticipantId,
    key: StreamKey,
    audio: bool,
    video: bool,
    paused: bool,
) -> AddSubscription {
    AddSubscription { participant, key, audio, video, paused, preferred_layer: None, priority: 0 }
}
