//! A whole room from one seed: the real engines, emulated networks, faults, and checks of everything that is seen.
//!
//! One queue of happenings is all that advances time. First everything goes wrong that the seed wants; then the network heals, and what
//! policy grants must come true within bounded time.

mod check;
mod frames;
mod media;
mod model;
mod node;
mod parameters;
mod trace;
mod transport;
mod wire;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use roomful_client::{Command, CommandId, MediaTransport};
use roomful_media::Transmit;
use roomful_protocol::{ClientMessage, ErrorCode, ServerMessage};
use roomful_sfu::{ModerationRequest, Selection, SessionId, SfuConfig};
use roomful_types::{MediaKind, Mid, ParticipantId, Rid, RoomId};

pub use parameters::{MediaMode, Parameters};

use crate::{
    Faults, Input, Link, LinkConfig, Media, MediaInput, Nat, Output, Script, ServerMachine, Timeline, Tokens,
    ordered::Ordered,
};
use frames::Tags;
use model::Model;
use node::{Node, NodeOutput};
use trace::Trace;
use wire::Wire;

/// A room, its participants, and what lies between them.
#[derive(Debug)]
pub struct World {
    parameters: Parameters,
    start: Instant,
    now: Instant,
    timeline: Timeline<Happening>,
    server: ServerMachine,
    nodes: Vec<Node>,
    paths: Vec<Path>,
    sessions: Vec<Connection>,
    model: Model,
    tags: Tags,
    random: SmallRng,
    trace: Trace,
    wire: Wire,
    frames_delivered: u64,
    /// How many wishes are refused next.
    refusals: u32,
    /// Since when, and when last, frames came that nobody grants any more.
    refused: BTreeMap<(usize, frames::Tag), (Instant, Instant)>,
    server_wake: Option<Instant>,
    /// Whether anything still goes wrong.
    is_healed: bool,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The same for two runs of one seed. With real media only in a process whose hash tables have the order of the seed too, as the
    /// command `sim` arranges on Linux: str0m walks its streams in that order, so a loss strikes another packet otherwise.
    pub trace: u64,
    /// Frames that participants got.
    pub frames_delivered: u64,
    /// How long it took, in virtual time.
    pub virtual_time: Duration,
}

/// Where a participant's bytes pass.
#[derive(Debug)]
struct Path {
    up: Link,
    down: Link,
    /// What signalling passes, up and down.
    signal: [Ordered<Happening>; 2],
    nat: Nat,
    is_cut: bool,
}

/// One signalling connection, by its number.
#[derive(Debug, Clone, Copy)]
struct Connection {
    node: usize,
    is_open: bool,
}

/// What comes at some time.
#[derive(Debug)]
enum Happening {
    Opened(SessionId),
    /// Whether it is said for the first time.
    SignalUp(SessionId, Box<ClientMessage>, bool),
    SignalDown(SessionId, Box<ServerMessage>),
    ClosedUp(SessionId),
    ClosedDown(SessionId),
    MediaUp(MediaInput),
    MediaDown(usize, Mid, frames::Packet),
    KeyframeDown(usize, Mid, Rid),
    DatagramUp(Transmit),
    DatagramDown(usize, Transmit),
    /// The next frames of a participant's tracks are due.
    Frames(usize, MediaKind),
    /// A participant does something.
    Act(usize),
    /// Something goes wrong, or a moderator steps in.
    Disturb,
    WakeServer,
    WakeNode(usize),
    Heal,
}

const ROOM: RoomId = RoomId::from_random([1; 16]);

/// How long the room is watched after it has healed: a lost connection is noticed after 15 s and resumed within 30 s, a lost
/// picture asked for again within a second.
const RECOVERY: Duration = Duration::from_secs(75);

