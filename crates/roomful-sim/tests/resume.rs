//! Log, snapshot and resume together are as good as never having been away.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use roomful_client::{
    AddStream, Client, ClientConfig, Command, CommandId, Connect, MediaCommand, MediaNotice, NewTrack,
    SendMessage, TrackUpdate, UpdateStream,
};
use roomful_protocol::SlotMids;
use roomful_sfu::{ModerationRequest, Selection, SessionId, SfuConfig};
use roomful_sim::{Input, Media, Output, ServerMachine, TokenRequest, Tokens};
use roomful_state::{Connection, EventKind, Message, State, Status, TrackId};
use roomful_types::{Codec, MediaKind, Mid, RoomId, StreamKey};

const ROOM: RoomId = RoomId::from_random([1; 16]);

/// Who is always there, who is away now and then, and who does something.
const STEADY: usize = 0;
const FICKLE: usize = 1;
const ACTOR: usize = 2;

/// Less than the server waits for.
const AWAY_MAX: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
enum Step {
    /// The fickle one's connection breaks, and none can be made.
    Cut,
    Mend,
    Publish(u8),
    Unpublish(u8),
    /// The sound of a stream is muted, or no longer.
    Mute(u8, bool),
    /// A moderator withholds sound of one stream of the actor's or of all, or no longer.
    Censor(Option<u8>, bool),
    Kick,
    Say(u16),
    /// The actor comes or goes.
    Come,
    Go,
    Pass(Duration),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Cut),
        2 => Just(Step::Mend),
        4 => (0..3_u8).prop_map(Step::Publish),
        2 => (0..3_u8).prop_map(Step::Unpublish),
        3 => (0..3_u8, any::<bool>()).prop_map(|(number, muted)| Step::Mute(number, muted)),
        3 => (prop::option::of(0..3_u8), any::<bool>()).prop_map(|(number, censored)| Step::Censor(number, censored)),
        1 => Just(Step::Kick),
        4 => any::<u16>().prop_map(Step::Say),
        2 => Just(Step::Come),
        1 => Just(Step::Go),
        4 => (1..5000_u64).prop_map(|millis| Step::Pass(Duration::from_millis(millis))),
    ]
}

struct Side {
    client: Client,
    session: Option<SessionId>,
    is_cut: bool,
    deadline: Option<Instant>,
    heard: Vec<String>,
    last_command: u64,
}

struct Room {
    server: ServerMachine,
    sides: Vec<Side>,
    last_session: u64,
    now: Instant,
    away: Duration,
    /// What the actor sends under each key.
    tracks: BTreeMap<u8, NewTrack>,
}

impl Room {
    fn new() -> Self {
        let now = Instant::now();
        let tokens = Tokens::new(now);
        tokens.put_room(ROOM, 10);
        let server = ServerMachine::new(SfuConfig::default(), Media::faked(7), tokens, 7, now);
        let side = |seed| Side {
            client: Client::new(ClientConfig::default(), ROOM, seed, now),
            session: None,
            is_cut: false,
            deadline: None,
            heard: Vec::new(),
            last_command: 0,
        };
        let sides = (1..4).map(side).collect();
        let mut room =
            Self { server, sides, last_session: 0, now, away: Duration::ZERO, tracks: BTreeMap::new() };
        [STEADY, FICKLE].into_iter().for_each(|one| room.come(one));
        room
    }

    fn come(&mut self, one: usize) {
        let token = self.server.tokens().issue(ROOM, TokenRequest::default());
        self.command(one, Command::Connect(Connect { token, context: None, enable_messages: true }));
    }

    fn command(&mut self, one: usize, command: Command) {
        let side = &mut self.sides[one];
        side.last_command += 1;
        let id = CommandId(side.last_command);
        self.feed(one, roomful_client::Input::Command(id, command));
    }

    fn feed(&mut self, one: usize, input: roomful_client::Input) {
        self.sides[one].client.handle_input(input, self.now);
        self.settle();
    }

    /// Moves everything that can move at this instant.
    fn settle(&mut self) {
        while (0..self.sides.len()).any(|one| self.take_turn(one)) || self.serve() {}
    }

