//! The control task: owns the deciding engine and moves its inputs and outputs.

use std::collections::HashMap;

use bytes::Bytes;
use roomful_protocol::{Encoding, ServerMessage};
use roomful_sfu::{Input, ModerationError, ModerationRequest, Output, RoomSessionId, SessionId, Sfu};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use crate::{clock, live::ActiveSessions, outgoing, shard};

/// What the control task hears.
#[derive(Debug)]
pub(crate) enum Event {
    /// A client connected; what it is told goes here.
    Opened(SessionId, Connection),
    /// A moderator wants something, and waits for what it comes to.
    Moderate(RoomSessionId, ModerationRequest, oneshot::Sender<Result<(), ModerationError>>),
    /// Anything that only the engine is concerned with.
    Engine(Input),
}

/// The way to a client.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) encoding: Encoding,
    pub(crate) outgoing: outgoing::Sender,
}

/// What clients said and the engine has not heard yet. When it is full, their connections are not read.
pub(crate) const INCOMING_MAX: usize = 1024;

/// Runs until the task is aborted.
///
/// * `signals`: what clients do, bounded.
/// * `events`: what this server does, which is bounded by what clients do.
pub(crate) async fn run(
    mut engine: Sfu,
    mut signals: mpsc::Receiver<Event>,
    mut events: mpsc::UnboundedReceiver<Event>,
    shard: mpsc::UnboundedSender<shard::Command>,
    sessions: ActiveSessions,
) {
    let mut control = Control { connections: HashMap::new(), shard, sessions };
    loop {
        let until = control.drain(&mut engine);
        let event = tokio::select! {
            Some(event) = events.recv() => event,
            Some(event) = signals.recv() => event,
            () = sleep_until(until) => Event::Engine(Input::Timeout),
        };
        let input = match event {
            Event::Opened(session, connection) => {
                control.connections.insert(session, connection);
                Input::Opened(session)
            }
            Event::Moderate(session, request, reply) => {
                // Who does not wait any more does not need to know.
                let _ = reply.send(engine.moderate(session, &request, clock::now()));
                continue;
            }
            Event::Engine(input) => {
                if let Input::Closed(session) = &input {
                    control.connections.remove(session);
                }
                input
            }
        };
        engine.handle_input(input, clock::now());
    }
}

struct Control {
    connections: HashMap<SessionId, Connection>,
    shard: mpsc::UnboundedSender<shard::Command>,
    sessions: ActiveSessions,
}

impl Control {
    /// Carries out what the engine wants; returns when it wants to be called again.
    fn drain(&mut self, engine: &mut Sfu) -> Instant {
        loop {
            match engine.poll_output() {
                Output::Wait { until, .. } => return until.into(),
                Output::Send(sessions, message) => self.send(&sessions, &message, engine),
                Output::Close(session) => {
                    if let Some(connection) = self.connections.remove(&session) {
                        connection.outgoing.close();
                    }
                }
                Output::Media(command) => {
                    // Without its shard the server is stopping.
                    let _ = self.shard.send(shard::Command::Media(command));
                }
                Output::SessionStarted(room, session) => {
                    self.sessions.lock().insert(room, session);
                }
                Output::SessionEnded(room, _) => {
                    self.sessions.lock().remove(&room);
                }
            }
        }
    }

    fn send(&mut self, sessions: &[SessionId], message: &ServerMessage, engine: &mut Sfu) {
        let mut encoded: [Option<Bytes>; 2] = [None, None];
        for session in sessions {
            let Some(connection) = self.connections.get(session) else { continue };
            let encoding = connection.encoding;
            // Once for all clients of an encoding.
            let bytes = encoded[encoding as usize].get_or_insert_with(|| encoding.encode(message).into());
            if !connection.outgoing.tell(bytes.clone()) {
                tracing::info!(session = session.0, "client reads too slowly; cut off");
                self.connections.remove(session);
                engine.handle_input(Input::Closed(*session), clock::now());
            }
        }
    }
}