impl World {
    /// Makes a room in which nothing has happened yet.
    #[must_use]
    pub fn new(parameters: Parameters) -> Self {
        let start = Instant::now();
        let seed = parameters.seed;
        roomful_media::simulated::seed_peers(seed);
        let tokens = Tokens::new(start);
        tokens.put_room(ROOM, 100);
        let media = match parameters.media {
            MediaMode::Faked => Media::faked(seed),
            MediaMode::Real => Media::real(seed, start),
        };
        let config = SfuConfig::default();
        let mut server = ServerMachine::new(config, media, tokens, seed, start);
        server.observe();
        let mut random = SmallRng::seed_from_u64(seed);
        let mut timeline = Timeline::default();
        let mut nodes = Vec::new();
        let mut paths = Vec::new();
        for index in 0..parameters.participants {
            nodes.push(Node::new(index, ROOM, parameters.media, random.random(), start));
            let mut link = |config| Link::new(config, random.random());
            let (up, down) = (link(parameters.up()), link(parameters.link));
            let signal = [(); 2].map(|()| Ordered::new(parameters.link, random.random()));
            let nat = Nat::new(parameters.nat, [203, 0, 113, index as u8 + 1].into());
            paths.push(Path { up, down, signal, nat, is_cut: false });
            timeline.put(start + Duration::from_millis(random.random_range(0..2000)), Happening::Act(index));
        }
        if parameters.disturbance.is_some() {
            timeline.put(start + Duration::from_secs(2), Happening::Disturb);
        }
        timeline.put(start + parameters.duration, Happening::Heal);
        let Parameters { notice_delay, delay, disconnect, reorder, repeat, .. } = parameters;
        server.faults = Faults { notice_delay, delay, disconnect, reorder, repeat, ..Faults::default() };
        Self {
            parameters,
            start,
            now: start,
            timeline,
            server,
            nodes,
            paths,
            sessions: Vec::new(),
            model: Model::default(),
            tags: Tags::default(),
            random,
            trace: Trace::default(),
            wire: Wire::default(),
            frames_delivered: 0,
            refusals: 0,
            refused: BTreeMap::new(),
            server_wake: None,
            is_healed: false,
        }
    }

    /// Makes a room in which everybody publishes sound and picture and takes those of everybody else, and nothing goes wrong.
    #[must_use]
    pub fn all_to_all(media: MediaMode, participants: usize, duration: Duration) -> Self {
        let mut world = Self::new(Parameters {
            media,
            participants,
            duration,
            link: LinkConfig::delayed(Duration::from_millis(10)),
            disturbance: None,
            notice_delay: Duration::ZERO,
            delay: Duration::ZERO,
            disconnect: 0.0,
            reorder: 0.0,
            repeat: 0.0,
            withdrawals: 0,
            ..Parameters::from_seed(media, 0)
        });
        for node in &mut world.nodes {
            node.takes_everything = true;
        }
        world
    }

