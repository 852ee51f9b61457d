//! The fake server: the real `roomful-sfu` and one media shard on virtual time, behind a shell of faults.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use roomful_media::Transmit;
use roomful_protocol::{ClientMessage, ServerMessage};
use roomful_sfu::{
    Input as SfuInput, MediaCommand, MediaNotice, ModerationError, ModerationRequest, Output as SfuOutput,
    RoomSessionId, SessionId, Sfu, SfuConfig,
};
use roomful_shard::Datagram;
use roomful_types::RoomId;

use crate::{
    faults::Faults,
    media::{Media, MediaOutput},
    tokens::Tokens,
};

/// A room server without sockets, threads or clocks.
///
/// One input, then drain [`poll_output`](Self::poll_output) to [`Output::Wait`], then the next input.
#[derive(Debug)]
pub struct ServerMachine {
    sfu: Sfu,
    media: Media,
    tokens: Tokens,
    /// What the server does wrong from now on.
    pub faults: Faults,
    random: SmallRng,
    sessions: BTreeMap<RoomId, RoomSessionId>,
    lines: BTreeMap<SessionId, Line>,
    outputs: VecDeque<Output>,
    /// Reports of the shard on their way to the deciding engine, and what was heard on stalled connections.
    late: VecDeque<(Instant, SfuInput)>,
    /// What was heard and said, for those who check it from outside.
    observations: Option<Vec<Observation>>,
    now: Instant,
}

/// One message at the door of the deciding engine.
#[derive(Debug, Clone)]
pub(crate) enum Observation {
    Heard(SessionId, ClientMessage),
    Said(SessionId, ServerMessage),
}

/// What happens to the server.
#[derive(Debug)]
pub enum Input<'a> {
    /// A client connected.
    Opened(SessionId),
    /// A client said something.
    Signal(SessionId, ClientMessage),
    /// A connection is gone.
    Closed(SessionId),
    /// A datagram came to the media address.
    Datagram(Datagram<'a>),
    /// Everything that belongs to this instant has been taken in, or the deadline of [`Output::Wait`] is reached.
    Timeout,
}

/// What the server does about it.
#[derive(Debug)]
#[must_use]
pub enum Output {
    /// Say this on a connection.
    Send(SessionId, ServerMessage),
    /// End a connection after what was said before.
    Close(SessionId),
    /// Send this datagram.
    Transmit(Transmit),
    /// Faked media: hand this to a client.
    Media(MediaOutput),
    /// Nothing more; come back at this time at the latest.
    Wait(Instant),
}

/// What is on its way to one client.
#[derive(Debug, Default)]
struct Line {
    /// When each message leaves, in the order in which they do.
    queue: VecDeque<(Instant, Said)>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are messages")]
enum Said {
    Message(ServerMessage),
    Close,
    /// Nothing: the connection breaks.
    Break,
}

impl Said {
    /// Returns whether its place among others may change. A stay begins with what says so, whatever goes wrong.
    const fn may_be_overtaken(&self) -> bool {
        match self {
            Self::Message(message) => {
                !matches!(message, ServerMessage::JoinResponse(_) | ServerMessage::ResumeResponse(_))
            }
            Self::Close | Self::Break => false,
        }
    }
}

impl ServerMachine {
    /// Makes a server that clients reach at `address`. All of its ids and chances come from the seed; the keys of real media do
    /// not.
    #[must_use]
    pub fn new(config: SfuConfig, media: Media, tokens: Tokens, seed: u64, now: Instant) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut ids = [0; 32];
        ids.fill_with(|| random.random());
        Self {
            sfu: Sfu::new(config, Box::new(tokens.clone()), ids, now),
            media,
            tokens,
            faults: Faults::default(),
            random,
            sessions: BTreeMap::new(),
            lines: BTreeMap::new(),
            outputs: VecDeque::new(),
            late: VecDeque::new(),
            observations: None,
            now,
        }
    }

    /// Notes from now on what is heard and said.
    pub(crate) fn observe(&mut self) {
        self.observations = Some(Vec::new());
    }