    /// Carries out one thing that a client wants; false when there is none.
    fn take_turn(&mut self, one: usize) -> bool {
        let now = self.now;
        let side = &mut self.sides[one];
        match side.client.poll_output() {
            roomful_client::Output::Wait { until, .. } => {
                side.deadline = until;
                return false;
            }
            roomful_client::Output::OpenSignal => {
                self.last_session += 1;
                side.session = Some(SessionId(self.last_session));
                if side.is_cut {
                    side.session = None;
                    side.client.handle_input(roomful_client::Input::SignalClosed, now);
                } else {
                    self.server.handle_input(Input::Opened(SessionId(self.last_session)), now);
                    side.client.handle_input(roomful_client::Input::SignalOpened, now);
                }
            }
            roomful_client::Output::Send(message) => {
                if let Some(session) = side.session {
                    self.server.handle_input(Input::Signal(session, message), now);
                }
            }
            roomful_client::Output::CloseSignal => {
                if let Some(session) = side.session.take() {
                    self.server.handle_input(Input::Closed(session), now);
                }
            }
            roomful_client::Output::Media(command) => {
                for notice in notices_for(command) {
                    side.client.handle_input(roomful_client::Input::Media(notice), now);
                }
            }
            roomful_client::Output::Event(event) => {
                if let EventKind::MessageReceived { message, .. } = &event.kind {
                    side.heard.push(message.payload.to_string());
                }
            }
            roomful_client::Output::Done(..) => {}
        }
        true
    }