    /// Plays the room to its end.
    ///
    /// # Panics
    /// When something was seen that must never be.
    #[must_use]
    pub fn run(mut self) -> Report {
        let end = self.start + self.parameters.duration + RECOVERY;
        while let Some(at) = self.timeline.next_at().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            while let Some(happening) = self.timeline.take_due(self.now) {
                self.happen(happening);
            }
            // Everything of this instant has been taken in.
            self.server.handle_input(Input::Timeout, self.now);
            self.drain_server();
        }
        self.check_end();
        Report {
            trace: self.trace.value(),
            frames_delivered: self.frames_delivered,
            virtual_time: self.now - self.start,
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Opened(session) => {
                let Some(node) = self.node_of(session) else { return };
                self.server.handle_input(Input::Opened(session), self.now);
                self.feed(node, roomful_client::Input::SignalOpened);
            }
            Happening::SignalUp(session, message, is_new) => {
                if self.node_of(session).is_some() {
                    // What was carried out before is not refused when it is said again.
                    if is_new && is_a_wish(&message) && self.refusals > 0 {
                        self.refusals -= 1;
                        let refusal = Script::refuse(|_| true, ErrorCode::RateLimited);
                        self.server.faults.script.push_back(refusal);
                    }
                    self.server.handle_input(Input::Signal(session, *message), self.now);
                    self.drain_server();
                    self.server.check_invariants();
                }
            }
            Happening::SignalDown(session, message) => {
                if let Some(node) = self.node_of(session)
                    && self.nodes[node].session == Some(session)
                {
                    self.trace.told(node, &message);
                    self.feed(node, roomful_client::Input::Signal(*message));
                }
            }
            Happening::ClosedUp(session) => {
                if self.node_of(session).is_some() {
                    self.sessions[session.0 as usize].is_open = false;
                    self.server.handle_input(Input::Closed(session), self.now);
                    self.drain_server();
                }
            }
            Happening::ClosedDown(session) => self.close_down(session),
            Happening::MediaUp(input) => self.server.handle_media(input, self.now),
            Happening::MediaDown(node, mid, packet) => self.deliver(node, mid, &packet),
            Happening::KeyframeDown(node, mid, rid) => self.keyframe_down(node, mid, rid),
            Happening::DatagramUp(datagram) => self.datagram_up(&datagram),
            Happening::DatagramDown(node, datagram) => self.datagram_down(node, &datagram),
            Happening::Frames(node, kind) => self.send_frames(node, kind),
            Happening::Act(node) => self.act(node),
            Happening::Disturb => self.disturb(),
            // One that was put off meanwhile is nothing.
            Happening::WakeServer => _ = self.server_wake.take_if(|at| *at <= self.now),
            Happening::WakeNode(node) => {
                if self.nodes[node].wake.take_if(|at| *at <= self.now).is_none() {
                    return;
                }
                self.pass_time(node);
                self.feed(node, roomful_client::Input::Timeout);
            }
            Happening::Heal => self.heal(),
        }
    }

    /// Returns whose connection it is, while it is open.
    fn node_of(&self, session: SessionId) -> Option<usize> {
        let connection = self.sessions.get(session.0 as usize)?;
        connection.is_open.then_some(connection.node)
    }

    fn close_down(&mut self, session: SessionId) {
        let Some(connection) = self.sessions.get_mut(session.0 as usize) else { return };
        connection.is_open = false;
        let node = connection.node;
        if self.nodes[node].session == Some(session) {
            self.nodes[node].session = None;
            self.feed(node, roomful_client::Input::SignalClosed);
        }
    }

    /// Gives a participant's engine one input and carries out what comes of it.
    fn feed(&mut self, index: usize, input: roomful_client::Input) {
        self.nodes[index].client.handle_input(input, self.now);
        self.turn(index);
        self.nodes[index].client.check_invariants();
    }

    /// Carries out what a participant's engine and media want.
    fn turn(&mut self, index: usize) {
        loop {
            while let Some(output) = self.nodes[index].poll(self.now) {
                self.carry_out(index, output);
            }
            self.look_at_shown(index);
            // What the transport has to say is the next input.
            let node = &mut self.nodes[index];
            let Some(notice) = node.transport.poll_notice() else { break };
            node.client.handle_input(roomful_client::Input::Media(notice), self.now);
        }
        self.transmit(index);
        let node = &mut self.nodes[index];
        let until = node.deadline.into_iter().chain(node.transport.deadline()).min();
        if let Some(at) = until.filter(|at| node.wake.is_none_or(|wake| *at < wake)) {
            node.wake = Some(at);
            self.timeline.put(at, Happening::WakeNode(index));
        }
    }

    fn carry_out(&mut self, index: usize, output: NodeOutput) {
        match output {
            NodeOutput::OpenSignal => {
                let session = SessionId(self.sessions.len() as u64);
                self.sessions.push(Connection { node: index, is_open: !self.paths[index].is_cut });
                self.nodes[index].session = Some(session);
                match self.paths[index].is_cut {
                    true => {
                        self.timeline.put(self.now + Duration::from_millis(5), Happening::ClosedDown(session))
                    }
                    false => self.fly(index, 0, Happening::Opened(session)),
                }
            }
            NodeOutput::Send(message) => {
                if let Some(session) = self.nodes[index].session {
                    self.trace.said(index, &message);
                    let is_new = self.nodes[index].said.insert(message.request());
                    self.fly(index, 0, Happening::SignalUp(session, Box::new(message), is_new));
                }
            }
            NodeOutput::CloseSignal => {
                if let Some(session) = self.nodes[index].session.take() {
                    self.fly(index, 0, Happening::ClosedUp(session));
                }
            }
            NodeOutput::Event(event) => {
                self.trace.happened(index, &event);
                self.nodes[index].watch.on_event(&event, self.now);
                if matches!(event.kind, roomful_state::EventKind::Disconnected { .. }) {
                    // Comes back after a while.
                    let pause = Duration::from_millis(self.random.random_range(100..3000));
                    self.timeline.put(self.now + pause, Happening::Act(index));
                }
            }
            NodeOutput::Done(id, result) => {
                self.trace.add(&[index as u8, u8::from(result.is_ok())]);
                self.nodes[index].watch.on_done(id, self.now);
                self.nodes[index].on_done(id, result.as_ref().ok());
            }
            NodeOutput::FramesDue(kind) => self.timeline.put(self.now, Happening::Frames(index, kind)),
        }
    }

    /// Sends a message in order and without loss.
    fn fly(&mut self, node: usize, way: usize, happening: Happening) {
        if let Some((at, happening)) = self.paths[node].signal[way].send(happening, self.now) {
            self.timeline.put(at, happening);
        }
    }

    /// Treats what passes between a participant and the server otherwise from now on.
    fn set_links(&mut self, node: usize, up: LinkConfig, down: LinkConfig) {
        let path = &mut self.paths[node];
        path.up.configure(up);
        path.down.configure(down);
        let [up, down] = [(0, up), (1, down)].map(|(way, link)| path.signal[way].configure(link, self.now));
        for (at, happening) in up.into_iter().chain(down) {
            self.timeline.put(at, happening);
        }
    }

    fn drain_server(&mut self) {
        let until = loop {
            match self.server.poll_output() {
                Output::Wait(until) => break until,
                Output::Send(session, message) => {
                    if let Some(node) = self.node_of(session) {
                        self.fly(node, 1, Happening::SignalDown(session, Box::new(message)));
                    }
                }
                Output::Close(session) => {
                    if let Some(node) = self.node_of(session) {
                        self.fly(node, 1, Happening::ClosedDown(session));
                    }
                }
                Output::Transmit(transmit) => self.on_transmit(transmit),
                Output::Media(output) => self.on_media(output),
            }
            self.model.observe(&mut self.server);
        };
        self.model.observe(&mut self.server);
        if until > self.now && self.server_wake.is_none_or(|wake| until < wake) {
            self.server_wake = Some(until);
            self.timeline.put(until, Happening::WakeServer);
        }
    }

    fn node_at(&self, peer: ParticipantId) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == Some(peer))
    }
}