    /// Takes out what was heard and said since the last call.
    pub(crate) fn take_observations(&mut self) -> Vec<Observation> {
        self.observations.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes one input in.
    pub fn handle_input(&mut self, input: Input<'_>, now: Instant) {
        self.pass_time(now);
        match input {
            Input::Opened(session) => {
                self.lines.insert(session, Line::default());
                self.tell(SfuInput::Opened(session));
            }
            Input::Signal(session, message) => self.on_signal(session, message),
            Input::Closed(session) => {
                self.lines.remove(&session);
                self.tell(SfuInput::Closed(session));
            }
            Input::Datagram(datagram) => self.media.handle_datagram(datagram, self.now),
            Input::Timeout => self.on_timeout(),
        }
    }

    /// Takes faked media of a client in; forwarded by the next [`Input::Timeout`].
    pub fn handle_media(&mut self, input: crate::media::MediaInput, now: Instant) {
        self.pass_time(now);
        self.media.handle_input(input, self.now);
    }

    /// Carries out what a moderator wants of a room's running session.
    ///
    /// # Errors
    /// [`ModerationError::UnknownSession`] when nobody is in the room, and the engine's own.
    pub fn moderate(
        &mut self,
        room: RoomId,
        request: &ModerationRequest,
        now: Instant,
    ) -> Result<(), ModerationError> {
        self.pass_time(now);
        let session = *self.sessions.get(&room).ok_or(ModerationError::UnknownSession)?;
        let result = self.sfu.moderate(session, request, self.now);
        self.drain();
        result
    }

    /// Deletes a room; everybody leaves.
    pub fn delete_room(&mut self, room: RoomId, now: Instant) {
        self.pass_time(now);
        self.tokens.delete_room(room);
        self.tell(SfuInput::RoomDeleted(room));
    }

    /// Breaks a connection without a word.
    pub fn disconnect(&mut self, session: SessionId, now: Instant) {
        self.pass_time(now);
        if self.lines.remove(&session).is_some() {
            self.outputs.push_back(Output::Close(session));
            self.tell(SfuInput::Closed(session));
        }
    }

    /// Returns the next thing to do.
    pub fn poll_output(&mut self) -> Output {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return output;
            }
            match self.media.poll_output() {
                Some(MediaOutput::Notice(notice)) => self.on_notice(notice),
                Some(MediaOutput::Transmit(transmit)) => return Output::Transmit(transmit),
                Some(output) => return Output::Media(output),
                None => return Output::Wait(self.deadline()),
            }
        }
    }

    /// Returns where clients send their media to.
    #[must_use]
    pub const fn media_address(&self) -> SocketAddr {
        self.media.address()
    }

    /// Returns the office that issues tokens for this server.
    #[must_use]
    pub const fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Checks what must be true of every server. For tests and simulators: costs a walk over everything.
    ///
    /// # Panics
    /// When the engine or the media shard is at fault.
    pub fn check_invariants(&self) {
        self.sfu.check_invariants();
        self.media.check_invariants();
    }

    /// Returns the deciding engine.
    #[must_use]
    pub const fn sfu(&self) -> &Sfu {
        &self.sfu
    }

    fn pass_time(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.tokens.set_time(self.now);
    }

    fn on_signal(&mut self, session: SessionId, message: ClientMessage) {
        if !self.lines.contains_key(&session) {
            return;
        }
        if let Some(answers) = self.faults.scripted(&message) {
            for answer in answers {
                self.say(session, Said::Message(answer));
            }
            return;
        }
        let input = SfuInput::Signal(session, message);
        match self.faults.stall {
            true => self.late.push_back((self.now, input)),
            false => self.tell(input),
        }
    }

    fn on_timeout(&mut self) {
        if !self.faults.stall {
            while let Some((_, input)) = self.late.pop_front_if(|(at, _)| *at <= self.now) {
                self.tell(input);
            }
        }
        // What is decided at this instant holds for what is forwarded at it.
        self.tell(SfuInput::Timeout);
        self.media.handle_timeout(self.now);
        self.release();
    }

    fn on_notice(&mut self, notice: MediaNotice) {
        let input = SfuInput::Media(notice);
        if self.faults.notice_delay.is_zero() && self.late.is_empty() {
            return self.tell(input);
        }
        // One thread's reports come in the order in which they were made.
        let behind = self.late.back().map_or(self.now, |(at, _)| *at);
        let delay = self.faults.notice_delay.mul_f64(self.random.random_range(0.0..=1.0));
        self.late.push_back((behind.max(self.now + delay), input));
    }

    fn tell(&mut self, input: SfuInput) {
        if let (Some(observations), SfuInput::Signal(session, message)) = (&mut self.observations, &input) {
            observations.push(Observation::Heard(*session, message.clone()));
        }
        self.sfu.handle_input(input, self.now);
        self.drain();
    }

    /// Carries out what the deciding engine wants.
    fn drain(&mut self) {
        loop {
            match self.sfu.poll_output() {
                SfuOutput::Wait { .. } => break,
                SfuOutput::Send(sessions, message) => {
                    for session in sessions {
                        self.say(session, Said::Message(message.clone()));
                    }
                }
                SfuOutput::Close(session) => self.say(session, Said::Close),
                SfuOutput::Media(command) => self.command(&command),
                SfuOutput::SessionStarted(room, session) => {
                    self.sessions.insert(room, session);
                }
                SfuOutput::SessionEnded(room, _) => {
                    self.sessions.remove(&room);
                }
            }
        }
        self.release();
    }

    fn command(&mut self, command: &MediaCommand) {
        self.media.handle_command(command, self.now);
    }

    /// Puts something on its way, with the faults that are asked for.
    fn say(&mut self, session: SessionId, said: Said) {
        if let (Some(observations), Said::Message(message)) = (&mut self.observations, &said) {
            observations.push(Observation::Said(session, message.clone()));
        }
        let Some(line) = self.lines.get_mut(&session) else { return };
        let mut chance = |share: f64| share > 0.0 && self.random.random_range(0.0..1.0) < share;
        let (reorders, repeats) = (chance(self.faults.reorder), chance(self.faults.repeat));
        let breaks = chance(self.faults.disconnect);
        let delay = match self.faults.delay {
            Duration::ZERO => Duration::ZERO,
            most => most.mul_f64(self.random.random_range(0.0..=1.0)),
        };
        let at = line.queue.back().map_or(self.now, |(at, _)| *at).max(self.now + delay);
        let Said::Message(message) = &said else { return line.queue.push_back((at, said)) };
        let copy = repeats.then(|| (at, Said::Message(message.clone())));
        line.queue.push_back((at, said));
        let last = line.queue.len() - 1;
        if reorders
            && last > 0
            && [last, last - 1].iter().all(|place| line.queue[*place].1.may_be_overtaken())
        {
            line.queue.swap(last, last - 1);
            let (earlier, later) = (line.queue[last].0, line.queue[last - 1].0);
            line.queue[last - 1].0 = earlier.min(later);
            line.queue[last].0 = earlier.max(later);
        }
        line.queue.extend(copy);
        if breaks {
            line.queue.push_back((at, Said::Break));
        }
    }

    /// Says what is due.
    fn release(&mut self) {
        if self.faults.stall {
            return;
        }
        let now = self.now;
        let (mut over, mut broken) = (Vec::new(), Vec::new());
        for (session, line) in &mut self.lines {
            while let Some((_, said)) = line.queue.pop_front_if(|(at, _)| *at <= now) {
                match said {
                    Said::Message(message) => self.outputs.push_back(Output::Send(*session, message)),
                    Said::Close => {
                        self.outputs.push_back(Output::Close(*session));
                        over.push(*session);
                        break;
                    }
                    Said::Break => {
                        broken.push(*session);
                        break;
                    }
                }
            }
        }
        over.iter().for_each(|session| drop(self.lines.remove(session)));
        broken.into_iter().for_each(|session| self.disconnect(session, now));
    }

    fn deadline(&mut self) -> Instant {
        let SfuOutput::Wait { until, .. } = self.sfu.poll_output() else {
            unreachable!("drained after every input");
        };
        let late = self.late.front().map(|(at, _)| *at).filter(|_| !self.faults.stall);
        let lines = self.lines.values().filter_map(|line| line.queue.front().map(|(at, _)| *at)).min();
        let lines = lines.filter(|_| !self.faults.stall);
        [late, lines, self.media.deadline()].into_iter().flatten().fold(until, Instant::min)
    }
}