    /// Carries out what the server wants; false when there is nothing.
    fn serve(&mut self) -> bool {
        self.server.handle_input(Input::Timeout, self.now);
        let mut was_busy = false;
        loop {
            let (session, input) = match self.server.poll_output() {
                Output::Wait(_) => return was_busy,
                Output::Send(session, message) => (session, roomful_client::Input::Signal(message)),
                Output::Close(session) => (session, roomful_client::Input::SignalClosed),
                Output::Transmit(_) | Output::Media(_) => continue,
            };
            was_busy = true;
            let to = self.sides.iter_mut().find(|side| side.session == Some(session));
            if let Some(side) = to {
                if matches!(input, roomful_client::Input::SignalClosed) {
                    side.session = None;
                }
                side.client.handle_input(input, self.now);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            // Keepalives and back-off in between.
            self.now = end.min(self.now + Duration::from_millis(250));
            for one in 0..self.sides.len() {
                if self.sides[one].deadline.is_some_and(|at| at <= self.now) {
                    self.feed(one, roomful_client::Input::Timeout);
                }
            }
            self.settle();
        }
    }

    fn step(&mut self, step: Step) {
        let key = |number: u8| StreamKey::new(&format!("key-{number}")).expect("short");
        match step {
            // Whoever has been away for long comes back first.
            Step::Cut if self.away > AWAY_MAX => {}
            Step::Cut => {
                self.sides[FICKLE].is_cut = true;
                if let Some(session) = self.sides[FICKLE].session.take() {
                    self.server.handle_input(Input::Closed(session), self.now);
                    self.feed(FICKLE, roomful_client::Input::SignalClosed);
                }
            }
            Step::Mend => self.sides[FICKLE].is_cut = false,
            Step::Publish(number) => {
                let (track, codec) = (TrackId(number.into()), Codec::Opus);
                let track = NewTrack { track, codec, simulcast: false };
                self.tracks.insert(number, track);
                let audio = Some(track);
                self.command(ACTOR, Command::AddStream(AddStream { key: key(number), audio, video: None }));
            }
            Step::Unpublish(number) => self.command(ACTOR, Command::RemoveStream(key(number))),
            Step::Mute(number, muted) => {
                let track = self.tracks.get(&number).filter(|_| !muted);
                let audio = track.map_or(TrackUpdate::Mute, |track| TrackUpdate::Replace(*track));
                let update = UpdateStream { key: key(number), audio, video: TrackUpdate::Keep };
                self.command(ACTOR, Command::UpdateStream(update));
            }
            Step::Censor(number, censored) => self.moderate(|who| ModerationRequest::Censor {
                who,
                stream: number.map(key),
                kind: MediaKind::Audio,
                censored,
            }),
            Step::Kick => self.moderate(ModerationRequest::Kick),
            Step::Say(word) => {
                let message = Message::text(word.to_string());
                self.command(ACTOR, Command::SendMessage(SendMessage { message, recipients: None }));
            }
            Step::Come => self.come(ACTOR),
            Step::Go => self.command(ACTOR, Command::Disconnect),
            Step::Pass(time) => {
                if self.away > AWAY_MAX {
                    self.step(Step::Mend);
                }
                self.pass(time);
                // It is not back before it has resumed, however often the network is.
                let is_back = self.sides[FICKLE].client.state().connection() == Connection::Stable;
                self.away = if is_back { Duration::ZERO } else { self.away + time };
            }
        }
    }

    /// A moderator means the actor, if it is there.
    fn moderate(&mut self, request: impl FnOnce(Selection) -> ModerationRequest) {
        if let Some(actor) = self.sides[ACTOR].client.state().local_participant_id() {
            // It may have left, or publish no such stream.
            let _ = self.server.moderate(ROOM, &request(Selection::These([actor].into())), self.now);
            self.settle();
        }
    }

    /// What somebody sees of the room.
    fn view(&self, one: usize) -> impl PartialEq + std::fmt::Debug + use<> {
        let state: &State = self.sides[one].client.state();
        let participants: Vec<_> =
            state.participants().map(|one| (one.id, one.can_receive_messages)).collect();
        let streams: Vec<_> = state
            .streams()
            .map(|one| {
                let flags = MediaKind::ALL.map(|kind| (one.is_enabled(kind), one.is_censored(kind)));
                (one.id, one.participant_id, one.key.clone(), flags)
            })
            .collect();
        (state.version(), participants, streams, self.sides[one].heard.clone())
    }
}

/// What a peer connection that always works reports.
fn notices_for(command: MediaCommand) -> Vec<MediaNotice> {
    let mid = |letter: char, number: u16| Mid::new(&format!("{letter}{number}")).expect("short");
    match command {
        MediaCommand::CreateOffer { offer, audio_senders, video_senders, slots, .. } => {
            let slot = |number| SlotMids { audio: mid('a', number), video: mid('v', number) };
            vec![MediaNotice::Offered {
                offer,
                sdp: "faked".to_owned(),
                audio_senders: (0..audio_senders).map(|number| mid('s', number)).collect(),
                video_senders: (0..video_senders).map(|number| mid('t', number)).collect(),
                slots: (0..slots).map(slot).collect(),
            }]
        }
        MediaCommand::AcceptAnswer { offer, .. } => {
            vec![MediaNotice::Negotiated { offer }, MediaNotice::Connected]
        }
        MediaCommand::OpenSender { track, .. } => {
            vec![MediaNotice::SenderOpened { track, first_timestamp: 0 }]
        }
        MediaCommand::SetActive { .. }
        | MediaCommand::SetPaused { .. }
        | MediaCommand::CloseSender { .. }
        | MediaCommand::OpenReceiver { .. }
        | MediaCommand::BindReceiver { .. }
        | MediaCommand::CloseReceiver { .. }
        | MediaCommand::Close => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn whoever_resumes_knows_what_everybody_knows(steps in prop::collection::vec(step(), 1..60)) {
        let mut room = Room::new();
        let ids: Vec<_> = [STEADY, FICKLE].map(|one| room.sides[one].client.state().local_participant_id()).into();
        for step in steps {
            room.step(step);
        }
        room.step(Step::Mend);
        room.pass(Duration::from_secs(10));
        for (one, id) in [STEADY, FICKLE].into_iter().zip(ids) {
            let state = room.sides[one].client.state();
            prop_assert_eq!((state.status(), state.connection()), (Status::Connected, Connection::Stable));
            prop_assert_eq!(state.local_participant_id(), id, "it never left");
        }
        prop_assert_eq!(room.view(FICKLE), room.view(STEADY));
    }
}