impl World {
    /// A participant does something, as people and programs do.
    fn act(&mut self, index: usize) {
        self.server.tokens().set_time(self.now);
        let command =
            self.nodes[index].next_command(&mut self.random, self.server.tokens(), ROOM, &mut self.tags);
        if let Some(command) = command {
            self.command(index, command);
        }
        let pause = Duration::from_millis(self.random.random_range(50..1500));
        if self.nodes[index].id.is_some()
            || self.nodes[index].client.state().status() == roomful_state::Status::Connecting
        {
            self.timeline.put(self.now + pause, Happening::Act(index));
        }
    }

    fn command(&mut self, index: usize, command: Command) {
        let node = &mut self.nodes[index];
        node.last_command += 1;
        let id = CommandId(node.last_command);
        node.begin(id, &command);
        node.watch.on_command(id, &command, self.now);
        self.feed(index, roomful_client::Input::Command(id, command));
        // Now and then the program loses interest before the answer comes.
        if self.random.random_range(0..100) < self.parameters.withdrawals {
            let node = &mut self.nodes[index];
            if node.watch.withdraw(id) {
                self.feed(index, roomful_client::Input::Withdraw(id));
            }
        }
    }

    /// Something goes wrong, or a moderator steps in.
    fn disturb(&mut self) {
        let Some(pause) = self.parameters.disturbance.filter(|_| !self.is_healed) else { return };
        let index = self.random.random_range(0..self.nodes.len());
        match self.random.random_range(0..15) {
            // The server hears and says nothing for a while, or again.
            12 => self.server.faults.stall = !self.server.faults.stall,
            // It has no time for the next thing that somebody wants.
            13 | 14 => self.refusals += 1,
            // Its NAT starts anew, so it is seen at another address.
            10 | 11 => self.paths[index].nat.rebind(),
            0..=2 => self.set_cut(index, true),
            3..=5 => self.set_cut(index, false),
            6 => {
                let is_down = self.random.random_range(0..2) == 0;
                let link = LinkConfig { is_down, ..self.parameters.up() };
                self.set_links(index, link, self.parameters.link);
            }
            7 | 8 => {
                let kind =
                    if self.random.random_range(0..2) == 0 { MediaKind::Audio } else { MediaKind::Video };
                let censored = self.random.random_range(0..2) == 0;
                let is_one_stream = self.random.random_range(0..3) == 0;
                let stream = self.nodes[index].any_key(&mut self.random).filter(|_| is_one_stream);
                if let Some(id) = self.nodes[index].id {
                    let who = match self.random.random_range(0..4) {
                        0 => Selection::AllBut([id].into()),
                        _ => Selection::These([id].into()),
                    };
                    self.moderate(&ModerationRequest::Censor { who, stream, kind, censored });
                }
            }
            _ if self.random.random_range(0..5) == 0 => self.moderate(&ModerationRequest::EndSession),
            _ => {
                if let Some(id) = self.nodes[index].id {
                    self.moderate(&ModerationRequest::Kick(Selection::These([id].into())));
                }
            }
        }
        let next = pause.mul_f64(self.random.random_range(0.3..2.0));
        self.timeline.put(self.now + next, Happening::Disturb);
    }

    fn moderate(&mut self, request: &ModerationRequest) {
        // Whoever is meant may have left by now.
        if self.server.moderate(ROOM, request, self.now).is_ok() {
            self.model.on_moderated(request);
        }
        self.drain_server();
    }

    fn set_cut(&mut self, index: usize, is_cut: bool) {
        self.paths[index].is_cut = is_cut;
        if !is_cut {
            return;
        }
        let open: Vec<usize> = (0..self.sessions.len())
            .filter(|session| self.sessions[*session].node == index && self.sessions[*session].is_open)
            .collect();
        for session in open {
            let session = SessionId(session as u64);
            self.sessions[session.0 as usize].is_open = false;
            self.server.handle_input(Input::Closed(session), self.now);
            // The other end notices a moment later.
            self.timeline.put(self.now + Duration::from_millis(1), Happening::ClosedDown(session));
        }
        self.drain_server();
    }

    /// From now on nothing goes wrong any more.
    fn heal(&mut self) {
        self.is_healed = true;
        (self.server.faults, self.refusals) = (Faults::default(), 0);
        for index in 0..self.nodes.len() {
            let link = LinkConfig::delayed(self.parameters.link.delay);
            self.set_links(index, link, link);
            // What was told in a wrong order stays so until it is told anew.
            self.set_cut(index, self.parameters.reorder > 0.0);
            self.paths[index].is_cut = false;
            self.nodes[index].watch.begin_recovery();
            // What nobody does is no proof that it can be done.
            self.nodes[index].takes_everything = true;
            let soon = Duration::from_millis(self.random.random_range(0..1000));
            self.timeline.put(self.now + soon, Happening::Act(index));
        }
    }

    /// What must be true once everything had time to recover.
    fn check_end(&mut self) {
        self.server.check_invariants();
        self.wire.check_gaps(&self.parameters);
        let since = self.now - Duration::from_secs(10);
        for node in &self.nodes {
            node.watch.check_commands(self.now);
            node.watch.check_speaking(self.now);
            assert!(node.id.is_some(), "participant {} did not get back", node.address);
            self.model.check_state(node.client.state());
            node.watch.check_frames(&self.model, node.client.state(), since);
        }
        for node in &mut self.nodes {
            let is_ordered = self.parameters.reorder == 0.0;
            let expected = self.model.messages_of(node.id);
            node.watch.check_messages(expected, node.id.is_some(), is_ordered);
        }
    }
}

/// Returns whether a program of a participant wants something; what holds the stay together is not to be refused.
const fn is_a_wish(message: &ClientMessage) -> bool {
    !matches!(
        message,
        ClientMessage::JoinRequest(_)
            | ClientMessage::ResumeRequest(_)
            | ClientMessage::LeaveRequest(_)
            | ClientMessage::PingRequest(_)
            | ClientMessage::OfferRequest(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(media: MediaMode, seed: u64) -> Report {
        let parameters = Parameters::from_seed(media, seed);
        println!("{parameters}");
        let report = World::new(parameters).run();
        assert!(report.virtual_time > parameters.duration);
        report
    }

    #[test]
    fn rooms_from_many_seeds_keep_every_promise() {
        // The last ones once showed a mute that was lost, and a subscription that only the subscriber believed in.
        (0..20).chain([648, 1190]).for_each(|seed| _ = play(MediaMode::Faked, seed));
    }

    #[test]
    fn rooms_with_real_media_keep_every_promise() {
        let frames: u64 = [1, 8, 13].map(|seed| play(MediaMode::Real, seed).frames_delivered).iter().sum();
        assert_ne!(frames, 0);
    }

    #[test]
    fn one_seed_twice_is_one_run() {
        for seed in [1, 8] {
            let report = play(MediaMode::Faked, seed);
            assert_ne!(report.frames_delivered, 0);
            assert_eq!(report, play(MediaMode::Faked, seed));
        }
    }
}
